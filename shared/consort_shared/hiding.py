"""Secrets in what is put on record: whether there is one, and what people may see of it.

Two kinds are hidden: what looks like a secret (`telemetry.redacting`, patterns and no more), and the
very values that this process has from its environment, wherever they stand.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import lru_cache

from consort_shared.telemetry.redacting import HIDDEN, bears_secret, excerpt
from consort_shared.values import Json

_NAMES = re.compile(r"(?i)(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$")
_SHORTEST = 8
"""Characters of a value that can be told from a common word."""


@lru_cache(maxsize=1)
def known_secrets() -> tuple[str, ...]:
    """Values of this process's environment whose names say that they are secret, longest first."""
    return secrets_in(os.environ)


def secrets_in(environment: Mapping[str, str]) -> tuple[str, ...]:
    found = {
        value
        for name, value in environment.items()
        if _NAMES.search(name) and len(value) >= _SHORTEST and not os.path.exists(value)
    }
    return tuple(sorted(found, key=len, reverse=True))


def without_known(value: Json, known: tuple[str, ...] | None = None) -> Json:
    """A value with every known secret hidden, in keys too."""
    secrets = known_secrets() if known is None else known
    if not secrets:
        return value
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, HIDDEN)
        return value
    if isinstance(value, Mapping):
        return {without_known(key, secrets): without_known(part, secrets) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_known(part, secrets) for part in value]
    return value


def secret_in(value: Json) -> bool:
    """Whether a value holds a known secret, or what looks like one."""
    return without_known(value) != value or bears_secret(value)


def shown(value: Json) -> str:
    """What people may see of a value: JSON, redacted and cut."""
    return excerpt(without_known(value))
