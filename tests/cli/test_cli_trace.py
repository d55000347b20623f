"""`consort trace`: the tree, the check against the log, exporting again; from files and from Jaeger's query API."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_kit import CREW, WORDS, Ended, consort

sys.path.insert(0, str(Path(__file__).parent.parent / "tracing"))

from collector_kit import as_otlp, over_http, query_api

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one run, done by processes that kept their spans."""
    made = tmp_path_factory.mktemp("traced")
    ended = consort(made, "run", WORDS, "--input", "text=hello big world", "--agents", CREW, "--quiet")
    assert ended.code == 0, ended.err
    return made


def kept(folder: Path) -> list[dict[str, Any]]:
    """The OTLP messages in the folder's files."""
    files = sorted((folder / ".consort" / "traces").iterdir())
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def together(messages: list[dict[str, Any]]) -> dict[str, Any]:
    return {"resourceSpans": [group for message in messages for group in message["resourceSpans"]]}


def run_in(folder: Path) -> str:
    return (folder / ".consort" / "last").read_text().strip()


def test_the_trace_of_a_run_without_any_collector(folder: Path) -> None:
    shown = consort(folder, "trace", "last")
    assert shown.code == 0
    assert shown.out.startswith(f"trace {run_in(folder)}\ninvoke_workflow words: completed")
    lines = shown.out.splitlines()
    assert sum("process by" in line for line in lines) == 5
    assert any(re.search(r"each\[2\]: crew .* ms$", line) for line in lines)
    assert any(" * " in line and "write: crew" in line for line in lines)
    assert "acknowledge" not in shown.out
    everything = consort(folder, "trace", "last", "--all")
    assert "entry 1: submitted" in everything.out
    assert everything.out.count("acknowledge") == 5
    told = consort(folder, "trace", "show", "last", "--json").json
    assert told["run"] == run_in(folder)
    assert {span["service"] for span in told["spans"]} == {
        "consort-client",
        "consort-orchestrator",
        "consort-agent-crew",
    }
    assert [span["span"] for span in told["spans"] if span["parent"] is None] == [told["spans"][0]["span"]]
    assert all(span["seconds"] >= 0 for span in told["spans"])


def test_the_check_agrees_and_names_a_hole(folder: Path, tmp_path: Path) -> None:
    whole = consort(folder, "trace", "check", "last")
    assert whole.code == 0
    assert re.match(r"the trace is whole: \d+ spans of 3 processes", whole.out)
    spans = tmp_path / "spans"
    spans.mkdir()
    messages = kept(folder)
    for message in messages:
        for group in message["resourceSpans"]:
            for scope in group["scopeSpans"]:
                scope["spans"] = [span for span in scope["spans"] if span["name"] != "invoke_workflow words"]
    (spans / "all.otlp.jsonl").write_text("".join(f"{json.dumps(message)}\n" for message in messages))
    holed = consort(folder, "trace", "check", "last", "--traces", str(spans), "--within", "0")
    assert holed.code == 1
    assert "missing  `invoke_workflow words` (entry" in holed.out
    assert "its parent, `invoke_workflow words`" in holed.out
    told = consort(folder, "trace", "check", "last", "--traces", str(spans), "--within", "0", "--json")
    assert told.code == 1
    assert {hole["kind"] for hole in told.json["holes"]} == {"missing", "no parent"}
    assert told.json["whole"] is False


def test_jaeger_is_read_by_its_query_api(folder: Path) -> None:
    run, messages = run_in(folder), kept(folder)
    halves = b"\n".join(as_otlp(together(part)) for part in (messages[:1], messages[1:]))
    with query_api({f"/api/v3/traces/{run}": (200, halves)}) as url:
        assert consort(folder, "trace", "check", "last", "--jaeger", url).code == 0
        shown = consort(folder, "trace", "last", CONSORT_JAEGER=url)
        assert f"in Jaeger: {url}/trace/{run}" in shown.out
        assert sum("process by" in line for line in shown.out.splitlines()) == 5
        assert (
            consort(folder, "trace", "last", "--json", "--jaeger", f"{url}/").json["link"]
            == f"{url}/trace/{run}"
        )


def test_a_trace_that_jaeger_does_not_have(folder: Path) -> None:
    with query_api({}) as url:
        missing = consort(folder, "trace", "check", "last", "--jaeger", url, "--within", "0.5")
        assert missing.code == 1
        assert "the trace has" in missing.out
        shown = consort(folder, "trace", "last", "--jaeger", url)
        assert shown.code == 0
        assert f"only what the log tells: no span of this run is in {url}" in shown.err
        assert "write: crew" in shown.out


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((500, b"no"), "it answers 500"),
        ((200, b"<html>"), "is no OTLP in JSON"),
        ((200, b"[]"), "is no OTLP in JSON"),
    ],
)
def test_what_is_no_jaeger(folder: Path, answer: tuple[int, bytes], why: str) -> None:
    with query_api({f"/api/v3/traces/{run_in(folder)}": answer}) as url:
        _unreachable(consort(folder, "trace", "last", "--jaeger", url), url, why)


def test_nobody_is_there(folder: Path) -> None:
    url = "http://127.0.0.1:9"
    _unreachable(consort(folder, "trace", "check", "last", "--jaeger", url), url, "Connection refused")


def _unreachable(ended: Ended, url: str, why: str) -> None:
    assert ended.code == 3
    assert f"traces cannot be read from {url}: " in ended.err
    assert why in ended.err
    assert "--jaeger wants the address of its user interface" in ended.err
    assert "Traceback" not in ended.err


def test_what_cannot_be_meant(folder: Path, tmp_path: Path) -> None:
    wrong = consort(folder, "trace", "last", "--jaeger", "localhost:16686")
    assert (wrong.code, "http://localhost:16686" in wrong.err) == (2, True)
    assert consort(folder, "trace", "nonsense!").code == 2
    assert consort(folder, "trace", "0000").code == 2
    nothing = consort(folder, "trace", "check", "last", CONSORT_TRACES="")
    assert nothing.code == 2
    assert "name a Jaeger with --jaeger" in nothing.err
    unset = consort(folder, "trace", "export", "last")
    assert unset.code == 2
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in unset.err


def test_what_the_log_says_is_exported_again(folder: Path) -> None:
    run = run_in(folder)
    with over_http() as collector:
        ended = consort(
            folder, "trace", "export", "last", "--json", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url
        )
        assert ended.code == 0, ended.err
        assert ended.json == {"run": run, "spans": len(collector.of(run))}
        first = {(span.span, span.start, span.end, span.instance) for span in collector.of(run)}
        consort(folder, "trace", "export", "last", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
        assert {(span.span, span.start, span.end, span.instance) for span in collector.of(run)} == first
        collector.mood = "refuses"
        refused = consort(folder, "trace", "export", "last", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
        assert refused.code == 1


def test_no_traces_are_kept_where_nobody_wants_them(tmp_path: Path) -> None:
    ended = consort(
        tmp_path, "run", WORDS, "--input", "text=hi", "--agents", CREW, "--quiet", CONSORT_TRACES=""
    )
    assert ended.code == 0, ended.err
    assert not (tmp_path / ".consort" / "traces").exists()
    shown = consort(tmp_path, "trace", "last")
    assert "only what the log tells: no spans were kept here" in shown.err
    assert "split: crew" in shown.out
