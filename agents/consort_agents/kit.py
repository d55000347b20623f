"""How an agent is written: a name, and functions that are its skills.

A skill is an async or a plain function. Its parameters are the inputs of the
step: either plain ones, or a single pydantic model whose fields they are (an
`ArtefactRef` is a plain one); one annotated `Context` is given the task's
surroundings instead. The card with its
JSON Schemas is derived from the signature, and what comes in and goes out is
checked against it. Knows nothing of the bus.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, get_args

from consort_agents.context import Context
from consort_agents.errors import AgentError
from consort_agents.journal.port import Divergence
from consort_agents.signatures import Signature, signature_of
from consort_shared.card import AgentCard, SkillCard
from consort_shared.profile import Profile
from consort_shared.profiles_file import card_of, load_profile, profile_of_value
from consort_shared.values import Json

if TYPE_CHECKING:
    from consort_agents.tools.definition import Tool

F = TypeVar("F", bound=Callable[..., Any])
Isolation: TypeAlias = Literal["thread", "process"]
"""Where a plain function runs: in a thread of the agent's process, or in a child process that can be killed."""


@dataclass(frozen=True, slots=True)
class Skill:
    """A skill with its signature understood."""

    card: SkillCard
    function: Callable[..., Any]
    signature: Signature
    isolated: bool = False

    @property
    def is_async(self) -> bool:
        return self.signature.is_async

    def arguments(self, inputs: Mapping[str, Json], context: Context) -> dict[str, Any]:
        """The call's arguments. Raises pydantic.ValidationError for inputs that do not fit."""
        return self.signature.arguments(inputs, context)

    def result(self, value: Any) -> Json:
        """What the function returned, as JSON. Raises pydantic.ValidationError when it is of another type."""
        return self.signature.result(value)


@dataclass(slots=True)
class Agent:
    """A specialist.

    `name` is also its token on the bus: lower case, digits, `-` and `_`. `slots` is how many tasks one
    process works on at a time. `lease` is after how many seconds of silence of a process its task goes to
    another; a living process renews it by itself, however long the work takes. A task that was delivered
    more than `poison_after` times is not begun again. With `isolation="process"` plain functions run in
    child processes, which can be killed. `divergence` says what becomes of a task that came again and whose
    code now asks something else than its journal holds: it fails, or starts over (`restart`).

    `profile` says who it is and how it works, as long as no version is set for it on the bus: a `Profile`, a
    mapping, or the path of a TOML or YAML file, beside the module that makes the agent. `model` is the model
    that is asked where the profile names none. `tools` are what models may call when the agent works with
    them: tools, plain functions, the names of shared ones, or a `ToolBox` with rules. Raises AgentError, and
    InvalidInput for a profile that is none.
    """

    name: str
    version: str = "0"
    description: str = ""
    slots: int = 1
    lease: float = 10.0
    poison_after: int = 5
    isolation: Isolation = "thread"
    divergence: Divergence = "fail"
    model: str = ""
    profile: Profile | Mapping[str, Any] | str | Path | None = None
    tools: Iterable[Tool | Callable[..., Any] | str] = ()
    own_profile: Profile | None = field(init=False, default=None)
    own_tools: tuple[Tool, ...] = field(init=False, default=())
    shared_tools: tuple[str, ...] = field(init=False, default=())
    """names of tools that hosts on the bus offer, as `host.tool`, with `*` as a pattern"""
    skills: dict[str, Skill] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.own_profile = _profile(self.profile)
        if self.tools:
            self.own_tools, self.shared_tools = _tools(self.name, self.tools)

    def skill(
        self, name: str, *, description: str = "", isolation: Isolation | None = None
    ) -> Callable[[F], F]:
        """Declare a function as a skill; `isolation` instead of the agent's.

        Raises AgentError for a signature that cannot be a skill's.
        """

        def declare(function: F) -> F:
            if name in self.skills:
                raise AgentError(f"agent {self.name!r} has two skills named {name!r}")
            understood = _understand(name, function, description)
            self.skills[name] = replace(understood, isolated=self._isolated(understood, isolation))
            return function

        return declare

    @property
    def card(self) -> AgentCard:
        """What the agent says of itself. Raises AgentError when the name or a skill's name is not allowed."""
        if not self.skills:
            raise AgentError(f'agent {self.name!r} has no skill; declare one with @agent.skill("…")')
        try:
            card = AgentCard(
                name=self.name,
                version=self.version,
                description=self.description,
                skills=tuple(skill.card for skill in self.skills.values()),
                slots=self.slots,
                lease=self.lease,
                poison_after=self.poison_after,
            )
        except ValueError as exc:
            raise AgentError(f"agent {self.name!r} cannot be announced: {exc}") from exc
        if self.own_profile is None:
            return card
        return card.model_copy(update={"profile": card_of(self.own_profile)})

    def _isolated(self, skill: Skill, asked: Isolation | None) -> bool:
        wanted = self.isolation if asked is None else asked
        if wanted not in get_args(Isolation):
            raise AgentError(f"isolation={wanted!r}: it is one of {', '.join(get_args(Isolation))}")
        if skill.is_async and asked == "process":
            told = "is async, so it can be cancelled and needs no process of its own"
            raise AgentError(f"skill {skill.card.name!r} {told}")
        return wanted == "process" and not skill.is_async


def _understand(name: str, function: Callable[..., Any], description: str) -> Skill:
    understood = signature_of("skill", name, function, Context)
    try:
        card = SkillCard(
            name=name,
            description=description or understood.description,
            input_schema=understood.input_schema,
            output_schema=understood.output_schema,
        )
    except ValueError as exc:
        raise AgentError(f"skill {name!r}: {exc}") from exc
    return Skill(card, function, understood)


def _profile(given: Profile | Mapping[str, Any] | str | Path | None) -> Profile | None:
    """Raises InvalidInput for what is no profile."""
    match given:
        case None | Profile():
            return given
        case str() | Path():
            return load_profile(_beside() / given)
        case _:
            return profile_of_value(given, "profile=…")


def _beside() -> Path:
    """The folder of the module that makes an agent: the first one up the stack that is not this one."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__") == __name__:
        frame = frame.f_back
    file = frame.f_globals.get("__file__")
    return Path(file).resolve().parent if isinstance(file, str) else Path.cwd()


def _tools(
    agent: str, given: Iterable[Tool | Callable[..., Any] | str]
) -> tuple[tuple[Tool, ...], tuple[str, ...]]:
    """Tools, with functions made tools, and names of shared ones.

    Raises AgentError for two of one name, and what cannot be a tool.
    """
    # Most processes have no tools, and start sooner without these.
    from consort_agents.tools.collection import ToolBox
    from consort_agents.tools.functions import tool
    from consort_agents.tools.guarded import guarded

    found: dict[str, Tool] = {}
    names: list[str] = []
    for one in guarded(given, agent) if isinstance(given, ToolBox) else given:
        if isinstance(one, str):
            names.append(one)
            continue
        made: Tool = one if hasattr(one, "definition") else tool(one)  # type: ignore[assignment]
        if made.definition.name in found:
            raise AgentError(f"agent {agent!r} has two tools named {made.definition.name!r}")
        found[made.definition.name] = made
    return tuple(found.values()), tuple(names)
