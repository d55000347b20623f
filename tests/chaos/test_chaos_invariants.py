"""The checker finds what must not be; a log without fault passes."""

from __future__ import annotations

import time

from consort_orchestrator.chaos.history import History, Record
from consort_orchestrator.chaos.invariants import Handed, Violation, check, differences
from consort_orchestrator.chaos.ledger import Done
from consort_orchestrator.chaos.progress import longest_pause
from consort_orchestrator.chaos.shapes import Expected, Job
from consort_shared.entries import Accepted, Entry, Fact, Finished, Granted, Submitted
from consort_shared.messages import Output
from consort_shared.plan.model import Plan

RUN = "0123456789abcdef0123456789abcdef"
PLAN = Plan.model_validate(
    {"name": "two", "steps": {"a": {"skill": "x"}, "b": {"skill": "x", "needs": ["a"]}}, "output": "fine"}
)
EXPECTED = Expected(frozenset({"completed"}), "fine", frozenset({("a", "pay")}))
PAID = Done("e1", RUN, "a", "pay", "paid")


def granted(path: str, task: str, attempt: int = 1) -> Granted:
    return Granted(path=path, task=task, attempt=attempt, agent="w", skill="x", deadline=9e9, nonce="n")


def accepted(path: str, task: str, made_by: str = "") -> Accepted:
    output = Output(value={"task": made_by or task}, digest="0" * 64)
    return Accepted(path=path, task=task, agent="w", instance="i", output=output)


SOUND: list[tuple[Fact, ...]] = [
    (Submitted(client="client.me", plan=PLAN), granted("a", "1-0")),
    (accepted("a", "1-0"), granted("b", "2-0")),
    (accepted("b", "2-0"), Finished(state="completed", output="fine")),
]


def log(*entries: tuple[Fact, ...]) -> list[Record]:
    """A chain of entries, a second apart."""
    records, digest = [], ""
    for n, facts in enumerate(entries, 1):
        entry = Entry(run=RUN, n=n, at=0.0, writer="o1-abc", prev=digest, facts=facts)
        digest = f"digest {n}"
        records.append(Record(n, float(n), digest, True, entry))
    return records


def violations(
    records: list[Record], done: tuple[Done, ...] = (PAID,), seen: list[Record] | None = None
) -> list[Violation]:
    handed = [Handed(RUN, Job("two", PLAN, {}, EXPECTED), 0.5)]
    history: History = {RUN: records} if records else {}
    return check(handed, history, {RUN: seen or []}, done)[0]


def found(records: list[Record], done: tuple[Done, ...] = (PAID,)) -> list[str]:
    return [violation.invariant for violation in violations(records, done)]


def test_a_sound_log_passes() -> None:
    assert violations(log(*SOUND)) == []


def test_a_lost_run_is_counted() -> None:
    handed = [Handed(RUN, Job("two", PLAN, {}, EXPECTED), time.time())]
    broken, lost = check(handed, {}, {}, [])
    assert lost == 1
    assert [violation.invariant for violation in broken] == ["I3"]
    unsure = [Handed(RUN, Job("two", PLAN, {}, EXPECTED), None)]
    assert check(unsure, {}, {}, []) == ([], 0)


def test_an_end_that_comes_twice_or_not_at_all() -> None:
    assert "I1" in found(log(*SOUND, (Finished(state="failed", why="again"),)))
    assert found(log(*SOUND[:2])) == ["I5"]


def test_a_result_of_another_attempt() -> None:
    second = (granted("a", "2-0", 2),)
    stale = log(SOUND[0], second, (accepted("a", "1-0"), granted("b", "3-0")))
    assert "I2" in found(stale)
    passed_off = log(SOUND[0], second, (accepted("a", "2-0", made_by="1-0"), granted("b", "3-0")))
    assert [v.step for v in violations(passed_off) if v.invariant == "I2"] == ["a"]


def test_a_step_that_counts_twice() -> None:
    assert "I2" in found(log(*SOUND[:2], (accepted("a", "1-0"),), SOUND[2]))


def test_a_step_that_begins_before_what_it_needs() -> None:
    early = log((Submitted(client="client.me", plan=PLAN), granted("a", "1-0"), granted("b", "1-1")))
    assert [violation.step for violation in violations(early) if violation.invariant == "I2"] == ["b"]


def test_effects_done_twice_not_at_all_or_unasked() -> None:
    assert found(log(*SOUND), (PAID, PAID)) == ["I4"]
    assert found(log(*SOUND), ()) == ["I4"]
    assert found(log(*SOUND), (PAID, Done("e2", RUN, "b", "more", None))) == ["I4"]


def test_forks_gaps_forgeries_and_what_vanished() -> None:
    records = log(*SOUND)
    assert records[1].entry is not None
    fork = Record(9, 9.0, "another", True, records[1].entry.model_copy(update={"writer": "o2-def"}))
    assert "I7" in found([*records, fork])
    assert "I7" in found([records[0], records[2]])
    forged = [*records[:2], Record(3, 3.0, "digest 3", False, records[2].entry)]
    assert "I7" in found(forged)
    gone = violations(records, seen=[*records, Record(4, 4.0, "digest 4", True, None)])
    assert [violation.invariant for violation in gone] == ["I3"]


def test_another_result_than_expected() -> None:
    wrong = log(*SOUND[:2], (accepted("b", "2-0"), Finished(state="completed", output="else")))
    assert found(wrong) == ["result"]


def test_with_and_without_faults() -> None:
    other_run = RUN.replace("0", "f")
    stormy, calm = (Handed(run, Job("two", PLAN, {}, EXPECTED), 0.5) for run in (RUN, other_run))
    records = log(*SOUND)
    history: History = {RUN: records, other_run: records}
    both = [PAID, Done("e2", other_run, "a", "pay", "paid")]
    assert differences({0: stormy}, {0: calm}, history, both) == []
    assert len(differences({0: stormy}, {0: calm}, history, both[:1])) == 1


def test_the_longest_pause_is_between_results() -> None:
    records = log(*SOUND)
    handed = [Handed(RUN, Job("two", PLAN, {}, EXPECTED), 0.5)]
    assert longest_pause(handed, {RUN: records}) == 1.5
