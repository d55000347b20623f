"""Histories as files: kept by `consort log export`, folded again by `consort replay`."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest
from cli_kit import consort

from consort_bus import embedded
from consort_bus.connection import open_bus
from consort_bus.publish import Publisher
from consort_bus.recorded import Recorded, Recording
from consort_bus.subjects import EntrySubject
from consort_bus.wire import Wire
from consort_orchestrator.doctor.histories import differences, lines, parse
from consort_orchestrator.doctor.replaying import replay
from consort_shared.codec import MSGPACK, encode
from consort_shared.entries import Entry, Submitted, body_digest
from consort_shared.plan.model import Plan

HISTORIES = Path(__file__).parent.parent / "data" / "histories"
FILES = sorted(HISTORIES.glob("*/*.jsonl"))
KILLED = HISTORIES / "0.1.0" / "killed.jsonl"
RUN = "0123456789abcdef" * 2
Lines = list[dict[str, Any]]


def read_lines(file: Path) -> Lines:
    return [json.loads(line) for line in file.read_text().splitlines()]


def write_lines(file: Path, found: Lines) -> str:
    file.write_text("".join(f"{json.dumps(line)}\n" for line in found))
    return str(file)


def body(entry: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = msgpack.unpackb(base64.b64decode(entry["body"]))
    return found


def packed(value: dict[str, Any]) -> str:
    return base64.b64encode(msgpack.packb(value)).decode()


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_every_recorded_history_folds_as_it_was_recorded(file: Path, tmp_path: Path) -> None:
    """J7, J8: what any released version wrote is read by this one, to the same state."""
    done = consort(tmp_path, "replay", str(file), "--json")
    assert (done.code, done.err) == (0, "")
    [told] = done.json
    assert told["compared"] is True
    assert len(told["steps"]) == told["entries"]


def test_the_steps_are_told(tmp_path: Path) -> None:
    done = consort(tmp_path, "replay", str(KILLED))
    assert done.code == 0
    shown = done.out.splitlines()
    assert "written by version 0.1.0" in shown[0]
    assert "submitted, waiting: first waiting; left pending" in shown[1]
    assert "the run is completed" in shown[-2]
    assert shown[-1].endswith("completed, as it was recorded")
    part = consort(tmp_path, "replay", str(KILLED), "--to", "1", "--json").json[0]
    assert (len(part["steps"]), part["compared"], part["portrait"]["state"]) == (1, False, "open")
    assert "not compared: 1 of 8 entries" in consort(tmp_path, "replay", str(KILLED), "--to", "1").out
    quiet = consort(tmp_path, "replay", *map(str, FILES), "--quiet")
    assert len(quiet.out.splitlines()) == len(FILES)


def test_a_difference_is_named_and_ends_with_1(tmp_path: Path) -> None:
    found = read_lines(KILLED)
    found[0]["portrait"]["steps"]["left"]["agent"] = "somebody"
    found[0]["portrait"]["steps"]["ghost"] = {"phase": "done"}
    found[0]["portrait"]["output"] = "else"
    done = consort(tmp_path, "replay", write_lines(tmp_path / "h.jsonl", found))
    assert done.code == 1
    assert 'steps.left.agent: was "somebody", is "worker"' in done.err
    assert 'steps.ghost: was {"phase": "done"}, is not there' in done.err
    assert 'output: was "else", is "made a.l' in done.err


def test_a_portrait_may_tell_more_but_not_of_other_steps() -> None:
    was = {"n": 1, "output": {"a": 1}, "steps": {"a": {"phase": "done"}}, "context": {}}
    now: dict[str, Any] = {**was, "effects": {"x": 1}, "steps": {"a": {"phase": "done", "extra": 1}}}
    assert differences(was, now) == []
    assert differences(was, {**now, "steps": {**now["steps"], "b": {}}}) == ["steps.b: was not there, is {}"]
    assert differences(was, {**now, "output": {"a": 1, "b": 2}}) == [
        'output: was {"a": 1}, is {"a": 1, "b": 2}'
    ]


def _cut(found: Lines) -> str:
    return "".join(f"{json.dumps(line)}\n" for line in found)[:-40]


def _whole(change: Callable[[Lines], object]) -> Callable[[Lines], str]:
    def made(found: Lines) -> str:
        change(found)
        return "".join(f"{json.dumps(line)}\n" for line in found)

    return made


def _rewritten(line: int, **changes: Any) -> Callable[[Lines], str]:
    return _whole(lambda found: found[line].update(body=packed({**body(found[line]), **changes})))


BAD: list[tuple[str, Callable[[Lines], str], str]] = [
    ("empty", lambda found: "", "is empty"),
    ("not json", lambda found: "hello\n", "line 1: is not JSON"),
    ("not an object", lambda found: "[]\n", "line 1: is not a JSON object"),
    ("something else", lambda found: '{"a": 1}\n', "line 1: is not the first line of a history"),
    ("cut in a line", _cut, "line 9: is not JSON"),
    ("cut between lines", _whole(lambda found: found.pop()),
     "line 8: the history ends here with 7 of 8 entries: it was cut"),
    ("too long", _whole(lambda found: found.append(found[-1])), "9 of 8 entries: it has more than it should"),
    ("no entry", _whole(lambda found: found[3].pop("seq")), 'line 4: is no entry: it needs "seq"'),
    ("not base64", _whole(lambda found: found[3].update(body="?")), "line 4: its body is not base64"),
    ("out of order", _whole(lambda found: found.insert(2, found.pop(3))),
     "line 3: entry 2: it does not follow the entry before it: it is entry 3, and entry 2 should come here"),
    ("a changed entry", _rewritten(3, at=1.0), "line 5: entry 4: it does not follow the entry before it: entry 4"),
    ("another run's", _rewritten(1, run="f" * 32), "line 2: entry 1: it does not follow the entry before it"),
    ("an unknown kind", _rewritten(4, facts=[{"fact": "teleported"}]),
     "line 5: entry 4: it is no entry that this version knows"),
    ("too new", _rewritten(4, v=99), "line 5: entry 4: it was written by a later version of Consort"),
    ("missing", _whole(lambda found: found[2].update(body=None, missing="it expired")),
     "line 3: entry 2: its body was stored apart and is gone: it expired"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "told"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_file_that_is_no_whole_history_is_refused(
    change: Callable[[Lines], str], told: str, tmp_path: Path
) -> None:
    file = tmp_path / "h.jsonl"
    file.write_text(change(read_lines(KILLED)))
    done = consort(tmp_path, "replay", str(file), str(KILLED), "--quiet")
    assert done.code == 2
    assert told in done.err
    assert "as it was recorded" in done.out  # the other file is folded all the same
    [first, second] = consort(tmp_path, "replay", str(file), str(KILLED), "--json").json
    assert (first["well"], second["well"]) == (False, True)
    assert consort(tmp_path, "replay", str(tmp_path / "none")).code == 2


def test_what_the_state_machine_does_not_allow_ends_with_1(tmp_path: Path) -> None:
    found = read_lines(KILLED)
    end = body(found[8])
    found[2]["body"] = packed({**body(found[2]), "facts": end["facts"]})
    done = consort(tmp_path, "replay", write_lines(tmp_path / "h.jsonl", found[:2] + found[2:]))
    assert "consort:" in done.err
    again = {**body(found[1]), "n": 2, "prev": body_digest(base64.b64decode(found[1]["body"]))}
    found[2]["body"] = packed(again)
    head = {**found[0], "entries": 2}
    done = consort(tmp_path, "replay", write_lines(tmp_path / "h.jsonl", [head, found[1], found[2]]))
    assert done.code == 1
    assert "line 3: entry 2: the state machine does not allow it where the run stands" in done.err


def test_a_history_that_cannot_be_folded_is_written_without_a_portrait() -> None:
    plan = Plan.model_validate({"name": "p", "steps": {"a": {"skill": "x"}}})
    handed_in = Submitted(client="client.me", plan=plan)
    first = encode(Entry(run=RUN, n=1, at=1.0, writer="o", facts=(handed_in,)))
    later = msgpack.packb({"v": 99, "run": RUN, "n": 2, "prev": body_digest(first), "facts": []})
    known = [Recorded(1, f"log.{RUN}.entry.-.noted", 2, first)]
    whole = "\n".join(lines(Recording(RUN, tuple(known)), "9.9"))
    assert parse("x", whole).portrait is not None
    written = list(lines(Recording(RUN, (*known, Recorded(2, f"log.{RUN}.entry.-.noted", 99, later))), "9.9"))
    history = parse("x", "\n".join(written))
    assert (history.consort, history.portrait, len(history.entries)) == ("9.9", None, 2)
    result = replay(history)
    assert result.fault is not None
    assert (result.fault.line, result.fault.reason, len(result.steps)) == (3, "too-new", 1)


async def _store(folder: Path, found: Lines) -> None:
    """Put entries on the log of a folder's bus, as whoever may write there would."""
    creds = embedded.credentials_for(folder, "provisioner", "setup")
    server = embedded.status(folder)
    assert server is not None
    async with open_bus(server.url, creds) as bus, Wire(bus.nc, bus) as wire:
        for line in found:
            headers = {"Content-Type": MSGPACK, "Consort-Schema": str(line["schema"])}
            await Publisher(wire).publish(line["subject"], base64.b64decode(line["body"]), headers)


