"""What a file of tools may say: models only, see `files` for what is made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from consort_agents.tools.confinement.protections import Protection
from consort_agents.tools.definition import Risk
from consort_agents.tools.errors import ToolError
from consort_agents.tools.permissions import Allow
from consort_agents.tools.sandbox import Limits
from consort_agents.tools.secret import Secret, secret
from consort_shared.ids import Digest
from consort_shared.values import Json


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SecretSource(_Said):
    """A secret by the name of its environment variable."""

    secret: str
    form: str = "{}"

    @model_validator(mode="after")
    def _usable(self) -> SecretSource:
        try:
            secret(self.secret, self.form)
        except ToolError as exc:
            raise ValueError(str(exc)) from exc
        return self


Said: TypeAlias = str | SecretSource


def _read(values: Mapping[str, Said]) -> dict[str, str | Secret]:
    return {
        name: secret(value.secret, value.form) if isinstance(value, SecretSource) else value
        for name, value in values.items()
    }


class Promises(_Said):
    """What an operator says of a tool instead of itself."""

    risk: Risk | None = None
    idempotent: bool | None = None
    cost: int | None = Field(default=None, ge=0, description="nano-dollars a call")
    cache: bool | None = None

    def changes(self) -> dict[str, Any]:
        said = {name: getattr(self, name) for name in Promises.model_fields}
        return {name: value for name, value in said.items() if value is not None}


class _Declaration(Promises):
    owner: str | None = None
    data_class: str | None = None
    timeout: float | None = Field(default=None, gt=0, description="seconds")
    limit: int | None = Field(default=None, ge=1, description="characters of an answer")
    each: dict[str, Promises] = Field(default_factory=dict, description="promises for single tools, by name")


class FunctionDeclaration(_Declaration):
    """`module:name`, or `module` for all its tools."""

    function: str = Field(min_length=1)

    def changes(self) -> dict[str, Any]:
        more = {"owner": self.owner, "data_class": self.data_class}
        return {**super().changes(), **{name: value for name, value in more.items() if value is not None}}


class OpenApiSource(_Said):
    file: str
    base_url: str = ""
    headers: dict[str, Said] = Field(default_factory=dict)
    query: dict[str, Said] = Field(default_factory=dict)
    only: tuple[str, ...] | None = None
    prefix: str = ""
    private: bool | None = None

    def options(self) -> dict[str, Any]:
        told = self.model_dump(exclude={"file", "headers", "query"})
        return {**told, "headers": _read(self.headers), "query": _read(self.query)}


class OpenApiDeclaration(_Declaration):
    """The operations of an OpenAPI file, or its name alone."""

    openapi: OpenApiSource

    @field_validator("openapi", mode="before")
    @classmethod
    def _alone(cls, said: Json) -> Json:
        return {"file": said} if isinstance(said, str) else said


class Usable(_Said):
    """What a command may use; what is not said is as usual."""

    cpu: int = Field(default=Limits().cpu, ge=1, description="seconds")
    memory: int = Field(default=Limits().memory, ge=1 << 20, description="bytes")
    file_size: int = Field(default=Limits().file_size, ge=1, description="bytes")
    files: int = Field(default=Limits().files, ge=8)
    processes: int = Field(default=Limits().processes, ge=1)
    output: int = Field(default=Limits().output, ge=1, description="bytes")


class ShellSource(_Said):
    name: str
    command: str
    description: str = ""
    arguments: dict[str, str] = Field(default_factory=dict)
    stdin: str = ""
    shell: bool = False
    read: tuple[str, ...] = ()
    network: bool = False
    require: tuple[Protection, ...] | None = None
    limits: Usable = Usable()
    good: tuple[int, ...] = (0,)

    def options(self) -> dict[str, Any]:
        told = self.model_dump(include={"description", "arguments", "stdin", "shell", "network", "good"})
        if self.require is not None:
            told["require"] = self.require
        return {**told, "limits": Limits(**self.limits.model_dump())}


class ShellDeclaration(_Declaration):
    """A command."""

    shell: ShellSource


class McpSource(_Said):
    command: str | tuple[str, ...] | None = None
    url: str | None = None
    name: str = ""
    only: tuple[str, ...] | None = None
    env: dict[str, Said] = Field(default_factory=dict)
    headers: dict[str, Said] = Field(default_factory=dict)
    recheck: float = Field(default=60.0, ge=0, description="seconds")

    @model_validator(mode="after")
    def _one_target(self) -> McpSource:
        if (self.command is None) == (self.url is None):
            raise ValueError("an MCP server has a `command` or a `url`")
        return self

    @property
    def target(self) -> str | Sequence[str]:
        return self.url or self.command or ""

    def options(self) -> dict[str, Any]:
        told = self.model_dump(include={"name", "only", "recheck"})
        return {**told, "env": _read(self.env), "headers": _read(self.headers)}


class McpDeclaration(_Declaration):
    """The tools of an MCP server, or its command or URL alone."""

    mcp: McpSource

    @field_validator("mcp", mode="before")
    @classmethod
    def _alone(cls, said: Json) -> Json:
        if isinstance(said, str):
            return {"url" if said.startswith(("http://", "https://")) else "command": said}
        return said


_KINDS = ("function", "openapi", "shell", "mcp")


def _kind(said: Any) -> str | None:
    if isinstance(said, _Declaration):
        return type(said).__name__.removesuffix("Declaration").lower()
    found = [kind for kind in _KINDS if isinstance(said, Mapping) and kind in said]
    return found[0] if len(found) == 1 else None


Declaration: TypeAlias = FunctionDeclaration | OpenApiDeclaration | ShellDeclaration | McpDeclaration
_Declared: TypeAlias = Annotated[
    Annotated[FunctionDeclaration, Tag("function")]
    | Annotated[OpenApiDeclaration, Tag("openapi")]
    | Annotated[ShellDeclaration, Tag("shell")]
    | Annotated[McpDeclaration, Tag("mcp")],
    Discriminator(
        _kind,
        custom_error_type="kind",
        custom_error_message="a tool is one of `function`, `openapi`, `shell`, `mcp`",
    ),
]


class ToolLimits(_Said):
    """How often tools may be called; each tool that the glob names is counted by itself."""

    tool: str = "*"
    calls_per_run: int | None = Field(default=None, ge=0)
    calls_per_minute: int | None = Field(default=None, ge=1)
    concurrent: int | None = Field(default=None, ge=1)


class Contents(_Said):
    """A whole file."""

    version: Literal[1] = 1
    tools: tuple[_Declared, ...]
    allow: tuple[Allow, ...] = ()
    limits: tuple[ToolLimits, ...] = ()
    approved: dict[str, Digest] = Field(default_factory=dict, description="digests of definitions, by name")

    @field_validator("tools")
    @classmethod
    def _some(cls, tools: tuple[Any, ...]) -> tuple[Any, ...]:
        if not tools:
            raise ValueError("there are no tools")
        return tools


def limits_of(all_limits: Sequence[ToolLimits], name: str) -> ToolLimits:
    """What holds for one tool: the tightest of all that concern it."""
    concerned = [limits for limits in all_limits if fnmatchcase(name, limits.tool)]
    tightest: dict[str, int] = {}
    for kind in ("calls_per_run", "calls_per_minute", "concurrent"):
        said = [value for limits in concerned if (value := getattr(limits, kind)) is not None]
        if said:
            tightest[kind] = min(said)
    return ToolLimits(tool=name, **tightest)
