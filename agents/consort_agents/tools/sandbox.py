"""Runs one command where it can do little harm, and says what protects.

The agent's process only asks: a small process of its own (`confinement`) puts itself and the
command behind what the kernel offers, and is told to end it all when time or output runs out.
The command gets a fresh working folder that is removed afterwards, and an environment without
anything of the agent's: no keys, no credentials of the bus.

Not caught: how much the working folder holds in all (each file is limited), the memory of all
its processes together (each is limited), and defects of the kernel.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

from consort_agents.tools.confinement.protections import MEANING, Protection

_START = Path(__file__).with_name("confinement") / "start.py"
_NOBODY = 65534
_CHUNK = 65536
_TO_END = 3.0
"""Seconds in which a supervisor has ended what it started, or is killed itself."""

Ended: TypeAlias = Literal["exit", "time", "output", "unprotected", "not-started"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a command may use; each but `wall` and `output` counts for one process of it."""

    wall: float = 30.0
    """seconds until it is ended"""
    cpu: int = 30
    """seconds on a processor"""
    memory: int = 1 << 30
    """bytes of address space"""
    file_size: int = 64 << 20
    """bytes"""
    files: int = 64
    """open at the same time"""
    processes: int = 64
    """of the command, at the same time"""
    output: int = 1 << 20
    """bytes that are read of what it writes"""


