"""The calls of a run as a file: one line of JSON for the run, then one for each answered call.

Written by `consort journal export`, answered from by the provider `replay`. An answer that only
its agent can read stands there sealed, until `python -m consort_agents.journal unseal` has opened
it with that agent's credentials.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from consort_shared.errors import InvalidInput
from consort_shared.journal import CallKind
from consort_shared.values import Json

M = TypeVar("M", bound=BaseModel)


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")


class Head(_Line):
    """The first line."""

    record: Literal["journal"] = "journal"
    version: Literal[1] = 1
    run: str
    consort: str = Field(default="", description="the version that wrote the file")


class ExportedCall(_Line):
    """An answered call. `answer` is there unless it is sealed."""

    agent: str
    step: str = ""
    task: str
    attempt: int = 0
    n: int
    call: CallKind
    name: str
    request: str = Field(description="digest of the request")
    parts: dict[str, str] = Field(default_factory=dict)
    shown: str = ""
    seconds: float = 0.0
    answer: Json = None
    sealed: bytes | None = None

    @property
    def where(self) -> str:
        """Which call it is, for people."""
        step = f" of {self.step}" if self.step else ""
        return f"call {self.n}{step} (task {self.task}, attempt {self.attempt}) of agent {self.agent}"


class BadRecord(InvalidInput):
    """A file that is no record of calls; `line` counts from 1, 0 for the whole file."""

    def __init__(self, file: str, line: int, why: str) -> None:
        super().__init__(f"{file}{f', line {line}' if line else ''}: {why}")
        self.file = file
        self.line = line


def lines(head: Head, calls: Sequence[ExportedCall]) -> Iterable[str]:
    """The lines of a file, without line breaks."""
    yield head.model_dump_json()
    for call in calls:
        yield call.model_dump_json(exclude_defaults=True)


def read_record(file: Path) -> tuple[Head, list[ExportedCall]]:
    """Raises BadRecord."""
    try:
        found = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise BadRecord(str(file), 0, f"cannot be read: {getattr(exc, 'strerror', None) or exc}") from exc
    if not found:
        raise BadRecord(str(file), 0, "is empty; `consort journal export RUN --out FILE` writes a record")
    head = _parsed(Head, str(file), 1, found[0])
    numbered = [(number, line) for number, line in enumerate(found[1:], 2) if line.strip()]
    return head, [_parsed(ExportedCall, str(file), number, line) for number, line in numbered]


def _parsed(model: type[M], file: str, number: int, line: str) -> M:
    try:
        return model.model_validate_json(line)
    except ValidationError as exc:
        fault = exc.errors(include_url=False)[0]
        where = ".".join(map(str, fault["loc"]))
        told = f"{where}: {fault['msg']}" if where else str(fault["msg"])
        raise BadRecord(file, number, f"is no line of a record of calls: {told}") from exc
