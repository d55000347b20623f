"""Operating a live system from the command line: stop, hold back, mend, judge again. One system for all tests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_kit import CREW, HERE, Ended, consort, started, until

from consort_bus.client import connect
from consort_bus.operator import LetterSettled, NotAllowed, Operator
from consort_orchestrator.cli.orders import heard, picture_of
from consort_shared.messages import Redrive

pytestmark = pytest.mark.slow

PAYER = f"{HERE / 'payer.py'}:agent"
TRIP = """
name: trip
inputs: {seconds: {type: number, default: 60}}
steps:
  a: {skill: crew.words, with: {text: one two}, undo: {skill: crew.shout, with: {word: "${{ output[0] }}"}}}
  b: {skill: crew.slow, needs: [a], with: {word: hello, seconds: "${{ inputs.seconds }}"}}
  c: {skill: crew.shout, needs: [b], with: {word: end}}
"""
ORPHANED = """
name: orphaned
steps:
  a: {skill: crew.words, with: {text: one two}, undo: {skill: crew.shout, with: {word: "${{ output[0] }}"}}}
  b: {skill: crew.words, needs: [a], with: {text: x}, undo: {skill: nobody.offers, with: {word: x}}}
  c: {skill: crew.slow, needs: [b], with: {word: hello, seconds: 60}}
"""
HANGING = """
name: hanging
steps:
  h: {skill: payer.hang, with: {seconds: 4}}
"""
PAYING = """
name: paying
steps:
  pay: {skill: payer.pay, with: {amount: 5}, retry: {wait: 0}}
  b: {skill: crew.shout, needs: [pay], with: {word: paid}}
"""
FAILING = """
name: failing
steps:
  w: {skill: crew.words, with: {text: one two}}
  b: {skill: crew.fail, needs: [w], with: {why: "${{ steps.w.output[1] }}"}}
  c: {skill: crew.shout, needs: [b], with: {word: x}}
"""
DYING = """
name: dying
steps:
  d: {skill: payer.die, with: {word: bad}, retry: {attempts: 1}}
"""


class Here:
    """The folder of a system that is up."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: str, **more: str) -> Ended:
        return consort(self.folder, *arguments, **more)

    def submit(self, text: str, *arguments: str) -> str:
        path = self.folder / "plan.yaml"
        path.write_text(text)
        done = self("submit", str(path), *arguments)
        assert done.code == 0, done.err
        return done.out.strip()

    def show(self, run: str) -> Any:
        done = self("show", run, "--json")
        return done.json if done.code == 0 else {"state": done.err, "steps": []}

    def phases(self, run: str) -> dict[str, str]:
        return {step["path"]: step["phase"] for step in self.show(run)["steps"]}

    def until_phase(self, run: str, path: str, phase: str) -> None:
        until(lambda: self.phases(run).get(path) == phase, 30, lambda: json.dumps(self.show(run)))

    def until_state(self, run: str, state: str) -> None:
        until(lambda: self.show(run)["state"] == state, 30, lambda: json.dumps(self.show(run)))

    def letter_of(self, run: str) -> int:
        until(lambda: self("dead", "--run", run, "--json").json != [])
        found: int = self("dead", "--run", run, "--json").json[-1]["id"]
        return found


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    folder = tmp_path_factory.mktemp("operating")
    with started(folder, "up", "--agents", f"{CREW},{PAYER}", name="up") as up:
        up.until_says("ready; Ctrl-C stops everything", 60)
        yield Here(folder)


