"""Keys, tokens and their files."""

from __future__ import annotations

import logging
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nkeys
import pytest

from consort_bus.access import ROLES
from consort_bus.credentials import Credentials
from consort_bus.errors import KeysUnusable
from consort_bus.keys import Authority
from consort_bus.nkey import KeyPair, decode_jwt
from consort_shared.seal import agent_key


@pytest.mark.parametrize("kind", ["operator", "account", "user"])
def test_keys_are_spelled_as_nats_spells_them(kind: str) -> None:
    pair = KeyPair.new(kind)  # type: ignore[arg-type]
    theirs = nkeys.from_seed(bytearray(pair.seed.encode()))
    assert theirs.public_key.decode() == pair.public
    assert theirs.sign(b"nonce") == pair.sign(b"nonce")
    assert KeyPair.from_seed(pair.seed).public == pair.public


@pytest.mark.parametrize(
    "seed", ["", "SU", "not a seed", "SUAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]
)
def test_damaged_seeds_are_refused_without_being_shown(seed: str) -> None:
    with pytest.raises(ValueError, match="nkey seed") as refused:
        KeyPair.from_seed(seed)
    assert not seed or seed not in str(refused.value)


def test_credentials_survive_their_file(tmp_path: Path) -> None:
    authority = Authority.load_or_create(tmp_path)
    for role in ROLES:
        issued = authority.issue(role, "n1", timedelta(hours=1))
        path = tmp_path / "sub" / f"{role}.creds"
        issued.save(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert Credentials.load(path) == issued
        assert str(issued.identity) == f"{role}.n1"
        assert issued.expires is not None
        assert timedelta(0) < issued.expires - datetime.now(UTC) <= timedelta(hours=1)
        assert authority.issued(issued)


def test_secrets_do_not_show(tmp_path: Path) -> None:
    authority = Authority.load_or_create(tmp_path)
    issued = authority.issue("agent", "a1")
    shown = repr(issued) + repr(authority)
    assert issued.mac_key is not None
    for secret in (
        issued.jwt,
        issued.seed,
        repr(issued.mac_key),
        authority.account.seed,
        repr(authority.mac_master),
    ):
        assert secret not in shown
    assert authority.operator.seed not in authority.server_config()


def test_who_gets_which_sealing_key(tmp_path: Path) -> None:
    authority = Authority.load_or_create(tmp_path)
    assert authority.issue("orchestrator", "o1").mac_key == authority.mac_master
    assert authority.issue("agent", "a1").mac_key == agent_key(authority.mac_master, "a1")
    for role in ("client", "reviewer", "auditor", "provisioner"):
        assert authority.issue(role, "a1").mac_key is None


def test_the_token_carries_no_rights_of_its_own(tmp_path: Path) -> None:
    claims = decode_jwt(Authority.load_or_create(tmp_path).issue("agent", "a1").jwt)
    assert set(claims["nats"]) == {"type", "version", "issuer_account", "tags"}
    assert "exp" not in claims


def test_an_authority_is_made_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: Authority.load_or_create(tmp_path), range(16)))
    assert len({authority.account.public for authority in made}) == 1
    assert stat.S_IMODE((tmp_path / "authority.json").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["authority.json"]


def test_damaged_files_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(KeysUnusable, match="cannot be read"):
        Credentials.load(tmp_path / "none.creds")
    path = tmp_path / "a.creds"
    path.write_text("nothing")
    with caplog.at_level(logging.WARNING, "consort.bus"), pytest.raises(KeysUnusable, match="NATS USER JWT"):
        Credentials.load(path)
    assert "chmod 600" in caplog.text
    (tmp_path / "authority.json").write_text("{}")
    with pytest.raises(KeysUnusable, match="is damaged"):
        Authority.load(tmp_path)
