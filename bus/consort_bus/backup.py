"""Taking all of a bus away as files, and bringing it back.

Each stream is copied by the server's own snapshot, with its consumers and what they have
delivered, so sequences, times and hash chains stay what they were. The streams are copied
one after the other; so that they belong together, nothing is judged meanwhile: the
consumers of the inbox are paused and what is in hand is waited for. Others do go on: agents
store what they made, then report it, then acknowledge the task. So the inbox is copied
after the log and the artefacts after the inbox: nothing is copied without what it rests on.

    <folder>/manifest.json     what was copied, with digests; written last, so where it is all is
    <folder>/<stream>.snapshot

Keys are not part of it: without those of the installation no run goes on.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import nats.errors

from consort_bus import jetstream, subjects
from consort_bus.connection import Bus
from consort_bus.errors import BusError, NoAnswer
from consort_bus.topology import default_replicas

__all__ = ["BackupUnusable", "Copied", "Manifest", "StreamsInTheWay", "backup", "load", "restore"]

log = logging.getLogger("consort.bus")

CHUNK_BYTES = 128 * 1024
_MANIFEST = "manifest.json"
_FORMAT = 1
_ANSWER = 30.0
"""Seconds without a word after which the server is taken to have given up on a copy."""
_SETTLE = 5.0
"""Seconds for which messages in hand are waited for before the copy begins."""
_PAUSE = timedelta(minutes=15)
"""After so long judging goes on by itself, should the copy's process have died."""
_LAST = (subjects.INBOX, subjects.ARTEFACTS)
_SHARDS = tuple(subjects.shard_consumer_name(shard) for shard in range(subjects.SHARDS))
_NO_STREAM, _NAME_TAKEN = 10059, frozenset({10058, 10130})


class BackupUnusable(BusError):
    """A folder that holds no whole backup, or a damaged one, or cannot take one."""

    exit_code = 3

    def __init__(self, folder: Path, why: str) -> None:
        super().__init__(f"{folder}: {why}")
        self.folder = folder
        self.why = why


class StreamsInTheWay(BusError):
    """The bus already holds messages that a restore would replace; nothing was changed."""

    exit_code = 3

    def __init__(self, streams: Sequence[str]) -> None:
        super().__init__(
            f"the bus holds messages in {', '.join(streams)}; restore to an empty bus, or say --overwrite"
        )
        self.streams = tuple(streams)


class _Refused(BusError):
    """What the server answered to a copy or its return."""

    def __init__(self, stream: str, error: Mapping[str, Any]) -> None:
        super().__init__(f"stream {stream}: {error.get('description', error)}")
        self.code = error.get("err_code", 0)


