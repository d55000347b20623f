"""Keeping a conversation within a number of tokens. Pure: messages in, messages out.

First the results of tools that lie back are cut to their head, oldest first. If that is not
enough, the oldest turns become one message that says it is a summary. Of everything that
goes, the original is handed out to be stored, and what stands in its place names it by
digest. The first message stays as it is, and so do the last turns. A call of a tool and
its result stay together: a turn is an answer of the model with all results it asked for.

To be shortened again at every turn would spoil each cache of the prompt, so it is shortened
to well below the limit once that is reached.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from consort_agents.models.port import Block, Message, Opaque, Text, ToolResult, ToolUse, user
from consort_agents.thinking.estimating import CHARACTERS, estimate_messages
from consort_shared.values import bytes_digest, canonical

HEAD = 400
"""Characters that stay of a tool result that is cut."""
SHARE = 0.6
"""Of the limit, what is left after shortening, where that can be had."""
KEPT_TURNS = 3
LONGEST_SUMMARY = 4000
"""Characters of a summary that is put together from the messages themselves."""
_LINE = 200
_MARK = 200
"""Characters that the sentence about a cut takes."""

Count = Callable[[Iterable[Message]], int]


class TooLong(Exception):
    """What has to stay is longer than the limit."""


@dataclass(frozen=True, slots=True)
class Original:
    """What was taken out, as it was; to be stored as an artefact."""

    digest: str
    content: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class Shortened:
    """A conversation with its older parts cut."""

    messages: tuple[Message, ...]
    originals: tuple[Original, ...] = ()


@dataclass(frozen=True, slots=True)
class Parted:
    """A conversation in three: what stays in front, what is to be summarised, what stays behind."""

    front: tuple[Message, ...]
    old: tuple[Message, ...]
    back: tuple[Message, ...]

    @property
    def original(self) -> Original:
        """The old part whole, as JSON."""
        return _original(canonical([one.model_dump(mode="json") for one in self.old]), "application/json")

    def with_summary(self, summary: str) -> Shortened:
        """The conversation with a summary where the old part was."""
        original = self.original
        text = (
            f"[Summary of {len(self.old)} messages that stood here; the original is artefact {original.digest}]\n"
            f"{summary}\n[End of the summary]"
        )
        return Shortened((*self.front, user(text), *self.back), (original,))


def cut_results(messages: Sequence[Message], target: int, count: Count = estimate_messages) -> Shortened:
    """Cut results of tools that lie back, the oldest first, until the target is met or there are none left."""
    groups = _turns(messages[1:])
    back = sum(len(group) for group in groups[-KEPT_TURNS:])
    return _cut(messages, range(1, len(messages) - back), HEAD, target, count)


def part(messages: Sequence[Message], target: int, count: Count = estimate_messages) -> Parted | None:
    """What is to be summarised to meet the target: as little as does, or all that may be; None where nothing may."""
    front, groups = tuple(messages[:1]), _turns(messages[1:])
    for kept in (KEPT_TURNS, 1):
        best: Parted | None = None
        for n in range(1, len(groups) - kept + 1):
            best = Parted(front, _flat(groups[:n]), _flat(groups[n:]))
            if count((*best.front, *best.back)) + LONGEST_SUMMARY // CHARACTERS <= target:
                return best
        if best is not None:
            return best
    return None


def squeeze(messages: Sequence[Message], limit: int, count: Count = estimate_messages) -> Shortened:
    """Cut every result of a tool, also the newest, to what fits. Raises TooLong when that does not do."""
    shortened = Shortened(tuple(messages))
    head = max((len(b.content) for m in messages for b in m.content if isinstance(b, ToolResult)), default=0)
    while count(shortened.messages) > limit:
        if head <= HEAD:
            raise TooLong(
                f"the conversation has about {count(shortened.messages)} tokens that have to stay, "
                f"and {limit} are allowed"
            )
        head = max(HEAD, head // 2)
        shortened = _cut(messages, range(len(messages)), head, limit, count)
    return shortened


def extract(messages: Sequence[Message], longest: int = LONGEST_SUMMARY) -> str:
    """A summary put together from the messages: who said what, the beginning of each, without a model."""
    lines = [line for message in messages for line in _lines(message)]
    if sum(len(line) + 1 for line in lines) <= longest:
        return "\n".join(lines)
    # The beginning says what it was about, the end where it stands.
    first = _within(lines, longest // 3)
    last = _within(lines[len(first) :][::-1], longest - longest // 3 - 40)[::-1]
    return "\n".join([*first, f"… {len(lines) - len(first) - len(last)} lines left out …", *last])


def _within(lines: Sequence[str], longest: int) -> list[str]:
    found: list[str] = []
    for line in lines:
        longest -= len(line) + 1
        if longest < 0:
            break
        found.append(line)
    return found


def _cut(messages: Sequence[Message], among: range, head: int, target: int, count: Count) -> Shortened:
    cut = list(messages)
    originals: list[Original] = []
    for at in among:
        if count(cut) <= target:
            break
        blocks: list[Block] = []
        for block in cut[at].content:
            if isinstance(block, ToolResult) and len(block.content) > head + _MARK:
                original = _original(block.content.encode("utf-8", "replace"), "text/plain")
                originals.append(original)
                gone = len(block.content) - head
                told = f"\n[cut: {gone} more characters; the original is artefact {original.digest}]"
                blocks.append(block.model_copy(update={"content": block.content[:head] + told}))
            else:
                blocks.append(block)
        cut[at] = Message(role=cut[at].role, content=tuple(blocks))
    return Shortened(tuple(cut), tuple(originals))


def _turns(messages: Sequence[Message]) -> list[tuple[Message, ...]]:
    """Messages that must stay together: an answer of the model, with the results it asked for."""
    groups: list[tuple[Message, ...]] = []
    current: list[Message] = []
    asked: set[str] = set()
    for message in messages:
        if message.role == "assistant" and not asked and current:
            groups.append(tuple(current))
            current = []
        current.append(message)
        for block in message.content:
            if isinstance(block, ToolUse):
                asked.add(block.id)
            elif isinstance(block, ToolResult):
                asked.discard(block.tool_use_id)
    if current:
        groups.append(tuple(current))
    return groups


def _flat(groups: Iterable[tuple[Message, ...]]) -> tuple[Message, ...]:
    return tuple(message for group in groups for message in group)


def _lines(message: Message) -> Iterable[str]:
    for block in message.content:
        match block:
            case Text():
                yield f"{message.role}: {_head(block.text)}"
            case ToolUse():
                yield f"called {block.name} with {_head(json.dumps(block.input, ensure_ascii=False))}"
            case ToolResult():
                yield f"{'failed' if block.is_error else 'got'}: {_head(block.content)}"
            case Opaque():
                pass  # thinking is nobody's business but the model's


def _head(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _LINE else flat[: _LINE - 1] + "…"


def _original(content: bytes, media_type: str) -> Original:
    return Original(bytes_digest(content), content, media_type)


def joined(first: Shortened, second: Shortened) -> Shortened:
    """One shortening after another."""
    return replace(second, originals=(*first.originals, *second.originals))
