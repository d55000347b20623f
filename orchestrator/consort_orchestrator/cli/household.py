"""The processes of one machine: a folder's bus, its orchestrators and agents.

`up` keeps a household for as long as somebody wants it, `run` for one run. Only
one `up` is at work in a folder, and it holds a lock while it is: that is how a
run knows that it may rely on what is there.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from consort_bus import embedded
from consort_bus.embedded import Node
from consort_bus.errors import ServerFailed
from consort_orchestrator.cli.offers import Offer
from consort_orchestrator.cli.opening import credentials_file
from consort_orchestrator.cli.supervise import Child, Supervisor
from consort_shared.errors import InvalidInput
from consort_shared.telemetry.tracing import FOLDER

_LOCK = "up.lock"


def traces_of(folder: Path) -> Path:
    """Where the processes of a folder keep their spans."""
    return folder / "traces"


@dataclass(frozen=True, slots=True)
class Household:
    """Where the processes of a folder find their bus."""

    folder: Path
    url: str

    def orchestrator(self, name: str) -> Child:
        """An orchestrator's process. It neither asks models nor calls tools, so it gets no keys for either."""
        creds = credentials_file(self.folder, "orchestrator", name)
        command = (*_python("consort_orchestrator.cli"), "orchestrator", "start", "--name", name)
        command += ("--server", self.url, "--creds", str(creds))
        return Child(f"orchestrator-{name}", command, self._environment(), keyless=True)

    def agent(self, offer: Offer, *, slots: int | None = None, grace: float | None = None) -> Child:
        """An agent's process under the name on its card, which its rights are bound to."""
        creds = credentials_file(self.folder, "agent", offer.card.name)
        command = (*_python("consort_agents"), "--server", self.url, "--creds", str(creds))
        if slots is not None:
            command += ("--slots", str(slots))
        if grace is not None:
            command += ("--grace", str(grace))
        return Child(f"agent-{offer.card.name}", (*command, "--", offer.reference), self._environment())

    def tools(self, file: Path, host: str) -> Child:
        """A tool host's process, under the name that its rights are bound to."""
        creds = credentials_file(self.folder, "toolhost", host)
        command = (*_python("consort_agents.hosting"), "--server", self.url, "--creds", str(creds))
        return Child(f"tools-{host}", (*command, "--name", host, "--", str(file)), self._environment())

    def _environment(self) -> dict[str, str]:
        """Processes of a folder keep their spans there, unless somebody said where, or nowhere (an empty value)."""
        return {} if FOLDER in os.environ else {FOLDER: str(traces_of(self.folder).absolute())}


def _python(module: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module)


def orchestrator_names(count: int) -> list[str]:
    return ["main", *(f"main-{number}" for number in range(2, count + 1))]


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Holds the folder's lock. Raises InvalidInput when another `up` has it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise InvalidInput(
                f"`consort up` is at work in {folder} already, process {file.read().strip()}; "
                "stop it first, or add an agent to it with `consort agent start`"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def is_up(folder: Path) -> bool:
    """Whether an `up` is at work in a folder."""
    try:
        with (folder / _LOCK).open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


async def keep_bus(supervisor: Supervisor, folder: Path, url: str) -> None:
    """Start a folder's bus again whenever it dies, until cancelled. Raises InvalidInput if its address changed."""
    while True:
        await asyncio.sleep(1.0)
        try:
            if await asyncio.to_thread(embedded.status, folder) is not None:
                continue
            before = await asyncio.to_thread(embedded.nodes, folder)
            server = await asyncio.to_thread(embedded.start, folder, keep=False)
            after = await asyncio.to_thread(embedded.nodes, folder)
        except ServerFailed as exc:
            supervisor.tell(f"the bus is away: {exc.what}")
            continue
        for text in _started_anew(before, after):
            supervisor.tell(text)
        if server.url != url:
            raise InvalidInput(f"the bus came back at {server.url} instead of {url}: start anew")


def _started_anew(before: Sequence[Node], after: Sequence[Node]) -> list[str]:
    """What to say of the servers that have another process than before."""
    pids = {node.name: node.pid for node in before}
    whose = "node {} of the bus" if len(after) > 1 else "the bus"
    return [
        f"{whose.format(node.name)} had died and was started again, process {node.pid}"
        for node in after
        if node.pid is not None and node.pid != pids.get(node.name)
    ]


def slots_of(pairs: Sequence[str]) -> dict[str, int]:
    """`NAME=N` each. Raises InvalidInput."""
    slots: dict[str, int] = {}
    for pair in pairs:
        name, equals, number = pair.partition("=")
        if not equals or not number.isdecimal() or not 1 <= int(number) <= 10_000:
            raise InvalidInput(f"--slots {pair!r}: write NAME=N, N from 1 to 10000")
        slots[name] = int(number)
    return slots
