"""The NATS protocol as far as a proxy must understand it: where one message ends.

Splits a stream of bytes, of either direction, into whole frames, and takes out of
a server's greeting where else there are servers, or clients would go around the
proxy. Decides nothing about what is passed on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

_END = b"\r\n"
_WITH_PAYLOAD = (b"PUB ", b"HPUB", b"MSG ", b"HMSG")
_PUBLISHING = (b"PUB ", b"HPUB")
_ELSEWHERE = ("connect_urls", "ws_connect_urls")


@dataclass(frozen=True, slots=True)
class Frame:
    """One whole line of the protocol with its payload; `subject` is what a client publishes to, else empty."""

    data: bytes
    subject: str = ""


class Splitter:
    """Cuts what arrives into frames; keeps what is not whole yet."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are whole now. Raises ValueError for what is not the protocol."""
        buffer = self._rest + data if self._rest else data
        frames: list[Frame] = []
        at = 0
        while (end := buffer.find(_END, at)) >= 0:
            line = buffer[at:end]
            after = end + 2
            verb = line[:4].upper()
            if verb in _WITH_PAYLOAD:
                after += int(line[line.rindex(b" ") + 1 :]) + 2
                if after > len(buffer):
                    break
            frames.append(Frame(buffer[at:after], _published_to(verb, line)))
            at = after
        self._rest = buffer[at:]
        return frames


def _published_to(verb: bytes, line: bytes) -> str:
    if verb in _PUBLISHING:
        return line.split(b" ", 2)[1].decode(errors="replace")
    return ""


def lonely(data: bytes) -> bytes:
    """A frame of the server's, without the addresses of other servers if it is a greeting."""
    if data[:5].upper() != b"INFO ":
        return data
    told = json.loads(data[5:])
    for name in _ELSEWHERE:
        told.pop(name, None)
    return b"INFO " + json.dumps(told).encode() + _END
