"""The word for where a run stands, each fact in words, and what a view says of runs that are stopped or mended."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from cli_kit import Log
from rich.console import Console

from consort_bus.standing import STATES, Standing
from consort_orchestrator.cli import summary
from consort_orchestrator.cli.follow import Row
from consort_orchestrator.cli.ledger import effects_of
from consort_orchestrator.cli.live import SIGNS, STATE_STYLES, drawn
from consort_orchestrator.cli.reading import questions
from consort_orchestrator.cli.wording import in_words
from consort_orchestrator.core import Phase
from consort_shared.entries import (
    Accepted,
    Doubted,
    EffectBegun,
    EffectSettled,
    Ending,
    Extended,
    Fact,
    Failure,
    Finished,
    Granted,
    Heeded,
    Paused,
    Redriven,
    Refused,
    Reopened,
    Resumed,
    Skipped,
    Waiting,
)
from consort_shared.messages import Output
from consort_shared.values import digest

UNDONE = {
    "name": "trip",
    "steps": {
        "a": {"skill": "x.y", "undo": {"skill": "x.z"}},
        "b": {"skill": "x.y", "needs": ["a"]},
        "c": {"skill": "x.y", "needs": ["b"]},
    },
}
FACTS: tuple[type[Fact], ...] = get_args(get_args(Fact)[0])


def granted(path: str, task: str, agent: str = "crew") -> Granted:
    return Granted(path=path, task=task, attempt=1, agent=agent, skill="x.y", deadline=9e9, nonce="n")


def accepted(path: str, task: str) -> Accepted:
    return Accepted(
        path=path,
        task=task,
        agent="crew",
        instance="i",
        output=Output(value=1, digest=digest(1)),
        seconds=1.0,
    )


def doubted(path: str, key: str, task: str = "2-0") -> Doubted:
    return Doubted(path=path, key=key, task=task, agent="crew", why="its process died")


def begun(path: str, key: str, task: str = "2-0", id: str = "e1") -> EffectBegun:
    return EffectBegun(path=path, key=key, task=task, agent="crew", instance="i", id=id)


def heeded(path: str, how: Any, order: Any = "stop", task: str = "2-0") -> Heeded:
    return Heeded(path=path, task=task, agent="crew", instance="i1", order=order, how=how)


def row_of(log: Log, path: str) -> Row:
    return next(row for row in log.picture.rows(log.at) if row.path == path)


# --- one word


@pytest.mark.parametrize(
    ("facts", "state", "why"),
    [
        ([], "running", ""),
        ([granted("a", "1-0")], "running", ""),
        ([Waiting(path="a", skill="x.y")], "waiting", "no agent offers x.y"),
        ([Waiting(path="a", skill="x.y"), granted("b", "1-0")], "running", ""),
        ([Waiting(path="a", skill="x.y"), granted("a", "2-0")], "running", ""),
        ([granted("a", "1-0"), Paused(by="person.p", why="lunch")], "paused", "by person.p: lunch"),
        ([Paused(by="person.p"), Resumed(by="person.p")], "running", ""),
        ([granted("a", "1-0"), doubted("a", "pay")], "asking", "did pay of a happen?"),
        ([doubted("a", "pay"), granted("b", "1-0")], "asking", "did pay of a happen?"),
        (
            [
                doubted("a", "pay"),
                doubted("a", "mail"),
                EffectSettled(path="a", key="pay", verdict="done", by="person.p"),
            ],
            "asking",
            "did mail of a happen?",
        ),
        (
            [doubted("a", "pay"), EffectSettled(path="a", key="pay", verdict="undone", by="person.p")],
            "running",
            "",
        ),
        ([doubted("a", "pay"), Paused(by="person.p")], "paused", "by person.p"),
        ([Ending(state="cancelled", why="enough")], "cancelling", "enough"),
        ([Ending(state="failed", why="b failed")], "failing", "b failed"),
        ([Ending(state="cancelled", why="enough"), granted("a!undo", "3-0")], "undoing", "enough"),
        ([Ending(state="cancelled", why="x"), Waiting(path="a!undo", skill="x.z")], "undoing", "x"),
        ([Finished(state="failed", why="b failed")], "failed", "b failed"),
        ([Finished(state="failed", why="b failed"), Redriven(letter=3, by="person.p")], "failed", "b failed"),
        ([Finished(state="failed", why="b"), Reopened(path="b", by="person.p")], "running", ""),
        (
            [
                Ending(state="failed", why="b"),
                Waiting(path="a!undo", skill="x.z"),
                Reopened(path="b", by="person.p"),
            ],
            "running",
            "",
        ),
        ([Paused(by="person.p"), Ending(state="cancelled", why="enough")], "cancelling", "enough"),
        ([Finished(state="completed", output=1)], "completed", ""),
    ],
)
def test_where_a_run_stands(facts: list[Fact], state: str, why: str) -> None:
    standing = Standing()
    standing.take(facts)
    assert (standing.state, standing.why) == (state, why)
    assert state in STATES


def test_every_state_has_a_colour_and_every_phase_a_sign() -> None:
    assert set(STATES) - set(STATE_STYLES) == {"running"}
    assert set(SIGNS) == set(Phase)


# --- facts in words


@pytest.mark.parametrize(
    ("fact", "words"),
    [
        (begun("a", "pay"), "crew begins pay of a"),
        (EffectSettled(path="a", key="pay", verdict="done", by="2-0"), "pay of a is done, says task 2-0"),
        (
            EffectSettled(path="a", key="pay", verdict="undone", by="person.p"),
            "pay of a did not happen, says person.p",
        ),
        (doubted("a", "pay"), "a waits for a person: did pay happen at crew? its process died"),
        (Paused(by="person.p", why="a\nb"), "the run is paused by person.p: a b"),
        (Resumed(by="client.me"), "the run goes on, says client.me"),
        (heeded("a", "stopped"), "crew (i1) has stopped a"),
        (heeded("a", "cannot"), "crew (i1) cannot interrupt a; its result will not count"),
        (heeded("a", "goes-on", "pause"), "crew (i1) finishes a in spite of the pause"),
        (heeded("a", "goes-on", "resume"), "crew (i1) goes on with a"),
        (heeded("a", "held", "pause"), "crew (i1) does not begin a until the run goes on"),
        (
            Heeded(path="a", task="2-0", agent="crew", order="stop", how="silent"),
            "crew has not answered in time about a",
        ),
        (Ending(state="cancelled", why="enough", by="person.p"), "the run is being cancelled, says person.p: enough"),
        (Ending(state="failed", why="b failed"), "the run is failing: b failed"),
        (Redriven(letter=7, by="person.p", edited=True), "dead letter 7 is judged again for person.p, edited"),
        (Reopened(path="b", by="person.p"), "b is to be done again, says person.p"),
        (Reopened(path="b", by="p", inputs={"x": 1}), "b is to be done again with other inputs, says p"),
        (
            Refused(what="forged", sender="agent.x", why="no code"),
            "a message in the inbox of agent.x does not count: no code",
        ),
    ],
)  # fmt: skip
def test_facts_in_words(fact: Fact, words: str) -> None:
    assert in_words(fact) == words


def test_values_are_told_when_asked_for() -> None:
    settled = EffectSettled(
        path="a",
        key="pay",
        verdict="done",
        by="2-0",
        output=Output(value={"id": 5}, digest=digest({"id": 5})),
    )
    assert in_words(settled, full=True).endswith('says task 2-0: {"id": 5}')
    assert in_words(Reopened(path="b", by="p", inputs={"x": 1}), full=True).endswith('says p: {"x": 1}')
    assert "has until" in in_words(Extended(path="a", task="1-0", deadline=5.0, why="crew is paused"))
    assert len(FACTS) > 20


# --- the view


def test_a_doubt_is_shown_with_the_command_that_answers_it() -> None:
    log = Log(UNDONE)
    task = log.grant("a")
    log.add(begun("a", "pay", task))
    assert log.picture.state == "running"
    log.add(doubted("a", "pay", task))
    row = row_of(log, "a")
    assert row.phase is Phase.ASKING
    assert row.text == ("did pay happen? consort effects resolve 0123456789ab a pay --done or --redo")
    assert log.picture.state == "asking"
    [question] = questions(log.picture)
    assert (question["path"], question["key"], question["agent"]) == ("a", "pay", "crew")
    assert summary.tally_text(log.picture) == "1 waiting for a person, 2 to come"


def test_a_paused_run_and_a_paused_agent_say_how_to_go_on() -> None:
    log = Log(UNDONE)
    log.grant("a")
    log.add(Paused(by="person.p", why="lunch"))
    log.add(heeded("a", "goes-on", "pause"))
    assert log.picture.state == "paused"
    log.picture.paused_agents = {"crew": "person.q"}
    assert row_of(log, "a").text == "crew is paused by person.q: consort resume --agent crew"
    log.picture.paused_agents = {None: "person.q"}
    assert row_of(log, "a").text == "crew is paused by person.q: consort resume --all"
    log.picture.paused_agents = {}
    assert row_of(log, "b").text == "needs a"


def test_a_step_that_could_start_but_for_the_pause() -> None:
    log = Log({"name": "p", "steps": {"a": {"skill": "x.y"}, "b": {"skill": "x.y", "needs": ["a"]}}})
    task = log.grant("a")
    log.add(Paused(by="person.p"))
    log.accept("a", task)
    assert row_of(log, "b").text == "starts when the run is resumed: consort resume 0123456789ab"


def test_a_cancelled_run_is_stopped_then_undone() -> None:
    log = Log(UNDONE)
    log.accept("a", log.grant("a"))
    task = log.grant("b")
    log.add(Ending(state="cancelled", why="enough", by="person.p"))
    assert log.picture.state == "cancelling"
    assert row_of(log, "b").text == "is called off; crew has yet to say that it has stopped"
    log.add(heeded("b", "stopped", task=task), after=1)
    assert row_of(log, "b").phase is Phase.CANCELLED
    undo = log.grant("a!undo", agent="other")
    assert log.picture.state == "undoing"
    assert [row.path for row in log.picture.rows(log.at)] == ["a", "b", "c", "a!undo"]
    assert row_of(log, "a!undo").label == "undo a"
    assert log.picture.undone() == []
    log.accept("a!undo", undo, agent="other")
    log.add(Finished(state="cancelled", why="enough; 1 step undone"))
    assert log.picture.undone() == ["a"]
    assert summary.as_data(log.picture, None, [])["undone"] == ["a"]
    assert summary.tally_text(log.picture) == "1 done, 2 cancelled, 1 undone"
    console = Console(width=100, height=24, color_system=None)
    with console.capture() as captured:
        console.print(drawn(log.picture, [], log.at, console))
    assert "1 of 3 tasks done, 1 undone" in captured.get()


def test_a_run_that_is_taken_up_again_has_no_end() -> None:
    plain = Log({"name": "p", "steps": {"a": {"skill": "x.y"}, "b": {"skill": "x.y", "needs": ["a"]}}})
    task = plain.grant("a")
    plain.add(
        Failure(path="a", task=task, agent="crew", kind="skill-error", message="no"),
        Skipped(path="b", why="`a` is not done"),
        Finished(state="failed", why="step `a` failed"),
        after=2,
    )
    assert plain.picture.state == "failed"
    plain.add(Reopened(path="a", by="person.p"), after=10)
    assert plain.picture.state == "running"
    assert plain.picture.ended is None
    assert row_of(plain, "b").text == "needs a"
    plain.accept("a", plain.grant("a", attempt=2, after=1), after=3)
    assert row_of(plain, "a").phase is Phase.DONE
    assert plain.picture.seconds(plain.at) == 16


# --- the ledger


def test_the_ledger_of_effects() -> None:
    facts: list[Fact] = [
        begun("a", "pay", "1-0"),
        begun("a", "mail", "1-0", "e2"),
        EffectSettled(path="a", key="pay", verdict="done", by="1-0"),
        doubted("a", "mail", "2-0"),
        begun("b", "pay", "3-0", "e3"),
        EffectSettled(path="b", key="pay", verdict="undone", by="3-0"),
        begun("b", "pay", "4-0", "e4"),
    ]
    lines = effects_of(enumerate(facts))
    assert [(line.path, line.key, line.state, line.tries, line.by) for line in lines] == [
        ("a", "pay", "done", 1, "1-0"),
        ("a", "mail", "in doubt", 1, ""),
        ("b", "pay", "begun", 2, ""),
    ]
