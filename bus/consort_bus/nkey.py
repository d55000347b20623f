"""Ed25519 keys in the spelling NATS uses, and the tokens signed with them.

An nkey is base32 of a prefix byte that says what the key is for, 32 key bytes and
a checksum; a NATS JWT is a JWT with its own algorithm name. Knows nothing of
roles, rights or files.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from typing import Any, Literal

from nacl.signing import SigningKey

KeyKind = Literal["operator", "account", "user"]
Claims = dict[str, Any]
"""The decoded claims of a token: JSON from outside, read only by `credentials` and `keys`."""

_PREFIX: dict[KeyKind, int] = {"operator": 14 << 3, "account": 0, "user": 20 << 3}
_SEED_PREFIX = 18 << 3


def _crc16(raw: bytes) -> int:
    crc = 0
    for byte in raw:
        crc ^= byte << 8
        for _ in range(8):
            crc = ((crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


def _spell(raw: bytes) -> str:
    return base64.b32encode(raw + _crc16(raw).to_bytes(2, "little")).rstrip(b"=").decode()


class KeyPair:
    """A private key with its public name. `seed` is the secret; it never shows in a repr."""

    __slots__ = ("_signing", "kind", "public", "seed")

    def __init__(self, kind: KeyKind, raw: bytes) -> None:
        prefix = _PREFIX[kind]
        self.kind = kind
        self._signing = SigningKey(raw)
        self.seed = _spell(bytes([_SEED_PREFIX | prefix >> 5, (prefix & 31) << 3]) + raw)
        self.public = _spell(bytes([prefix]) + bytes(self._signing.verify_key))

    @classmethod
    def new(cls, kind: KeyKind) -> KeyPair:
        return cls(kind, secrets.token_bytes(32))

    @classmethod
    def from_seed(cls, seed: str) -> KeyPair:
        """Raises ValueError, which does not show the seed, if it is none."""
        try:
            raw = base64.b32decode(seed + "=" * (-len(seed) % 8))
        except binascii.Error:
            raise ValueError("not an nkey seed") from None
        if len(raw) != 36 or _crc16(raw[:-2]).to_bytes(2, "little") != raw[-2:]:
            raise ValueError("not an nkey seed, or a damaged one")
        prefix = (raw[0] & 7) << 5 | raw[1] >> 3
        for kind, known in _PREFIX.items():
            if raw[0] & 0xF8 == _SEED_PREFIX and known == prefix:
                return cls(kind, raw[2:34])
        raise ValueError("an nkey seed of an unknown kind")

    def sign(self, message: bytes) -> bytes:
        return bytes(self._signing.sign(message).signature)

    def __repr__(self) -> str:
        return f"KeyPair({self.kind} {self.public})"


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _compact(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def encode_jwt(
    signer: KeyPair, subject: str, name: str, nats: Mapping[str, Any], expires: int | None = None
) -> str:
    """A token about the public key `subject`. `expires` in seconds since 1970."""
    claims: Claims = {
        "iat": int(time.time()),
        "iss": signer.public,
        "name": name,
        "sub": subject,
        "nats": nats,
    }
    if expires is not None:
        claims["exp"] = expires
    claims["jti"] = base64.b32encode(hashlib.sha256(_compact(claims)).digest()).rstrip(b"=").decode()
    signed = f"{_b64(_compact({'typ': 'JWT', 'alg': 'ed25519-nkey'}))}.{_b64(_compact(claims))}"
    return f"{signed}.{_b64(signer.sign(signed.encode()))}"


def decode_jwt(token: str) -> Claims:
    """The claims of a token, unverified: its holder only reads who he is. Raises ValueError."""
    parts = token.split(".")
    if len(parts) != 3:
        raise ValueError("not a token")
    claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    if not isinstance(claims, dict) or not isinstance(claims.get("nats"), dict):
        raise ValueError("not a NATS token")
    return claims
