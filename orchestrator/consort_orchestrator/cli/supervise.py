"""Child processes: started, kept running, stopped in order.

Each child has a process group and a log file of its own, so that Ctrl-C in the
terminal reaches only the supervisor, which then stops its children kindly. They
hold on to a lifeline: should the supervisor be killed, they notice and stop.

A child that dies is started again after a pause that grows. One that says that it
can never work as it was started (exit code 2) is not: that is told to whoever
waits in `broken`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from consort_orchestrator.cli.wording import one_line, span
from consort_shared.errors import ConsortError
from consort_shared.inheriting import without_keys
from consort_shared.lifeline import Lifeline
from consort_shared.telemetry.health import for_children
from consort_shared.telemetry.logs import message_of

PAUSES = (0.2, 20.0)
"""Seconds before a child is started again: after its first death, and at most."""
STEADY = 20.0
"""Seconds of life after which the pauses start over."""
GRACE = 40.0
"""Seconds a child may take to stop before it is killed."""
UNUSABLE = 2
KEPT_LOGS = 3


class ChildBroken(ConsortError):
    """A process that cannot work as it was started; another attempt would end the same."""

    def __init__(self, name: str, why: str, log: Path) -> None:
        super().__init__(f"{name} cannot be started: {why or 'no reason given'}\n  its log: {log}")
        self.name = name
        self.why = why
        self.log = log
        self.exit_code = UNUSABLE


@dataclass(frozen=True, slots=True)
class Child:
    """A process to be kept running. `name` is also that of its log, `environment` is added to what it inherits.

    One that only decides inherits no keys of models and tools (`keyless`).
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    keyless: bool = False

    def surroundings(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """Its whole environment, but for the lifeline."""
        kept = without_keys(inherited) if self.keyless else inherited
        return {**for_children(kept), **self.environment}


@dataclass(slots=True)
class _Kept:
    child: Child
    log: Path
    process: asyncio.subprocess.Process | None = None
    task: asyncio.Task[None] | None = None
    starts: int = 0
    stopping: bool = False


@dataclass(slots=True)
class Supervisor:
    """Keeps children running while its block lasts, and then stops them, the last started first."""

    logs: Path
    tell: Callable[[str], None]
    broken: asyncio.Future[ChildBroken] = field(init=False)
    _kept: list[_Kept] = field(default_factory=list)
    _lifeline: Lifeline = field(default_factory=Lifeline)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def __aenter__(self) -> Supervisor:
        self.logs.mkdir(parents=True, exist_ok=True)
        self.broken = asyncio.get_running_loop().create_future()
        self._stack.enter_context(self._lifeline)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.stop(list(reversed(self._kept)))
        finally:
            await self._stack.aclose()

    async def start(self, child: Child) -> int:
        """Start a child and keep it running; its pid. Raises OSError when it cannot be started at all."""
        log = self.logs / f"{child.name}.log"
        rotate(log)
        kept = _Kept(child, log)
        await self._spawn(kept)
        self._kept.append(kept)
        kept.task = asyncio.create_task(self._keep(kept))
        assert kept.process is not None
        return kept.process.pid

    @property
    def processes(self) -> list[tuple[str, int, Path]]:
        """Name, pid and log of each child that runs."""
        return [
            (kept.child.name, kept.process.pid, kept.log)
            for kept in self._kept
            if kept.process is not None and kept.process.returncode is None
        ]

    async def stop_named(self, names: Sequence[str]) -> None:
        """Stop some of the children, all at once, and wait for them."""
        await self.stop([kept for kept in self._kept if kept.child.name in names])

    async def stop(self, kept: Sequence[_Kept]) -> None:
        """Stop children, all at once, and wait for them; what does not stop in time is killed."""
        for one in kept:
            one.stopping = True
            _signal(one, signal.SIGTERM)
        tasks = [one.task for one in kept if one.task is not None]
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=GRACE)
        finally:
            for one in kept:
                if one.process is not None and one.process.returncode is None:
                    self.tell(f"{one.child.name} does not stop: killed")
                    _signal(one, signal.SIGKILL)
            self._kept = [one for one in self._kept if one not in kept]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _spawn(self, kept: _Kept) -> None:
        with kept.log.open("ab") as log:
            kept.process = await asyncio.create_subprocess_exec(
                *kept.child.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._lifeline.environment(kept.child.surroundings(os.environ)),
                pass_fds=(self._lifeline.reading,),
                process_group=0,
            )
        kept.starts += 1

    async def _keep(self, kept: _Kept) -> None:
        pause = PAUSES[0]
        while True:
            began = time.monotonic()
            assert kept.process is not None
            code = await kept.process.wait()
            if kept.stopping:
                return
            why = last_words(kept.log)
            if code == UNUSABLE:
                if not self.broken.done():
                    self.broken.set_result(ChildBroken(kept.child.name, why, kept.log))
                self.tell(f"{kept.child.name} cannot work as it was started: {why}")
                return
            if time.monotonic() - began > STEADY:
                pause = PAUSES[0]
            said = f": {why}" if why and code > 0 else ""
            self.tell(f"{kept.child.name} {ended(code)}, starts again in {span(pause)}{said}")
            await asyncio.sleep(pause)
            pause = min(pause * 2, PAUSES[1])
            if kept.stopping:
                return
            await self._spawn(kept)


def _signal(kept: _Kept, number: signal.Signals) -> None:
    """To the whole group, so that what a child has started ends with it."""
    if kept.process is None or kept.process.returncode is not None:
        if kept.task is not None:
            kept.task.cancel()  # it waits to start again
        return
    with suppress(ProcessLookupError, PermissionError):
        if number is signal.SIGKILL:
            os.killpg(kept.process.pid, number)
        else:
            kept.process.send_signal(number)


def rotate(log: Path, kept: int = KEPT_LOGS) -> None:
    """Make room for a new log: the old one becomes `.1`, and so on."""
    for number in range(kept - 1, -1, -1):
        older = log.with_name(f"{log.name}.{number}") if number else log
        if older.exists():
            older.replace(log.with_name(f"{log.name}.{number + 1}"))


def last_words(log: Path) -> str:
    """The last line of a log: most often why a process died."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4000))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return one_line(message_of(next((line for line in reversed(lines) if line.strip()), "")))


def ended(code: int) -> str:
    """How a process ended, by its exit code."""
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
