"""Credentials on other machines: issued together, taken from the environment, and each fault is one sentence.

J5: what a machine is given is what its processes need; what is wrong with it names the role and the command.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from deploy_kit import clean_environment

from consort_bus.credentials import Credentials
from consort_bus.elsewhere import server_lines
from consort_bus.errors import KeysUnusable
from consort_bus.keys import Authority
from consort_orchestrator.cli import invoke
from consort_shared.errors import InvalidInput

NOWHERE = "nats://127.0.0.1:1"


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("CONSORT_", "NATS_")):
            monkeypatch.delenv(name)


def test_a_bundle_is_what_a_machine_needs_and_nothing_more(tmp_path: Path) -> None:
    assert (
        invoke(["access", "bundle", "work", "agent.writer", "agent.checker", "client.ci", "--ttl", "1h"]) == 0
    )
    work = tmp_path / "work"
    assert sorted(path.name for path in work.iterdir()) == [
        "agent.checker.creds",
        "agent.writer.creds",
        "client.ci.creds",
    ]
    assert stat.S_IMODE(work.stat().st_mode) == 0o700
    authority = Authority.load(tmp_path / ".consort" / "keys")
    for path in work.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        text = path.read_text()
        assert authority.account.seed not in text
        assert all(key.seed not in text for key in authority.roles.values())
        found = Credentials.load(path)
        assert f"{found.identity}.creds" == path.name
        assert found.expires is not None
        assert (found.mac_key is not None) == (found.role == "agent")


def test_a_bundle_is_made_whole_or_not_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong, why in (
        ("writer", "write ROLE.NAME"),
        ("painter.bob", "is no role"),
        ("agent.Bob", "cannot be a name"),
    ):
        assert invoke(["access", "bundle", "work", "agent.writer", wrong]) == 2
        assert why in capsys.readouterr().err
    assert not (tmp_path / "work").exists()


def test_issuing_again_gives_the_same_identity_so_what_was_copied_stays_good(tmp_path: Path) -> None:
    for _ in range(2):
        assert invoke(["access", "bundle", "work", "agent.writer"]) == 0
        (tmp_path / "work" / "agent.writer.creds").rename(
            tmp_path / f"{len(list(tmp_path.glob('*.creds')))}.creds"
        )
    assert (tmp_path / "0.creds").read_bytes() == (tmp_path / "1.creds").read_bytes()


def test_the_lines_of_a_cluster_are_secret_and_stay_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "access",
        "server-config",
        "--cluster",
        "a,b,c",
        "--tls",
        "/etc/consort",
        "--out",
        "consort.conf",
    ]
    assert invoke([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    path = tmp_path / "consort.conf"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert told["account"] in path.read_text()
    routes = [line for line in path.read_text().splitlines() if "nats-route://" in line]
    assert [route.rpartition("@")[2] for route in routes] == ["a:6222", "b:6222", "c:6222"]
    assert invoke(command) == 0
    assert routes == [line for line in path.read_text().splitlines() if "nats-route://" in line]
    authority = Authority.load(tmp_path / ".consort" / "keys")
    assert authority.mac_master.hex() not in path.read_text()
    for hosts in (["a", "b"], ["a", "b", "b"], ["a", "b", "c d"], ["a", "b", "c/"]):
        with pytest.raises(InvalidInput):
            server_lines(authority, hosts)


def test_what_is_wrong_with_credentials_names_the_role_and_the_command(tmp_path: Path) -> None:
    authority = Authority.load_or_create(tmp_path)
    authority.issue("orchestrator", "main").save(tmp_path / "main.creds")
    authority.issue("agent", "checker").save(tmp_path / "checker.creds")
    (tmp_path / "rubbish.creds").write_text("rubbish")
    for name, why in (
        ("none", "cannot be read: No such file or directory"),
        ("main", "is of orchestrator.main"),
        ("checker", "is of agent.checker"),
        ("rubbish", "has no block"),
    ):
        with pytest.raises(KeysUnusable) as refused:
            Credentials.load_for("agent", "writer", tmp_path / f"{name}.creds")
        assert why in str(refused.value)
        assert "`consort access issue agent writer --out agent.writer.creds` where the keys are" in str(
            refused.value
        )
        assert refused.value.exit_code == 3
    assert Credentials.load_for("orchestrator", "second", tmp_path / "main.creds").name == "main"


def test_a_secret_that_its_owner_shares_with_a_group_is_no_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As Kubernetes mounts one: it belongs to root, and the process may read it through its group."""
    path = tmp_path / "a.creds"
    Authority.load_or_create(tmp_path).issue("agent", "a").save(path)
    path.chmod(0o440)
    Credentials.load(path)
    assert "chmod 600" in caplog.text
    if os.geteuid() != 0:
        pytest.skip("giving a file to another user takes an administrator")
    caplog.clear()
    os.chown(path, 12345, os.getgid())
    Credentials.load(path)
    assert not caplog.text
    path.chmod(0o444)
    Credentials.load(path)
    assert "chmod 600" in caplog.text


@pytest.mark.slow
def test_an_agent_finds_bus_and_credentials_in_its_environment(tmp_path: Path) -> None:
    """With an environment file as systemd and containers read it; the process says one sentence and ends with 3."""
    authority = Authority.load_or_create(tmp_path)
    authority.issue("client", "ci").save(tmp_path / "ci.creds")
    (tmp_path / "writer.env").write_text(f"CONSORT_SERVER={NOWHERE}\nCONSORT_CREDS={tmp_path / 'ci.creds'}\n")
    told = clean_environment(
        **dict(line.split("=", 1) for line in (tmp_path / "writer.env").read_text().split())
    )
    command = [sys.executable, "-m", "consort_orchestrator.cli", "agent", "start", "writer"]
    ended = subprocess.run(command, env=told, capture_output=True, text=True, check=False)
    assert ended.returncode == 3
    [line] = ended.stderr.splitlines()
    assert "ci.creds: is of client.ci; the credentials of an agent are needed" in line
