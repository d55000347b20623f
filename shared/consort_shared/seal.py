"""Keys and message authentication codes.

Subject permissions say who may publish where, but a server writes a reply to any
subject it is asked to, so rights alone do not prove who wrote a stored message.
These codes do. Keys are derived from one secret that only orchestrators hold:

* the log key proves that an orchestrator wrote an entry;
* an agent's key, issued with its credentials, proves to that agent that a task is
  genuine, and unlocks the attempt's token, which every other reader sees only hashed;
* a report is sealed with the agent's key and the attempt's token together: who
  never received the attempt cannot report on it, not even under the agent's name.

Codes are keyed BLAKE2b, 16 bytes, over the subject and the body.
"""

from __future__ import annotations

import hashlib
import hmac
from hashlib import blake2b

_CODE = 16
_TOKEN = 16


def agent_key(master: bytes, name: str) -> bytes:
    """The key of one agent; 32 bytes."""
    return hmac.digest(master, b"consort agent " + name.encode(), "sha256")


def log_key(master: bytes) -> bytes:
    """The key of the log's entries; 32 bytes. Orchestrators only."""
    return hmac.digest(master, b"consort log", "sha256")


def token_key(master: bytes) -> bytes:
    """The key that attempts' tokens are derived from; 32 bytes. Orchestrators only."""
    return hmac.digest(master, b"consort attempt tokens", "sha256")


def route_password(master: bytes) -> str:
    """What the servers of a cluster know each other by; says nothing about the other keys."""
    return hmac.digest(master, b"consort routes", "sha256").hex()


def attempt_token(key: bytes, run: str, task: str, nonce: str) -> bytes:
    """The secret of one attempt. The nonce differs for each entry ever written, so no two writers share a token."""
    return blake2b(f"{run} {task} {nonce}".encode(), key=key, digest_size=_TOKEN).digest()


def mask(key: bytes, run: str, task: str, nonce: str, token: bytes) -> bytes:
    """Lock or unlock a token for one agent: exclusive-or with a pad that is used once."""
    pad = blake2b(f"token {run} {task} {nonce}".encode(), key=key, digest_size=_TOKEN).digest()
    if len(token) != _TOKEN:
        raise ValueError(f"a token has {_TOKEN} bytes, not {len(token)}")
    return (int.from_bytes(pad) ^ int.from_bytes(token)).to_bytes(_TOKEN)


def token_hash(token: bytes) -> str:
    return hashlib.sha256(token).hexdigest()[:32]


def report_key(key: bytes, token: bytes) -> bytes:
    """The key of reports on one attempt: needs the agent's key and the attempt's token."""
    return blake2b(b"consort report " + token, key=key, digest_size=32).digest()


def code(key: bytes, subject: str, body: bytes) -> str:
    """The authentication code of a message, hex."""
    mac = blake2b(subject.encode(), key=key, digest_size=_CODE)
    mac.update(b"\0")
    mac.update(body)
    return mac.hexdigest()


def genuine(key: bytes, subject: str, body: bytes, claimed: str | None) -> bool:
    """Whether a message carries the code that this key gives it."""
    return claimed is not None and hmac.compare_digest(code(key, subject, body), claimed)
