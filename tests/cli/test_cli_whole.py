"""The command line as people use it: real processes, one bus to a folder."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_kit import CREW, HELPER, WORDS, alive, clean_environment, command, consort, started, until

pytestmark = pytest.mark.slow

SLOW = """
name: slow
inputs: {seconds: {type: number, default: 1}}
steps:
  a: {skill: crew.words, with: {text: one two, seconds: "${{ inputs.seconds }}"}}
  b: {skill: crew.shout, needs: [a], with: {word: "${{ steps.a.output[0] }}"}}
"""
MIXED = """
name: mixed
steps:
  a: {skill: crew.words, with: {text: one two}}
  b: {skill: helper.join, needs: [a], with: {words: "${{ steps.a.output }}"}}
"""
FAILING = """
name: failing
steps:
  a: {skill: crew.fail, with: {why: no luck}}
"""


def plan(folder: Path, text: str) -> str:
    path = folder / "plan.yaml"
    path.write_text(text)
    return str(path)


def pids_of(folder: Path) -> list[int]:
    """The processes whose command line names something in the folder: bus, orchestrators, agents."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and alive(int(entry.name)):
            try:
                line = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if f"{folder}/.consort" in line:
                found.append(int(entry.name))
    return found


def test_run_does_everything_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """J1: one command starts all that a run needs, and stops it again."""
    run = consort(tmp_path, "run", WORDS, "--input", "text=hello big world", "--agents", CREW, "--json")
    assert run.code == 0, run.err
    told = run.json
    assert told["state"] == "completed"
    assert told["agents"]["crew"]["tasks"] == 5
    out = tmp_path / ".consort" / "results" / told["run"]
    assert sorted(path.name for path in out.iterdir()) == ["picture.svg", "report.md", "result.json"]
    assert (out / "picture.svg").read_bytes() == b"<svg/>"
    assert "hello" not in (out / "report.md").read_text()
    assert "each[2] is done by crew" in run.err
    assert pids_of(tmp_path) == []

    [listed] = consort(tmp_path, "runs", "--json").json
    assert (listed["run"], listed["state"]) == (told["run"], "completed")
    shown = consort(tmp_path, "show", told["run"][:8])
    assert shown.code == 0
    assert "completed" in shown.out
    steps = consort(tmp_path, "show", "last", "--json").json["steps"]
    assert {step["path"]: step["phase"] for step in steps}["each[1]"] == "done"
    assert consort(tmp_path, "result", "last", "--json").json == told["output"]
    log = [json.loads(line) for line in consort(tmp_path, "log", "last", "--json").out.splitlines()]
    assert [line["entry"]["n"] for line in log] == list(range(1, told["entries"] + 1))
    for arguments in (["agents"], ["dead"], ["context", "last"]):
        read = consort(tmp_path, *arguments, "--json")
        assert (read.code, read.json) == (0, []), read.err
    assert consort(tmp_path, "show", "f" * 32).code == 2
    assert consort(tmp_path, "watch", "last", "--no-live", "--from", "3").out.count("hands in") == 0
    assert pids_of(tmp_path) == []


def test_a_run_that_cannot_be_is_refused_before_anything_starts(tmp_path: Path) -> None:
    unknown = consort(tmp_path, "run", plan(tmp_path, MIXED), "--agents", CREW)
    assert unknown.code == 2
    assert "no agent offers `helper.join`" in unknown.err
    assert "crew.words" in unknown.err
    missing = consort(tmp_path, "run", WORDS, "--agents", CREW)
    assert missing.code == 2
    assert "inputs.text: is missing" in missing.err
    broken = consort(tmp_path, "run", plan(tmp_path, MIXED), "--agents", f"{CREW},no_such_agent")
    assert broken.code == 2
    assert "no_such_agent" in broken.err
    assert not (tmp_path / ".consort").exists()


def test_a_run_that_fails_ends_with_1(tmp_path: Path) -> None:
    run = consort(tmp_path, "run", plan(tmp_path, FAILING), "--agents", CREW)
    assert run.code == 1
    assert "failed" in run.out
    assert "no luck" in run.out
    result = consort(tmp_path, "result", "last")
    assert result.code == 1
    assert "no luck" in result.err


