"""The model port: what a model is asked and what it answers, whoever makes the model.

The shapes are those of the Messages API, because it is the richest in use; a provider
translates them. Nothing here knows a provider, a key, a price or the bus. Sampling
parameters such as a temperature are left out on purpose: current models do not take them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, Protocol, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from consort_shared.usage import Usage
from consort_shared.values import Json

Effort: TypeAlias = Literal["low", "medium", "high", "xhigh", "max"]
StopReason: TypeAlias = Literal[
    "end_turn",
    "max_tokens",
    "stop_sequence",
    "tool_use",
    "pause_turn",
    "refusal",
    "model_context_window_exceeded",
]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Text(_Part):
    type: Literal["text"] = "text"
    text: str


class ToolUse(_Part):
    """The model wants a tool called; `id` pairs it with its result."""

    type: Literal["tool_use"] = "tool_use"
    id: str
    name: str
    input: dict[str, Json] = Field(default_factory=dict)


class ToolResult(_Part):
    type: Literal["tool_result"] = "tool_result"
    tool_use_id: str
    content: str
    is_error: bool = False


class Opaque(_Part):
    """A block that goes back to the provider as it came, such as signed thinking; `data` is its wire form whole."""

    type: Literal["opaque"] = "opaque"
    kind: str
    data: dict[str, Any]


Block: TypeAlias = Annotated[Text | ToolUse | ToolResult | Opaque, Field(discriminator="type")]


class Message(_Part):
    role: Literal["user", "assistant"]
    content: tuple[Block, ...]

    @property
    def text(self) -> str:
        return "".join(block.text for block in self.content if isinstance(block, Text))

    @property
    def tool_uses(self) -> tuple[ToolUse, ...]:
        return tuple(block for block in self.content if isinstance(block, ToolUse))


def user(text: str) -> Message:
    return Message(role="user", content=(Text(text=text),))


def assistant(text: str) -> Message:
    return Message(role="assistant", content=(Text(text=text),))


class ToolSpec(_Part):
    """A tool as a model is told of it."""

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str = ""
    input_schema: dict[str, Json]


class Request(_Part):
    """One call of a model. Two requests that are equal are the same request: the journal compares them."""

    model: str = Field(description="the provider's own name of the model")
    messages: tuple[Message, ...] = Field(min_length=1)
    system: str = ""
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: str = Field(default="auto", description="`auto`, `any`, `none`, or the name of a tool")
    max_tokens: int = Field(default=4096, ge=1)
    effort: Effort | None = None
    output_schema: dict[str, Json] | None = Field(
        default=None, description="JSON Schema that the answer is to fit"
    )
    stop_sequences: tuple[str, ...] = ()
    agent: str = Field(default="", exclude=True, description="who asks; not sent, and no part of the request")


class Reply(_Part):
    """What the model answered. `usage` has tokens only; money is added by who knows prices."""

    id: str = ""
    model: str = Field(description="the model that answered, as the provider names it")
    content: tuple[Block, ...]
    stop_reason: StopReason
    stop_details: dict[str, Any] | None = None
    usage: Usage = Usage()
    request_id: str = Field(default="", description="the provider's id of the request, for its support")

    @property
    def message(self) -> Message:
        return Message(role="assistant", content=self.content)

    @property
    def text(self) -> str:
        return self.message.text

    @property
    def tool_uses(self) -> tuple[ToolUse, ...]:
        return self.message.tool_uses


class SeenLimits(_Part):
    """Rate limits as a provider's response headers tell them; None where they tell nothing.

    Source: the `anthropic-ratelimit-*` response headers.
    """

    requests_per_minute: int | None = None
    requests_left: int | None = None
    tokens_per_minute: int | None = None
    tokens_left: int | None = None


Deliver: TypeAlias = Callable[[str], None]
"""Takes pieces of text as they are written, to be shown; what counts is the reply."""


class Provider(Protocol):
    """Who answers. One instance per process and configuration; safe to use by several tasks at once.

    It does not retry, wait for limits, journal or count money: whoever asks does, and sees each try.
    """

    name: str
    """as `gen_ai.provider.name`: `anthropic`, `scripted`, `replay`"""
    key: str
    """names the account whose limits its calls share, without giving away the secret; empty for no limits"""
    needs_network: bool

    async def ask(self, request: Request, deliver: Deliver | None = None, *, timeout: float = 600.0) -> Reply:
        """One call, streamed if `deliver` is given. `timeout` in seconds. Raises ModelError."""

    async def count(self, request: Request) -> int:
        """Tokens that the request has as input, as the provider counts. Raises ModelError."""

    def limits(self) -> SeenLimits | None:
        """What the last answer, or refusal, told about limits."""

    async def close(self) -> None:
        """End of its connections."""
