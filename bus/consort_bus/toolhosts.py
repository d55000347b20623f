"""What the provisioner does for tool hosts: approves, makes their consumers, holds them back.

A host that is held back gets no calls from the server, whatever it does itself; the mark in what is approved
tells agents, who then do not wait for it.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from consort_bus import jetstream, subjects
from consort_bus.connection import Bus
from consort_bus.errors import BusError
from consort_bus.publish import Publisher
from consort_bus.toolbox import Toolbox
from consort_bus.topology import create_consumer, host_consumer
from consort_bus.wire import Wire
from consort_shared.errors import InvalidInput
from consort_shared.tooling import Approved

FOR_GOOD = timedelta(days=365 * 50)


class NoSuchHost(InvalidInput):
    """No tools of a host of that name were ever approved."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"no tools of a host {host!r} are approved; `consort tools list` lists those there are"
        )
        self.host = host


class HostAdmission:
    """Talks to the bus as the provisioner. Methods raise BusError."""

    def __init__(self, bus: Bus, wire: Wire) -> None:
        self._bus = bus
        self._wire = wire
        self.identity = bus.identity
        self.toolbox = Toolbox(wire, Publisher(wire))

    async def admit(self, document: Approved, revision: int) -> None:
        """Put down what a host may serve, and let calls come to it. Raises WrongLastSequence."""
        await create_consumer(self._bus, host_consumer(document.host))
        await self.toolbox.approve(document, revision)
        if not document.paused_by:
            await self._hold(document.host, False)

    async def pause(self, host: str, by: str, why: str) -> Approved:
        """Nobody may call a host's tools, and no call is delivered to it. Raises NoSuchHost."""
        document, revision = await self._known(host)
        document = _whole(document, paused_by=by, paused_why=why)
        await self.toolbox.approve(document, revision)
        await self._hold(host, True)
        return document

    async def resume(self, host: str) -> Approved:
        """A host goes on. Raises NoSuchHost."""
        document, revision = await self._known(host)
        document = _whole(document, paused_by="", paused_why="")
        await self.toolbox.approve(document, revision)
        await self._hold(host, False)
        return document

    async def _known(self, host: str) -> tuple[Approved, int]:
        document, revision = await self.toolbox.approved(host)
        if document is None:
            raise NoSuchHost(host)
        return document, revision

    async def _hold(self, host: str, held: bool) -> None:
        subject = jetstream.consumer_pause(subjects.TOOLS, subjects.host_consumer_name(host))
        until = (datetime.now(UTC) + FOR_GOOD).isoformat(timespec="seconds").replace("+00:00", "Z")
        body = json.dumps({"pause_until": until} if held else {}).encode()
        answer = json.loads((await self._wire.request(subject, body, timeout=5.0)).data)
        if "error" in answer:
            raise BusError(f"host {host} cannot be {'paused' if held else 'resumed'}: {answer['error']}")


def _whole(document: Approved, **changes: str) -> Approved:
    return document.model_copy(update=changes)