def test_up_keeps_everything_running_and_ends_in_order(tmp_path: Path) -> None:
    with started(tmp_path, "up", "--agents", CREW, "--slots", "crew=2", name="up") as up:
        up.until_says("ready; Ctrl-C stops everything")
        assert consort(tmp_path, "up").code == 2
        [agent] = consort(tmp_path, "agents", "--json").json
        assert (agent["name"], agent["version"], agent["slots"]) == ("crew", "1.2", 2)

        beside = consort(tmp_path, "run", plan(tmp_path, MIXED), "--agents", HELPER, "--json")
        assert beside.code == 0, beside.err
        assert set(beside.json["agents"]) == {"crew", "helper"}
        assert consort(tmp_path, "plan", "check", WORDS, "--running").code == 0

        run = consort(tmp_path, "submit", plan(tmp_path, SLOW), "--input", "seconds=3").out.strip()
        until(lambda: '"granted"' in consort(tmp_path, "show", run, "--json").out)
        os.kill(agent["processes"][0]["pid"], signal.SIGKILL)
        watched = consort(tmp_path, "watch", run, "--no-live")
        assert watched.code == 0
        assert "b is done by crew" in watched.out
        assert "agent-crew was ended by SIGKILL, starts again" in up.text

        up.process.send_signal(signal.SIGINT)
        assert up.process.wait(30) == 0
        assert "all stopped" in up.text
    assert pids_of(tmp_path) == []


def test_what_a_killed_up_leaves_goes_on_with_the_next(tmp_path: Path) -> None:
    with started(tmp_path, "up", "--agents", CREW, name="first") as up:
        up.until_says("ready")
        run = consort(tmp_path, "submit", plan(tmp_path, MIXED)).out.strip()
        until(lambda: '"state": "waiting"' in consort(tmp_path, "show", run, "--json").out)
        bus = int((tmp_path / ".consort" / "bus" / "server.pid").read_text())
        up.process.kill()
        until(lambda: pids_of(tmp_path) == [bus])
    assert consort(tmp_path, "result", run).code == 4
    assert consort(tmp_path, "result", run, "--timeout", "0.2").code == 4
    with started(tmp_path, "up", "--agents", f"{CREW},{HELPER}", name="second") as up:
        assert consort(tmp_path, "watch", run, "--no-live").code == 0
        assert consort(tmp_path, "result", run).out == '{\n  "b": "one two"\n}\n'
        second = consort(tmp_path, "submit", plan(tmp_path, SLOW), "--input", "seconds=60").out.strip()
        cancelled = consort(tmp_path, "cancel", second, "--why", "enough", "--json")
        assert (cancelled.code, cancelled.json["state"]) == (0, "cancelled")
        assert consort(tmp_path, "watch", second, "--no-live").code == 1
    assert pids_of(tmp_path) == []


def test_a_run_handed_in_while_nobody_is_there(tmp_path: Path) -> None:
    assert consort(tmp_path, "bus", "start").code == 0
    try:
        run = "ab" * 16
        for _ in range(2):
            again = consort(tmp_path, "submit", plan(tmp_path, SLOW), "--run", run, "--json")
            assert again.json == {"run": run}
        unknown = consort(tmp_path, "show", "last")
        assert unknown.code == 2
        assert "once it has been taken up" in unknown.err
        with started(tmp_path, "watch", "last", "--no-live", name="watch") as watch:
            began = time.monotonic()
            watch.until_says("nobody has taken up the run yet")
            assert time.monotonic() - began < 10
            with started(tmp_path, "orchestrator", "start", "--name", "alone", name="orchestrator"):
                watch.until_says("a waits for an agent that offers crew.words")
                assert consort(tmp_path, "show", run, "--json").json["state"] == "waiting"
                with started(tmp_path, "agent", "start", CREW, name="agent") as agent:
                    assert watch.process.wait(30) == 0
                    assert "the run is completed" in watch.text
                    agent.process.send_signal(signal.SIGTERM)
                    assert agent.process.wait(20) == 0
        assert consort(tmp_path, "result", "last").out == '{\n  "b": "ONE"\n}\n'
    finally:
        assert consort(tmp_path, "bus", "stop", "--json").json == {"stopped": True}
    assert pids_of(tmp_path) == []


