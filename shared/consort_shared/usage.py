"""What work with models has cost: calls, tokens and money.

Tokens are counted as providers do since caches exist: `input_tokens` is everything that
went in, of which `cache_read_tokens` came from a cache and `cache_write_tokens` went into
one (OpenTelemetry GenAI conventions, `gen_ai.usage.*`). Money is in whole nano-dollars:
a token of a small model costs a fraction of a micro-dollar, and sums of integers are exact.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

NANO = 1_000_000_000
MOST = 2**53 - 1
"""What any of these numbers may be at most, so that every language can hold it; sums stay there."""
Count: TypeAlias = Annotated[int, Field(ge=0, le=MOST)]


class Usage(BaseModel):
    """What one call, one task or a whole run used. A call that is replayed counts as it did when it was made, once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    calls: Count = Field(default=0, description="requests to models that were answered")
    replayed: Count = Field(
        default=0,
        description="of the calls, those made by a process before, whose answer came from the journal",
    )
    input_tokens: Count = Field(default=0, description="all that went in, cached or not")
    cache_read_tokens: Count = 0
    cache_write_tokens: Count = 0
    output_tokens: Count = 0
    reasoning_tokens: Count = Field(default=0, description="of the output, what was thinking")
    cost: Count = Field(default=0, description="nano-dollars (1e-9 USD)")
    unpriced: Count = Field(default=0, description="calls of models whose price is not known")
    tool_calls: Count = 0
    tool_calls_saved: Count = Field(default=0, description="answered without doing them again")

    def __add__(self, other: Usage) -> Usage:
        """What is zero stays unset, so that it takes no place on the wire."""
        sums = {name: getattr(self, name) + getattr(other, name) for name in Usage.model_fields}
        return Usage(**{name: min(total, MOST) for name, total in sums.items() if total})

    def __bool__(self) -> bool:
        return self != NOTHING

    @property
    def dollars(self) -> float:
        """USD; for showing, not for sums."""
        return self.cost / NANO


NOTHING = Usage()
