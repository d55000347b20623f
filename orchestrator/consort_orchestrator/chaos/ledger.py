"""The outside world: a file to which each effect is appended when it really happens.

Every agent under test is told the file's name in an environment variable; whatever
it does outside it writes down there, a line of JSON each:

    {"effect": "…", "run": "…", "path": "…", "key": "…", "pid": 123, "at": 1700000000.0}

Nothing but `effect`, its id, and `run` is needed to find an effect that was done twice.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Done:
    """An effect that happened. `value` is what it gave."""

    effect: str
    run: str
    path: str
    key: str
    value: Any


class Ledger:
    """Reads what agents have written."""

    def __init__(self, file: Path) -> None:
        self.file = file
        file.touch()

    def lines(self) -> list[Done]:
        """All effects so far, in order; a line that is being written is not there yet. Raises ValueError."""
        text = self.file.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        return [_done(json.loads(line)) for line in whole.splitlines() if line.strip()]

    def find(self, run: str, path: str, key: str) -> Done | None:
        """The effect of a step, if it happened."""
        return next((one for one in self.lines() if (one.run, one.path, one.key) == (run, path, key)), None)


def twice(done: Iterable[Done]) -> list[tuple[Done, int]]:
    """Effects that happened more than once, and how often."""
    counted = Counter((one.run, one.effect) for one in done)
    first: dict[tuple[str, str], Done] = {}
    for one in done:
        first.setdefault((one.run, one.effect), one)
    return [(first[which], times) for which, times in counted.items() if times > 1]


def _done(line: dict[str, Any]) -> Done:
    return Done(
        str(line["effect"]),
        str(line["run"]),
        str(line.get("path", "")),
        str(line.get("key", "")),
        line.get("value"),
    )
