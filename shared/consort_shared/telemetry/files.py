"""Spans kept as files, where there is no collector: OTLP as JSON, a line per run and batch.

The form is that of the OpenTelemetry file exporter, so a collector's `otlpjsonfile`
receiver can read them too. A process writes one file, which starts over as `.1` when
it is large; a folder that holds more than `FOLDER_LIMIT` loses its oldest files.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from consort_shared.telemetry.records import SpanRecord, records_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

__all__ = ["FileExporter", "kept_spans"]

FILE_LIMIT = 16 * 1024 * 1024
FOLDER_LIMIT = 256 * 1024 * 1024
SUFFIX = ".otlp.jsonl"


class FileExporter(SpanExporter):
    """Appends to one file of a folder. `why` tells what the last failure was."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.why = ""
        self._path = folder / f"{name}{SUFFIX}"
        self._pruned = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        from opentelemetry.exporter.otlp.json.common.trace_encoder import encode_spans

        from consort_shared.telemetry.spans import whole

        by_trace: dict[int, list[ReadableSpan]] = defaultdict(list)
        for span in whole(spans):
            context = span.get_span_context()
            if context is not None:
                by_trace[context.trace_id].append(span)
        lines = [encode_spans(batch).to_json() for batch in by_trace.values()]
        try:
            if not self._pruned:
                self.folder.mkdir(parents=True, exist_ok=True)
                _prune(self.folder)
                self._pruned = True
            if self._path.exists() and self._path.stat().st_size > FILE_LIMIT:
                self._path.replace(self._path.with_name(f"{self._path.name}.1"))
            with self._path.open("a", encoding="utf-8") as file:
                file.write("".join(f"{line}\n" for line in lines))
        except OSError as exc:
            self.why = f": {exc.strerror}"
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        return

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True


def kept_spans(folder: Path, run: str) -> list[SpanRecord]:
    """The spans of a run that processes have kept in a folder. Raises OSError."""
    found: list[SpanRecord] = []
    for path in _files(folder):
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if run in line:
                    found += _line(line, run)
    return found


def _line(line: str, run: str) -> Iterator[SpanRecord]:
    try:
        told = json.loads(line)
    except ValueError:
        return  # cut off by the death of its process
    yield from (record for record in records_of(told) if record.trace == run)


def _files(folder: Path) -> list[Path]:
    """All of them, the oldest first."""
    found = [path for path in folder.glob(f"*{SUFFIX}*") if path.is_file()]
    return sorted(found, key=lambda path: (path.stat().st_mtime, path.name))


def _prune(folder: Path) -> None:
    """Make room: the oldest files go."""
    files = _files(folder)
    sizes = [path.stat().st_size for path in files]
    total = sum(sizes)
    for path, size in zip(files, sizes, strict=True):
        if total <= FOLDER_LIMIT:
            return
        path.unlink(missing_ok=True)
        total -= size
