"""What work with models has cost: calls, tokens and money.

Tokens are counted as providers do since caches exist: `input_tokens` is everything that
went in, of which `cache_read_tokens` came from a cache and `cache_write_tokens` went into
one (OpenTelemetry GenAI conventions, `gen_ai.usage.*`). Money is in whole nano-dollars:
a token of a small model costs a fraction of a micro-dollar, and sums of integers are exact.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

NANO = 1_000_000_000


class Usage(BaseModel):
    """What one call, one task or a whole run used. Calls that were replayed cost nothing and are counted apart."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    calls: int = Field(default=0, ge=0, description="requests to models that were answered")
    replayed: int = Field(default=0, ge=0, description="calls answered from the journal, at no cost")
    input_tokens: int = Field(default=0, ge=0, description="all that went in, cached or not")
    cache_read_tokens: int = Field(default=0, ge=0)
    cache_write_tokens: int = Field(default=0, ge=0)
    output_tokens: int = Field(default=0, ge=0)
    reasoning_tokens: int = Field(default=0, ge=0, description="of the output, what was thinking")
    cost: int = Field(default=0, ge=0, description="nano-dollars (1e-9 USD)")
    unpriced: int = Field(default=0, ge=0, description="calls of models whose price is not known")
    tool_calls: int = Field(default=0, ge=0)
    tool_calls_saved: int = Field(default=0, ge=0, description="answered without doing them again")

    def __add__(self, other: Usage) -> Usage:
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in Usage.model_fields})

    def __bool__(self) -> bool:
        return self != NOTHING

    @property
    def dollars(self) -> float:
        """USD; for showing, not for sums."""
        return self.cost / NANO


NOTHING = Usage()