def test_cancelling_shows_who_lets_go_and_what_is_undone(here: Here) -> None:
    """C10: a cancel reaches the processes at once, each acknowledges, compensation runs."""
    run = here.submit(TRIP)
    here.until_phase(run, "b", "granted")
    cancelled = here("cancel", run[:14], "--why", "enough")
    assert cancelled.code == 0, cancelled.err
    told = cancelled.out.splitlines()
    assert told[0] == "the run is being cancelled, says person.me: enough"
    assert told[1].startswith("crew (")
    assert told[1].endswith(") has stopped b")
    assert any(line.startswith("a!undo is done by crew") for line in told)
    assert told[-1] == "the run is cancelled: enough; 1 step undone"
    at = {
        fact["fact"]: entry["at"]
        for entry in (json.loads(line)["entry"] for line in here("log", run, "--json").out.splitlines())
        for fact in entry["facts"]
    }
    assert at["heeded"] - at["ending"] < 3  # a few milliseconds, on a machine that is not busy
    shown = here.show(run)
    assert shown["undone"] == ["a"]
    assert {step["path"]: step["phase"] for step in shown["steps"]} == {
        "a": "done", "b": "cancelled", "c": "cancelled", "a!undo": "done",
    }  # fmt: skip
    again = here("cancel", run)
    assert (again.code, again.out) == (2, "")
    assert "it has ended already, it is cancelled" in again.err
    for verb in ("pause", "resume", "retry"):
        assert here(verb, run).code == 2


def test_an_end_is_forced_where_nobody_undoes(here: Here) -> None:
    run = here.submit(ORPHANED)
    here.until_phase(run, "c", "granted")
    assert here("cancel", run, "--why", "enough", "--no-wait").code == 0
    here.until_state(run, "undoing")
    again = here("cancel", run)
    assert again.code == 4
    [told] = again.out.splitlines()
    assert "is being cancelled, says person.me: b!undo waits for an agent that offers nobody.offers" in told
    assert f"consort cancel {run[:12]} --force" in told
    assert here("cancel", run, "--json").json["awaits"] == [
        "b!undo waits for an agent that offers nobody.offers"
    ]
    assert f"consort cancel {run[:12]} --force" in " ".join(here("show", run).out.split())
    found = here("doctor", "--json").json["findings"]
    assert any(f"consort cancel {run[:12]} --force" in one["mend"] for one in found)
    forced = here("cancel", run, "--force", "--why", "too late")
    assert forced.code == 1, forced.err
    lines = forced.out.splitlines()
    assert lines[0] == "nothing more is undone, person.me forces the end: too late"
    assert lines[1].startswith("b is NOT undone (no agent offered nobody.offers): given up by person.me")
    assert lines[2].startswith("a is NOT undone (it was not begun): given up by person.me")
    assert lines[-1].startswith("2 completed steps to be undone by hand: consort show ")
    shown = here.show(run)
    assert (shown["state"], shown["undone"]) == ("cancelled", [])
    assert [(one["path"], one["skill"]) for one in shown["not_undone"]] == [
        ("b", "nobody.offers"), ("a", "crew.shout"),
    ]  # fmt: skip
    assert "crew.shout is to be done by hand" in " ".join(here("show", run).out.split())
    assert "not undone: `b`, `a`, as person.me forced the end: too late" in here("result", run).err
    assert here("log", run).out.count("is NOT undone") == 2
    late = here("cancel", run, "--force")
    assert (late.code, "it has ended already" in late.err) == (2, True)
    at_once = here.submit(TRIP)
    here.until_phase(at_once, "b", "granted")
    told = here("cancel", at_once, "--force", "--json")
    assert (told.code, told.json["forced"], told.json["state"]) == (1, True, "cancelled")
    assert [one["path"] for one in told.json["not_undone"]] == ["a"]


def test_cancelling_says_what_cannot_be_interrupted(here: Here) -> None:
    run = here.submit(HANGING)
    here.until_phase(run, "h", "granted")
    until(lambda: here("agents", "--json").json[1]["processes"][0]["busy"] == 1)
    told = here("cancel", run, "--json").json
    assert (told["state"], told["undone"], told["in_doubt"]) == ("cancelled", [], [])
    [answer] = told["cannot"]
    assert (answer["agent"], answer["path"], answer["how"]) == ("payer", "h", "cannot")
    assert told["acknowledged"] == told["cannot"]


