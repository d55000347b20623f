"""The systemd units: what systemd itself says of them, and that their commands, files and times are right. J5, J8."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from deploy_kit import COMPOSE, check_command

from consort_agents.process import main as agents_main
from consort_bus.credentials import Identity

UNITS = sorted((COMPOSE / "systemd").glob("*.service"))
OURS = {
    "consort-agent@.service": Identity("agent", "%i"),
    "consort-orchestrator.service": Identity("orchestrator", "main"),
    "consort-tools@.service": Identity("toolhost", "%i"),
}


class _Repeated(dict[str, str]):
    """systemd lets a setting stand more than once: all of its values count, a line each."""

    def __setitem__(self, key: str, value: str | list[str]) -> None:  # type: ignore[override]
        if isinstance(value, list) and key in self:
            value = [self[key], *value] if isinstance(self[key], str) else [*self[key], *value]
        super().__setitem__(key, value)  # type: ignore[assignment]


def settings(name: str) -> configparser.SectionProxy:
    parser = configparser.RawConfigParser(
        dict_type=_Repeated, strict=False, delimiters="=", comment_prefixes="#"
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(COMPOSE / "systemd" / name)
    assert {"Unit", "Service", "Install"} == set(parser.sections())
    return parser["Service"]


def words(service: configparser.SectionProxy, **instance: str) -> list[str]:
    line = re.sub(r"\$\{(\w+)\}", lambda found: instance[found[1]], service["ExecStart"])
    path, *rest = shlex.split(line)
    return [Path(path).name, *rest]


def test_systemd_takes_them(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("there is no systemd-analyze on this machine")
    paths = []
    for unit in UNITS:
        path = tmp_path / unit.name.replace("@", "@writer")
        path.write_text(unit.read_text().replace("/opt/consort/bin/", f"{Path(sys.executable).parent}/"))
        paths.append(str(path))
    told = subprocess.run([program, "verify", *paths], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert not told.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_each_comes_back_and_can_do_no_harm(unit: Path) -> None:
    service = settings(unit.name)
    assert service["Restart"] == "always"
    assert service["KillSignal"] == "SIGTERM"
    assert "DynamicUser" in service or service["User"] not in ("root", "")
    for name, value in (
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("PrivateTmp", "yes"),
        ("CapabilityBoundingSet", ""),
        ("UMask", "0077"),
    ):
        assert service[name] == value, name


@pytest.mark.parametrize("name", OURS)
def test_each_is_given_its_credentials_and_time_to_finish(name: str) -> None:
    """Credentials belong to root on the disk; the process sees its own, under a path that `%d` stands for."""
    service = settings(name)
    [grace] = [option.default for option in agents_main.params if option.name == "grace"]
    assert int(service["TimeoutStopSec"]) >= float(grace) + 10
    assert service["LoadCredential"] == f"creds:/etc/consort/{OURS[name]}.creds"
    assert "CONSORT_CREDS=%d/creds" in service["Environment"].splitlines()
    assert "/etc/consort/bus.env" in service["EnvironmentFile"].splitlines()


def test_the_commands_exist() -> None:
    check_command(words(settings("consort-orchestrator.service")))
    check_command(words(settings("consort-agent@.service"), AGENT="writer"))
    tools = settings("consort-tools@.service")
    assert "FILE=/etc/consort/tools/%i.yaml" in tools["Environment"].splitlines()
    check_command(words(tools, FILE="web.yaml"))
    bus = settings("consort-bus.service")
    assert words(bus, CONFIG="x") == ["nats-server", "-c", "x"]
    assert "CONFIG=/etc/consort/nats.conf" in bus["Environment"]
    assert "DATA=/var/lib/consort-bus" in bus["Environment"]
    assert bus["WorkingDirectory"] == f"/var/lib/{bus['StateDirectory']}"
    assert {"$NODE", "$DATA"} <= set(re.findall(r"\$\w+", (COMPOSE / "node.conf").read_text()))
