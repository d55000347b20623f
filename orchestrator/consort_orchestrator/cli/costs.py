"""What work with models has cost, in words: money, tokens, calls."""

from __future__ import annotations

from typing import Any

from consort_shared.usage import NANO, Usage


def money_text(nano: int) -> str:
    """Nano-dollars as people read them: `$12.30`, `$0.0042`, never `$0.00` for what was not free."""
    dollars = nano / NANO
    if nano == 0:
        return "$0"
    if dollars >= 1:
        return f"${dollars:,.2f}"
    return f"${dollars:.4f}" if dollars >= 0.0001 else "under $0.0001"


def tokens_text(number: int) -> str:
    """`850`, `12.3k`, `4.1M`."""
    for unit, size in (("M", 10**6), ("k", 10**3)):
        if number >= size:
            shown = number / size
            return f"{shown:.1f}{unit}" if shown < 99.95 else f"{shown:.0f}{unit}"
    return str(number)


def brief(usage: Usage) -> str:
    """For one step's line: money and tokens, with a mark where a price is not known; empty where nothing was used."""
    if not (usage.calls or usage.replayed or usage.cost):
        return _count(usage.tool_calls, "tool call") if usage.tool_calls else ""
    money = money_text(usage.cost)
    if usage.unpriced:
        money = f"{money} and {usage.unpriced} unpriced" if usage.cost else "unpriced"
    return f"{money}, {tokens_text(usage.input_tokens + usage.output_tokens)} tokens"


def in_full(usage: Usage) -> str:
    """All that is known, on one line: what of it came from caches and journals, and what nobody has a price for."""
    parts = []
    if usage.calls or usage.replayed or usage.cost:
        parts += [money_text(usage.cost), _count(usage.calls, "model call"), _tokens(usage)]
    if usage.unpriced:
        parts.append(f"{usage.unpriced if usage.unpriced < usage.calls else 'all'} of them unpriced")
    if usage.replayed:
        parts.append(f"{usage.replayed if usage.replayed < usage.calls else 'all'} of them from a journal")
    if usage.tool_calls:
        parts.append(_count(usage.tool_calls, "tool call"))
    if usage.tool_calls_saved:
        parts.append(f"{_count(usage.tool_calls_saved, 'tool call')} saved")
    return ", ".join(parts)


def _tokens(usage: Usage) -> str:
    cached = f" ({tokens_text(usage.cache_read_tokens)} from a cache)" if usage.cache_read_tokens else ""
    return f"{tokens_text(usage.input_tokens)} tokens in{cached}, {tokens_text(usage.output_tokens)} out"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def usage_data(usage: Usage) -> dict[str, Any]:
    """For programs: every number, with the money in dollars beside that in nano-dollars."""
    return {**usage.model_dump(), "dollars": usage.dollars}
