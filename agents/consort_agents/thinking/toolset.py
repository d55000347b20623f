"""The tools that a piece of work has, and how one is called: through the journal, once.

Deny by default: what was not given is not called, and what the profile does not name is not
given. A call that changes something is on record before it is made. If the process died in
the midst of one and nothing is known of its end, it is made again only if the tool takes
the call's id as an idempotency key; otherwise the model is told that nobody knows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from consort_agents.artefacts import Artefacts
from consort_agents.errors import AttemptOver
from consort_agents.journal.port import Call
from consort_agents.models.port import ToolResult, ToolUse
from consort_agents.thinking import spans
from consort_agents.thinking.errors import LimitReached, NoSuchTool
from consort_agents.thinking.limits import Allowance
from consort_agents.tools.definition import Caller, Definition, Given, Tool, ToolAnswer
from consort_agents.tools.functions import tool
from consort_agents.tools.guarded import one_by_one
from consort_agents.tools.labels import labelled
from consort_shared.telemetry.logs import without_words
from consort_shared.telemetry.redacting import redacted
from consort_shared.usage import NOTHING, Usage
from consort_shared.values import ArtefactRef, Json, digest

if TYPE_CHECKING:
    from consort_agents.context import Context
    from consort_agents.thinking.means import Means

_SLACK = 2.0
"""Seconds past its own time limit after which a tool that does not keep it is given up."""
_SPENT = "spent"
"""Where an answer on record tells what the tool used of models while it was called."""
_PAGE = 8000
"""Characters that are recalled at a time."""

log = logging.getLogger("consort.agent")


@dataclass(frozen=True, slots=True)
class Done:
    """What a call gave, and what it is recognised by: digests of its arguments and of its answer."""

    result: ToolResult
    arguments: str
    answer: str


class Toolset:
    """The tools of one piece of work."""

    def __init__(
        self,
        context: Context,
        means: Means,
        given: Iterable[Given] | None,
        allowances: Sequence[Allowance],
        *,
        strict: bool = True,
    ) -> None:
        """`given` are tools, or names of the agent's; None for all of the agent's.

        `strict`: a call beyond a limit ends the work, otherwise it is refused to the model. Raises NoSuchTool.
        """
        self._strict = strict
        self._context = context
        self._means = means
        self._allowances = allowances
        self.tools = {one.definition.name: one for one in _allowed(given, means, context.profile.tools)}
        self.made = 0
        """calls that were made, or were answered from the journal; not those that were refused"""
        self.saved = 0
        self._longest = context.profile.limits.context_tokens
        """characters of a result: a quarter of what a request may have"""

    def add(self, tool: Tool) -> None:
        self.tools[tool.definition.name] = tool

    async def call_all(self, uses: Sequence[ToolUse]) -> list[Done]:
        """Make calls at the same time; their results in order. Raises LimitReached, what the journal raises."""
        refused = [self._refused(use) for use in uses]
        if len(uses) == 1:
            return [refused[0] or await self._call(uses[0])]
        try:
            async with asyncio.TaskGroup() as group:
                calls = [
                    group.create_task(_given(no) if no is not None else self._call(use))
                    for use, no in zip(uses, refused, strict=True)
                ]
        except BaseExceptionGroup as raised:
            raise _first(raised) from raised
        return [call.result() for call in calls]

    def _refused(self, use: ToolUse) -> Done | None:
        """Why a call is not made, as its result; None for one that is. Raises LimitReached where that is wanted."""
        if use.name not in self.tools:
            return _no(use, f"there is no tool {use.name!r}; there are: {', '.join(self.tools) or 'none'}")
        try:
            for allowance in self._allowances:
                allowance.tool_call(self.tools[use.name].definition.cost)
        except LimitReached as exc:
            if self._strict:
                raise
            return _no(use, f"{use.name} was not called: {exc}")
        self.made += 1
        return None

    async def call(self, use: ToolUse) -> ToolAnswer:
        """Make one call for the skill itself: no marks around what it gives.

        Raises LimitReached, what the journal raises.
        """
        if (refused := self._refused(use)) is not None:
            return ToolAnswer(content=refused.result.content, is_error=True)
        return await self._counted(use)

    async def _call(self, use: ToolUse) -> Done:
        answer = await self._counted(use)
        content = labelled(answer, self.tools[use.name].definition)
        result = ToolResult(tool_use_id=use.id, content=content, is_error=answer.is_error)
        return Done(result, digest(use.input), digest([answer.content, answer.is_error]))

    async def _counted(self, use: ToolUse) -> ToolAnswer:
        """Call, and count what it cost."""
        tool = self.tools[use.name]
        answer = await self._answer(tool, use)
        cost = tool.definition.cost
        if answer.saved:
            self.saved += 1
            for allowance in self._allowances:
                allowance.cost -= cost
        paid = 0 if answer.saved else cost
        self._context.spent(Usage(tool_calls=1, tool_calls_saved=int(answer.saved), cost=paid))
        return answer

    async def _answer(self, tool: Tool, use: ToolUse) -> ToolAnswer:
        """Through the journal. Raises what the journal raises."""
        definition, agent = tool.definition, self._means.agent
        self._context.check()

        async def perform(call: Call) -> Json:
            self._context.progress(f"calls {definition.name}")
            with spans.tool_call(definition, use, call.n, agent) as span, self._context.spending() as spent:
                answer = self._cut(await self._made(tool, use.input, call))
                span.answered(answer)
            told: dict[str, Json] = answer.model_dump(mode="json")
            return told | ({_SPENT: sum(spent, NOTHING).model_dump(mode="json")} if spent else {})

        recorded = await self._context.journal.call(
            "tool",
            definition.name,
            {"arguments": use.input, "definition": definition.digest},
            perform,
            wait=not definition.idempotent,
            shown={"arguments": redacted(use.input)},
        )
        assert isinstance(recorded.value, Mapping)
        told = dict(recorded.value)
        spent = told.pop(_SPENT, None)
        answer = ToolAnswer.model_validate(told)
        if recorded.replayed:
            self._spent_before(spent)
            spans.tool_replayed(definition, use, recorded.n, agent, answer.is_error)
        return answer

    def _spent_before(self, told: Json) -> None:
        """Count what a tool asked of models, itself, when it was called: now it is not called again."""
        if told is not None:
            spent = Usage.model_validate(told)
            self._context.spent(spent.model_copy(update={"replayed": spent.calls}))
            self._context.model.allowance.count(spent)

    async def _made(self, tool: Tool, arguments: Mapping[str, Json], call: Call) -> ToolAnswer:
        """Make a call. Whatever goes wrong in it is an answer."""
        definition = tool.definition
        if call.again and not definition.idempotent and not getattr(tool, "takes_key", False):
            told = (
                f"an earlier call of {definition.name} with these arguments was broken off: whether it happened "
                "is not known. Find out before you do it again, or say that it is not known."
            )
            return ToolAnswer(content=told, is_error=True)
        limit = definition.timeout + _SLACK
        try:
            async with asyncio.timeout(limit) as timer:
                return await tool.call(arguments, self._caller(call))
        except TimeoutError as exc:
            if timer.expired():
                return ToolAnswer(content=f"{definition.name} gave no answer in {limit:g} s", is_error=True)
            return _defect(definition, exc)
        except (Exception, SystemExit) as exc:  # noqa: BLE001 - a tool's defect is not the end of the work
            return _defect(definition, exc)

    def _caller(self, call: Call) -> Caller:
        context = self._context
        return Caller(
            run=context.run,
            task=context.task,
            step=context.step,
            agent=self._means.agent,
            call_id=call.id,
            deadline=context.deadline,
            trace=spans.traceparent() or context.trace,
        )

    def _cut(self, answer: ToolAnswer) -> ToolAnswer:
        """An answer that leaves room for others."""
        gone = len(answer.content) - self._longest
        if gone <= 0:
            return answer
        told = f"{answer.content[: self._longest]}\n[cut here: {gone} more characters are not shown]"
        return answer.model_copy(
            update={"content": told, "value": None, "truncated": answer.truncated + gone}
        )


class Recall:
    """A tool that reads back what was taken out of the conversation to keep it short."""

    name = "recall"

    def __init__(self, originals: Mapping[str, ArtefactRef], artefacts: Artefacts) -> None:
        self._originals = originals
        self._artefacts = artefacts
        self.definition = Definition(
            name=self.name,
            description="Reads a part of this conversation that was cut or summarised, by the digest of its artefact.",
            input_schema={
                "type": "object",
                "properties": {
                    "digest": {"type": "string", "description": "as the cut or the summary names it"},
                    "offset": {"type": "integer", "minimum": 0, "description": "character to begin at"},
                },
                "required": ["digest"],
                "additionalProperties": False,
            },
            cache=False,
        )

    async def call(self, arguments: Mapping[str, Json], caller: Caller) -> ToolAnswer:
        wanted, offset = arguments.get("digest"), arguments.get("offset", 0)
        if not isinstance(wanted, str) or not isinstance(offset, int) or offset < 0:
            return ToolAnswer(content="`digest` is a text, `offset` a number from 0", is_error=True)
        ref = self._originals.get(wanted)
        if ref is None:
            told = f"nothing was cut under this digest; there are: {', '.join(self._originals)}"
            return ToolAnswer(content=told, is_error=True)
        text = (await self._artefacts.get(ref)).decode("utf-8", "replace")
        page = text[offset : offset + _PAGE]
        left = len(text) - offset - len(page)
        more = f"\n[{left} more characters, from offset {offset + len(page)}]" if left > 0 else ""
        return ToolAnswer(content=page + more)


async def _given(done: Done) -> Done:
    return done


def _no(use: ToolUse, why: str) -> Done:
    result = ToolResult(tool_use_id=use.id, content=why, is_error=True)
    return Done(result, digest(use.input), why)


def _allowed(given: Iterable[Given] | None, means: Means, patterns: Sequence[str] | None) -> list[Tool]:
    """What was asked for, as far as the profile allows it."""
    own = {one.definition.name: one for one in means.tools}
    wanted = own.values() if given is None else one_by_one(given, means.agent)
    found = [_found(one, own) for one in wanted]
    return found if patterns is None else [one for one in found if _named(one.definition.name, patterns)]


def _found(one: Given, own: Mapping[str, Tool]) -> Tool:
    """A tool, a function as one, or the agent's own of that name. Raises NoSuchTool, TypeError."""
    if isinstance(one, str):
        named = own.get(one) or own.get(one.replace(".", "__"))
        if named is None:
            raise NoSuchTool(one, sorted(own))
        return named
    if isinstance(one, Tool):
        return one
    if not callable(one):
        raise TypeError(f"tools are tools, functions, or names of the agent's tools, not {one!r}")
    return tool(one)


def _named(name: str, patterns: Sequence[str]) -> bool:
    """A tool of a host is `host__tool` to models, and `host.tool` to people."""
    return any(fnmatchcase(form, pattern) for form in (name, name.replace("__", ".")) for pattern in patterns)


def _defect(definition: Definition, exc: BaseException) -> ToolAnswer:
    log.warning("tool %s raised %s at\n%s", definition.name, type(exc).__name__, without_words(exc))
    return ToolAnswer(content=f"{definition.name} failed: {type(exc).__name__}", is_error=True)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What ended the calls of a turn; what ends the attempt goes before all else."""
    first: BaseException = group.subgroup(AttemptOver) or group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first
