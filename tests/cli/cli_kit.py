"""What the tests of the command line share: logs made by hand, and the command as a process."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consort_bus.client import Logged
from consort_orchestrator.cli import invoke
from consort_orchestrator.cli.follow import Picture
from consort_shared.entries import Accepted, Entry, Fact, Granted, Submitted
from consort_shared.messages import Output
from consort_shared.plan.model import Plan
from consort_shared.values import Json, digest

HERE = Path(__file__).parent
CREW = f"{HERE / 'crew.py'}:agent"
HELPER = f"{HERE / 'crew.py'}:other"
WORDS = str(HERE / "words.yaml")
RUN = "0123456789abcdef" * 2


class Log:
    """Writes entries as an orchestrator would, for views to be fed with."""

    def __init__(self, plan: dict[str, Any], at: float = 1000.0) -> None:
        self.picture = Picture.of(RUN)
        self.at = at
        self.entries: list[Logged] = []
        self.add(Submitted(client="client.me", plan=Plan.model_validate(plan)))

    def add(self, *facts: Fact, after: float = 0.0) -> Logged:
        self.at += after
        n = len(self.entries) + 1
        prev = self.entries[-1].digest if self.entries else ""
        entry = Entry(run=RUN, n=n, at=self.at, writer="o", prev=prev, facts=facts)
        logged = Logged(entry, n, f"{n:064x}", None)
        self.entries.append(logged)
        self.picture.take(logged)
        return logged

    def grant(self, path: str, agent: str = "crew", attempt: int = 1, after: float = 0.0) -> str:
        task = f"{len(self.entries) + 1}-0"
        self.add(
            Granted(path=path, task=task, attempt=attempt, agent=agent, skill="x.y", deadline=9e9, nonce="n"),
            after=after,
        )
        return task

    def accept(
        self, path: str, task: str, agent: str = "crew", value: Json = None, after: float = 1.0
    ) -> None:
        output = Output(value=value, digest=digest(value))
        self.add(
            Accepted(path=path, task=task, agent=agent, instance="i", output=output, seconds=after),
            after=after,
        )


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.out, self.err
        return json.loads(self.out)


def clean_environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CONSORT_", "NATS_"))}
    return {**kept, "NO_COLOR": "1", **more}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "consort_orchestrator.cli", *arguments]


def consort(folder: Path, *arguments: str, **more: str) -> Ended:
    """Run a command to its end in a folder, within this process: importing everything anew takes a second."""
    before, environment = Path.cwd(), dict(os.environ)
    out, err = io.StringIO(), io.StringIO()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(clean_environment(**more))
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = invoke(list(arguments))
    finally:
        os.chdir(before)
        os.environ.clear()
        os.environ.update(environment)
    return Ended(code, out.getvalue(), err.getvalue())


@contextmanager
def started(folder: Path, *arguments: str, name: str = "command") -> Iterator[Running]:
    """A command that goes on while the block lasts; then it is told to stop, and killed if it does not."""
    out = folder / f"{name}.out"
    with out.open("wb") as file:
        process = subprocess.Popen(
            command(*arguments),
            cwd=folder,
            env=clean_environment(),
            stdout=file,
            stderr=file,
            stdin=subprocess.DEVNULL,
        )
    try:
        yield Running(process, out)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@dataclass(frozen=True, slots=True)
class Running:
    """A command that goes on, and what it has written so far."""

    process: subprocess.Popen[bytes]
    out: Path

    @property
    def text(self) -> str:
        return self.out.read_text()

    def until_says(self, words: str, timeout: float = 30) -> None:
        until(lambda: words in self.text or self.process.poll() is not None, timeout, lambda: self.text)
        assert words in self.text, self.text


def until(holds: Callable[[], bool], timeout: float = 30, told: Callable[[], str] = lambda: "") -> None:
    """Wait for a fact."""
    give_up = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < give_up, f"not within {timeout} seconds\n{told()}"
        time.sleep(0.05)


async def until_async(holds: Callable[[], bool], timeout: float = 20) -> None:
    async with asyncio.timeout(timeout):
        while not holds():
            await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether a process is there; one that only waits to be reaped is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
