"""`consort dead` and `consort pause` on a bus where nobody else is at work: choosing, telling, exit codes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from cli_kit import Ended, consort
from operator_kit import OpenAs, Stage

from consort_bus import letters as kept
from consort_bus.embedded import Embedded
from consort_shared.entries import Finished, Paused, Submitted
from consort_shared.ids import new_run_id
from consort_shared.plan.model import Plan

PLAN = Plan.model_validate({"name": "p", "steps": {"a": {"skill": "x.y"}}})
Type = Callable[..., Ended]
Play = Callable[[Callable[[Stage], Awaitable[Any]]], Any]
T = TypeVar("T")


@pytest.fixture
def typed(embedded_bus: Embedded, tmp_path: Path) -> Type:
    """A command line on the shared bus."""

    def typing(*arguments: str, **more: str) -> Ended:
        return consort(tmp_path, *arguments, "--folder", str(embedded_bus.folder), **more)

    return typing


@pytest.fixture
def play(open_as: OpenAs) -> Play:
    """Do something on the bus under other roles."""

    def playing(scene: Callable[[Stage], Awaitable[T]]) -> T:
        async def played() -> T:
            async with Stage(open_as) as stage:
                return await scene(stage)

        return asyncio.run(played())

    return playing


@pytest.mark.slow
def test_letters_are_chosen_by_run_kind_and_number(typed: Type, play: Play) -> None:
    run = new_run_id()

    async def scene(stage: Stage) -> list[int]:
        kinds = (kept.REFUSED, kept.FOREIGN, kept.FAILING, kept.REFUSED)
        return [await stage.letter(run, b"%d" % n, kind=kind, why=f"w{n}") for n, kind in enumerate(kinds)]

    ids = play(scene)
    listed = typed("dead", "--run", run, "--json").json
    assert [one["id"] for one in listed] == ids
    assert listed[1]["redrivable"] is False
    assert [one["id"] for one in typed("dead", "list", "--run", run, "--kind", "refused", "--json").json] == [
        ids[0], ids[3],
    ]  # fmt: skip
    newest = typed("dead", "list", "--run", run, "--limit", "2")
    assert "w3" in newest.out
    assert "w0" not in newest.out
    assert "the newest 2 of 4" in newest.err
    refused = typed("dead", "drop", "--run", run)
    assert (refused.code, "4 letters would be meant; say --yes" in refused.err) == (2, True)
    dropped = typed("dead", "drop", "--run", run, "--kind", "refused", "--yes", "--json")
    assert (dropped.code, dropped.json["dropped"]) == (0, 2)
    assert [one["id"] for one in typed("dead", "--run", run, "--json").json] == ids[1:3]
    some = typed("dead", "drop", str(ids[0]), str(ids[1]), "--quiet")
    assert some.code == 1
    assert f"letter {ids[1]}: dropped" in some.out
    assert "1 of 2 dropped" in some.out
    assert f"dead letter {ids[0]} was dropped by person.me" in some.err
    assert len(typed("dead", "list", "--run", run, "--all", "--json").json) == 4
    assert typed("dead", "drop", "--run", "f" * 32, "--yes").code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("redrive",),
        ("drop",),
        ("drop", "0"),
        ("drop", "x"),
        ("drop", "1", "--all"),
        ("redrive", "1", "2", "--edit"),
        ("redrive", "--all", "--body", "f.json"),
        ("redrive", "1", "--edit", "--body", "f.json"),
        ("redrive", "1", "--body", "no-such-file.json"),
        ("redrive", "999999999"),
        ("drop", "999999999"),
        ("show", "999999999"),
        ("list", "--kind", "odd"),
        ("list", "--run", "no run"),
    ],
)
def test_what_cannot_be_meant(typed: Type, arguments: tuple[str, ...]) -> None:
    done = typed("dead", *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err


def test_a_letter_is_shown_with_all_there_is(typed: Type, play: Play, tmp_path: Path) -> None:
    run = new_run_id()

    async def scene(stage: Stage) -> tuple[int, int]:
        more = {kept.STEP: "a", kept.TASK: "1-0"}
        return await stage.letter(run, b'{"a": [1]}', why="x\x1b[2Jy", **more), await stage.letter(
            run, b"\xff\x00"
        )

    readable, binary = play(scene)
    shown = typed("dead", "show", str(readable))
    assert shown.code == 0
    assert '"a": [' in shown.out
    assert "x [2Jy" in shown.out
    assert f"consort dead redrive {readable}" in shown.out
    written = typed("dead", "show", str(binary), "--body", "body.bin")
    assert (tmp_path / "body.bin").read_bytes() == b"\xff\x00"
    assert "ff00" not in written.out
    assert "ff00" in typed("dead", "show", str(binary)).out
    told = typed("dead", "show", str(binary), "--json").json
    assert (told["value"], told["hex"], told["run"]) == (None, "ff00", run)


def test_pauses_take_effect_when_somebody_comes(typed: Type, play: Play) -> None:
    for arguments in (
        ("--agent", "nobody"),
        ("--agent", "not a name"),
        ("last", "--all"),
        ("--all", "--agent", "x"),
    ):
        assert typed("pause", *arguments).code == 2
    assert typed("resume").code == 2
    assert typed("resume", "--all").code == 2
    paused = typed("pause", "--all", "--why", "upgrade")
    assert paused.code == 0
    assert "it takes effect when one comes" in paused.out
    assert "everything, since" in typed("pause").out
    assert typed("pause", "--json").json["agents"][0]["why"] == "upgrade"
    assert typed("resume", "--all").code == 0
    assert typed("pause", "--json").json["agents"] == []


def test_runs_tell_where_they_stand(typed: Type, play: Play) -> None:
    paused, newer = new_run_id(), new_run_id()

    async def scene(stage: Stage) -> None:
        await stage.entry(paused, Submitted(client="client.carl", plan=PLAN))
        await stage.entry(paused, Paused(by="person.olga", why="lunch"))
        await stage.entry(newer, Submitted(client="client.carl", plan=PLAN), Finished(state="completed"))

    play(scene)
    found = {one["run"]: one for one in typed("runs", "--json").json}
    assert (found[paused]["state"], found[paused]["why"]) == ("paused", "by person.olga: lunch")
    assert (found[paused]["plan"], found[newer]["state"]) == ("p", "completed")
    shown = typed("show", paused)
    assert "paused" in shown.out
    for verb in ("cancel", "pause", "resume", "retry"):
        done = typed(verb, newer)
        assert done.code == 2
        assert "completed" in done.err
    assert "is not there" not in typed("effects", paused).err
    asked = typed("cancel", paused, "--no-wait", "--json")
    assert (asked.code, asked.json["state"]) == (0, "asked")
