"""Frames between an agent's process and the child process of an isolated slot.

A frame is four bytes of length and a map in msgpack. JSON values travel inside it as
canonical JSON, because msgpack has no integers of more than 64 bits. The end of the
stream is how each side notices that the other is gone.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

import msgpack

Frame = dict[str, Any]

MOST_BYTES = 64 * 1024 * 1024
"""Of one frame."""
_LENGTH = struct.Struct("!I")


class FrameTooLarge(ValueError):
    """More than may go through the pipe at once."""

    def __init__(self, size: int) -> None:
        most = MOST_BYTES // 1024 // 1024
        super().__init__(f"{size} bytes are more than the {most} MiB that an isolated function may hand over")
        self.size = size


def packed(frame: Frame) -> bytes:
    """A frame as bytes. Raises FrameTooLarge."""
    body: bytes = msgpack.packb(frame, use_bin_type=True)
    if len(body) > MOST_BYTES:
        raise FrameTooLarge(len(body))
    return _LENGTH.pack(len(body)) + body


def receive(end: socket.socket) -> Frame | None:
    """The next frame, None when the other side is gone; blocks."""
    head = _exactly(end, _LENGTH.size)
    body = _exactly(end, _LENGTH.unpack(head)[0]) if head is not None else None
    return None if body is None else _unpacked(body)


async def read_frame(reader: asyncio.StreamReader) -> Frame | None:
    """The next frame, None when the other side is gone."""
    try:
        head = await reader.readexactly(_LENGTH.size)
        return _unpacked(await reader.readexactly(_LENGTH.unpack(head)[0]))
    except (asyncio.IncompleteReadError, OSError):
        return None


def _exactly(end: socket.socket, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        try:
            part = end.recv(min(size - len(parts), 1 << 20))
        except OSError:
            return None
        if not part:
            return None
        parts += part
    return bytes(parts)


def _unpacked(body: bytes) -> Frame:
    frame: Frame = msgpack.unpackb(body)
    return frame
