"""What the fake was asked: in memory, and as a line of JSON each in a file, written at once.

A test that kills processes reads the file afterwards. Keys are not recorded; bodies are,
whole, as they came.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

from consort_shared.errors import InvalidInput

KEPT = 2_000
"""Requests that are remembered; a file holds all."""


@dataclass(frozen=True, slots=True)
class Asking:
    """One request and what it got."""

    time: float
    """seconds since 1970"""
    agent: str
    digest: str
    """over what was asked; the same for the same question, streamed or not"""
    status: int
    rule: str
    stream: bool
    body: Mapping[str, Any]
    answer: Mapping[str, Any]
    """the message, or the error in its wire form"""


Heard: TypeAlias = Callable[[Asking], None]
"""Is told of each request."""


class Record:
    """Takes down requests. Raises InvalidInput if the file cannot be written."""

    def __init__(self, path: str | Path | None = None, heard: Heard | None = None) -> None:
        self._heard = heard
        self.requests: deque[Asking] = deque(maxlen=KEPT)
        self._digests: set[str] = set()
        self._file: IO[str] | None = None
        if path is not None:
            try:
                self._file = Path(path).open("a", encoding="utf-8")  # noqa: SIM115 - ended by close()
            except OSError as exc:
                raise InvalidInput(f"{path} cannot be written: {exc.strerror}") from exc

    def add(self, asking: Asking) -> None:
        self.requests.append(asking)
        if asking.status < 400:
            self._digests.add(asking.digest)
        if self._file is not None:
            self._file.write(json.dumps(asdict(asking), ensure_ascii=False) + "\n")
            self._file.flush()
        if self._heard is not None:
            self._heard(asking)

    def distinct(self) -> int:
        """How many different requests were answered: one that was asked again counts once, refused ones do not."""
        return len(self._digests)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def read_record(path: str | Path) -> list[Asking]:
    """The requests in a file, as far as its lines are whole."""
    lines = Path(path).read_text(encoding="utf-8").split("\n")[:-1]
    return [Asking(**json.loads(line)) for line in lines]
