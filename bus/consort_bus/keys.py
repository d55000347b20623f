"""The secrets of an installation, and the credentials issued from them.

An installation is one NATS operator with one account, and one signing key per role.
A signing key is scoped: the server gives whoever it signed for the rights of that
role's row in `access` and ignores any other wish, so a stolen key opens one role
and nothing more. A new agent needs issued credentials and no change to the server.

The master secret for sealing messages lies in the same file: orchestrators carry it,
an agent gets a key derived from it, nobody else any.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from consort_bus.access import ROLES, TABLE, Rights
from consort_bus.credentials import Credentials, role_tag, write_secret
from consort_bus.errors import KeysUnusable
from consort_bus.nkey import KeyPair, decode_jwt, encode_jwt
from consort_shared.errors import InvalidInput
from consort_shared.ids import is_token
from consort_shared.seal import agent_key

ACCOUNT_NAME = "CONSORT"
_FILE = "authority.json"
_FORMAT = 1
_ANSWER_WITHIN = timedelta(minutes=1)
_UNLIMITED = -1
_ACCOUNT_LIMITS = {
    "subs": _UNLIMITED,
    "data": _UNLIMITED,
    "payload": _UNLIMITED,
    "imports": _UNLIMITED,
    "exports": _UNLIMITED,
    "wildcards": True,
    "conn": _UNLIMITED,
    "leaf": _UNLIMITED,
}
_STORAGE_LIMITS = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), _UNLIMITED)


@dataclass(frozen=True, slots=True)
class Authority:
    """All secrets of one installation; whoever holds them can issue any credentials."""

    operator: KeyPair
    account: KeyPair
    system: KeyPair
    roles: dict[str, KeyPair]
    mac_master: bytes = field(repr=False)

    @classmethod
    def load_or_create(cls, folder: Path | str) -> Authority:
        """The authority kept in a folder; two that create it at once get the same. Raises KeysUnusable."""
        path = Path(folder) / _FILE
        if not path.exists():
            draft = path.with_name(f".{_FILE}.{os.getpid()}.{secrets.token_hex(4)}")
            write_secret(draft, _fresh()._as_json())
            try:
                os.link(
                    draft, path
                )  # unlike a rename, a link never replaces what somebody else made meanwhile
            except FileExistsError:
                pass
            except OSError as exc:
                raise KeysUnusable(str(path), f"cannot be written: {exc}") from exc
            finally:
                draft.unlink(missing_ok=True)
        _with_new_roles(path)
        return cls.load(folder)

    @classmethod
    def load(cls, folder: Path | str) -> Authority:
        """Raises KeysUnusable."""
        path = Path(folder) / _FILE
        try:
            data = json.loads(path.read_text(encoding="ascii"))
            if data["format"] != _FORMAT:
                raise KeysUnusable(str(path), f"format {data['format']} is of a newer version")
            roles = {role: KeyPair.from_seed(seed) for role, seed in data["roles"].items()}
            authority = cls(
                KeyPair.from_seed(data["operator"]),
                KeyPair.from_seed(data["account"]),
                KeyPair.from_seed(data["system"]),
                roles,
                base64.b64decode(data["mac_master"], validate=True),
            )
        except OSError as exc:
            raise KeysUnusable(str(path), f"cannot be read: {exc}") from exc
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise KeysUnusable(str(path), f"is damaged ({exc}); restore it from a backup") from exc
        missing = set(ROLES) - set(roles)
        if missing:
            raise KeysUnusable(str(path), f"has no signing key for {', '.join(sorted(missing))}")
        return authority

    def issue(self, role: str, name: str, ttl: timedelta | None = None) -> Credentials:
        """Credentials for a role under a name, for as long as `ttl`, or without end.

        Raises InvalidInput: a name with a dot or a star in it would be given the rights of others.
        """
        if role not in self.roles or role not in TABLE:
            raise InvalidInput(f"{role!r} is no role; there are: {', '.join(ROLES)}")
        if not is_token(name) or name.endswith("\n"):
            raise InvalidInput(f"{name!r} cannot be a name: up to 32 lower-case letters, digits, _ and -")
        if ttl is not None and ttl < timedelta(seconds=1):
            raise InvalidInput("credentials must be valid for a second at least")
        user = KeyPair.new("user")
        claims = {
            "type": "user",
            "version": 2,
            "issuer_account": self.account.public,
            "tags": [role_tag(role)],
        }
        expires = None if ttl is None else int(time.time() + ttl.total_seconds())
        jwt = encode_jwt(self.roles[role], user.public, name, claims, expires)
        return Credentials(role, name, jwt, user.seed, self._mac_key(role, name))

    def issued(self, credentials: Credentials) -> bool:
        """Whether credentials come from this authority, by what they say of themselves."""
        signer = self.roles.get(credentials.role)
        return signer is not None and decode_jwt(credentials.jwt).get("iss") == signer.public

    def server_config(self) -> str:
        """The lines of a server's configuration that make it accept what this authority issues.

        They hold no secret. A server takes changed rights from them when it starts or reloads.
        """
        account, system = self.account.public, self.system.public
        return (
            f"operator: {self._operator_jwt()}\n"
            f"system_account: {system}\n"
            "resolver: MEMORY\n"
            "resolver_preload: {\n"
            f"  {account}: {self._account_jwt()}\n"
            f"  {system}: {self._system_jwt()}\n"
            "}\n"
        )

    def _mac_key(self, role: str, name: str) -> bytes | None:
        if role == "orchestrator":
            return self.mac_master
        return agent_key(self.mac_master, name) if role == "agent" else None

    def _operator_jwt(self) -> str:
        claims = {"type": "operator", "version": 2, "system_account": self.system.public}
        return encode_jwt(self.operator, self.operator.public, "consort", claims)

    def _account_jwt(self) -> str:
        scopes = [
            {"kind": "user_scope", "key": key.public, "role": role, "template": _template(TABLE[role])}
            for role, key in self.roles.items()
            if role in TABLE
        ]
        limits = {**_ACCOUNT_LIMITS, **_STORAGE_LIMITS}
        claims = {"type": "account", "version": 2, "limits": limits, "signing_keys": scopes}
        return encode_jwt(self.operator, self.account.public, ACCOUNT_NAME, claims)

    def _system_jwt(self) -> str:
        claims = {"type": "account", "version": 2, "limits": _ACCOUNT_LIMITS}
        return encode_jwt(self.operator, self.system.public, "SYS", claims)

    def _as_json(self) -> str:
        data = {
            "format": _FORMAT,
            "operator": self.operator.seed,
            "account": self.account.seed,
            "system": self.system.seed,
            "roles": {role: key.seed for role, key in self.roles.items()},
            "mac_master": base64.b64encode(self.mac_master).decode(),
        }
        return json.dumps(data, indent=1) + "\n"


def _with_new_roles(path: Path) -> None:
    """Make keys for roles that are newer than the file. The server learns of them from `server_config`."""
    try:
        data = json.loads(path.read_text(encoding="ascii"))
        missing = [role for role in ROLES if role not in data["roles"]]
    except (OSError, ValueError, KeyError, TypeError):
        return  # what is wrong is told by whoever loads it
    if missing:
        data["roles"] |= {role: KeyPair.new("account").seed for role in missing}
        write_secret(path, json.dumps(data, indent=1) + "\n")


def _fresh() -> Authority:
    roles = {role: KeyPair.new("account") for role in ROLES}
    return Authority(
        KeyPair.new("operator"),
        KeyPair.new("account"),
        KeyPair.new("account"),
        roles,
        secrets.token_bytes(32),
    )


def _template(rights: Rights) -> dict[str, Any]:
    template: dict[str, Any] = {
        "pub": {"allow": list(rights.publish)},
        "sub": {"allow": list(rights.subscribe)},
        "subs": _UNLIMITED,
        "data": _UNLIMITED,
        "payload": _UNLIMITED,
    }
    if rights.replies:
        template["resp"] = {"max": 1, "ttl": int(_ANSWER_WITHIN.total_seconds() * 1e9)}
    return template
