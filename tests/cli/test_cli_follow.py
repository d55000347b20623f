"""A run as it is shown: states, texts, times, rows and what fits on a screen."""

from __future__ import annotations

import pytest
from cli_kit import RUN, Log
from rich.cells import cell_len
from rich.console import Console

from consort_bus.client import LiveProgress
from consort_orchestrator.cli import summary
from consort_orchestrator.cli.follow import Picture, Row
from consort_orchestrator.cli.live import SIGNS, drawn, fit
from consort_orchestrator.cli.wording import event_lines, one_line, span
from consort_orchestrator.core import Phase
from consort_shared.entries import (
    Closed,
    Failure,
    Finished,
    Granted,
    Hole,
    Noted,
    Opened,
    Skipped,
    Waiting,
)

TWO = {"name": "two", "steps": {"a": {"skill": "x.y"}, "b": {"skill": "x.y", "needs": ["a"]}}}
EACH = {"name": "each", "steps": {"e": {"skill": "x.y", "for_each": {"items": [1, 2, 3]}}}}
LOOP = {
    "name": "loop",
    "steps": {"l": {"repeat": {"until": "false", "max": 4}, "steps": {"w": {"skill": "x.y"}}}},
}


def row_of(log: Log, path: str, now: float | None = None) -> Row:
    return next(row for row in log.picture.rows(log.at if now is None else now) if row.path == path)


def test_a_run_nobody_knows_is_empty() -> None:
    picture = Picture.of(RUN)
    assert picture.state == "unknown"
    assert picture.rows(0.0) == []


def test_steps_in_plan_order_with_times_and_what_they_need() -> None:
    log = Log(TWO)
    task = log.grant("a", after=2)
    assert [row.path for row in log.picture.rows(log.at)] == ["a", "b"]
    assert row_of(log, "a", now=log.at + 5).seconds == 5
    assert row_of(log, "b").text == "needs a"
    log.accept("a", task, after=3)
    assert row_of(log, "a", now=log.at + 100).seconds == 3
    assert row_of(log, "b").text == ""


def test_progress_counts_only_for_the_task_in_hand() -> None:
    log = Log(TWO)
    old = log.grant("a")
    log.picture.hear(LiveProgress("crew", old, "a", "half way", 1, 2))
    assert row_of(log, "a").text == "half way (1 of 2)"
    log.add(Failure(path="a", task=old, agent="crew", kind="skill-error", message="no", retry_at=log.at + 3))
    assert row_of(log, "a").text == "again in 3.0 s after skill-error: no"
    log.grant("a", "other", 2)
    log.picture.hear(LiveProgress("crew", "9-9", "a", "a stranger", None, None))
    row = row_of(log, "a")
    assert (row.agent, row.attempt, row.text) == ("other", 2, "attempt 2 after skill-error: no")


def test_what_a_model_writes_is_shown_by_its_end() -> None:
    log = Log(TWO)
    task = log.grant("a")
    for n in range(40):
        log.picture.hear(LiveProgress("crew", task, "a", "", None, None, f"word{n} "))
    text = row_of(log, "a").text
    assert text.startswith("…")
    assert text.endswith("word38 word39")
    assert len(text) <= 61
    log.picture.hear(LiveProgress("crew", task, "a", "half way", 1, 2))
    assert row_of(log, "a").text == "half way (1 of 2)"


def test_a_milestone_is_shown_until_the_next_word() -> None:
    log = Log(TWO)
    task = log.grant("a")
    log.add(Noted(path="a", task=task, agent="crew", text="found\nthree"))
    assert row_of(log, "a").text == "found three"


def test_waiting_for_an_agent_is_the_state_only_when_nothing_else_goes_on() -> None:
    log = Log({"name": "p", "steps": {"a": {"skill": "x.y"}, "c": {"skill": "c.d"}}})
    log.add(Waiting(path="c", skill="c.d"))
    assert log.picture.state == "waiting"
    assert row_of(log, "c").text == "waits for an agent that offers c.d"
    log.grant("a")
    assert log.picture.state == "running"
    assert log.picture.missing() == ["c.d"]


def test_items_of_a_for_each_that_are_over_are_left_out_when_brief() -> None:
    log = Log(EACH)
    log.add(Opened(path="e", items=(1, 2, 3)))
    tasks = {index: log.grant(f"e[{index}]") for index in range(3)}
    log.accept("e[1]", tasks[1])
    assert [row.path for row in log.picture.rows(log.at)] == ["e", "e[0]", "e[1]", "e[2]"]
    brief = log.picture.rows(log.at, brief=True)
    assert [row.path for row in brief] == ["e", "e[0]", "e[2]"]
    assert brief[0].text == "1 of 3 items done, 2 at work"
    assert [row.depth for row in brief] == [0, 1, 1]


def test_a_loop_shows_its_current_iteration_when_brief() -> None:
    log = Log(LOOP)
    log.add(Opened(path="l"), Opened(path="l[1]"))
    log.accept("l[1].w", log.grant("l[1].w"))
    log.add(Closed(path="l[1]", done=True), Opened(path="l[2]"))
    log.grant("l[2].w")
    assert [row.label for row in log.picture.rows(log.at, brief=True)] == ["l", "[2]", "w"]
    assert row_of(log, "l").text == "iteration 2 of at most 4"
    assert [row.path for row in log.picture.rows(log.at)] == ["l", "l[1]", "l[1].w", "l[2]", "l[2].w"]


