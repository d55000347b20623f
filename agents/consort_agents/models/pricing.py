"""What a call costs, in nano-dollars.

Prices come with the package `genai-prices`, which knows caches and tiers and needs no
network. A file named by `CONSORT_PRICES` goes first: for models of one's own, or prices
that were agreed on. A model nobody has a price for costs None: it is used, and counted
as unpriced. The package is loaded when the first price is asked for.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from consort_shared.errors import InvalidInput
from consort_shared.plan.reader import Document, read_yaml
from consort_shared.plan.wording import dotted
from consort_shared.usage import NANO, Usage

SETTING = "CONSORT_PRICES"
_PER = 1_000_000
"""Tokens that a price is for."""


class Price(BaseModel):
    """USD per million tokens. Without a price of its own, what a cache is read from or written to costs as input."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: Decimal = Field(ge=0, le=1_000_000)
    output: Decimal = Field(ge=0, le=1_000_000)
    cache_read: Decimal | None = Field(default=None, ge=0, le=1_000_000)
    cache_write: Decimal | None = Field(default=None, ge=0, le=1_000_000)


class _PriceFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    models: dict[str, Price]


def cost_of(model: str, usage: Usage, *known_as: str) -> int | None:
    """Nano-dollars for the tokens of one call of a model; None if its price is not known.

    `model` may be a reference such as `anthropic:claude-…`; `known_as` are other names of it, such as the one
    that the provider answers under. A price of one's own goes first under whichever name it stands. Raises
    InvalidInput for a bad file of prices.
    """
    name = os.environ.get(SETTING, "")
    own = _own(name, Path(name).stat().st_mtime_ns if name and Path(name).is_file() else 0) if name else {}
    names = dict.fromkeys(name for name in (model.partition(":")[2] or model, *known_as) if name)
    for key in (model, *names):
        if key in own:
            return _by_price(own[key], usage)
    found = (_by_package(name, usage) for name in names)
    return next((cost for cost in found if cost is not None), None)


def most_of(model: str, usage: Usage, *known_as: str) -> int | None:
    """The most that such a call can cost, as `cost_of`: some caches cost more to write to than plain input does."""
    written = usage.model_copy(update={"cache_write_tokens": usage.input_tokens})
    costs = (cost_of(model, usage, *known_as), cost_of(model, written, *known_as))
    return max((cost for cost in costs if cost is not None), default=None)


def read_prices(path: str) -> Mapping[str, Price]:
    """The prices in a TOML or YAML file. Raises InvalidInput naming the place and what would be right."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "is not UTF-8 text"
        raise InvalidInput(f"{path}: cannot be read: {why}; {SETTING} names a file of prices") from exc
    try:
        document = Document(tomllib.loads(text)) if path.endswith(".toml") else read_yaml(text, path)
    except tomllib.TOMLDecodeError as exc:
        raise InvalidInput(f"{path}: not TOML: {exc}") from exc
    if document.faults:
        raise InvalidInput(f"{path}: {document.faults[0]}")
    try:
        return _PriceFile.model_validate(document.value).models
    except ValidationError as exc:
        raise InvalidInput(f"{path}: {_told(exc, document)}") from exc


def _told(exc: ValidationError, document: Document) -> str:
    first = exc.errors(include_url=False)[0]
    line = document.lines.get(tuple(first["loc"]))
    place = f"line {line}, " if line else ""
    return (
        f"{place}{dotted(first['loc']) or 'the file'}: {first['msg']}; under `models` each has `input` and `output`, "
        "and may have `cache_read` and `cache_write`, in USD per million tokens"
    )


@lru_cache(maxsize=8)
def _own(path: str, changed: int) -> Mapping[str, Price]:
    del changed  # a file that was written anew is read anew
    return read_prices(path)


def _by_price(price: Price, usage: Usage) -> int:
    plain = usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens
    read = price.input if price.cache_read is None else price.cache_read
    write = price.input if price.cache_write is None else price.cache_write
    total = (
        max(0, plain) * price.input
        + usage.cache_read_tokens * read
        + usage.cache_write_tokens * write
        + usage.output_tokens * price.output
    )
    return round(total * NANO / _PER)


@lru_cache(maxsize=256)
def _in_package(model: str) -> bool:
    """Whether the package knows a model; to find that out costs more than a price does."""
    return _priced(model, Usage(input_tokens=1)) is not None


def _by_package(model: str, usage: Usage) -> int | None:
    return _priced(model, usage) if _in_package(model) else None


def _priced(model: str, usage: Usage) -> int | None:
    import genai_prices

    tokens = genai_prices.Usage(
        input_tokens=usage.input_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        output_tokens=usage.output_tokens,
    )
    try:
        return round(genai_prices.calc_price(tokens, model).total_price * NANO)
    except (LookupError, ValueError):
        return None
