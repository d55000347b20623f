"""Storing and fetching what is too large for a message, as docs/protocol.md says; nothing of Consort."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from nats.aio.client import Client

INLINE = 64 * 1024
PART = 256 * 1024


async def store(nc: Client, role: str, name: str, data: bytes) -> dict[str, Any]:
    """The reference of stored bytes. The last part is stored last: where it is, all are."""
    digest = hashlib.sha256(data).hexdigest()
    for number, offset in enumerate(range(0, max(len(data), 1), PART)):
        headers = {"Consort-Size": str(len(data)), "Consort-Offset": str(offset)}
        subject = f"artefact.{role}.{name}.{digest}.{number}"
        receipt = await nc.request(subject, data[offset : offset + PART], timeout=5, headers=headers)
        assert "seq" in json.loads(receipt.data), receipt.data
    return {
        "artefact": digest,
        "writer": f"{role}.{name}",
        "size": len(data),
        "media_type": "application/json",
    }


async def fetch(nc: Client, ref: dict[str, Any]) -> bytes:
    """Stored bytes, part by part, and only if they are what the reference says."""
    role, _, name = ref["writer"].partition(".")
    data, number = b"", 0
    while len(data) < ref["size"]:
        subject = f"artefact.{role}.{name}.{ref['artefact']}.{number}"
        part = await nc.request(f"$JS.API.DIRECT.GET.ARTEFACTS.{subject}", b"", timeout=5)
        assert "Status" not in (part.headers or {}), f"part {number} is not there"
        data, number = data + part.data, number + 1
    assert hashlib.sha256(data).hexdigest() == ref["artefact"]
    return data
