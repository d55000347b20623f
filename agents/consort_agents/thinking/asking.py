"""`ctx.model`: asking a model, and having it work.

    answer = await ctx.model.ask("What is the capital of France?")
    answer = await ctx.model.ask("Which cities are named here? …", schema=list[City])
    outcome = await ctx.model.work("Find out who wrote it.", tools=[search])

Which model that is, and who the agent is to it, comes from the profile. What is asked is
journaled, so a task that comes again gets the same answers and pays once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from consort_agents.artefacts import wait_for
from consort_agents.models.port import Effort, Message, Reply, StopReason, ToolSpec, ToolUse, user
from consort_agents.thinking.calling import Calling
from consort_agents.thinking.errors import AnswerMisfit, NoModel
from consort_agents.thinking.limits import Allowance
from consort_agents.thinking.opening import Opened, opened, trouble_with
from consort_agents.thinking.shaping import Misfit, Shape, shape_of
from consort_agents.thinking.turning import Conversation, How
from consort_shared.profile import ThinkingLimits
from consort_shared.usage import Usage

if TYPE_CHECKING:
    from consort_agents.context import Context
    from consort_agents.thinking.loop import Outcome
    from consort_agents.thinking.means import Means
    from consort_agents.tools.definition import Given, Tool

T = TypeVar("T")
Prompt = str | Message | Sequence[Message]
OnLimit = Literal["fail", "answer"]
MENDS = 2
"""Times that an answer which does not fit is asked for again, with the reasons."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What a model answered."""

    text: str
    value: T
    """what the text is by the schema; None without one"""
    reply: Reply
    """the last one, as the provider gave it"""
    messages: tuple[Message, ...]
    """the conversation with this answer at its end, to go on from"""
    usage: Usage
    """of all calls that it took"""
    replayed: bool
    """whether it is an earlier process's answer, as a whole"""
    cut: bool = False
    """whether it did not end by itself, for its tokens ran out"""

    @property
    def tool_uses(self) -> tuple[ToolUse, ...]:
        return self.messages[-1].tool_uses if self.messages[-1].role == "assistant" else ()

    @property
    def stop_reason(self) -> StopReason:
        return self.reply.stop_reason