def test_a_run_is_held_back_and_goes_on(here: Here) -> None:
    run = here.submit(TRIP, "--input", "seconds=1.5")
    here.until_phase(run, "b", "granted")
    paused = here("pause", run, "--why", "lunch", "--json")
    assert paused.code == 0, paused.err
    [answer] = paused.json["acknowledged"]
    assert (answer["path"], answer["how"], paused.json["state"]) == ("b", "goes-on", "paused")
    here.until_phase(run, "b", "done")
    shown = here("show", run)
    assert "starts when the run is resumed" in " ".join(shown.out.split())
    assert f"consort resume {run[:12]}" in shown.out
    assert [one["state"] for one in here("runs", "--json").json if one["run"] == run] == ["paused"]
    assert [one["run"] for one in here("pause", "--json").json["runs"]] == [run]
    again = here("pause", run)
    assert (again.code, "is paused already, by person.me" in again.err) == (0, True)
    assert here("resume", run).code == 0
    assert here("result", run, "--timeout", "30").out == '{\n  "c": "END"\n}\n'
    late = here("resume", run)
    assert (late.code, "it is completed" in late.err) == (2, True)


def test_an_agent_is_held_back_and_its_backlog_is_kept(here: Here) -> None:
    unknown = here("pause", "--agent", "nobody")
    assert unknown.code == 2
    assert "known are crew, payer" in unknown.err
    paused = here("pause", "--agent", "crew", "--why", "paint", "--json")
    assert paused.code == 0, paused.err
    assert paused.json["applied"]["orchestrators"] == ["main"]
    assert paused.json["applied"]["paused"] == ["crew"]
    assert "agent crew" in here("pause").out
    again = here("pause", "--agent", "crew", "--why", "another reason")
    assert again.code == 0, again.err
    assert again.out.startswith("agent crew is already paused since ")
    assert again.out.endswith(" by person.me: paint; nothing was changed\n")
    assert here("pause", "--agent", "crew", "--json").json["applied"]["already"]["why"] == "paint"
    assert [one["why"] for one in here("pause", "--json").json["agents"]] == ["paint"]
    run = here.submit(TRIP, "--input", "seconds=0.1")
    here.until_state(run, "waiting")
    assert "crew is paused by person.me" in " ".join(here("show", run).out.split())
    assert here("resume", "--agent", "payer").code == 2
    assert here("resume", "--all").code == 2
    resumed = here("resume", "--agent", "crew")
    assert (resumed.code, resumed.out) == (0, "agent crew goes on, says main\n")
    assert here("result", run, "--timeout", "30").code == 0
    assert here("pause", "--json").json["agents"] == []


def test_everything_is_held_back(here: Here) -> None:
    assert here("pause", "--all").code == 0
    run = here.submit(TRIP, "--input", "seconds=0.1")
    here.until_state(run, "waiting")
    assert here("pause").out.startswith("everything, since ")
    assert here("resume", "--all", "--json").json["applied"]["resumed"] == ["crew", "payer"]
    assert here("result", run, "--timeout", "30").code == 0


def test_a_failed_run_goes_on_where_it_failed(here: Here) -> None:
    run = here.submit(FAILING)
    assert here("watch", run, "--no-live").code == 1
    assert "two" in here("result", run).err
    for arguments, words in (
        (("w",), "w has not failed, it is done"),
        (("nope",), "has no step 'nope'; failed have b"),
        (("--input", "why=x"), "name it"),
    ):
        refused = here("retry", run, *arguments)
        assert refused.code == 2
        assert words in refused.err
    again = here("retry", run, "b", "--json")
    assert (again.code, again.json["reopened"], again.json["inputs"]) == (0, ["b"], None), again.err
    here.until_state(run, "failed")
    assert "two" in here("result", run).err
    other = here("retry", run, "b", "--input", "why=once more", "--json")
    assert other.json["inputs"] == {"why": "once more"}
    here.until_state(run, "failed")
    assert "once more" in here("result", run).err
    log = here("log", run).out
    assert log.count("b is to be done again") == 2
    assert "with other inputs" in log


