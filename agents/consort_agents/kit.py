"""How an agent is written: a name, and functions that are its skills.

A skill is an async or a plain function. Its parameters are the inputs of the
step: either plain ones, or a single pydantic model whose fields they are (an
`ArtefactRef` is a plain one); one annotated `Context` is given the task's
surroundings instead. The card with its
JSON Schemas is derived from the signature, and what comes in and goes out is
checked against it. Knows nothing of the bus.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias, TypeVar, get_args

from consort_agents.context import Context
from consort_agents.errors import AgentError
from consort_agents.signatures import Signature, signature_of
from consort_shared.card import AgentCard, SkillCard
from consort_shared.values import Json

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
    child processes, which can be killed.
    """

    name: str
    version: str = "0"
    description: str = ""
    slots: int = 1
    lease: float = 10.0
    poison_after: int = 5
    isolation: Isolation = "thread"
    skills: dict[str, Skill] = field(default_factory=dict)

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
            return AgentCard(
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