def test_the_end_stops_all_clocks() -> None:
    log = Log(TWO)
    log.grant("a")
    log.add(Finished(state="cancelled", why="enough"), after=4)
    row = row_of(log, "a", now=log.at + 50)
    assert (row.phase, row.seconds, row.text) == (Phase.CANCELLED, 4, "enough")
    assert log.picture.seconds(log.at + 50) == 4
    assert log.picture.state == "cancelled"


def test_steps_of_agents_that_are_gone_are_named() -> None:
    log = Log(TWO)
    log.grant("a", "ghost")
    assert log.picture.absent({"crew"}) == [("a", "ghost")]
    assert log.picture.absent({"ghost"}) == []


def test_who_did_what_is_counted() -> None:
    log = Log(TWO)
    first = log.grant("a")
    log.add(Failure(path="a", task=first, agent="crew", kind="timeout", message="", retry_at=log.at))
    log.accept("a", log.grant("a", attempt=2), after=2.5)
    log.add(Skipped(path="b", why="not wanted"), Finished(state="completed", output={"x": 1}))
    told = summary.as_data(log.picture, {"x": 1}, [])
    share = told["agents"]["crew"]
    assert (share["tasks"], share["failures"], share["seconds"]) == (1, 1, 2.5)
    assert not any(share["usage"].values())
    assert told["tasks"] == {"done": 1, "skipped": 1}
    text = summary.as_text(log.picture, {"x": 1}, [], reference="0123")
    assert "crew: 1 task in 2.5 s, 1 failed attempt" in text
    assert "consort log 0123" in text
    assert len(text.splitlines()) < 20


def test_a_log_that_skips_an_entry_is_refused() -> None:
    log, other = Log(TWO), Picture.of(RUN)
    log.grant("a")
    with pytest.raises(ValueError, match="does not follow"):
        other.take(log.entries[1])


def test_inputs_name_the_results_that_come_into_their_holes() -> None:
    log = Log(TWO)
    hole = Hole(at=("words", 0), prior="a", path=("title",))
    logged = log.add(
        Granted(
            path="a", task="2-0", attempt=1, agent="crew", skill="x.y", inputs={"words": [None]}, holes=(hole,),
            deadline=9e9, nonce="n",
        )
    )  # fmt: skip
    from consort_orchestrator.cli.wording import in_words

    assert "<result of a.title>" in in_words(logged.entry.facts[0], full=True)
    assert event_lines(logged)[0].endswith("a goes to crew (x.y)")


def test_text_of_strangers_cannot_move_the_cursor() -> None:
    assert one_line("a\x1b[2Jb\r\nc\u202ed") == "a [2Jb c d"
    assert len(one_line("x" * 1000)) == 300


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.7, "1m 00s"), (3600, "1h 00m"), (90000, "1d 01h")],
)
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text


def some_rows(phases: str) -> list[Row]:
    by_sign = {plain: phase for phase, (_, plain, _) in SIGNS.items()}
    return [Row(str(at), str(at), 0, by_sign[sign], "", 1, None, "") for at, sign in enumerate(phases)]


@pytest.mark.parametrize("height", range(3, 14))
@pytest.mark.parametrize("phases", ["+++++*****......x", "+*+*+*+*+*+*+*", ".....+++++", "x" * 16, "***"])
def test_what_is_shown_fits(phases: str, height: int) -> None:
    shown = fit(some_rows(phases), height)
    assert len(shown) <= height
    paths = [int(row.path) for row in shown if isinstance(row, Row)]
    assert paths == sorted(paths)


@pytest.mark.parametrize("word", ["word", "東京"])
def test_the_end_of_what_is_written_is_in_sight_on_a_narrow_screen(word: str) -> None:
    log = Log(TWO)
    task = log.grant("a")
    log.picture.hear(LiveProgress("crew", task, "a", "", None, None, f"{word} " * 30 + "newest"))
    console = Console(width=70, height=24, force_terminal=False, color_system=None, legacy_windows=False)
    with console.capture() as captured:
        console.print(drawn(log.picture, [], log.at, console))
    [line] = [line for line in captured.get().splitlines() if "…" in line]
    assert line.rstrip().endswith(f"{word} newest")
    assert cell_len(line) <= 70


def test_what_is_over_gives_way_first_and_trouble_last() -> None:
    shown = fit(some_rows("+++++*****......x"), 8)
    assert [row if isinstance(row, str) else SIGNS[row.phase][1] for row in shown] == [
        "  … 5 over", "*", "*", "*", "*", "*", "  … 6 to come", "x",
    ]  # fmt: skip


def test_the_view_keeps_within_the_screen() -> None:
    log = Log({"name": "p" * 60, "steps": {f"s{n}": {"skill": "x.y", "title": "t"} for n in range(50)}})
    for n in range(10):
        log.grant(f"s{n}")
    console = Console(
        width=80, height=24, file=None, force_terminal=False, color_system=None, legacy_windows=False
    )
    with console.capture() as captured:
        console.print(drawn(log.picture, ["a note " * 30], log.at, console))
    lines = captured.get().splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
