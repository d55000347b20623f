"""Trace contexts, spans kept as files, and what may be seen of a value."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from consort_shared.errors import InvalidInput
from consort_shared.ids import new_run_id, traceparent
from consort_shared.telemetry import files
from consort_shared.telemetry.encoding import encoded
from consort_shared.telemetry.exporters import Told
from consort_shared.telemetry.files import FileExporter, kept_spans
from consort_shared.telemetry.records import Link, SpanRecord, records_of
from consort_shared.telemetry.redacting import HIDDEN, MOST, excerpt, redacted
from consort_shared.telemetry.span_ids import Caller, parse_traceparent, span_id
from consort_shared.telemetry.spans import Ready, whole
from consort_shared.telemetry.tracing import open_tracing

RESOURCE = Resource({"service.name": "one", "service.instance.id": "i", "host.name": "h"})


def record(run: str, span: str = "1" * 16, **more: object) -> SpanRecord:
    told = {
        "attributes": {"text": "ä", "number": 7, "share": 0.5, "yes": True, "many": ("a", "b")},
        "links": (Link("ab" * 16, "cd" * 8, "why"),),
        "error": "broken",
        "service": "one",
        "instance": "i",
        "host": "h",
    }
    first = {"parent": "2" * 16, "name": "work", "kind": "client", "start": 1_000, "end": 5_000}
    return SpanRecord(run, span, **{**first, **told, **more})  # type: ignore[arg-type]


def made(*records: SpanRecord) -> list[ReadableSpan]:
    return [Ready(one, RESOURCE) for one in records]


@given(st.text(max_size=80))
def test_any_text_is_a_context_or_ignored(text: str) -> None:
    found = parse_traceparent(text)
    assert found is None or text.strip().startswith(
        ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "a", "b", "c", "d", "e", "f")
    )


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (f"00-{'ab' * 16}-{'cd' * 8}-01", Caller("ab" * 16, "cd" * 8, True)),
        (f"00-{'ab' * 16}-{'cd' * 8}-03", Caller("ab" * 16, "cd" * 8, True)),
        (f"00-{'ab' * 16}-{'cd' * 8}-00", Caller("ab" * 16, "cd" * 8, False)),
        (f"01-{'ab' * 16}-{'cd' * 8}-01-more", Caller("ab" * 16, "cd" * 8, True)),
        (f"00-{'ab' * 16}-{'cd' * 8}-01-more", None),
        (f"ff-{'ab' * 16}-{'cd' * 8}-01", None),
        (f"00-{'00' * 16}-{'cd' * 8}-01", None),
        (f"00-{'ab' * 16}-{'00' * 8}-01", None),
        (f"00-{'AB' * 16}-{'cd' * 8}-01", None),
        ("", None),
        (None, None),
    ],
)
def test_the_header_is_read_as_its_standard_says(header: str | None, found: Caller | None) -> None:
    assert parse_traceparent(header) == found


def test_a_span_id_stands_for_one_thing() -> None:
    run, other = new_run_id(), new_run_id()
    ids = {
        span_id(run, "entry", "1"),
        span_id(run, "entry", "11"),
        span_id(run, "attempt", "1-0"),
        span_id(other, "entry", "1"),
    }
    assert len(ids) == 4
    assert parse_traceparent(traceparent(run, span_id(run, "entry", "1"))) == Caller(
        run, span_id(run, "entry", "1"), True
    )


def test_what_is_kept_is_read_back_the_same(tmp_path: Path) -> None:
    run, other = new_run_id(), new_run_id()
    exporter = FileExporter(tmp_path / "traces", "one")
    kept = [record(run, f"{number:016x}", error=None if number else "broken") for number in range(1, 4)]
    assert exporter.export(made(kept[0], record(other), kept[1])) is SpanExportResult.SUCCESS
    exporter.export(made(kept[2]))
    with (tmp_path / "traces" / "one.otlp.jsonl").open("a") as file:
        file.write('{"resourceSpans": [{"traceId": "' + run)  # its process died while it wrote
    assert kept_spans(tmp_path / "traces", run) == kept
    assert kept_spans(tmp_path / "traces", other) == [record(other)]


def test_both_encoders_come_to_the_same_request() -> None:
    run = new_run_id()
    records = [record(run), record(run, "3" * 16, parent="", error=None, links=(), kind="producer")]
    assert encoded(made(*records)) == encode_spans(whole(made(*records)))
    together = encoded([*made(records[0]), *whole(made(records[1]))])
    assert len(together.resource_spans) == 2


def test_files_start_over_and_the_oldest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = new_run_id()
    monkeypatch.setattr(files, "FILE_LIMIT", 1500)
    monkeypatch.setattr(files, "FOLDER_LIMIT", 3000)
    for name in ("old", "older"):
        (tmp_path / f"{name}.otlp.jsonl").write_text("x" * 2000)
    os.utime(tmp_path / "older.otlp.jsonl", (1, 1))
    exporter = FileExporter(tmp_path, "new")
    for number in range(8):
        exporter.export(made(record(run, f"{number + 1:016x}")))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "new.otlp.jsonl",
        "new.otlp.jsonl.1",
        "old.otlp.jsonl",
    ]
    assert kept_spans(tmp_path, run)[-1].span == f"{8:016x}"


def test_a_folder_that_cannot_be_written_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    told = Told(FileExporter(tmp_path / "file" / "traces", "one"))
    with caplog.at_level(logging.INFO, "consort.telemetry"):
        for _ in range(3):
            assert told.export(made(record(new_run_id()))) is SpanExportResult.FAILURE
    [line] = caplog.messages
    assert "Not a directory; runs do not notice" in line


def test_an_exporter_is_told_of_when_it_fails_and_when_it_works_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Moody(SpanExporter):
        answers: Sequence[object] = ()

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            first, *self.answers = self.answers
            if isinstance(first, Exception):
                raise first
            assert isinstance(first, SpanExportResult)
            return first

    ok, bad = SpanExportResult.SUCCESS, SpanExportResult.FAILURE
    moody = Moody()
    moody.answers = [ok, bad, bad, RuntimeError("no"), ok, ok, RuntimeError("no")]
    told = Told(moody)
    with caplog.at_level(logging.INFO, "consort.telemetry"):
        for _ in range(7):
            told.export([])
    assert [line.split(" ")[1] for line in caplog.messages] == ["cannot", "are", "cannot"]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "smoke"},
            "may be http/protobuf or grpc",
        ),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "know otlp and none"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318", "OTEL_BSP_MAX_QUEUE_SIZE": "many"},
            "a whole number above 0",
        ),
    ],
)
def test_settings_that_cannot_be_meant(
    settings: dict[str, str], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidInput, match=complaint):
        open_tracing("one", "i")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318"},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318"},
        {"CONSORT_TRACES": ""},
    ],
)
def test_nothing_is_exported_unless_it_is_asked_for(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path if "CONSORT_TRACES" in settings else None
    assert open_tracing("one", "i", folder=folder) is None


def test_what_is_malformed_in_evidence_is_left_out() -> None:
    good = {
        "traceId": "A" * 32,
        "spanId": "B" * 16,
        "name": "x",
        "startTimeUnixNano": "1",
        "endTimeUnixNano": "2",
    }
    bad: list[object] = [{}, {**good, "kind": 99}, {**good, "startTimeUnixNano": "soon"}, "text", None, 7]
    told = {"resourceSpans": [{"scopeSpans": [{"spans": [good, *bad]}]}, "x", {"scopeSpans": {}}]}
    assert [one.trace for one in records_of(told)] == ["a" * 32]
    for nonsense in (None, [], "x", {"resourceSpans": 7}):
        assert list(records_of(nonsense)) == []


SECRETS = [
    "sk-ant-api03-abcdefghijklmnop",
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_0123456789abcdefghij",
    "Bearer abcdef0123456789",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc",
    "ann.smith@example.org",
    "4111 1111 1111 1111",
    "DE89 3704 0044 0532 0130 00",
    "password = hunter2",
    "-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_what_looks_like_a_secret_is_hidden(secret: str) -> None:
    shown = excerpt({"note": [f"it is {secret} indeed"], "plain": "tea"})
    assert HIDDEN in shown
    assert secret not in shown
    assert "tea" in shown


def test_a_field_that_is_named_like_a_secret_is_hidden() -> None:
    value = {"api_key": "short", "db-password": 7, "tokens": 12, "token": "", "author": {"name": "Ann"}}
    assert redacted(value) == {
        "api_key": HIDDEN,
        "db-password": HIDDEN,
        "tokens": 12,
        "token": "",
        "author": {"name": "Ann"},
    }


def test_an_excerpt_is_not_endless() -> None:
    assert len(excerpt("x" * 100_000)) == MOST
    assert json.loads(excerpt({"number": 1234567890123456})) == {"number": 1234567890123456}
