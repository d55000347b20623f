"""Values that only the agent that wrote them can read: its own secrets, put down where others may look.

The key comes from the agent's key, so every process of the agent, now and later, opens what
another one sealed. Knows nothing of what is sealed.
"""

from __future__ import annotations

from hashlib import blake2b

from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from consort_shared.errors import DecodeError


class Box:
    """Seals and opens, under one agent's key."""

    def __init__(self, mac_key: bytes) -> None:
        self._box = SecretBox(
            blake2b(b"consort journal", key=mac_key, digest_size=SecretBox.KEY_SIZE).digest()
        )

    def seal(self, raw: bytes) -> bytes:
        return bytes(self._box.encrypt(raw))

    def open(self, sealed: bytes) -> bytes:
        """Raises DecodeError for what was sealed with another key, or changed since."""
        try:
            return bytes(self._box.decrypt(sealed))
        except (CryptoError, ValueError) as exc:
            raise DecodeError(sealed, "sealed by another agent, or damaged") from exc
