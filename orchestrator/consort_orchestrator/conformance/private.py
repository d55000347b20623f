"""A bus of its own for trying an agent, and the agent's process on it.

Everything lies in one temporary folder and is gone afterwards. The process knows what
any agent's process knows: where the bus is, and the file with its credentials.
"""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from consort_bus import embedded, topology
from consort_bus.connection import open_bus
from consort_bus.credentials import Credentials
from consort_bus.embedded import Embedded
from consort_orchestrator.conformance.stage import Stage, staged
from consort_shared.errors import InvalidInput

_STOP_WITHIN = 5.0
_PIECE = 2000
"""Bytes at the end of a process's output that are looked at."""


@dataclass(frozen=True, slots=True)
class Private:
    """A bus, and the credentials of one agent on it."""

    server: str
    creds: Path
    stage: Stage


@dataclass(slots=True)
class Running:
    """The agent's process; without a command it is somebody else's business."""

    process: asyncio.subprocess.Process | None = None
    log: Path | None = None

    def gone(self) -> str:
        """Why it is not there any more, empty while it is."""
        if self.process is None or self.process.returncode is None:
            return ""
        told = f"its process has ended with code {self.process.returncode}"
        last = self.last_words()
        return f"{told}: {last}" if last else told

    def last_words(self) -> str:
        if self.log is None:
            return ""
        lines = self.log.read_bytes()[-_PIECE:].decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""


@asynccontextmanager
async def private_bus(agent: str) -> AsyncIterator[Private]:
    """Raises BusError, InvalidInput."""
    with tempfile.TemporaryDirectory(prefix="consort-") as place:
        folder = Path(place)
        async with embedded.running(folder) as server:
            creds = folder / f"agent.{agent}.creds"
            embedded.credentials_for(folder, "agent", agent).save(creds)
            async with (
                open_bus(server.url, _credentials(server, "provisioner")) as provisioner,
                open_bus(server.url, _credentials(server, "orchestrator")) as orchestrator,
            ):
                await topology.ensure(provisioner)
                async with staged(agent, orchestrator, provisioner) as stage:
                    yield Private(server.url, creds, stage)


def _credentials(server: Embedded, role: str) -> Credentials:
    return embedded.credentials_for(server.folder, role, "trial")


@asynccontextmanager
async def running(command: Sequence[str], private: Private) -> AsyncIterator[Running]:
    """The agent's command while the block lasts, in a session of its own. Raises InvalidInput."""
    if not command:
        yield Running()
        return
    log = private.creds.with_suffix(".log")
    with log.open("wb") as out:
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                env={**os.environ, "CONSORT_SERVER": private.server, "CONSORT_CREDS": str(private.creds)},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        except OSError as exc:
            raise InvalidInput(f"{command[0]} cannot be started: {exc.strerror or exc}") from exc
    try:
        yield Running(process, log)
    finally:
        await _ended(process)


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Gently first, and then everything that it started."""
    if process.returncode is None:
        process.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_WITHIN):
                await process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