@dataclass(frozen=True, slots=True)
class Copied:
    """One stream in a backup. `sha256` and `bytes` are the file's; `config` and `state` the server's words."""

    name: str
    file: str
    sha256: str
    bytes: int
    messages: int
    last_seq: int
    consumers: int
    config: Mapping[str, Any] = field(repr=False)
    state: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds, in the order in which it is brought back. `made` is UTC, in ISO form."""

    made: str
    server: str
    streams: tuple[Copied, ...]


async def backup(bus: Bus, folder: Path, *, pause: bool = True) -> Manifest:
    """Copies every stream of the account into a folder that holds nothing yet.

    Runs may go on; with `pause` they wait while the copy is made. Without, what is judged meanwhile
    may be missing in one stream and present in another. For the provisioner. Raises BackupUnusable,
    AccessDenied, NoAnswer and other BusErrors; then the folder has no manifest.
    """
    try:
        await asyncio.to_thread(_make_empty, folder)
        async with _held_back(bus) if pause else _as_it_is():
            streams = tuple([await _copy(bus, name, folder) for name in await _names(bus)])
        manifest = Manifest(
            datetime.now(UTC).isoformat(timespec="seconds"), str(bus.greeting.get("version", "")), streams
        )
        _write(folder / _MANIFEST, json.dumps({"format": _FORMAT, **asdict(manifest)}, indent=1))
    except OSError as exc:
        raise BackupUnusable(folder, f"cannot be written: {exc}") from exc
    return manifest


def load(folder: Path) -> Manifest:
    """The manifest of a backup, after all its files were found to be what they were. Raises BackupUnusable."""
    path = folder / _MANIFEST
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] != _FORMAT:
            raise BackupUnusable(folder, f"format {data['format']} is of a newer version")
        manifest = Manifest(data["made"], data["server"], tuple(Copied(**one) for one in data["streams"]))
        for copied in manifest.streams:
            with (folder / copied.file).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != copied.sha256:
                raise BackupUnusable(
                    folder, f"{copied.file} is damaged: its digest is not that of the manifest"
                )
    except FileNotFoundError as exc:
        raise BackupUnusable(folder, f"holds no whole backup: {Path(exc.filename).name} is missing") from exc
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise BackupUnusable(folder, f"the manifest cannot be read: {exc}") from exc
    return manifest


async def restore(
    bus: Bus, folder: Path, *, overwrite: bool = False, replicas: int | None = None
) -> Manifest:
    """Brings a backup back, under the keys it was made with; all files are checked before anything changes.

    With as many copies as the servers are good for, unless `replicas` says how many. Streams of the
    backup that are there must be empty, or are replaced with `overwrite`: a restore that was cut short
    is finished that way. Nobody else may use the bus meanwhile. For the provisioner. Raises
    BackupUnusable, StreamsInTheWay, AccessDenied, NoAnswer and other BusErrors.
    """
    manifest = await asyncio.to_thread(load, folder)
    counts = {copied.name: await _message_count(bus, copied.name) for copied in manifest.streams}
    in_the_way = [name for name, count in counts.items() if count]
    if in_the_way and not overwrite:
        raise StreamsInTheWay(in_the_way)
    copies = replicas or default_replicas(bus)
    for name, count in reversed(counts.items()):  # what sources another goes before it
        if count is not None:
            await _ask(bus, name, jetstream.stream_delete(name))
    for copied in manifest.streams:
        await _bring_back(bus, copied, folder, copies)
    if any(copied.name == subjects.INBOX and copied.consumers for copied in manifest.streams):
        await _judge_again(bus, patience=_ANSWER)
    return manifest


def _make_empty(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if any(folder.iterdir()):
        raise BackupUnusable(folder, "is not empty; name a new folder")


@asynccontextmanager
async def _as_it_is() -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def _held_back(bus: Bus) -> AsyncIterator[None]:
    """While the block lasts no message of the inbox is delivered to anybody, and none is in hand."""
    if await _message_count(bus, subjects.INBOX) is None:
        yield
        return
    until = (datetime.now(UTC) + _PAUSE).isoformat().replace("+00:00", "Z")
    try:
        for name in _SHARDS:
            with suppress(_Refused):  # a consumer that is not there delivers nothing
                await _pause(bus, name, {"pause_until": until})
        await _settled(bus)
        yield
    finally:
        await _judge_again(bus)


async def _judge_again(bus: Bus, patience: float = 0.0) -> None:
    """Ends the pause, of consumers too that a cluster is just bringing back; it would end by itself."""
    loop = asyncio.get_running_loop()
    until = loop.time() + patience
    for name in _SHARDS:
        while True:
            try:
                await _pause(bus, name, {})
                break
            except (NoAnswer, _Refused) as exc:
                if loop.time() >= until:
                    log.debug("%s of the inbox goes on by itself: %s", name, exc)
                    break
            await asyncio.sleep(0.05)


async def _pause(bus: Bus, consumer: str, how: Mapping[str, str]) -> None:
    body = json.dumps(how).encode() if how else b""
    await _ask(bus, subjects.INBOX, jetstream.consumer_pause(subjects.INBOX, consumer), body)


async def _settled(bus: Bus) -> None:
    """Until nothing of the inbox is in hand; what stays in hand belongs to somebody who is gone, and comes again."""
    loop = asyncio.get_running_loop()
    until = loop.time() + _SETTLE
    busy = list(_SHARDS)
    while busy and loop.time() < until:
        with suppress(_Refused):
            info = await _ask(bus, subjects.INBOX, jetstream.consumer_info(subjects.INBOX, busy[-1]))
            if info["num_ack_pending"]:
                await asyncio.sleep(0.05)
                continue
        busy.pop()


async def _names(bus: Bus) -> list[str]:
    """Every stream, in the order in which they are copied."""
    names: list[str] = []
    while True:
        body = json.dumps({"offset": len(names)}).encode()
        answer = await _ask(bus, "", jetstream.STREAM_NAMES, body)
        page = answer.get("streams") or []
        names += page
        if not page or len(names) >= answer.get("total", 0):
            return sorted(names, key=lambda name: (_LAST.index(name) if name in _LAST else -1, name))


async def _copy(bus: Bus, stream: str, folder: Path) -> Copied:
    path = folder / f"{stream}.snapshot"
    chunks = await bus.nc.subscribe(bus.new_inbox())
    try:
        request = {"deliver_subject": chunks.subject, "jsck": True, "chunk_size": CHUNK_BYTES}
        answer = await _ask(bus, stream, jetstream.stream_snapshot(stream), json.dumps(request).encode())
        seen, size = hashlib.sha256(), 0
        with path.open("xb") as file:
            while True:
                msg = await chunks.next_msg(timeout=_ANSWER)
                if not msg.data:
                    _refuse_if_failed(stream, msg.headers or {})
                    break
                seen.update(msg.data)
                size += len(msg.data)
                await asyncio.to_thread(file.write, msg.data)
                if msg.reply:
                    await bus.publish(msg.reply)
            _to_disk(file)
    except (nats.errors.TimeoutError, nats.errors.ConnectionClosedError) as exc:
        raise NoAnswer(jetstream.stream_snapshot(stream), "timeout") from exc
    finally:
        with suppress(nats.errors.Error):
            await chunks.unsubscribe()
    state = answer["state"]
    return Copied(
        stream,
        path.name,
        seen.hexdigest(),
        size,
        state.get("messages", 0),
        state.get("last_seq", 0),
        state.get("consumer_count", 0),
        answer["config"],
        state,
    )


def _refuse_if_failed(stream: str, headers: Mapping[str, str]) -> None:
    status = headers.get("Status", "204")
    if status != "204":
        raise _Refused(stream, {"description": f"{status} {headers.get('Description', '')}".strip()})


async def _bring_back(bus: Bus, copied: Copied, folder: Path, replicas: int) -> None:
    config = {**copied.config, "num_replicas": replicas}
    body = json.dumps({"config": config, "state": dict(copied.state)}).encode()
    target = (await _start_restore(bus, copied.name, body))["deliver_subject"]
    with (folder / copied.file).open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            reply = await bus.request(target, chunk, timeout=_ANSWER)
            if reply.data:
                raise _Refused(copied.name, json.loads(reply.data).get("error") or {})
    ended = json.loads((await bus.request(target, b"", timeout=4 * _ANSWER)).data)
    if ended.get("error"):
        raise _Refused(copied.name, ended["error"])


async def _start_restore(bus: Bus, stream: str, body: bytes) -> dict[str, Any]:
    """Just after it was removed, a cluster may still know the old stream."""
    loop = asyncio.get_running_loop()
    until = loop.time() + _ANSWER
    while True:
        try:
            return await _ask(bus, stream, jetstream.stream_restore(stream), body)
        except _Refused as exc:
            if exc.code not in _NAME_TAKEN or loop.time() > until:
                raise
        await asyncio.sleep(0.1)


async def _message_count(bus: Bus, stream: str) -> int | None:
    """None when there is no such stream."""
    try:
        answer = await _ask(bus, stream, jetstream.stream_info(stream))
    except _Refused as exc:
        if exc.code == _NO_STREAM:
            return None
        raise
    return int(answer["state"]["messages"])


async def _ask(bus: Bus, stream: str, subject: str, body: bytes = b"") -> dict[str, Any]:
    answer: dict[str, Any] = json.loads((await bus.request(subject, body, timeout=_ANSWER)).data)
    error = answer.get("error")
    if error is not None:
        raise _Refused(stream, error)
    return answer


def _write(path: Path, text: str) -> None:
    draft = path.with_suffix(".new")
    with draft.open("wb") as file:
        file.write(text.encode())
        _to_disk(file)
    draft.replace(path)


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
