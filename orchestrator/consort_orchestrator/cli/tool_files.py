"""Files with shared tools: what one defines, how that differs from what is approved, and approving it.

The file is read by a process of the agents' side, which alone knows how tools are made; here only their
definitions are seen.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from consort_bus import embedded
from consort_bus.connection import open_bus
from consort_bus.credentials import Credentials
from consort_bus.toolhosts import HostAdmission
from consort_bus.wire import Wire
from consort_orchestrator.cli.household import Household
from consort_orchestrator.cli.opening import creds_wanted, local_bus
from consort_orchestrator.cli.options import Place
from consort_orchestrator.cli.supervise import Supervisor
from consort_orchestrator.cli.wording import listed, one_line
from consort_shared.errors import InvalidInput
from consort_shared.tooling import Approved, ApprovedTool, Definition, what_changed

CHECK_TIMEOUT = 60.0
ON_SIGHT = "first sight"
"""Who approved what was never seen before, on a bus of this machine."""
What = Literal["new", "same", "changed", "gone"]

_definition: TypeAdapter[Definition] = TypeAdapter(Definition)


@dataclass(frozen=True, slots=True)
class Defined:
    """What a file defines: the host's name, and its tools."""

    host: str
    tools: tuple[Definition, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """How a tool of a file stands to what is approved."""

    name: str
    what: What
    changes: tuple[str, ...] = ()


async def defined_by(file: Path, name: str = "") -> Defined:
    """What a file defines. Raises InvalidInput with all that is wrong with it."""
    command = [sys.executable, "-m", "consort_agents.hosting", "--check"]
    command += ["--name", name] if name else []
    process = await asyncio.create_subprocess_exec(
        *command,
        "--",
        str(file),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            out, err = await process.communicate()
    except TimeoutError:
        raise InvalidInput(f"{file} was not read within {CHECK_TIMEOUT:.0f} seconds") from None
    finally:
        if process.returncode is None:
            process.kill()
    try:
        told = json.loads(out)
        if "error" in told:
            raise InvalidInput(str(told["error"]))
        return Defined(
            told["host"], tuple(_definition.validate_python(t["definition"]) for t in told["tools"])
        )
    except (ValueError, LookupError, ValidationError) as exc:
        lines = err.decode(errors="replace").strip().splitlines()
        why = one_line(lines[-1]) if lines else f"its process ended with code {process.returncode}"
        raise InvalidInput(f"{file} cannot be read: {why}") from exc


def differences(defined: Defined, approved: Approved | None) -> list[Difference]:
    """Every tool of the file, and every approved one that is no longer in it."""
    found = []
    for definition in defined.tools:
        known = approved.tool(definition.name) if approved is not None else None
        if known is None:
            found.append(Difference(definition.name, "new"))
        elif known.digest == definition.digest:
            found.append(Difference(definition.name, "same"))
        else:
            changes = tuple(what_changed(known.definition, definition))
            found.append(Difference(definition.name, "changed", changes))
    names = {definition.name for definition in defined.tools}
    gone = (
        []
        if approved is None
        else [t.definition.name for t in approved.tools if t.definition.name not in names]
    )
    return found + [Difference(name, "gone") for name in gone]


def approving(
    defined: Defined, approved: Approved | None, by: str, take: Sequence[What] = ("new", "changed", "gone")
) -> Approved:
    """What is approved when differences of these kinds are accepted, and the others are not."""
    tools, now = [], time.time()
    for difference in differences(defined, approved):
        known = approved.tool(difference.name) if approved is not None else None
        mine = next((one for one in defined.tools if one.name == difference.name), None)
        if mine is not None and difference.what in take:
            tools.append(ApprovedTool(definition=mine, digest=mine.digest, by=by, at=now))
        elif known is not None and not (difference.what == "gone" and "gone" in take):
            tools.append(known)
    paused_by, why = (approved.paused_by, approved.paused_why) if approved is not None else ("", "")
    return Approved(host=defined.host, tools=tuple(tools), paused_by=paused_by, paused_why=why)


@asynccontextmanager
async def admission(place: Place) -> AsyncIterator[HostAdmission]:
    """The provisioner's hand. Raises BusError, InvalidInput."""
    if place.server is not None:
        if place.creds is None:
            raise creds_wanted(place, "the provisioner")
        async with open_bus(place.server, Credentials.load(place.creds)) as bus, Wire(bus.nc, bus) as wire:
            yield HostAdmission(bus, wire)
        return
    async with local_bus(place.folder) as server:
        credentials = embedded.credentials_for(place.folder, "provisioner", "setup")
        async with open_bus(server.url, credentials) as bus, Wire(bus.nc, bus) as wire:
            yield HostAdmission(bus, wire)


async def admit_new(place: Place, defined: Defined, by: str) -> tuple[list[str], list[Difference]]:
    """On a bus of this machine: approve what is new on first sight. Which that was, and what stays refused."""
    async with admission(place) as hand:
        approved, revision = await hand.toolbox.approved(defined.host)
        found = differences(defined, approved)
        new = [one.name for one in found if one.what == "new"]
        await hand.admit(approving(defined, approved, by, ("new",)), revision)
        return new, [one for one in found if one.what == "changed"]


@dataclass(frozen=True, slots=True)
class HostFile:
    """A file whose tools are to be served, and what it defines."""

    path: Path
    defined: Defined


async def host_files(files: Sequence[Path]) -> list[HostFile]:
    """What files define. Raises InvalidInput, also for two hosts of one name."""
    found = [HostFile(path, await defined_by(path)) for path in dict.fromkeys(files)]
    names = [one.defined.host for one in found]
    for one in found:
        if names.count(one.defined.host) > 1:
            raise InvalidInput(f"two files are of a host {one.defined.host!r}; the name of a host is its own")
    return found


async def start_hosts(
    household: Household, supervisor: Supervisor, hosts: Sequence[HostFile], tell: Callable[[str], None]
) -> list[str]:
    """Start the processes of hosts on the bus of a folder; their names. Raises BusError, OSError."""
    for one in hosts:
        new, changed = await admit_new(Place(None, None, household.folder), one.defined, ON_SIGHT)
        for text in sight_notes(one.defined.host, new, changed):
            tell(text)
        await supervisor.start(household.tools(one.path, one.defined.host))
    return [f"tools-{one.defined.host}" for one in hosts]


def sight_notes(host: str, new: Sequence[str], changed: Sequence[Difference]) -> list[str]:
    """What to say of tools that were seen for the first time, and of those that are refused."""
    notes = [f"tools of host {host} approved on first sight: {listed(new)}"] if new else []
    for one in changed:
        notes.append(
            f"{host}.{one.name} has changed and is refused until `consort tools approve`: {'; '.join(one.changes)}"
        )
    return notes
