"""Where the spans of a run are read from: the query API of Jaeger, or the files that processes keep.

Jaeger's `/api/v3/traces/{id}` answers with OTLP as JSON, as files hold it.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Protocol

from consort_shared.errors import ConsortError
from consort_shared.telemetry.files import kept_spans
from consort_shared.telemetry.records import SpanRecord, records_of

WITHIN = 15.0
"""Seconds that Jaeger may take to answer."""
_NOT_FOUND = 404


class TracesUnreachable(ConsortError):
    """The place where spans should be cannot be read."""

    exit_code = 3

    def __init__(self, where: str, why: str, mend: str) -> None:
        super().__init__(f"traces cannot be read from {where}: {why}; {mend}")
        self.where = where
        self.why = why


class Source(Protocol):
    """A place where spans are kept."""

    @property
    def where(self) -> str: ...

    def spans(self, run: str) -> list[SpanRecord]:
        """The spans of a run, as they are kept. Blocks. Raises TracesUnreachable."""
        ...


@dataclass(frozen=True, slots=True)
class Files:
    """A folder with files of processes of this machine."""

    folder: Path

    @property
    def where(self) -> str:
        return str(self.folder)

    def spans(self, run: str) -> list[SpanRecord]:
        try:
            return kept_spans(self.folder, run)
        except OSError as exc:
            raise TracesUnreachable(
                self.where, exc.strerror or str(exc), "name another place with --traces or --jaeger"
            ) from exc


@dataclass(frozen=True, slots=True)
class Jaeger:
    """A Jaeger, by the address of its user interface."""

    url: str

    @property
    def where(self) -> str:
        return self.url

    def link(self, run: str) -> str:
        """Where its user interface shows a run."""
        return f"{self.url.rstrip('/')}/trace/{run}"

    def spans(self, run: str) -> list[SpanRecord]:
        address = f"{self.url.rstrip('/')}/api/v3/traces/{run}"
        mend = "--jaeger wants the address of its user interface, such as http://localhost:16686"
        try:
            with urllib.request.urlopen(address, timeout=WITHIN) as answer:  # noqa: S310 - checked by the caller
                return _read(answer.read())
        except urllib.error.HTTPError as exc:
            if exc.code == _NOT_FOUND:
                return []
            raise TracesUnreachable(self.url, f"it answers {exc.code} {exc.reason}", mend) from exc
        except (OSError, HTTPException) as exc:
            raise TracesUnreachable(self.url, str(getattr(exc, "reason", exc)), mend) from exc
        except ValueError as exc:
            raise TracesUnreachable(self.url, f"its answer is no OTLP in JSON ({exc})", mend) from exc


def _read(raw: bytes) -> list[SpanRecord]:
    """One JSON object or several, one after the other. Raises ValueError."""
    text, decoder = raw.decode("utf-8").strip(), json.JSONDecoder()
    found: list[SpanRecord] = []
    while text:
        told, end = decoder.raw_decode(text)
        if not isinstance(told, dict):
            raise ValueError("not an object")
        found += records_of(told.get("result", told))
        text = text[end:].strip()
    return found