class Model:
    """The model of one attempt. The `_sync` forms are for plain functions, which run in a thread."""

    def __init__(self, context: Context, means: Means) -> None:
        self._context = context
        self._means = means
        self._calling = Calling(context, means)
        self._known: dict[str, Opened] = {}
        self.allowance = Allowance(context.profile.limits, means.now())
        """what the task may still use"""

    @property
    def name(self) -> str:
        """The model that is asked where the call names none: `anthropic:claude-…`; empty if there is none."""
        return self._means.reference(self._context.profile)

    @property
    def available(self) -> bool:
        """Whether there is a model to ask, so that a skill can do without one where there is not."""
        return not self.trouble

    @property
    def trouble(self) -> str:
        """Why there is no model to ask, in a sentence; empty where there is one."""
        if self._means.cannot:
            return self._means.cannot
        reference = self.name
        return trouble_with(reference, self._means.providers) if reference else "no model is configured"

    @overload
    async def ask(
        self,
        prompt: Prompt,
        *,
        schema: type[T],
        system: str | None = ...,
        tools: Sequence[Tool | ToolSpec] = ...,
        tool_choice: str = ...,
        effort: Effort | None = ...,
        max_tokens: int | None = ...,
        model: str | None = ...,
        stop: Sequence[str] = ...,
        stream: bool = ...,
        mends: int = ...,
    ) -> Answer[T]: ...

    @overload
    async def ask(
        self,
        prompt: Prompt,
        *,
        schema: Any = ...,
        system: str | None = ...,
        tools: Sequence[Tool | ToolSpec] = ...,
        tool_choice: str = ...,
        effort: Effort | None = ...,
        max_tokens: int | None = ...,
        model: str | None = ...,
        stop: Sequence[str] = ...,
        stream: bool = ...,
        mends: int = ...,
    ) -> Answer[Any]: ...

    async def ask(
        self,
        prompt: Prompt,
        *,
        schema: Any = None,
        system: str | None = None,
        tools: Sequence[Tool | ToolSpec] = (),
        tool_choice: str = "auto",
        effort: Effort | None = None,
        max_tokens: int | None = None,
        model: str | None = None,
        stop: Sequence[str] = (),
        stream: bool = True,
        mends: int = MENDS,
    ) -> Answer[Any]:
        """Ask once. With a `schema` (a pydantic model, or any type it knows) the answer is a value of it.

        An answer that does not fit is sent back with the reasons, at most `mends` times. Tools are only told
        to the model; `work` also calls them. `tool_choice` is `auto`, `any`, `none` or a tool's name. `stream`
        shows the text to whoever watches, as it is written. Raises ThinkingFailed.
        """
        shape = None if schema is None else shape_of(schema)
        how = self._how(
            system,
            tools=tuple(one if isinstance(one, ToolSpec) else spec_of(one) for one in tools),
            tool_choice=tool_choice,
            effort=effort,
            shape=shape,
            max_tokens=max_tokens,
            stop=tuple(stop),
            stream=stream,
        )
        conversation = await self.conversation(prompt, how, model)
        return await answered(conversation, shape, mends)

    def ask_sync(self, prompt: Prompt, **how: Any) -> Answer[Any]:
        """As `ask`, in a plain function."""
        return wait_for(self.ask(prompt, **how), self._context.artefacts.loop)

    async def work(
        self,
        goal: Prompt,
        *,
        tools: Iterable[Given] | None = None,
        schema: Any = None,
        system: str | None = None,
        limits: ThinkingLimits | None = None,
        on_limit: OnLimit = "fail",
        effort: Effort | None = None,
        max_tokens: int | None = None,
        model: str | None = None,
        stream: bool = True,
        mends: int = MENDS,
    ) -> Outcome[Any]:
        """Let the model work with tools until it is done: it says which to call, and is told what they gave.

        Without `tools` it has those of the agent that the profile allows; names stand for those too. `limits`
        are for this work, within those of the task. With `on_limit="answer"` it is asked for its answer one
        turn before turns or tool calls run out, and what there is by then is the outcome where other limits
        are reached. Raises ThinkingFailed.
        """
        from consort_agents.thinking.loop import Loop

        shape = None if schema is None else shape_of(schema)
        how = self._how(system, effort=effort, shape=shape, max_tokens=max_tokens, stream=stream)
        allowance = Allowance(limits or self._context.profile.limits, self._means.now(), "this work")
        loop = Loop(self._context, self._means, tools, allowance, self.allowance, on_limit)
        conversation = await self.conversation(goal, loop.equip(how), model, allowance)
        return await loop.run(conversation, shape, mends)

    def work_sync(self, goal: Prompt, **how: Any) -> Outcome[Any]:
        """As `work`, in a plain function."""
        return wait_for(self.work(goal, **how), self._context.artefacts.loop)

    async def conversation(
        self, prompt: Prompt, how: How, model: str | None, *within: Allowance
    ) -> Conversation:
        """A conversation that begins with a prompt. Raises NoModel."""
        if self._means.cannot:
            raise NoModel(self._means.cannot)
        found = await self._opened(self._means.reference(self._context.profile, model))
        allowances = (self.allowance, *within)
        messages = messages_of(prompt)
        return Conversation(self._context, self._means, self._calling, found, how, messages, allowances)

    async def _opened(self, reference: str) -> Opened:
        if reference not in self._known:
            self._known[reference] = await opened(reference, self._means.providers)
        return self._known[reference]

    def _how(
        self,
        system: str | None,
        *,
        shape: Shape[Any] | None,
        effort: Effort | None,
        max_tokens: int | None,
        stream: bool,
        tools: tuple[ToolSpec, ...] = (),
        tool_choice: str = "auto",
        stop: tuple[str, ...] = (),
    ) -> How:
        profile = self._context.profile
        return How(
            system="\n\n".join(part for part in (profile.system(), system) if part),
            tools=tools,
            tool_choice=tool_choice,
            max_tokens=max_tokens or profile.max_tokens,
            effort=effort or profile.effort,
            output_schema=None if shape is None else shape.schema,
            stop=stop,
            stream=stream,
        )


async def answered(conversation: Conversation, shape: Shape[Any] | None, mends: int) -> Answer[Any]:
    """The answer of a conversation, of the shape that is wanted. Raises ThinkingFailed."""
    replayed, asked = True, 0
    while True:
        asked += 1
        turn = await conversation.turn(whole=shape is not None or bool(conversation.how.tools))
        replayed = replayed and turn.replayed
        value = None
        if shape is not None and not turn.message.tool_uses:
            try:
                value = shape.read(turn.message.text)
            except Misfit as exc:
                if asked > mends:
                    raise AnswerMisfit(str(exc), asked) from exc
                conversation.messages.append(mending(str(exc)))
                continue
        return Answer(
            text=turn.message.text,
            value=value,
            reply=turn.reply,
            messages=tuple(conversation.messages),
            usage=conversation.usage,
            replayed=replayed,
            cut=turn.cut,
        )


def mending(reasons: str) -> Message:
    """What is said to a model whose answer does not fit."""
    return user(
        f"Your answer does not fit what was asked for: {reasons}\n"
        "Answer again, whole, with one JSON object that fits the schema and nothing else."
    )


def messages_of(prompt: Prompt) -> list[Message]:
    """A prompt as messages. Raises ValueError for none."""
    if isinstance(prompt, str):
        return [user(prompt)]
    messages = [prompt] if isinstance(prompt, Message) else list(prompt)
    if not messages:
        raise ValueError("a model is asked with at least one message")
    return messages


def spec_of(tool: Tool) -> ToolSpec:
    """A tool as a model is told of it."""
    definition = tool.definition
    return ToolSpec(
        name=definition.name, description=definition.description, input_schema=definition.input_schema
    )
