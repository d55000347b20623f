"""The system under test, whole: bus, links, orchestrators, agents, and a client that does not lie.

Opens everything in order and closes in reverse. The client has links of its own that
nothing is ever done to: what it knows of the system is not clouded by the faults.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from consort_bus import embedded
from consort_bus.client import Client
from consort_bus.connection import open_bus
from consort_bus.envelope import OrchestratorSeal
from consort_bus.errors import BusError
from consort_bus.wire import Wire
from consort_orchestrator.chaos.disk import SmallDisk, small_disk
from consort_orchestrator.chaos.faults import Injector
from consort_orchestrator.chaos.guard import Guard
from consort_orchestrator.chaos.history import Follower, LogReader
from consort_orchestrator.chaos.ledger import Ledger
from consort_orchestrator.chaos.nodes import Nodes, home_of_first
from consort_orchestrator.chaos.options import Options, OwnAgent
from consort_orchestrator.chaos.person import Person
from consort_orchestrator.chaos.processes import Processes, Role, command
from consort_orchestrator.chaos.proxy import Link
from consort_orchestrator.chaos.shapes import AGENT, AGENT_REFERENCE, LEDGER
from consort_shared.errors import ConsortError

READY_LIMIT = 90.0
DISK_MEGABYTES = 64
DISK_PER_RUN = 0.2


class NotReady(ConsortError):
    """The system under test did not come up, before any fault."""


@dataclass(frozen=True, slots=True)
class Site:
    """Everything a chaos run needs to hold at once."""

    folder: Path
    nodes: Nodes
    processes: Processes
    injector: Injector
    client: Client
    reader: LogReader
    follower: Follower
    ledger: Ledger
    person: Person
    left_out: tuple[str, ...]
    """faults that cannot be had here, and why"""


@asynccontextmanager
async def site(folder: Path, options: Options, launcher: Sequence[str]) -> AsyncIterator[Site]:
    """The system while the block lasts. Raises BusError, NotReady."""
    rng = Random(f"consort chaos links {options.seed}")  # noqa: S311
    async with AsyncExitStack() as stack:
        guard = stack.enter_context(Guard())
        nodes = Nodes(folder, options.nodes, guard)
        disk, left_out = _disk(stack, folder, options, guard)
        stack.push_async_callback(nodes.stop)
        await nodes.start()
        ledger = Ledger(folder / "effects.jsonl")
        environment = {LEDGER: str(ledger.file), "NO_COLOR": "1"}
        processes = await stack.enter_async_context(Processes(folder / "logs", environment, guard))
        own = await _links(stack, nodes, rng)
        client, reader = await _client(stack, folder, ",".join(link.url for link in own))
        for name, kind, bus_name, start in _roles(folder, options, launcher):
            links = await _links(stack, nodes, rng)
            await processes.start(Role(name, kind, bus_name, start, links))
        await _ready(client, processes)
        follower = await stack.enter_async_context(Follower(reader).following())
        person = Person(client, follower, ledger, processes)
        answering = asyncio.create_task(person.answer_all())
        stack.push_async_callback(_ended, answering)
        injector = Injector(nodes, processes, disk)
        yield Site(folder, nodes, processes, injector, client, reader, follower, ledger, person, left_out)


def _disk(
    stack: AsyncExitStack, folder: Path, options: Options, guard: Guard
) -> tuple[SmallDisk | None, tuple[str, ...]]:
    if "full-disk" not in options.faults:
        return None, ()
    size = int(DISK_MEGABYTES + DISK_PER_RUN * options.runs * options.seeds)
    disk = stack.enter_context(small_disk(home_of_first(folder, options.nodes), size, guard))
    return (None, (f"full-disk: {disk}",)) if isinstance(disk, str) else (disk, ())


async def _links(stack: AsyncExitStack, nodes: Nodes, rng: Random) -> tuple[Link, ...]:
    """A way to each node. They are closed after the processes that use them, which are opened before."""
    links = []
    for number in range(nodes.count):
        link = Link(lambda number=number: nodes.port(number), Random(rng.random()))  # type: ignore[misc] # noqa: S311
        await link.open()
        stack.push_async_callback(link.close)
        links.append(link)
    return tuple(links)


async def _client(stack: AsyncExitStack, folder: Path, url: str) -> tuple[Client, LogReader]:
    credentials = embedded.credentials_for(folder, "client", "chaos")
    bus = await stack.enter_async_context(open_bus(url, credentials, patience=READY_LIMIT))
    wire = await stack.enter_async_context(Wire(bus.nc, bus))
    client = Client(bus, wire)
    key = embedded.credentials_for(folder, "orchestrator", "checker").mac_key
    assert key is not None
    return client, LogReader(wire, client.artefacts, OrchestratorSeal(key))


def _roles(
    folder: Path, options: Options, launcher: Sequence[str]
) -> list[tuple[str, str, str, tuple[str, ...]]]:
    roles = []
    for number in range(1, options.orchestrators + 1):
        name = f"o{number}"
        arguments = ("orchestrator", "start", "--name", name, "--creds", _creds(folder, "orchestrator", name))
        start = command(launcher, "consort_orchestrator.cli", *arguments)
        roles.append((f"orchestrator-{name}", "orchestrator", name, start))
    agents = options.own.agents if options.own else (OwnAgent(AGENT, AGENT_REFERENCE),)
    for agent in agents:
        for number in range(1, options.agents + 1):
            creds = _creds(folder, "agent", agent.name)
            start = command(launcher, "consort_agents", agent.reference, "--grace", "2", "--creds", creds)
            roles.append((f"agent-{agent.name}-{number}", "agent", agent.name, start))
    return roles


def _creds(folder: Path, role: str, name: str) -> str:
    path = folder.absolute() / "keys" / f"{role}.{name}.creds"
    credentials = embedded.credentials_for(folder, role, name)
    if not path.exists():
        credentials.save(path)
    return str(path)


async def _ready(client: Client, processes: Processes) -> None:
    """Waits until every agent's process has shown a sign of life, and so an orchestrator has answered it."""
    until = time.monotonic() + READY_LIMIT
    wanted = len(processes.of("agent"))
    while time.monotonic() < until:
        try:
            if len({presence.instance for presence in await client.agents()}) >= wanted:
                return
        except BusError:
            pass
        if processes.surprises:
            raise NotReady(f"before any fault, {processes.surprises[0]}")
        await asyncio.sleep(0.1)
    raise NotReady(f"not all of {wanted} agents' processes were ready within {READY_LIMIT:g} s")


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
