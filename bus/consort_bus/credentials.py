"""Who a process is on the bus, and the file that proves it.

The file is a NATS credentials file, so the `nats` command can use it as it is, with
one more block for the key that seals messages. Reads what was issued; issues
nothing.
"""

from __future__ import annotations

import base64
import binascii
import logging
import os
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from consort_bus.errors import KeysUnusable
from consort_bus.nkey import KeyPair, decode_jwt
from consort_bus.subjects import inbox_prefix

log = logging.getLogger("consort.bus")

_ROLE_TAG = "role:"
_block = re.compile(r"-----BEGIN ([A-Z ]+)-----\s+(\S+)\s+-+END \1-+")


@dataclass(frozen=True, slots=True)
class Identity:
    """A role and a name, as the server knows them; both are subject tokens."""

    role: str
    name: str

    def __str__(self) -> str:
        return f"{self.role}.{self.name}"

    @property
    def inbox_prefix(self) -> str:
        return inbox_prefix(self.role, self.name)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What one identity needs to connect. `mac_key` seals messages; few roles have one."""

    role: str
    name: str
    jwt: str = field(repr=False)
    seed: str = field(repr=False)
    mac_key: bytes | None = field(default=None, repr=False)

    @property
    def identity(self) -> Identity:
        return Identity(self.role, self.name)

    @property
    def expires(self) -> datetime | None:
        """When the server stops accepting them, UTC."""
        seconds = decode_jwt(self.jwt).get("exp")
        return None if seconds is None else datetime.fromtimestamp(int(seconds), UTC)

    def sign(self, nonce: bytes) -> bytes:
        return KeyPair.from_seed(self.seed).sign(nonce)

    @classmethod
    def of(cls, jwt: str, seed: str, mac_key: bytes | None = None) -> Credentials:
        """Reads role and name from the token. Raises ValueError."""
        claims = decode_jwt(jwt)
        tags = claims["nats"].get("tags") or []
        roles = [tag.removeprefix(_ROLE_TAG) for tag in tags if tag.startswith(_ROLE_TAG)]
        if len(roles) != 1 or not isinstance(claims.get("name"), str):
            raise ValueError("the token names no role, so Consort did not issue it")
        KeyPair.from_seed(seed)
        return cls(roles[0], claims["name"], jwt, seed, mac_key)

    @classmethod
    def load_for(cls, role: str, name: str, path: Path | str) -> Credentials:
        """Those of a process that can be of one role only, and of one name where the role is that of an agent.

        Raises KeysUnusable, whose text says how to get the right ones.
        """
        try:
            found = cls.load(path)
        except KeysUnusable as exc:
            raise KeysUnusable(exc.where, f"{exc.why}; {_wanted(role, name)}") from exc
        if found.role != role or (role == "agent" and found.name != name):
            raise KeysUnusable(str(path), f"is of {found.identity}; {_wanted(role, name)}")
        if found.expires is not None and found.expires <= datetime.now(UTC):
            when = f"{found.expires:%Y-%m-%d %H:%M:%S} UTC"
            raise KeysUnusable(str(path), f"expired at {when}; {_wanted(role, name)}")
        return found

    @classmethod
    def load(cls, path: Path | str) -> Credentials:
        """Raises KeysUnusable. Warns when others on this machine may read the file."""
        try:
            text = Path(path).read_text(encoding="ascii")
            status = os.stat(path)
        except (OSError, UnicodeDecodeError) as exc:
            said = exc.strerror if isinstance(exc, OSError) else "it is no text"
            raise KeysUnusable(str(path), f"cannot be read: {said}") from exc
        if _open_to_others(status):
            log.warning("%s can be read by others on this machine; chmod 600 it", path)
        blocks = dict(_block.findall(text))
        try:
            mac = blocks.get("CONSORT MAC KEY")
            return cls.of(
                blocks["NATS USER JWT"],
                blocks["USER NKEY SEED"],
                base64.b64decode(mac, validate=True) if mac else None,
            )
        except KeyError as exc:
            raise KeysUnusable(str(path), f"has no block {exc}; is it a credentials file?") from exc
        except (ValueError, binascii.Error) as exc:
            raise KeysUnusable(str(path), str(exc)) from exc

    def save(self, path: Path | str) -> None:
        """Writes the file whole or not at all, readable by its owner only. Raises KeysUnusable."""
        text = (
            f"-----BEGIN NATS USER JWT-----\n{self.jwt}\n------END NATS USER JWT------\n\n"
            "What follows is secret: whoever has it is this identity.\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{self.seed}\n------END USER NKEY SEED------\n"
        )
        if self.mac_key is not None:
            mac = base64.b64encode(self.mac_key).decode()
            text += f"\n-----BEGIN CONSORT MAC KEY-----\n{mac}\n------END CONSORT MAC KEY------\n"
        write_secret(Path(path), text)


def _wanted(role: str, name: str) -> str:
    article = "an" if role[0] in "aeiou" else "a"
    command = f"consort access issue {role} {name} --out {role}.{name}.creds"
    return f"the credentials of {article} {role} are needed: `{command}` where the keys are"


def _open_to_others(status: os.stat_result) -> bool:
    """A file that belongs to another user, as a mounted secret does, may be ours to read through our group only."""
    group = 0o070 if status.st_uid == os.geteuid() else 0
    return bool(status.st_mode & (0o007 | group))


def role_tag(role: str) -> str:
    """The tag by which a token names its role."""
    return _ROLE_TAG + role


def write_secret(path: Path, text: str) -> None:
    """Replaces a file in one move, mode 0600. Raises KeysUnusable."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as exc:
        temporary.unlink(missing_ok=True)
        raise KeysUnusable(str(path), f"cannot be written: {exc}") from exc