def test_a_person_says_whether_an_effect_happened(here: Here) -> None:
    run = here.submit(PAYING)
    here.until_state(run, "asking")
    shown = here.show(run)
    assert shown["questions"][0]["key"] == "charge"
    assert f"consort effects resolve {run[:12]} pay charge" in shown["steps"][0]["text"]
    [line] = here("effects", run, "--json").json
    assert (line["path"], line["key"], line["state"], line["agent"]) == ("pay", "charge", "in doubt", "payer")
    assert "--done or --redo" in here("effects", run).out
    for arguments in (("pay", "mail", "--redo"), ("b", "charge", "--redo"), ("pay", "charge"),
                      ("pay", "charge", "--redo", "--value", "1"), ("pay", "charge", "--redo", "--done")):  # fmt: skip
        assert here("effects", "resolve", run, *arguments).code == 2
    answered = here("effects", "resolve", run, "pay", "charge", "--done", "--value", '{"paid": 5}')
    assert answered.code == 0, answered.err
    assert "charge of pay is done, says person.me" in answered.out
    assert here("result", run, "--timeout", "30").out == '{\n  "b": "PAID"\n}\n'
    [line] = here("effects", run, "--json").json
    assert (line["state"], line["by"], line["output"]["value"]) == ("done", "person.me", {"paid": 5})
    late = here("effects", "resolve", run, "pay", "charge", "--redo")
    assert (late.code, "is done already, says person.me" in late.err) == (2, True)


def test_a_task_that_kills_its_process_is_set_aside_and_mended(here: Here) -> None:
    """C9, S99: a poisonous task is set aside whole, and redriven with other inputs."""
    run = here.submit(DYING)
    assert here("watch", run, "--no-live").code == 1
    assert "poison" in here("result", run).err
    letter = here.letter_of(run)
    shown = here("dead", "show", str(letter), "--json").json
    assert (shown["kind"], shown["step"], shown["run"], shown["trace"]) == ("poison", "d", run, run)
    assert shown["value"]["inputs"] == {"word": "bad"}
    (here.folder / "fixed.json").write_text('{"inputs": {"word": "good"}}')
    redriven = here("dead", "redrive", str(letter), "--body", "fixed.json")
    assert redriven.code == 0, redriven.err
    assert here("result", run, "--timeout", "30").out == '{\n  "d": "GOOD"\n}\n'
    for command in ("redrive", "drop"):
        late = here("dead", command, str(letter))
        assert late.code == 2
        assert "was redriven by person.me" in late.err
    assert here("dead", "--run", run, "--json").json == []
    [settled] = here("dead", "list", "--run", run, "--all", "--json").json
    assert settled["settled"]["how"] == "redriven"


def test_a_submission_that_is_no_plan_is_mended_in_an_editor(here: Here) -> None:
    server = here("bus", "status", "--json").json["server"]
    creds = str(here.folder / "ci.creds")
    assert here("access", "issue", "client", "ci", "--out", creds).code == 0
    at = {"CONSORT_SERVER": server, "CONSORT_CREDS": creds}
    refused = here("dead", **at)
    assert refused.code == 2
    assert "consort access issue operator" in refused.err
    run = "ab" * 16
    publish(server, creds, f"in.client.ci.{run}", b'{"say": "submit", "plan": {"name": "p"}, "goal": "GOAL"}')
    letter = here.letter_of(run)
    assert here("dead", "redrive", str(letter), "--edit", EDITOR="true").code == 2
    broken = here("dead", "redrive", str(letter), "--edit", EDITOR="sed -i s/{/[/")
    assert (broken.code, "it is kept: consort dead redrive" in broken.err) == (2, True)
    unfit = here("dead", "redrive", str(letter), "--edit", EDITOR="sed -i s/GOAL/other/")
    assert (unfit.code, "plan.steps: Field required" in unfit.err) == (2, True)
    steps = '"name": "p", "steps": {"a": {"skill": "crew.shout", "with": {"word": "w"}}}'
    fixed = here("dead", "redrive", str(letter), "--edit", EDITOR=f'sed -i \'s/"name": "p"/{steps}/\'')
    assert fixed.code == 0, fixed.err
    assert here("result", run, "--timeout", "30").out == '{\n  "a": "W"\n}\n'
    assert here.show(run)["client"] == "client.ci"
    trip = here.submit(TRIP)
    here.until_phase(trip, "b", "granted")
    for command in ("cancel", "pause", "resume", "retry"):
        foreign = here(command, trip, **at)
        assert foreign.code == 2
        assert "is client.me's, and these credentials are of client.ci" in foreign.err
    assert here("cancel", trip, "--no-wait", "--quiet").code == 0
    here.until_state(trip, "cancelled")


