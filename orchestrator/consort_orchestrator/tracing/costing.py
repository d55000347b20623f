"""What was used, as attributes of spans: the names of the GenAI conventions where they have any.

A span bears the sum of what is below it, as the conventions want it of `invoke_agent` and
`invoke_workflow`: whoever adds up takes one kind of span.
"""

from __future__ import annotations

from consort_shared.telemetry import names
from consort_shared.telemetry.records import Attribute
from consort_shared.usage import Usage


def usage_attributes(usage: Usage | None) -> dict[str, Attribute]:
    """Nothing for work that used nothing; what is zero is left out."""
    if not usage:
        return {}
    numbers: dict[str, Attribute] = {
        names.INPUT_TOKENS: usage.input_tokens,
        names.OUTPUT_TOKENS: usage.output_tokens,
        names.CACHE_READ_TOKENS: usage.cache_read_tokens,
        names.CACHE_WRITE_TOKENS: usage.cache_write_tokens,
        names.REASONING_TOKENS: usage.reasoning_tokens,
        names.MODEL_CALLS: usage.calls,
        names.REPLAYED_CALLS: usage.replayed,
        names.TOOL_CALLS: usage.tool_calls,
        names.UNPRICED: usage.unpriced,
        names.COST: usage.dollars,
    }
    return {name: number for name, number in numbers.items() if number}
