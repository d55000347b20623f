"""How an agent is written: a name, and functions that are its skills.

A skill is an async or a plain function. Its parameters are the inputs of the
step: either plain ones, or a single pydantic model whose fields they are (an
`ArtefactRef` is a plain one); one annotated `Context` is given the task's
surroundings instead. The card with its
JSON Schemas is derived from the signature, and what comes in and goes out is
checked against it. Knows nothing of the bus.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias, TypeVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    PydanticSchemaGenerationError,
    PydanticUserError,
    TypeAdapter,
    create_model,
)

from consort_agents.context import Context
from consort_agents.errors import AgentError
from consort_agents.journal.port import Divergence
from consort_shared.card import AgentCard, SkillCard
from consort_shared.values import ArtefactRef, Json

F = TypeVar("F", bound=Callable[..., Any])
Isolation: TypeAlias = Literal["thread", "process"]
"""Where a plain function runs: in a thread of the agent's process, or in a child process that can be killed."""


@dataclass(frozen=True, slots=True)
class Skill:
    """A skill with its signature understood."""

    card: SkillCard
    function: Callable[..., Any]
    is_async: bool
    takes: TypeAdapter[Any]
    gives: TypeAdapter[Any] | None
    model_parameter: str | None
    """the name of the one parameter that takes the whole model, if the skill is written so"""
    context_parameter: str | None
    isolated: bool = False

    def arguments(self, inputs: Mapping[str, Json], context: Context) -> dict[str, Any]:
        """The call's arguments. Raises pydantic.ValidationError for inputs that do not fit."""
        model = self.takes.validate_python(dict(inputs))
        if self.model_parameter is not None:
            arguments: dict[str, Any] = {self.model_parameter: model}
        else:
            arguments = {name: getattr(model, name) for name in type(model).model_fields}
        if self.context_parameter is not None:
            arguments[self.context_parameter] = context
        return arguments

    def result(self, value: Any) -> Json:
        """What the function returned, as JSON. Raises pydantic.ValidationError when it is of another type."""
        if self.gives is None:
            return _plain.dump_python(value, mode="json")
        return self.gives.dump_python(self.gives.validate_python(value), mode="json", by_alias=True)


_plain: TypeAdapter[Any] = TypeAdapter(Any)


@dataclass(slots=True)
class Agent:
    """A specialist.

    `name` is also its token on the bus: lower case, digits, `-` and `_`. `slots` is how many tasks one
    process works on at a time. `lease` is after how many seconds of silence of a process its task goes to
    another; a living process renews it by itself, however long the work takes. A task that was delivered
    more than `poison_after` times is not begun again. With `isolation="process"` plain functions run in
    child processes, which can be killed. `divergence` says what becomes of a task that came again and whose
    code now asks something else than its journal holds: it fails, or starts over (`restart`).
    """

    name: str
    version: str = "0"
    description: str = ""
    slots: int = 1
    lease: float = 10.0
    poison_after: int = 5
    isolation: Isolation = "thread"
    divergence: Divergence = "fail"
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
    signature = inspect.signature(function)
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except NameError as exc:
        raise AgentError(
            f"skill {name!r}: the annotations of {function.__qualname__} name something unknown: {exc}"
        ) from exc
    context_parameter: str | None = None
    fields: dict[str, Any] = {}
    for parameter in signature.parameters.values():
        hint = hints.get(parameter.name, Any)
        if hint is Context:
            context_parameter = parameter.name
        elif parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise AgentError(f"skill {name!r}: parameter `{parameter.name}` must be an ordinary named one")
        else:
            fields[parameter.name] = (
                hint,
                ... if parameter.default is parameter.empty else parameter.default,
            )
    try:
        takes, model_parameter = _takes(name, fields)
        gives = TypeAdapter(hints["return"]) if "return" in hints else None
        card = SkillCard(
            name=name,
            description=description or (inspect.getdoc(function) or "").split("\n\n")[0].replace("\n", " "),
            input_schema=takes.json_schema(mode="validation"),
            output_schema=gives.json_schema(mode="serialization") if gives is not None else None,
        )
    except (PydanticSchemaGenerationError, PydanticUserError, ValueError) as exc:
        raise AgentError(f"skill {name!r}: {exc}") from exc
    return Skill(
        card,
        function,
        inspect.iscoroutinefunction(function),
        takes,
        gives,
        model_parameter,
        context_parameter,
    )


def _takes(name: str, fields: dict[str, Any]) -> tuple[TypeAdapter[Any], str | None]:
    if len(fields) == 1:
        [(parameter, (hint, default))] = fields.items()
        whole = isinstance(hint, type) and issubclass(hint, BaseModel) and hint is not ArtefactRef
        if whole and default is ...:
            return TypeAdapter(hint), parameter
    model = create_model(f"{name} inputs", __config__=ConfigDict(extra="forbid"), **fields)
    return TypeAdapter(model), None