def test_an_order_that_is_refused_is_an_answer_and_nobody_has_to_settle_it(here: Here) -> None:
    run = here.submit(TRIP, "--input", "seconds=0.1")
    assert here("result", run, "--timeout", "30").code == 0
    other = here.submit(TRIP, "--input", "seconds=0.1")
    assert here("result", other, "--timeout", "30").code == 0
    unsettled = here("doctor", "--json").json["components"][-1]

    async def refusals() -> list[str]:
        async with connect(folder=here.folder / ".consort", role="operator") as client:
            operator = Operator.of(client)

            async def refused(asked: int, of: str = run) -> str:
                with pytest.raises(NotAllowed) as caught:
                    await heard(client, await picture_of(client, of), asked, lambda fact: False)
                return str(caught.value)

            orders = (client.cancel, client.retry, client.pause, client.resume)
            why = [await refused(await order(run)) for order in orders]
            why.append(await refused(await client.resolve(run, "a", "pay", "redo")))
            letters = await operator.letters(run=run, settled=True)
            assert [(letter.kind, letter.reason) for letter in letters] == [("refused", one) for one in why]
            assert "is not of this run" in await refused(
                await operator._tell(other, Redrive(letter=letters[0].id)), other
            )
            with pytest.raises(LetterSettled, match=r"was refused by orchestrator\.main-"):
                await operator.redrive(letters[0].id)
            return why

    ended = "the run has ended: completed"
    assert asyncio.run(refusals()) == [
        ended, ended, ended, ended, "`a` has no effect `pay`; it has begun none",
    ]  # fmt: skip
    until(lambda: here("dead", "--run", run, "--json").json == [])
    until(lambda: here("dead", "--run", other, "--json").json == [])
    assert here("dead", "list", "--run", run, "--all").out.count("refused by orchestrator.main-") == 5
    assert here("doctor", "--json").json["components"][-1] == unsettled


def test_how_long_everything_is_kept_is_said_once(here: Here) -> None:
    for option in ("--keep", "--keep-dead", "--keep-artefacts"):
        for nonsense in ("0", "23h", "-1d", "soon", "nan", "101y", "40000d", "1e300d"):
            refused = here("bus", "setup", option, nonsense)
            assert (refused.code, refused.out) == (2, ""), nonsense
            assert option in refused.err
    short = here("bus", "setup", "--keep-artefacts", "2d")
    assert (short.code, "the log that refers to them is kept for 30 days" in short.err) == (2, True)
    assert here("bus", "setup", "--keep", "90d", "--keep-dead", "14d").out.count("updated") == 6
    assert here("bus", "setup").out == "all is as it should be\n"
    checked = here("bus", "check")
    assert checked.code == 0, checked.out
    assert (
        "kept: log, context, journals, calls of tools and artefacts 90 days, dead letters 14 days"
        in checked.out
    )
    [kept] = [one for one in here("bus", "check", "--json").json if one["what"] == "kept"]
    assert (kept["level"], kept["seconds"]["LOG"], kept["seconds"]["DEAD"]) == (
        "note",
        90 * 86400,
        14 * 86400,
    )
    found = here("doctor", "--json").json["findings"]
    assert [one["level"] for one in found if one["check"] == "topology"] == ["ok"]


def publish(server: str, creds: str, subject: str, body: bytes) -> None:
    import asyncio

    from consort_bus.connection import open_bus
    from consort_bus.credentials import Credentials

    async def send() -> None:
        async with open_bus(server, Credentials.load(Path(creds))) as bus:
            await bus.request(subject, body)

    asyncio.run(send())
