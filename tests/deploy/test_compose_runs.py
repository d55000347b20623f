"""What compose.yaml says is started, as processes on this machine: its commands, environments and server files.

Containers' paths become folders, volumes are shared folders, names of services become ports of 127.0.0.1;
everything else is as the file has it. J5, J6, J8.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from composition import Service, health_command, seconds, services
from deploy_kit import COMPOSE, Processes, clean_environment, free_ports, processes, start_server, until

from consort_agents.process import main as agents_main
from consort_bus.keys import Authority
from consort_bus.subjects import LOG, agent_consumer_name

NODES = ("bus-1", "bus-2", "bus-3")
AGENTS = ("planner", "researcher", "analyst", "surveyor", "writer", "checker")


@dataclass
class Machine:
    """Stands for the container engine."""

    folder: Path
    there: Processes
    services: dict[str, Service]
    ports: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    told: dict[str, dict[str, str]] = field(default_factory=dict)
    """The environments of the processes that go on."""

    def volume(self, source: str) -> Path:
        if source.startswith("."):
            return (COMPOSE / source).resolve()
        path = self.folder / "volumes" / source
        path.mkdir(parents=True, exist_ok=True)
        return path

    def here(self, service: Service, text: str) -> str:
        """A text with the container's paths and the services' names as they are on this machine."""
        paths = {mount.target: str(self.volume(mount.source)) for mount in service.mounts}
        if service.name == "keys":
            paths |= {place: f"{self.folder}{place}" for place in ("/tmp", "/creds")}
        paths |= {f"{name}:4222": f"127.0.0.1:{client}" for name, (client, _, _) in self.ports.items()}
        places = "|".join(re.escape(place) for place in sorted(paths, key=len, reverse=True))
        return re.sub(places, lambda found: paths[found[0]], text) if paths else text

    def environment(self, service: Service) -> dict[str, str]:
        told = {name: self.here(service, value) for name, value in service.environment.items()}
        if "CONSORT_HEALTH_PORT" in told:  # each container has its own 8080
            told |= {"CONSORT_HEALTH_PORT": str(free_ports(1)[0]), "CONSORT_HEALTH_HOST": "127.0.0.1"}
        return clean_environment(**told)

    def command(self, service: Service, *more: str) -> list[str]:
        words = [self.here(service, word) for word in more or service.command]
        entry = service.raw.get("entrypoint", [sys.executable, "-m", "consort_orchestrator.cli"])
        return [*entry, *words]

    def run(self, name: str, *more: str) -> subprocess.CompletedProcess[str]:
        """A service that ends by itself."""
        service = self.services[name]
        return subprocess.run(
            self.command(service, *more),
            env=self.environment(service),
            cwd=self.work(service),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def start(self, name: str) -> None:
        service = self.services[name]
        for number in range(1, service.raw.get("deploy", {}).get("replicas", 1) + 1):
            told = self.told[f"{name}-{number}"] = self.environment(service)
            self.there.start(f"{name}-{number}", self.command(service), env=told, cwd=self.work(service))

    def work(self, service: Service) -> Path:
        """The folder that stands for /app of the image, with what is mounted in it."""
        folder = self.folder / "work" / service.name
        folder.mkdir(parents=True, exist_ok=True)
        for mount in service.mounts:
            link = folder / Path(mount.target).name
            if mount.target.startswith("/app/") and not link.exists():
                link.symlink_to(self.volume(mount.source))
        return folder

    def start_bus(self, name: str) -> None:
        """A server by the file that the volume holds, with ports of its own: all containers have the same ones."""
        service = self.services[name]
        client, route, monitor = self.ports[name]
        own = self.folder / name
        shutil.copytree(self.volume("server"), own)
        for file in own.iterdir():
            text = (
                file.read_text()
                .replace("port: 4222", f"port: {client}")
                .replace("port: 6222", f"port: {route}")
            )
            for other, ports in self.ports.items():
                text = text.replace(f"@{other}:6222", f"@127.0.0.1:{ports[1]}")
            file.write_text(text.replace("localhost:8222", f"127.0.0.1:{monitor}"))
        flag, config = service.command
        assert (flag, config) == ("-c", "/etc/consort/node.conf")
        start_server(self.there, name, own / "node.conf", client, self.environment(service))

    def healthy(self, name: str) -> bool:
        """What the health check of a server asks for."""
        url = self.services[name].raw["healthcheck"]["test"][-1]
        return self.asked(name, url.partition(":8222")[2]) is not None

    def asked(self, name: str, path: str) -> dict[str, Any] | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[name][2]}{path}", timeout=2) as answer:
                return dict(json.load(answer))
        except OSError:
            return None


@pytest.mark.slow
def test_the_whole_system_runs_as_the_file_says(tmp_path: Path) -> None:
    with processes(tmp_path) as there:
        machine = Machine(tmp_path, there, services(COMPOSE / "compose.yaml"))
        _make_keys(machine)
        ports = free_ports(9)
        machine.ports = {node: (ports.pop(), ports.pop(), ports.pop()) for node in NODES}
        for node in NODES:
            machine.start_bus(node)
        for node in NODES:
            until(lambda node=node: machine.healthy(node), told=lambda node=node: there.said(node))
        set_up = machine.run("setup")
        assert set_up.returncode == 0, set_up.stderr
        for name in ("orchestrator", *AGENTS):
            machine.start(name)

        done = machine.run("client", "submit", "examples/market-analysis/plan.yaml", "--wait")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "completed" in done.stdout + done.stderr

        _say_that_they_are_ready(machine)
        _orchestrators_share(machine)
        _backlog_can_be_read(machine)
        for name, process in there.running.items():
            if not name.startswith("bus-"):
                assert process.poll() is None, there.said(name)
        grace = min(seconds(machine.services[name].raw["stop_grace_period"]) for name in AGENTS)
        assert grace > 20
        for name in [name for name in there.running if not name.startswith("bus-")]:
            assert there.end(name) == 0, there.said(name)


def _make_keys(machine: Machine) -> None:
    """By the file's own script; giving files away takes an administrator, so they stay this user's."""
    (machine.folder / "tmp").mkdir()
    service = machine.services["keys"]
    [script] = service.command
    assert "-o 10001" in script
    own = Service("keys", {**service.raw, "command": [script.replace("-o 10001", f"-o {os.getuid()}")]})
    machine.services["keys"] = own
    (machine.folder / "creds").mkdir()
    for mount in own.mounts:
        if mount.target.startswith("/creds/"):
            (machine.folder / mount.target[1:]).symlink_to(machine.volume(mount.source))
    made = machine.run("keys")
    assert made.returncode == 0, made.stderr
    for mount in own.mounts:
        if mount.target.startswith("/creds/"):
            [file] = machine.volume(mount.source).iterdir()
            assert file.stat().st_mode & 0o777 == 0o400


def _say_that_they_are_ready(machine: Machine) -> None:
    """By the image's own health check; a version whose processes do not answer it is not asked."""
    if not any(option.name == "health_port" for option in agents_main.params):
        return
    assert len(machine.told) == len(AGENTS) + 2
    for name, environment in machine.told.items():
        asked = subprocess.run(health_command(), env=environment, capture_output=True, text=True, check=False)
        assert asked.returncode == 0, f"{name}: {asked.stderr}"


def _orchestrators_share(machine: Machine) -> None:
    told = machine.run("operator", "doctor", "--json")
    found = json.loads(told.stdout)["findings"]
    assert any("2 orchestrators" in one["what"] for one in found if one["check"] == "orchestrators"), found


def _backlog_can_be_read(machine: Machine) -> None:
    """J6: an autoscaler finds each agent's backlog at the servers' monitoring, by account, stream and consumer."""
    account = Authority.load(machine.volume("authority") / "keys").account.public
    leaders = []
    for node in NODES:
        told = machine.asked(node, f"/jsz?acc={account}&consumers=true&config=true")
        assert told is not None
        [detail] = told["account_details"]
        assert detail["id"] == account
        for stream in detail["stream_detail"]:
            for consumer in stream.get("consumer_detail") or ():
                if (stream["name"], consumer["name"]) == (LOG, agent_consumer_name("writer")):
                    assert consumer["num_pending"] + consumer["num_ack_pending"] == 0
                    leaders.append(consumer["cluster"]["leader"])
    assert set(leaders) <= set(NODES)
    assert leaders
