"""What a skill may know and do beyond its inputs.

A `Context` belongs to one attempt. The worker makes it and plugs in what reaches
the bus; a skill called directly in a test can be given one made by `Context.offline`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from consort_agents.artefacts import Artefacts, MemoryStore, Store, wait_for
from consort_agents.effects import Effects, Ledger, MemoryLedger, Unknown
from consort_agents.journal.calls import Calls
from consort_agents.models.port import Provider
from consort_agents.thinking.asking import Model
from consort_agents.thinking.means import Means
from consort_shared.entries import HandOff
from consort_shared.messages import PutAnswer
from consort_shared.profile import Profile
from consort_shared.usage import NOTHING, Usage
from consort_shared.values import ArtefactRef, Json

if TYPE_CHECKING:
    from consort_agents.tools.definition import Tool

__all__ = ["Artefacts", "Context", "MemoryStore", "Noted", "Store", "Value", "Voice"]

_spending: ContextVar[tuple[list[Usage], ...]] = ContextVar("consort_spending", default=())
_offline_log = logging.LoggerAdapter(logging.getLogger("consort.skill"), {})


@dataclass(frozen=True, slots=True)
class Value:
    """A context value that the task was given, and where it comes from."""

    value: Json
    revision: int
    author: str
    confidence: float = 1.0


@dataclass(frozen=True, slots=True)
class Noted:
    """A context write: one that goes out with the result, or at once."""

    key: str
    value: Json
    seen: int | None
    confidence: float


class Voice(Ledger, Protocol):
    """What reaches the bus from within one attempt."""

    def progress(self, text: str, done: float | None, total: float | None) -> None: ...

    async def milestone(self, text: str, done: float | None, total: float | None) -> None: ...

    async def put(self, note: Noted) -> PutAnswer: ...

    def stream(self, text: str) -> None:
        """Show a piece of text to whoever watches, as a model writes it; not stored."""


class OfflineVoice(MemoryLedger):
    """Nobody listens, and only effects are remembered."""

    def progress(self, text: str, done: float | None, total: float | None) -> None:
        return

    async def milestone(self, text: str, done: float | None, total: float | None) -> None:
        return

    async def put(self, note: Noted) -> PutAnswer:
        return PutAnswer(accepted=False, revision=0, why="no bus")

    def stream(self, text: str) -> None:
        return


@dataclass(slots=True)
class Context:
    """The surroundings of one attempt at a step."""

    run: str
    task: str
    step: str
    """the step's path: `gather`, `report[2].write`"""
    skill: str
    attempt: int
    artefacts: Artefacts
    handoff: HandOff = field(default_factory=HandOff)
    """what was done before: by whom, with which result, each with its digest"""
    values: Mapping[str, Value] = field(default_factory=dict)
    """the context keys that the step declares, with revision and author"""
    trouble: str = ""
    """why the attempt before this one failed, empty for the first"""
    deadline: float = 0.0
    """seconds since 1970; a result that comes later does not count"""
    trace: str = ""
    """the span of this attempt as a W3C `traceparent`, to be sent along; empty where none is recorded"""
    log: logging.LoggerAdapter[logging.Logger] = field(default_factory=lambda: _offline_log)
    profile: Profile = field(default_factory=Profile)
    """who the agent is and how it works, as it stood when the task was granted"""
    profile_version: str = ""
    """`file:` and a digest for the profile that the agent brings itself, a revision for one set on the bus"""
    means: Means = field(default_factory=Means)
    """what the attempt thinks with; plugged in by the worker, used through `model`"""
    writes: list[Noted] = field(default_factory=list)
    _spent: list[Usage] = field(default_factory=list)
    voice: Voice = field(default_factory=OfflineVoice)
    journal: Calls = field(default_factory=Calls)
    """what was asked of models, tools and others, so that a task that comes again does not ask it twice"""
    effects: Effects = field(init=False)
    _model: Model | None = None

    def __post_init__(self) -> None:
        self.effects = Effects(self.voice, self.run, self.step)

    @property
    def model(self) -> Model:
        """The model that the profile names: `ask` it, or let it `work` with tools."""
        # Made when it is asked for: it knows the context, and most tasks should leave no cycle to be collected.
        if self._model is None:
            self._model = Model(self, self.means)
        return self._model

    @classmethod
    def offline(
        cls,
        skill: str = "",
        values: Mapping[str, Json] | None = None,
        *,
        effects: Mapping[str, Json] | None = None,
        model: str | Provider = "",
        profile: Profile | None = None,
        tools: Sequence[Tool] = (),
        journal: Calls | None = None,
    ) -> Context:
        """A context without a bus, for calling a skill directly: artefacts and effects stay in memory.

        `effects` were done by an earlier attempt, each with what it gave. `model` is the name of one, such as
        `scripted:rules.yaml`, or a provider; `tools` are those of the agent. A `journal` that
        was used before gives the answers that are in it.
        """
        given = {key: Value(value, 1, "offline") for key, value in (values or {}).items()}
        means = Means(agent="offline", tools=tuple(tools))
        means.name_model(model)
        return cls(
            *("0" * 32, "0-0", "offline", skill, 1, Artefacts(MemoryStore())),
            values=given,
            voice=OfflineVoice(dict(effects or {})),
            profile=profile or Profile(),
            means=means,
            journal=journal or Calls(),
        )

    @property
    def context(self) -> dict[str, Json]:
        """The context values that the step declares, by key."""
        return {key: value.value for key, value in self.values.items()}

    @property
    def usage(self) -> Usage:
        """What this attempt has used of models and tools so far; it is reported with whatever comes of it."""
        return sum(self._spent, NOTHING)

    def spent(self, usage: Usage) -> None:
        """Add to what this attempt has used. Callable from any thread."""
        self._spent.append(usage)
        for spent in _spending.get():
            spent.append(usage)

    @contextmanager
    def spending(self) -> Iterator[list[Usage]]:
        """What the block uses, with all that it starts, beside what else goes on in the attempt."""
        spent: list[Usage] = []
        token = _spending.set((*_spending.get(), spent))
        try:
            yield spent
        finally:
            _spending.reset(token)

    @property
    def stopping(self) -> bool:
        """Whether the attempt was called off: its result will not count, and a plain function had better return."""
        return self.effects.called_off

    def check(self) -> None:
        """End here if the attempt was called off. Raises CalledOff, which is no `Exception`: let it pass."""
        self.effects.check()

    async def once(self, key: str, function: Callable[..., Any], *, unknown: Unknown = "ask") -> Json:
        """Do something with consequences outside once for this step, however often the step is attempted.

        `function`, async or plain, takes no argument, or one: the idempotency key `effect_id(key)`. What it
        gave, as JSON, is recorded and given again to every later attempt. `unknown` says what to do when an
        earlier try began and nothing is known of its end: `ask` a person (the attempt ends here), `redo` it,
        or take it as `done`, with null. `NotDone` raised by the function says that it certainly did not
        happen; after any other exception that is unknown. Raises what the function raises, SkillError when
        nobody answers for 60 s or the result is no JSON, ValueError and TypeError for a call that cannot be.
        """
        return await self.effects.once(key, function, unknown)

    def once_sync(self, key: str, function: Callable[..., Any], *, unknown: Unknown = "ask") -> Json:
        """As `once`, in a plain function, with a plain function."""
        return self.effects.once_sync(key, function, unknown, self.artefacts.loop)

    def effect_id(self, key: str) -> str:
        """An idempotency key for the outside system: the same for every attempt at this step, 32 hex digits."""
        return self.effects.id_of(key)

    async def call_tool(self, name: str, /, **arguments: Json) -> Json:
        """Call a tool of the agent, by its name or `host.tool` for a shared one, without a model in between.

        It goes through the journal and counts against the task's limits, as when a model calls it. Gives the
        tool's value, or its text where it has none. Raises NoSuchTool, ToolFailed, LimitReached.
        """
        from consort_agents.thinking.direct import call_tool

        return await call_tool(self, self.means, name, arguments)

    def call_tool_sync(self, name: str, /, **arguments: Json) -> Json:
        """As `call_tool`, in a plain function."""
        return wait_for(self.call_tool(name, **arguments), self.artefacts.loop)

    def write(self, key: str, value: Json, *, confidence: float = 1.0, seen: int | None = None) -> None:
        """Record a context write; it counts together with the result, or not at all.

        `seen` is the revision it builds on, by default that of the value the task was given under this key, if
        it was given one. When the key has moved on, the result is refused and the step done again with the new value.
        """
        if seen is None and key in self.values:
            seen = self.values[key].revision
        self.writes.append(Noted(key, value, seen, confidence))

    async def put(
        self, key: str, value: Json, *, confidence: float = 1.0, seen: int | None = None
    ) -> PutAnswer:
        """Write a context key now, while the task goes on; whether it was accepted, and the revision that stands.

        Raises BusError when nobody answers for 30 s.
        """
        return await self.voice.put(Noted(key, value, seen, confidence))

    def put_sync(
        self, key: str, value: Json, *, confidence: float = 1.0, seen: int | None = None
    ) -> PutAnswer:
        """As `put`, in a plain function."""
        return wait_for(self.put(key, value, confidence=confidence, seen=seen), self.artefacts.loop)

    def progress(self, text: str, done: float | None = None, total: float | None = None) -> None:
        """Tell whoever watches how far the work is. Not stored, costs next to nothing, callable from any thread."""
        self.voice.progress(text, done, total)

    async def milestone(self, text: str, done: float | None = None, total: float | None = None) -> None:
        """Put a milestone on record in the run's log; delivered even if no orchestrator is up at the moment."""
        await self.voice.milestone(text, done, total)

    def milestone_sync(self, text: str, done: float | None = None, total: float | None = None) -> None:
        """As `milestone`, in a plain function."""
        wait_for(self.milestone(text, done, total), self.artefacts.loop)

    def save(self, ref: ArtefactRef | Mapping[str, Json], path: Path) -> None:
        """Write an artefact to a file, from a plain function."""
        path.write_bytes(self.artefacts.get_sync(ref))
