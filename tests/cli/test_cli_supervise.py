"""Child processes: started again, stopped, and never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_kit import alive, until, until_async

from consort_orchestrator.cli.supervise import Child, Supervisor, ended, last_words, rotate
from consort_shared.lifeline import ORPHANED, Lifeline

SLEEPER = "import time; print('up', flush=True); time.sleep(600)"


def child(name: str, code: str) -> Child:
    return Child(name, (sys.executable, "-c", code))


@pytest.mark.slow
async def test_a_child_that_dies_is_started_again(tmp_path: Path) -> None:
    told: list[str] = []
    async with Supervisor(tmp_path, told.append) as supervisor:
        first = await supervisor.start(child("a", SLEEPER))
        os.kill(first, signal.SIGKILL)
        await until_async(lambda: bool(supervisor.processes) and supervisor.processes[0][1] != first)
        second = supervisor.processes[0][1]
        assert "a was ended by SIGKILL, starts again" in told[0]
    await until_async(lambda: not alive(second))


@pytest.mark.slow
async def test_a_child_that_can_never_work_is_not(tmp_path: Path) -> None:
    async with Supervisor(tmp_path, lambda _: None) as supervisor:
        await supervisor.start(child("a", "import sys; print('wrong name'); sys.exit(2)"))
        async with asyncio.timeout(20):
            broken = await supervisor.broken
        assert (broken.name, broken.why) == ("a", "wrong name")
        assert supervisor.processes == []


@pytest.mark.slow
async def test_a_child_that_keeps_dying_waits_longer_each_time(tmp_path: Path) -> None:
    told: list[str] = []
    async with Supervisor(tmp_path, told.append) as supervisor:
        await supervisor.start(child("a", "raise SystemExit(1)"))
        await until_async(lambda: len(told) >= 3)
    assert [line.split(" starts again in ")[1][:5] for line in told[:3]] == ["0.2 s", "0.4 s", "0.8 s"]


@pytest.mark.slow
async def test_children_do_not_hear_what_the_terminal_tells_the_supervisor(tmp_path: Path) -> None:
    async with Supervisor(tmp_path, lambda _: None) as supervisor:
        pid = await supervisor.start(child("a", SLEEPER))
        assert os.getpgid(pid) == pid != os.getpgrp()


def test_logs_are_rotated_at_the_start(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    for number in range(6):
        rotate(log)
        log.write_text(str(number))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.log", "a.log.1", "a.log.2", "a.log.3"]
    assert [(tmp_path / name).read_text() for name in ("a.log", "a.log.1", "a.log.3")] == ["5", "4", "2"]


def test_last_words(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    assert last_words(log) == ""
    log.write_bytes(b"x" * 10_000 + b"\nthe reason\xff\n\n")
    assert last_words(log).startswith("the reason")
    assert (ended(3), ended(-9)) == ("ended with code 3", "was ended by SIGKILL")


HOLDER = """
import sys, threading
from consort_shared.lifeline import hold_on
stop = threading.Event()
print(hold_on(stop.set if {gentle} else (lambda: None), patience=0.2), flush=True)
stop.wait(60)
sys.exit(7)
"""


def start_holder(lifeline: Lifeline, gentle: bool) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER.format(gentle=gentle)],
        env=lifeline.environment(),
        pass_fds=(lifeline.reading,),
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize(("gentle", "code"), [(True, 7), (False, ORPHANED)])
def test_a_child_notices_that_its_supervisor_is_gone(gentle: bool, code: int) -> None:
    with Lifeline() as lifeline:
        process = start_holder(lifeline, gentle)
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        assert process.poll() is None
    with process:
        assert process.wait(20) == code


def test_without_a_supervisor_there_is_nothing_to_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    from consort_shared.lifeline import VARIABLE, hold_on

    assert not hold_on(lambda: None)
    for wrong in ("x", "-1", "99999", "0" * 400):
        monkeypatch.setenv(VARIABLE, wrong)
        assert not hold_on(lambda: None)
        assert VARIABLE not in os.environ


KILLED = """
import asyncio, sys
from pathlib import Path
from consort_orchestrator.cli.supervise import Child, Supervisor

code = "import threading; from consort_shared.lifeline import hold_on; e = threading.Event(); hold_on(e.set); e.wait()"

async def main():
    async with Supervisor(Path({folder!r}), print) as supervisor:
        print(await supervisor.start(Child("a", (sys.executable, "-c", code))), flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.slow
def test_children_end_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED.format(folder=str(tmp_path))], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert alive(pid)
        process.kill()
    until(lambda: not alive(pid), 20)
