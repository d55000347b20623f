"""The tool loop: the model says which tools to call, they are called, it is told what they gave.

Our own loop over messages. The calls of one turn are made at the same time, each through
the journal; their results stand in the order in which they were asked for. Nothing is
called that was not given. Whether it goes in circles is the guard's business, what it may
use that of the limits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar, assert_never

from consort_agents.models.port import Message, Text, ToolResult, ToolUse
from consort_agents.thinking.asking import OnLimit, mending, spec_of
from consort_agents.thinking.errors import AnswerMisfit, GoesInCircles, LimitReached
from consort_agents.thinking.guard import End, Fine, Made, Warn, Watched, watch
from consort_agents.thinking.limits import Allowance
from consort_agents.thinking.shaping import Misfit, Shape
from consort_agents.thinking.toolset import Done, Recall, Toolset
from consort_agents.thinking.turning import Conversation, How, Turn
from consort_agents.tools.labels import RULE
from consort_shared.usage import Usage

if TYPE_CHECKING:
    from consort_agents.context import Context
    from consort_agents.thinking.means import Means
    from consort_agents.tools.definition import Given

T = TypeVar("T")
_NOW = "You have no further tool calls. Give your final answer now, from what you know."


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What came of the work."""

    text: str
    value: T
    """what the text is by the schema; None without one"""
    turns: int
    tool_calls: int
    messages: tuple[Message, ...]
    usage: Usage
    stopped: str = ""
    """the limit that ended it (`limit-tokens`, …), where that was wanted; empty when the model was done"""


class Loop:
    """One piece of work."""

    def __init__(
        self,
        context: Context,
        means: Means,
        tools: Iterable[Given] | None,
        allowance: Allowance,
        whole: Allowance,
        on_limit: OnLimit,
    ) -> None:
        within = (whole, allowance)
        self._tools = Toolset(context, means, tools, within, strict=on_limit == "fail")
        self._allowance, self._within = allowance, within
        self._on_limit = on_limit
        self._watched = Watched()

    def equip(self, how: How) -> How:
        """How the model is asked, with the tools and what is to be known about them."""
        if not self._tools.tools:
            return how
        system = "\n\n".join(part for part in (how.system, RULE) if part)
        return replace(how, system=system, tools=tuple(spec_of(one) for one in self._tools.tools.values()))

    async def run(self, conversation: Conversation, shape: Shape[T] | None, mends: int) -> Outcome[Any]:
        """To the end. Raises ThinkingFailed."""
        misfits = 0
        turn: Turn | None = None
        try:
            while True:
                self._allowance.turn()
                last = self._on_limit == "answer" and self._last()
                if last:
                    _say(conversation, _NOW)
                turn = await conversation.turn(whole=True, tool_choice="none" if last else None)
                if turn.message.tool_uses:
                    await self._use_tools(conversation, turn)
                    continue
                try:
                    value = None if shape is None else shape.read(turn.message.text)
                except Misfit as exc:
                    misfits += 1
                    if misfits > mends:
                        raise AnswerMisfit(str(exc), misfits) from exc
                    conversation.messages.append(mending(str(exc)))
                    continue
                return self._outcome(conversation, turn.message.text, value)
        except LimitReached as exc:
            if self._on_limit == "fail" or shape is not None or turn is None:
                raise
            return self._outcome(conversation, turn.message.text, None, exc.kind)

    def _last(self) -> bool:
        """Whether this turn is the last in which the model can answer."""
        return self._allowance.turns >= self._allowance.limits.turns or any(
            one.limits.tool_calls is not None and one.tool_calls >= one.limits.tool_calls
            for one in self._within
        )

    async def _use_tools(self, conversation: Conversation, turn: Turn) -> None:
        """Make the calls of a turn, and say what they gave. Raises LimitReached, GoesInCircles."""
        uses = turn.message.tool_uses
        done = await self._tools.call_all(uses)
        content: list[ToolResult | Text] = [one.result for one in done]
        made = [_made(use, one) for use, one in zip(uses, done, strict=True)]
        self._watched, verdict = watch(self._watched, made)
        match verdict:
            case Fine():
                pass
            case Warn():
                told = f"Note: {verdict.text}. Do something else, or say what keeps you from going on."
                content.append(Text(text=told))
            case End():
                raise GoesInCircles(verdict.kind, f"{verdict.text}; it was told, and went on")
            case _:
                assert_never(verdict)
        conversation.messages.append(Message(role="user", content=tuple(content)))
        await conversation.fit()
        if conversation.originals and Recall.name not in self._tools.tools:
            recall = Recall(conversation.originals, conversation.context.artefacts)
            self._tools.add(recall)
            conversation.offering(spec_of(recall))

    def _outcome(self, conversation: Conversation, text: str, value: Any, stopped: str = "") -> Outcome[Any]:
        return Outcome(
            text=text,
            value=value,
            turns=self._allowance.turns,
            tool_calls=self._tools.made,
            messages=tuple(conversation.messages),
            usage=conversation.usage + Usage(tool_calls=self._tools.made, tool_calls_saved=self._tools.saved),
            stopped=stopped,
        )


def _made(use: ToolUse, done: Done) -> Made:
    return Made(use.name, done.arguments, done.answer, done.result.is_error)


def _say(conversation: Conversation, text: str) -> None:
    """Put a sentence to the end of what the model reads next."""
    last = conversation.messages[-1]
    if last.role == "user":
        conversation.messages[-1] = Message(role="user", content=(*last.content, Text(text=text)))
    else:
        conversation.messages.append(Message(role="user", content=(Text(text=text),)))
