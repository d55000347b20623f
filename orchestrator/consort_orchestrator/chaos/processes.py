"""The orchestrators and agents under test: started, killed, stopped, started again.

Each is a process of its own that reaches the bus only through links of its own.
One that ends without having been killed is started again and put on record: it is
no fault that anybody injected.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from consort_orchestrator.chaos.guard import Guard
from consort_orchestrator.chaos.proxy import Link
from consort_shared.lifeline import Lifeline
from consort_shared.telemetry.health import for_children

PAUSE = 0.5
"""Seconds before a process that ended by itself is started again."""
STOP_GRACE = 5.0


@dataclass(frozen=True, slots=True)
class Role:
    """How one process is started. `name` is that of its log; `bus_name` the one it has on the bus."""

    name: str
    kind: str
    bus_name: str
    command: tuple[str, ...]
    links: tuple[Link, ...]

    @property
    def url(self) -> str:
        return ",".join(link.url for link in self.links)


@dataclass(slots=True)
class _Running:
    role: Role
    process: asyncio.subprocess.Process | None = None
    watch: asyncio.Task[None] | None = None
    killed: bool = False
    frozen: bool = False
    moved: float = field(default_factory=time.monotonic)
    """when it was last started or let go on"""


class Processes:
    """A context manager: what was started in the block is ended with it."""

    def __init__(self, logs: Path, environment: Mapping[str, str], guard: Guard) -> None:
        self._logs = logs
        self._environment = environment
        self._guard = guard
        self._lifeline = Lifeline()
        self._all: list[_Running] = []
        self._closing = False
        self.surprises: list[str] = []
        """processes that ended though nobody killed them"""

    async def __aenter__(self) -> Processes:
        self._logs.mkdir(parents=True, exist_ok=True)
        self._lifeline.__enter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing = True
        for one in self._all:
            self._signal(one, signal.SIGCONT)
            self._signal(one, signal.SIGTERM)
        watches = [one.watch for one in self._all if one.watch is not None]
        if watches:
            await asyncio.wait(watches, timeout=STOP_GRACE)
        for one in self._all:
            self._signal(one, signal.SIGKILL)
        await asyncio.gather(*watches, return_exceptions=True)
        self._lifeline.__exit__(None, None, None)

    async def start(self, role: Role) -> None:
        one = _Running(role)
        self._all.append(one)
        await self._spawn(one)

    def of(self, kind: str) -> list[str]:
        return [one.role.name for one in self._all if one.role.kind == kind]

    def role(self, name: str) -> Role:
        return self._named(name).role

    def kill(self, name: str) -> None:
        one = self._named(name)
        one.killed = True
        self._signal(one, signal.SIGKILL)

    async def revive(self, name: str) -> None:
        """Start a process that was killed."""
        one = self._named(name)
        if one.watch is not None:
            await one.watch
        one.killed = False
        await self._spawn(one)

    def freeze(self, name: str) -> None:
        one = self._named(name)
        one.frozen = True
        self._signal(one, signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        one = self._named(name)
        self._signal(one, signal.SIGCONT)
        one.frozen, one.moved = False, time.monotonic()

    def cannot_act(self, pid: int, since: float, seconds: float) -> bool:
        """Whether a process has done what it was about to do at `since`, or never will.

        It is gone, or has been running for so many `seconds` since then without having been stopped.
        """
        for one in self._all:
            if one.process is not None and one.process.pid == pid and one.process.returncode is None:
                return _ran_on(one, since, seconds)
        return True

    def all_ran_on(self, since: float, seconds: float) -> bool:
        """The same of every agent's process that is there."""
        return all(_ran_on(one, since, seconds) for one in self._all if one.role.kind == "agent")

    def _named(self, name: str) -> _Running:
        return next(one for one in self._all if one.role.name == name)

    async def _spawn(self, one: _Running) -> None:
        role = one.role
        with (self._logs / f"{role.name}.log").open("ab") as log:
            one.process = await asyncio.create_subprocess_exec(
                *role.command,
                "--server",
                role.url,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._lifeline.environment({**for_children(os.environ), **self._environment}),
                pass_fds=(self._lifeline.reading,),
                process_group=0,
            )
        one.moved = time.monotonic()
        self._guard.began(one.process.pid)
        one.watch = asyncio.create_task(self._watch(one, one.process))

    async def _watch(self, one: _Running, process: asyncio.subprocess.Process) -> None:
        code = await process.wait()
        self._guard.ended(process.pid)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # what it had started itself
        if one.killed or self._closing:
            return
        self.surprises.append(f"{one.role.name} ended by itself with {code}: {self._last_line(one.role)}")
        await asyncio.sleep(PAUSE)
        if not one.killed and not self._closing:
            await self._spawn(one)

    def _last_line(self, role: Role) -> str:
        lines = (self._logs / f"{role.name}.log").read_text(errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")

    def _signal(self, one: _Running, what: signal.Signals) -> None:
        if one.process is not None and one.process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(one.process.pid, what)


def _ran_on(one: _Running, since: float, seconds: float) -> bool:
    return not one.frozen and time.monotonic() - max(since, one.moved) > seconds


def command(launcher: Sequence[str], module: str, *arguments: str) -> tuple[str, ...]:
    """How a module is run as a process; `launcher` is what stands before its name."""
    return (*launcher, module, *arguments)
