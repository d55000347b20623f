"""Which addresses on the network a tool may call.

A service's name is looked up once for a call, every address it has is checked, and the
connection goes to the address that was checked: a name that means something else a moment
later gains nothing. Addresses of the machine and its own network are refused, unless the
service was configured as one of those.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from urllib.parse import urlsplit


class Refused(Exception):
    """An address that is not to be called; the text says why."""


def is_private(host: str) -> bool:
    """Whether a host, as it is written, lies on the machine or its own network."""
    if host.lower().rstrip(".").rsplit(".", 1)[-1] in {"localhost", "local", "internal", "lan", "home"}:
        return True
    try:
        return not _public(host)
    except ValueError:
        return "." not in host.rstrip(".")


async def addresses(host: str, port: int, *, private: bool) -> list[str]:
    """Where a host is, to be tried in this order. Raises Refused, also for a name nobody knows."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise Refused(f"the host {host} is not known: {exc}") from exc
    known = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not private and any(not _public(address) for address in known):
        raise Refused(
            f"the host {host} is on this machine or its own network, and the tool was not set up to call that "
            "(private=True allows it)"
        )
    return known


def same_origin(one: str, other: str) -> bool:
    """Whether two URLs have one scheme, host and port."""
    return _origin(one) == _origin(other)


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or usual


def _public(address: str) -> bool:
    parsed = ipaddress.ip_address(address.split("%", 1)[0])
    mapped = getattr(parsed, "ipv4_mapped", None) or getattr(parsed, "sixtofour", None)
    return (mapped or parsed).is_global and not parsed.is_multicast
