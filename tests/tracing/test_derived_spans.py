"""The spans that recorded histories stand for, and what a check finds when one of them is missing."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from consort_orchestrator.tracing.checking import check
from consort_orchestrator.tracing.derive import Deriver, derived
from consort_orchestrator.tracing.tree import skews, tree_of
from consort_shared.codec import MSGPACK
from consort_shared.entries import Accepted, Entry, Finished, Granted
from consort_shared.telemetry import names
from consort_shared.telemetry.records import MOMENT, SpanRecord
from consort_shared.telemetry.span_ids import attempt_span_id, entry_span_id, root_span_id
from consort_shared.upcast import read_entry
from consort_shared.usage import Usage

FILES = sorted((Path(__file__).parent.parent / "data" / "histories").glob("*/*.jsonl"))


def entries_of(file: Path) -> tuple[str, list[Entry]]:
    head, *lines = (json.loads(line) for line in file.read_text().splitlines())
    return head["run"], [read_entry(base64.b64decode(line["body"]), MSGPACK) for line in lines]


def named(stem: str) -> tuple[str, list[Entry]]:
    [file] = [file for file in FILES if file.stem == stem]
    return entries_of(file)


def work(run: str, entries: list[Entry]) -> list[SpanRecord]:
    """The spans that agents would have left."""
    return [
        SpanRecord(
            run,
            f"{number:016x}",
            attempt_span_id(run, fact.task),
            "process",
            "consumer",
            round(entry.at * 1e9) - 5,
            round(entry.at * 1e9),
            service=f"consort-agent-{fact.agent}",
            instance=fact.instance,
        )
        for number, (entry, fact) in enumerate(
            ((entry, fact) for entry in entries for fact in entry.facts if isinstance(fact, Accepted)), 1
        )
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name} {file.stem}")
def test_what_a_history_stands_for(file: Path) -> None:
    run, entries = entries_of(file)
    spans = derived(run, entries)
    by_id = {span.span: span for span in spans}
    assert len(by_id) == len(spans), "no span twice"
    assert all(span.trace == run and span.end - span.start >= MOMENT for span in spans)
    assert {entry_span_id(run, entry.n) for entry in entries} <= by_id.keys()
    tasks = {fact.task for entry in entries for fact in entry.facts if isinstance(fact, Granted)}
    ended = any(isinstance(fact, Finished) for entry in entries for fact in entry.facts)
    if ended:
        assert {attempt_span_id(run, task) for task in tasks} <= by_id.keys()
        assert [span.span for span in spans if not span.parent] == [root_span_id(run)]
        assert all(span.parent in by_id for span in spans if span.parent)
    assert check(run, entries, [*spans, *work(run, entries)]).whole


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name} {file.stem}")
def test_no_matter_who_derives_it_and_when(file: Path) -> None:
    run, entries = entries_of(file)
    one_by_one = Deriver(run)
    assert [span for entry in entries for span in one_by_one.take(entry)] == derived(run, entries)
    for upto in range(len(entries)):
        part = derived(run, entries[:upto])
        assert derived(run, entries)[: len(part)] == part


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name} {file.stem}")
def test_each_missing_span_is_named(file: Path) -> None:
    run, entries = entries_of(file)
    whole = [*derived(run, entries), *work(run, entries)]
    for missing in whole:
        verdict = check(run, entries, [span for span in whole if span is not missing])
        assert not verdict.whole
        about = missing.parent if missing.kind == "consumer" else missing.span
        assert about in {hole.span for hole in verdict.holes}
        if missing.kind != "consumer":
            orphans = {span.span for span in whole if span.parent == missing.span}
            assert {hole.span for hole in verdict.holes if hole.kind == "no parent"} == orphans


def test_what_is_wrong_is_named() -> None:
    run, entries = named("plain")
    whole = [*derived(run, entries), *work(run, entries)]
    later = whole[0]._replace(end=whole[0].end + 5 * MOMENT)
    [hole] = check(run, entries, [later, *whole[1:]]).holes
    assert (hole.kind, hole.span) == ("unlike", later.span)
    stray = whole[-1]._replace(span="f" * 16, parent="")
    assert [hole.kind for hole in check(run, entries, [*whole, stray]).holes] == ["second root"]
    twice = whole[-1]._replace(end=whole[-1].end + 5 * MOMENT)
    assert [hole.kind for hole in check(run, entries, [*whole, twice]).holes] == ["unlike"]
    assert check(run, entries, [*whole, *whole]).whole, "the same span twice is one span"


def test_a_run_that_goes_on_lacks_what_is_yet_to_come() -> None:
    run, entries = named("plain")
    verdict = check(run, entries[:2], derived(run, entries[:2]))
    assert verdict.whole
    assert not verdict.ended


def test_waits_are_spans_of_their_own() -> None:
    names_of = {stem: {span.name for span in derived(*named(stem))} for stem in ("paused", "doubted")}
    assert "paused" in names_of["paused"]
    assert "wait for a person" in names_of["doubted"]


def test_a_run_that_is_taken_up_again_keeps_its_root() -> None:
    run, entries = named("reopened")
    spans = derived(run, entries)
    [again] = [span for span in spans if span.name.startswith("invoke_workflow") and span.parent]
    assert again.parent == root_span_id(run)
    [root] = [span for span in spans if not span.parent]
    assert root.attributes[names.STATE] == again.attributes[names.STATE] == "failed"
    assert again.start >= root.end - 2 * MOMENT
    assert any(span.parent == again.span and span.name.startswith("invoke_agent") for span in spans)


def test_nothing_of_what_was_worked_on_is_in_a_span() -> None:
    for file in FILES:
        run, entries = entries_of(file)
        told = repr(derived(run, entries))
        for entry in entries:
            for fact in entry.facts:
                if (
                    isinstance(fact, Accepted)
                    and isinstance(fact.output.value, str)
                    and len(fact.output.value) > 6
                ):
                    assert fact.output.value not in told


def test_a_caller_elsewhere_is_linked_and_not_adopted() -> None:
    run, (first, *rest) = named("plain")
    foreign = f"00-{'ab' * 16}-{'cd' * 8}-01"
    facts = tuple(
        fact.model_copy(update={"caller": foreign}) if fact.fact == "submitted" else fact
        for fact in first.facts
    )
    spans = derived(run, [first.model_copy(update={"facts": facts}), *rest])
    [root] = [span for span in spans if not span.parent]
    assert [(link.trace, link.span) for link in root.links] == [("ab" * 16, "cd" * 8)]
    assert {span.trace for span in spans} == {run}


def test_the_critical_path_leads_from_the_end_to_the_beginning() -> None:
    run, second = "0" * 31 + "1", 1_000_000_000

    def span(name: str, parent: str, start: float, end: float) -> SpanRecord:
        return SpanRecord(run, name, parent, name, "internal", int(start * second), int(end * second))

    spans = [
        span("root", "", 0, 10),
        span("a", "root", 0, 4),
        span("b", "root", 0, 3),
        span("c", "root", 4, 10),
        span("c1", "c", 4, 6),
        span("c2", "c", 6, 9.5),
        span("c3", "c", 6, 7),
    ]
    tree = tree_of(spans, "root")
    critical = {branch.span.name for _, branch in tree.branches if branch.critical}
    assert critical == {"root", "a", "c", "c1", "c2"}
    assert tree.lost == ()


def test_a_clock_that_is_behind_is_told() -> None:
    run, entries = named("plain")
    spans = [*derived(run, entries), *work(run, entries)]
    late = [
        span._replace(host="far", start=span.start - 600 * 10**9, end=span.end - 600 * 10**9)
        if span.kind == "consumer"
        else span
        for span in spans
    ]
    assert skews(tree_of(spans, root_span_id(run))) == {}
    behind = skews(tree_of(late, root_span_id(run)))
    assert behind["far"] == pytest.approx(600, abs=60)
    assert check(run, entries, late).whole


def test_what_was_used_is_on_each_attempt_and_summed_up_on_the_run() -> None:
    """By the names of the GenAI conventions; nothing of it where nothing was used."""
    run, entries = named("plain")
    used = Usage(calls=1, input_tokens=900, cache_read_tokens=400, output_tokens=50, cost=2_000_000)
    paid = [
        entry.model_copy(
            update={
                "facts": tuple(
                    fact.model_copy(update={"usage": used}) if isinstance(fact, Accepted) else fact
                    for fact in entry.facts
                )
            }
        )
        for entry in entries
    ]
    number = sum(isinstance(fact, Accepted) for entry in entries for fact in entry.facts)
    spans = {span.span: span.attributes for span in derived(run, paid)}
    [task, *_] = [fact.task for entry in entries for fact in entry.facts if isinstance(fact, Accepted)]
    attempt, root = spans[attempt_span_id(run, task)], spans[root_span_id(run)]
    assert (attempt[names.INPUT_TOKENS], attempt[names.CACHE_READ_TOKENS], attempt[names.COST]) == (
        900,
        400,
        0.002,
    )
    assert root[names.INPUT_TOKENS] == 900 * number
    assert root[names.OUTPUT_TOKENS] == 50 * number
    assert names.UNPRICED not in root
    assert not any(
        name.startswith("gen_ai.usage") for span in derived(run, entries) for name in span.attributes
    )