@dataclass(frozen=True, slots=True)
class Protections:
    """What a sandbox of this system protects, and by what; and what it does not, and why."""

    by: Mapping[Protection, str] = field(default_factory=dict)
    missing: Mapping[Protection, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{name:<10} yes, by {by}: {MEANING[name]}" for name, by in self.by.items()]
        lines += [f"{name:<10} no ({why}): {MEANING[name]}" for name, why in self.missing.items()]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended, and what it wrote."""

    ended: Ended
    code: int = 0
    signal: int = 0
    output: bytes = b""
    errors: bytes = b""
    protections: Protections = field(default_factory=Protections)
    lacking: tuple[Protection, ...] = ()
    """of what was required"""
    trouble: str = ""


async def confined(
    argv: Sequence[str],
    *,
    limits: Limits | None = None,
    stdin: bytes = b"",
    files: Mapping[str, bytes] | None = None,
    variables: Mapping[str, str] | None = None,
    read: Sequence[str] = (),
    network: bool = False,
    require: Sequence[Protection] = (),
) -> Outcome:
    """Run a program by its absolute path. `files` are put into its working folder, `variables` into its
    environment, `read` are paths it may read.

    Raises nothing of the command's: whatever became of it is the outcome. Cancelled, it ends the command first.
    """
    limits = limits or Limits()
    scratch = await asyncio.to_thread(_prepare, files or {})
    try:
        order = {
            "argv": list(argv),
            "env": {**_environment(scratch), **(variables or {})},
            "root": str(scratch / "root"),
            "folder": str(scratch / "work"),
            "read": _real(read),
            "network": network,
            "require": list(require),
            "limits": asdict(limits),
        }
        return await _supervised(order, stdin, limits)
    finally:
        await asyncio.shield(asyncio.to_thread(_remove, scratch))


async def _supervised(order: Mapping[str, Any], stdin: bytes, limits: Limits) -> Outcome:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-I", "-S", "-B", str(_START), str(theirs.fileno())),
                pass_fds=(theirs.fileno(),),
                env={"PATH": _path()},
                cwd="/",
                start_new_session=True,
                stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        told = bytearray()
        written = _Written(limits.output)
        running = asyncio.ensure_future(_until_end(process, ours, order, stdin, told, written))
        try:
            await asyncio.wait({running, written.enough}, timeout=limits.wall, return_when="FIRST_COMPLETED")
            over = not running.done()
        finally:
            ours.shutdown(socket.SHUT_WR)
            await asyncio.shield(_end(process, running))
    ended: Ended = "exit" if not over else "output" if written.enough.done() else "time"
    return _outcome(ended, told, written)


class _Written:
    """What a command writes, as long as it is no more than is wanted."""

    def __init__(self, most: int) -> None:
        self.left = most
        self.parts: tuple[bytearray, bytearray] = (bytearray(), bytearray())
        self.enough: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def take(self, stream: asyncio.StreamReader, part: bytearray) -> None:
        while chunk := await stream.read(_CHUNK):
            part += chunk[: self.left]
            self.left -= min(len(chunk), self.left)
            if self.left == 0 and not self.enough.done():
                self.enough.set_result(None)


async def _until_end(
    process: asyncio.subprocess.Process,
    line: socket.socket,
    order: Mapping[str, Any],
    stdin: bytes,
    told: bytearray,
    written: _Written,
) -> None:
    line.setblocking(False)
    loop = asyncio.get_running_loop()
    assert process.stdout is not None
    assert process.stderr is not None
    with suppress(ConnectionError):
        await loop.sock_sendall(line, json.dumps(order).encode() + b"\n")
    tasks = [written.take(process.stdout, written.parts[0]), written.take(process.stderr, written.parts[1])]
    if process.stdin is not None:
        tasks.append(_feed(process.stdin, stdin))
    async with asyncio.TaskGroup() as group:
        for task in tasks:
            group.create_task(task)
        with suppress(ConnectionError):
            while said := await loop.sock_recv(line, _CHUNK):
                told += said
        await process.wait()


async def _feed(stream: asyncio.StreamWriter, text: bytes) -> None:
    with suppress(ConnectionError):
        stream.write(text)
        await stream.drain()
    stream.close()


async def _end(process: asyncio.subprocess.Process, running: asyncio.Future[None]) -> None:
    """The supervisor ends everything when it finds the line closed; if it does not, it is killed with its group."""
    with suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), _TO_END)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
    if not running.done():
        # What was written before the end is still in the pipes; a runaway that holds them must not hold us.
        await asyncio.wait({running}, timeout=0.5)
        running.cancel()
    await asyncio.wait({running})
    if not running.cancelled() and (trouble := running.exception()) is not None:
        raise trouble


def _outcome(ended: Ended, told: bytearray, written: _Written) -> Outcome:
    said: dict[str, Any] = {}
    for line in bytes(told).splitlines():
        with suppress(ValueError):
            said.update(json.loads(line))
    protections = Protections(said.get("by", {}), said.get("missing", {}))
    lacking = tuple(said.get("lacking", ()))
    if lacking:
        ended = "unprotected"
    elif "trouble" in said or ("code" not in said and ended == "exit"):
        ended = "not-started"
    return Outcome(
        ended,
        said.get("code", 0),
        said.get("signal", 0),
        bytes(written.parts[0]),
        bytes(written.parts[1]),
        protections,
        lacking,
        said.get("trouble", ""),
    )


def _prepare(files: Mapping[str, bytes]) -> Path:
    scratch = Path(tempfile.mkdtemp(prefix="consort-tool-")).resolve()
    work = scratch / "work"
    for folder in (work, scratch / "root"):
        folder.mkdir(mode=0o700)
    for name, content in files.items():
        (work / name).write_bytes(content)
    if os.geteuid() == 0:
        scratch.chmod(0o711)
        with suppress(OSError):  # root of a container that has no other user; the protection is then missing
            for path in (work, *work.iterdir()):
                os.chown(path, _NOBODY, _NOBODY)
    return scratch


def _remove(scratch: Path) -> None:
    """Also what the command made unreadable for its owner."""
    for folder, _, _ in os.walk(scratch / "work"):
        with suppress(OSError):
            os.chmod(folder, 0o700)
    shutil.rmtree(scratch, ignore_errors=True)


def _real(paths: Sequence[str]) -> list[str]:
    """Paths without `..`, and what they lead to."""
    return list(
        dict.fromkeys(real for path in paths for real in (os.path.realpath(path), os.path.abspath(path)))
    )


def _path() -> str:
    return os.pathsep.join(("/usr/local/bin", "/usr/bin", "/bin"))


def _environment(scratch: Path) -> dict[str, str]:
    folder = str(scratch / "work")
    return {"PATH": _path(), "LANG": "C.UTF-8", "HOME": folder, "TMPDIR": folder, "PWD": folder}


@cache
def sandbox_protections() -> Protections:
    """What a sandbox of this system protects. Starts a process to find out, once. Must not be called from a running
    event loop; there, `protections()` is."""
    return asyncio.run(protections())


async def protections() -> Protections:
    """What a sandbox of this system protects, found by trying."""
    return (await confined([], limits=Limits(wall=10.0))).protections
