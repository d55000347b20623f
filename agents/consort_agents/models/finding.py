"""From the name of a model to who answers.

A model is named `provider:model`: `anthropic:claude-sonnet-5-5`, `scripted:rules.yaml`.
A bare name is one of `anthropic`. Providers are entry points of the group
`consort.models`; each is loaded when it is first named, and one that cannot be loaded
stands in nobody's way. Which models there are and what they cost is not known here.

A package adds a provider with

    [project.entry-points."consort.models"]
    mine = "my_package.my_module:SOURCE"

where `SOURCE` is a `Source`.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from consort_agents.models.errors import ModelUnknown
from consort_agents.models.port import Provider

GROUP = "consort.models"
USUAL = "anthropic"
"""The provider of a bare name."""

Opened: TypeAlias = tuple[Provider, str]
"""A provider, and the name under which it knows the model."""


@dataclass(frozen=True, slots=True)
class Source:
    """What an entry point of the group names: how its provider is opened.

    `open` takes what follows `provider:` and raises ModelUnusable when it cannot be used as
    things are configured. It must not connect: that is left to the first call.
    `trouble` says in a sentence why it cannot be used, or nothing; it shows no secret.
    """

    open: Callable[[str], Opened]
    trouble: Callable[[], str] = lambda: ""
    takes: str = "the name of a model"
    """what follows `provider:`, for messages"""


@dataclass(frozen=True, slots=True)
class Listed:
    """A provider as `consort dev models` shows it."""

    name: str
    takes: str
    trouble: str


_opened: dict[str, Opened] = {}


def open_provider(reference: str) -> Opened:
    """The provider of a model, and its name there; the same one each time in a process.

    Raises ModelUnknown for a provider that there is not, ModelUnusable for one that cannot be used.
    """
    if reference not in _opened:
        provider, model = split(reference)
        _opened[reference] = _source(provider).open(model)
    return _opened[reference]


def known_provider(reference: str) -> Opened | None:
    """As `open_provider`, if it was opened before: costs nothing."""
    return _opened.get(reference)


async def close_providers() -> None:
    """End the connections of all that were opened; the next call opens anew."""
    opened = {id(provider): provider for provider, _ in _opened.values()}
    _opened.clear()
    for provider in opened.values():
        await provider.close()


def split(reference: str) -> tuple[str, str]:
    """Provider and model of a reference. Raises ModelUnknown for one that names no model."""
    provider, colon, model = reference.strip().partition(":")
    if not colon:
        provider, model = USUAL, provider
    if not provider or not model:
        raise ModelUnknown(
            f"{reference!r} names no model; write provider:model, such as scripted:rules.yaml, "
            f"or the name of a model of {USUAL}. There are the providers {_names()}"
        )
    return provider, model


def listed() -> list[Listed]:
    """All providers that are installed, and why those that cannot be used cannot."""
    found = []
    for name in sorted(_entries()):
        try:
            source = _source(name)
            found.append(Listed(name, source.takes, source.trouble()))
        except ModelUnknown as exc:
            found.append(Listed(name, "", str(exc)))
        except Exception as exc:  # noqa: BLE001 - a provider of another package must not spoil the list
            found.append(Listed(name, "", f"{type(exc).__name__}: {exc}"))
    return found


def _entries() -> dict[str, importlib.metadata.EntryPoint]:
    return {entry.name: entry for entry in importlib.metadata.entry_points(group=GROUP)}


def _names() -> str:
    return ", ".join(sorted(_entries())) or "none"


def _source(name: str) -> Source:
    entry = _entries().get(name)
    if entry is None:
        raise ModelUnknown(f"there is no provider {name!r} of models; there are {_names()}")
    try:
        source = entry.load()
    except Exception as exc:  # whatever a module of another package raises when imported
        raise ModelUnknown(f"the provider {name!r} cannot be loaded: {type(exc).__name__}: {exc}") from exc
    if not isinstance(source, Source):
        raise ModelUnknown(
            f"the provider {name!r} cannot be used: {entry.value} is no consort_agents.models.finding.Source"
        )
    return source