def _entry(run: str, version: int, n: int, prev: str) -> dict[str, Any]:
    value = {"v": version, "run": run, "n": n, "prev": prev, "facts": []}
    return {"subject": str(EntrySubject(run, None, "noted")), "schema": version, "body": packed(value)}


@pytest.mark.slow
def test_a_log_is_kept_and_folded_again(tmp_path: Path) -> None:
    """J8, C14: export of a run and replay of the file; also of a run that this version cannot fold."""
    known = read_lines(KILLED)
    run = known[0]["run"]
    assert consort(tmp_path, "bus", "start").code == 0
    try:
        asyncio.run(_store(tmp_path / ".consort", known[1:]))
        kept = consort(tmp_path, "log", "export", "last", "--out", "kept.jsonl", "--json")
        assert kept.code == 0, kept.err
        assert kept.json == {"run": run, "entries": 8, "foreign": 0, "file": "kept.jsonl"}
        found = read_lines(tmp_path / "kept.jsonl")
        assert [line["body"] for line in found[1:]] == [line["body"] for line in known[1:]]
        assert differences(known[0]["portrait"], found[0]["portrait"]) == []
        assert consort(tmp_path, "replay", "kept.jsonl", "--quiet").code == 0
        assert consort(tmp_path, "log", "export", run[:10]).out == (tmp_path / "kept.jsonl").read_text()
        shown = consort(tmp_path, "log", "last")
        assert (shown.code, "hands in plan" in shown.out) == (0, True)
        assert "log export" in consort(tmp_path, "log", "--help").out
        assert consort(tmp_path, "log", "export", "f" * 32).code == 2

        end = body_digest(base64.b64decode(found[-1]["body"]))
        asyncio.run(_store(tmp_path / ".consort", [_entry(run, 99, 9, "0" * 64), _entry(run, 99, 9, end)]))
        again = consort(tmp_path, "log", "export", "last", "--out", "later.jsonl")
        assert again.code == 0, again.err
        assert "1 message on its log does not belong to its chain" in again.err
        assert "portrait" not in read_lines(tmp_path / "later.jsonl")[0]
        refused = consort(tmp_path, "replay", "later.jsonl")
        assert refused.code == 2
        assert "line 10: entry 9: it was written by a later version" in refused.err
    finally:
        embedded.stop(tmp_path / ".consort")