def test_ctrl_c_leaves_the_run_on_the_log(tmp_path: Path) -> None:
    arguments = ["run", plan(tmp_path, SLOW), "--input", "seconds=600", "--agents", CREW]
    with started(tmp_path, *arguments, name="run") as run:
        run.until_says("a goes to crew")
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(30) == 130
        assert "it goes on with `consort up`" in run.text
    assert pids_of(tmp_path) == []
    [listed] = consort(tmp_path, "runs", "--json").json
    assert listed["state"] == "running"
    assert "no process is there" in consort(tmp_path, "show", "last").out
    with started(tmp_path, "watch", "last", "--no-live", name="watch") as watch:
        watch.until_says("crew has tasks of this run, but no process of it is there now")


def test_a_bus_elsewhere_needs_nothing_started_here(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    with started(there, "up", "--agents", CREW, "--json", name="up") as up:
        up.until_says("ready")
        server = json.loads(up.text.splitlines()[0])["server"]
        creds = str(here / "ci.creds")
        assert consort(there, "access", "issue", "client", "ci", "--out", creds, "--ttl", "1h").code == 0
        at = {"CONSORT_SERVER": server, "CONSORT_CREDS": creds}
        run = consort(here, "run", WORDS, "--input", "text=a b", "--json", "--out", "out", **at)
        assert run.code == 0, run.err
        assert consort(here, "show", "last", "--json", **at).json["client"] == "client.ci"
        assert consort(here, "bus", "check", **at).code == 3
        assert sorted(path.name for path in here.iterdir()) == ["ci.creds", "out"]


def test_a_bus_that_is_not_there_is_told_of_soon(tmp_path: Path) -> None:
    assert consort(tmp_path, "access", "issue", "client", "me", "--out", "me.creds").code == 0
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        for address in ("nats://127.0.0.1:1", f"nats://127.0.0.1:{silent.getsockname()[1]}"):
            began = time.monotonic()
            read = consort(tmp_path, "runs", "--server", address, "--creds", "me.creds")
            assert read.code == 3
            assert "no bus at" in read.err
            assert time.monotonic() - began < 6
    assert consort(tmp_path, "runs", "--server", "nats://127.0.0.1:1").code == 2
    assert consort(tmp_path, "runs", "--server", "nats://127.0.0.1:1", "--creds", "none.creds").code == 3


def test_the_live_view_on_a_terminal(tmp_path: Path) -> None:
    main, other = pty.openpty()
    environment = {**clean_environment(TERM="xterm-256color"), "COLUMNS": "80", "LINES": "24"}
    arguments = command("run", plan(tmp_path, SLOW), "--agents", CREW)
    with subprocess.Popen(
        arguments, cwd=tmp_path, env=environment, stdin=other, stdout=other, stderr=other
    ) as process:
        os.close(other)
        seen = b""
        while True:
            try:
                part = os.read(main, 65536)
            except OSError:  # Linux says so when the other end is closed
                break
            if not part:
                break
            seen += part
        assert process.wait(30) == 0
    os.close(main)
    text = seen.decode()
    assert "2 of 2 tasks done" in text
    assert "slow: completed in" in text
    assert "hands in plan" not in text


def test_output_that_nobody_reads_is_no_error(tmp_path: Path) -> None:
    assert consort(tmp_path, "run", plan(tmp_path, FAILING), "--agents", CREW, "--quiet").code == 1
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.close()"], stdin=subprocess.PIPE
    ) as reader:
        reader.wait()
        done = subprocess.run(
            command("log", "last", "--full"),
            cwd=tmp_path,
            env=clean_environment(),
            stdout=reader.stdin,
            stderr=subprocess.PIPE,
        )
    assert done.returncode == 0
    assert done.stderr == b""
