"""What a process that only decides, or only stores, gets of the environment of whoever starts it.

Whoever types `consort up` has keys of models and tools in the environment, under names that only
their owners know. So it is said what such a process may have, not what it may not: what the
system and Python need, where the bus is, what it tells of itself. It knows no provider's names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_NEEDED = re.compile(
    r"(PATH|HOME|USER|LOGNAME|SHELL|TERM|LANG|LANGUAGE|TZ|TMPDIR|TEMP|TMP|VIRTUAL_ENV|NO_COLOR|NATS_URL"
    r"|SSL_CERT_(FILE|DIR)|(?i:(https?|all|no)_proxy)"
    r"|(LC|LD|DYLD|PYTHON|XDG|OTEL|GRPC|CONSORT|COV|COVERAGE)_?[A-Z0-9_]*)"
)
_OF_MODELS = frozenset({"CONSORT_MODEL", "CONSORT_PRICES"})
"""What only those need who ask models."""


def without_keys(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment for orchestrators and for the bus's server: no key of a model or a tool is in it."""
    return {
        name: value
        for name, value in environment.items()
        if _NEEDED.fullmatch(name) and name not in _OF_MODELS
    }
