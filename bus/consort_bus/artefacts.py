"""Large payloads, stored once under their digest, in parts.

Each part has a subject of its own and each subject holds one message, so storing
the same bytes again changes nothing. The last part is stored after all the others
are: where it is, the artefact is whole. Where it is not, there is no artefact.

Nothing is taken on trust: `get` and `save` give bytes only after their digest and
size were found right. Nothing of any size is held in memory but by `get`: a few
parts are under way at a time. What a replica does not hold may only be late there:
that an artefact is missing is believed of the stream's leader alone.

Who stored something is part of its subject, and the server checks that, so nobody
can put other bytes in the way of an artefact than its own writer.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import tempfile
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, NamedTuple, Protocol

from consort_bus.errors import BusError, NoAnswer
from consort_bus.leading import leader_read
from consort_bus.publish import PubAck, Publisher
from consort_bus.reading import Stored, last, read
from consort_bus.subjects import ARTEFACTS, ChunkSubject, artefact_chunks
from consort_bus.wire import Wire
from consort_shared.failpoints import failpoint
from consort_shared.values import ArtefactRef

__all__ = ["ArtefactCorrupt", "ArtefactMissing", "Artefacts", "Writer"]

CHUNK_BYTES = 256 * 1024
"""Of one part, where the server takes messages of that size."""
CHUNKS_IN_FLIGHT = 8
STORED_ANEW_AFTER = timedelta(days=1)
"""Age of an artefact, far below that at which it goes, from which on storing it again makes it young."""
PAGE_BYTES = 4 * 1024 * 1024
ACK_SECONDS, PATIENCE = 10.0, 30.0
"""How long one try to store a part may take, and how long a bus that is away is waited for."""
_HEADERS_ROOM = 1024
"""Bytes of a message left for its headers."""
_SIZE, _OFFSET = "Consort-Size", "Consort-Offset"
_FETCHES = 3
_CHANGED = "the file changed while it was stored"


class ArtefactMissing(BusError):
    """Nobody stored such an artefact, or not the whole of it, or it is gone again."""

    def __init__(self, ref: ArtefactRef) -> None:
        super().__init__(f"artefact {ref.artefact} of {ref.writer} is not stored, or not whole")
        self.digest = ref.artefact
        self.writer = ref.writer


class ArtefactCorrupt(BusError):
    """What is stored under a digest does not have that digest."""

    def __init__(self, ref: ArtefactRef, found: str) -> None:
        super().__init__(f"artefact {ref.artefact} of {ref.writer} is damaged: {found}")
        self.digest = ref.artefact
        self.writer = ref.writer


class Writer(Protocol):
    """Whose artefacts are stored; `consort_bus.credentials.Identity` is one."""

    @property
    def role(self) -> str: ...

    @property
    def name(self) -> str: ...


class _Part(NamedTuple):
    """A part as it was read back."""

    offset: int
    data: bytes


class _Sent(NamedTuple):
    """A part on its way to the stream."""

    subject: str
    data: bytes
    headers: dict[str, str]
    receipt: asyncio.Future[PubAck]


class Artefacts:
    """Stores artefacts in the name of one writer, and fetches those of all."""

    def __init__(self, wire: Wire, identity: Writer) -> None:
        self._wire = wire
        self._publisher = Publisher(wire)
        self._identity = identity

    async def put(
        self,
        data: bytes | Path | AsyncIterable[bytes],
        *,
        media_type: str = "application/octet-stream",
        name: str = "",
    ) -> ArtefactRef:
        """Stores bytes, a file, or a stream of bytes, and gives the reference to them.

        Does nothing if they are stored already. A stream goes through a temporary file, because its
        digest is known only at its end. Raises BusError; then storing them again helps, and what was
        stored of them is no artefact. Raises OSError, and ValueError for a file that changes meanwhile.
        """
        if isinstance(data, bytes):
            return await self._put_bytes(data, media_type, name)
        if isinstance(data, Path):
            with data.open("rb") as file:  # opening is quick, reading is done in a thread
                return await self._put_file(file, media_type, name)
        with tempfile.TemporaryFile() as spool:
            async for piece in data:
                await asyncio.to_thread(spool.write, piece)
            return await self._put_file(spool, media_type, name)

    async def get(self, ref: ArtefactRef) -> bytes:
        """The bytes of an artefact. Raises ArtefactMissing, ArtefactCorrupt, and as `reading.read`."""
        for attempt in range(_FETCHES):
            parts = {part.offset: part.data async for part in self._parts(ref, attempt)}
            raw = b"".join(parts[offset] for offset in sorted(parts))
            if len(raw) == ref.size and hashlib.sha256(raw).hexdigest() == ref.artefact:
                return raw
            await self._explain(ref, len(raw), attempt)
        raise AssertionError("the last attempt explains")

    async def save(self, ref: ArtefactRef, path: Path) -> None:
        """Writes an artefact to a file, which appears whole or not at all.

        Raises OSError, ArtefactMissing, ArtefactCorrupt, and as `reading.read`.
        """
        descriptor, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w+b") as file:
                await self._fetch(ref, file)
            os.replace(unfinished, path)
        except BaseException:
            os.unlink(unfinished)
            raise

    @asynccontextmanager
    async def open(self, ref: ArtefactRef) -> AsyncIterator[IO[bytes]]:
        """An artefact as a temporary file, checked and at its beginning. Raises as `save`."""
        with tempfile.TemporaryFile() as file:
            await self._fetch(ref, file)
            file.seek(0)
            yield file

    def _chunk_bytes(self) -> int:
        return min(CHUNK_BYTES, self._wire.max_payload - _HEADERS_ROOM)

    def _ref(self, digest: str, size: int, media_type: str, name: str) -> ArtefactRef:
        return ArtefactRef(
            artefact=digest,
            writer=f"{self._identity.role}.{self._identity.name}",
            size=size,
            media_type=media_type,
            name=name,
        )

    async def _put_bytes(self, data: bytes, media_type: str, name: str) -> ArtefactRef:
        async def parts(step: int) -> AsyncIterator[bytes]:
            for start in range(0, len(data), step):
                yield data[start : start + step]

        digest = hashlib.sha256(data).hexdigest()
        if not await self._is_whole(digest, len(data)):
            await self._upload(digest, len(data), parts(self._chunk_bytes()))
        return self._ref(digest, len(data), media_type, name)

    async def _put_file(self, file: IO[bytes], media_type: str, name: str) -> ArtefactRef:
        async def parts(step: int) -> AsyncIterator[bytes]:
            while piece := await asyncio.to_thread(file.read, step):
                yield piece

        file.seek(0)
        digest = await asyncio.to_thread(_digest_of, file)
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if not await self._is_whole(digest, size):
            await self._upload(digest, size, parts(self._chunk_bytes()))
        return self._ref(digest, size, media_type, name)

    def _subject(self, digest: str, chunk: int) -> str:
        return str(ChunkSubject(self._identity.role, self._identity.name, digest, chunk))

    async def _is_whole(self, digest: str, size: int) -> bool:
        """By the last part alone, of parts of the size that is usual now.

        One that is stored for long does not count: it would age out before what refers to it now.
        """
        chunk = max(size - 1, 0) // self._chunk_bytes()
        found = await last(self._wire, ARTEFACTS, self._subject(digest, chunk))
        return (
            found is not None
            and found.headers.get(_SIZE) == str(size)
            and found.headers.get(_OFFSET) == str(chunk * self._chunk_bytes())
            and len(found.data) == size - chunk * self._chunk_bytes()
            and datetime.now(UTC) - found.time < STORED_ANEW_AFTER
        )

    async def _upload(self, digest: str, size: int, parts: AsyncIterable[bytes]) -> None:
        """All parts but the last, a few under way at once; then the last, if the bytes are what they were."""
        under_way: deque[_Sent] = deque()
        seen = hashlib.sha256()
        offset, chunk, held = 0, 0, b""
        async for part in parts:
            if held:
                if offset + len(held) >= size:
                    raise ValueError(_CHANGED)
                under_way.append(await self._send(self._subject(digest, chunk), held, size, offset))
                chunk, offset = chunk + 1, offset + len(held)
            seen.update(part)
            held = part
            if len(under_way) >= CHUNKS_IN_FLIGHT:
                await self._stored(under_way.popleft())
        while under_way:
            await self._stored(under_way.popleft())
        if offset + len(held) != size or seen.hexdigest() != digest:
            raise ValueError(_CHANGED)
        await self._stored(await self._send(self._subject(digest, chunk), held, size, offset))

    async def _send(self, subject: str, data: bytes, size: int, offset: int) -> _Sent:
        headers = {_SIZE: str(size), _OFFSET: str(offset)}
        receipt = await self._publisher.publish_nowait(subject, data, headers, timeout=ACK_SECONDS)
        return _Sent(subject, data, headers, receipt)

    async def _stored(self, sent: _Sent) -> None:
        """Waits for a part's receipt. Without one it is stored again, which does no harm."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + PATIENCE
        receipt = sent.receipt
        while True:
            try:
                await receipt
                failpoint("artefact-halfway")
                return
            except NoAnswer:
                if loop.time() > give_up or self._wire.nc.is_closed:
                    raise
            await asyncio.sleep(random.uniform(0.02, 0.1))  # noqa: S311
            receipt = await self._publisher.publish_nowait(
                sent.subject, sent.data, sent.headers, timeout=ACK_SECONDS
            )

    async def _parts(self, ref: ArtefactRef, attempt: int) -> AsyncIterator[_Part]:
        """In the order in which they were stored, which need not be theirs if it took several tries.

        First quickly, from any replica; if that was not the artefact, as the leader has it.
        """
        role, _, name = ref.writer.partition(".")
        chunks = artefact_chunks(role, name, ref.artefact)
        parts = (
            leader_read(self._wire, ARTEFACTS, chunks, patience=PATIENCE)
            if attempt
            else read(self._wire, ARTEFACTS, chunks, max_bytes=PAGE_BYTES, patience=PATIENCE)
        )
        async for stored in parts:
            part = _part(stored, ref)
            if part is not None:
                yield part

    async def _fetch(self, ref: ArtefactRef, file: IO[bytes]) -> None:
        """Into a file, and checked there. Pieces are written where they belong, whatever their order."""
        for attempt in range(_FETCHES):
            written = 0
            file.truncate(0)
            async for part in self._parts(ref, attempt):
                file.seek(part.offset)
                file.write(part.data)
                written += len(part.data)
            file.flush()
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            if size == ref.size and await asyncio.to_thread(_digest_of, file) == ref.artefact:
                return
            await self._explain(ref, min(size, written), attempt)

    async def _explain(self, ref: ArtefactRef, found: int, attempt: int) -> None:
        """Too little is missing, anything else is damaged; what is just being stored again is waited for."""
        if attempt == 0:
            return
        if attempt < _FETCHES - 1 and found:
            await asyncio.sleep(0.1)
            return
        if found < ref.size or (found == 0 and ref.size == 0):
            raise ArtefactMissing(ref)
        raise ArtefactCorrupt(ref, f"{found} bytes, of another digest")


def _part(stored: Stored, ref: ArtefactRef) -> _Part | None:
    """None for a part of an artefact of another size, which is none of this one's."""
    try:
        offset = int(stored.headers[_OFFSET])
    except (KeyError, ValueError):
        return None
    if stored.headers.get(_SIZE) != str(ref.size) or not 0 <= offset <= ref.size - len(stored.data):
        return None
    return _Part(offset, stored.data)


def _digest_of(file: IO[bytes]) -> str:
    """From where the file is, to its end."""
    seen = hashlib.sha256()
    while block := file.read(CHUNK_BYTES):
        seen.update(block)
    return seen.hexdigest()
