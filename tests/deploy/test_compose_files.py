"""The container files say what they should: structure, rights, names that must agree, commands that exist.

Nothing is started; `test_compose_runs` does that. J5, J12.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from composition import Service, Unset, health_command, instructions, interpolated, load, seconds, services
from deploy_kit import COMPOSE, ROOT, check_command, clean_environment

from consort_agents.process import main as agents_main
from consort_agents.tools.files import load_tools

FILES = [COMPOSE / "compose.yaml", COMPOSE / "own-agent.yaml", COMPOSE / "tool-host.yaml"]
SPECIFICATION = "github.com/compose-spec/compose-go/v2@v2.9.1"
"""The Go module that the published schema of the Compose Specification comes with."""
THERE = services(FILES[0])
LONG = ("orchestrator", "planner", "researcher", "analyst", "surveyor", "writer", "checker")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_structure_is_that_of_the_specification(file: Path) -> None:
    jsonschema.Draft7Validator(_specification()).validate(load(file, {}))


@cache
def _specification() -> Any:
    if shutil.which("go") is None:
        pytest.skip("the schema of the Compose Specification is had by way of Go, which is not here")
    command = ["go", "mod", "download", "-json", SPECIFICATION]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as exc:
        pytest.skip(f"the schema of the Compose Specification cannot be had: {exc}")
    return json.loads((Path(json.loads(told.stdout)["Dir"]) / "schema" / "compose-spec.json").read_text())


def test_variables_are_put_in_as_compose_does() -> None:
    """A variable that must be set and is not is an error that names it."""
    given = {"SET": "x", "EMPTY": ""}
    for text, wanted in (
        ("$SET-${SET}", "x-x"),
        ("$$SET", "$SET"),
        ("${NONE}${EMPTY}", ""),
        ("${NONE:-d}${EMPTY:-d}${SET:-d}", "ddx"),
        ("${NONE-d}${EMPTY-d}", "d"),
        ("${SET:+y}${EMPTY:+y}${EMPTY+y}", "yy"),
        ("${SET:?must be there}", "x"),
    ):
        assert interpolated({"a": [text]}, given) == {"a": [wanted]}, text
    for text in ("${NONE:?make one}", "${EMPTY:?make one}", "${NONE?make one}"):
        with pytest.raises(Unset, match=r"^(NONE|EMPTY): make one$"):
            interpolated(text, given)


def test_docker_reads_the_file_as_we_do() -> None:
    docker = shutil.which("docker")
    if (
        docker is None
        or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode
    ):
        pytest.skip("there is no `docker compose` on this machine")
    command = [docker, "compose", "-f", str(FILES[0]), "--profile", "*", "config", "--format", "json"]
    shown = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    read = json.loads(shown.stdout)["services"]
    assert set(read) == set(THERE)
    for name, service in THERE.items():
        assert (read[name].get("environment") or {}) == service.environment, name


def test_nobody_but_the_maker_of_keys_sees_them() -> None:
    holders: dict[str, list[str]] = {}
    for service in THERE.values():
        for mount in service.mounts:
            if mount.named:
                holders.setdefault(mount.source, []).append(service.name)
            assert (
                mount.read_only or service.name == "keys" or mount.source.startswith(("data-", "metrics"))
            ), f"{service.name} may write to {mount.source}"
    assert holders["authority"] == ["keys"]
    assert set(holders) == set(load(FILES[0], {})["volumes"])
    for volume, names in holders.items():
        if volume.startswith("creds-"):
            assert names[0] == "keys"
            assert names[1:] == [volume.removeprefix("creds-")], volume
    assert THERE["keys"].raw["network_mode"] == "none"


def test_each_process_is_given_its_own_credentials() -> None:
    """What is issued, where it is put, which file the process reads, and the name it works under agree."""
    issued = THERE["keys"].environment["ISSUE"].split()
    put = {
        mount.target.removeprefix("/creds/"): mount.source
        for mount in THERE["keys"].mounts
        if "creds-" in mount.source
    }
    assert set(put) == set(issued)
    readers = {name: service for name, service in THERE.items() if "CONSORT_CREDS" in service.environment}
    assert len(readers) == len(issued)
    for name, service in readers.items():
        who = Path(service.environment["CONSORT_CREDS"]).name.removesuffix(".creds")
        [mount] = [mount for mount in service.mounts if mount.source.startswith("creds-")]
        assert put[who] == mount.source, name
        assert service.environment["CONSORT_CREDS"] == f"{mount.target}/{who}.creds"
        if service.command[:2] == ["agent", "start"]:
            assert who == f"agent.{service.command[2]}"


def test_only_agents_that_think_are_given_the_key_of_the_model() -> None:
    """S36: the orchestrator has none, and in no file is there more than the name of a variable."""
    keys = ("CONSORT_MODEL", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL")
    holders = {name for name, service in THERE.items() if set(keys) & set(service.environment)}
    assert holders == set(LONG) - {"orchestrator"}
    assert all(THERE[name].environment[key] == "" for name in holders for key in keys)


def test_a_tool_host_is_approved_before_it_starts_and_alone_has_its_credentials() -> None:
    added = services(FILES[2])
    host, approve = added["words"], added["approve-words"]
    assert host.raw["depends_on"] == {"approve-words": {"condition": "service_completed_successfully"}}
    assert added["keys"].environment == {"MORE": "toolhost.words"}
    assert host.environment["CONSORT_CREDS"] == "/creds/toolhost.words.creds"
    assert approve.environment["CONSORT_CREDS"] == THERE["setup"].environment["CONSORT_CREDS"]
    assert host.environment["CONSORT_SERVER"] == THERE["setup"].environment["CONSORT_SERVER"]
    for service in (host, approve):
        assert service.raw["read_only"] is True
        assert service.raw["cap_drop"] == ["ALL"]
        assert all(mount.read_only for mount in service.mounts)
        assert "./tools" in {mount.source for mount in service.mounts}
    file = load_tools(COMPOSE / "tools" / "words.yaml")
    assert [one.function for one in file.contents.tools] == ["words"]  # type: ignore[union-attr]


@pytest.mark.parametrize("service", THERE.values(), ids=lambda service: service.name)
def test_a_service_can_do_no_harm_by_default(service: Service) -> None:
    raw = service.raw
    assert raw["cap_drop"] == ["ALL"]
    assert raw["read_only"] is True
    assert "no-new-privileges:true" in raw["security_opt"]
    assert "privileged" not in raw
    image, _, tag = interpolated(raw["image"], {}).rpartition(":")
    assert image
    assert tag not in ("", "latest")
    for port in raw.get("ports", ()):
        assert port.startswith("127.0.0.1:"), f"{service.name} can be reached from other machines"
    for name, value in service.environment.items():
        assert "PASSWORD" not in name
        assert "SECRET" not in value.upper()
    if service.name not in ("keys", "setup", "client", "operator"):
        assert raw["restart"] == "unless-stopped"
        assert raw["mem_limit"]


def test_processes_are_waited_for_longer_than_they_drain() -> None:
    [grace] = [option.default for option in agents_main.params if option.name == "grace"]
    for name in LONG:
        assert seconds(THERE[name].raw["stop_grace_period"]) >= float(grace) + 10
        assert THERE[name].raw["init"] is True


def test_everything_starts_after_what_it_needs() -> None:
    for name in LONG:
        assert THERE[name].raw["depends_on"] == {"setup": {"condition": "service_completed_successfully"}}
    nodes = [name for name in THERE if name.startswith("bus-")]
    assert THERE["setup"].raw["depends_on"] == {name: {"condition": "service_healthy"} for name in nodes}
    for node in nodes:
        assert THERE[node].raw["depends_on"] == {"keys": {"condition": "service_completed_successfully"}}
        assert THERE[node].environment["NODE"] == node
        assert "healthz" in THERE[node].raw["healthcheck"]["test"][-1]
    wanted = ",".join(f"nats://{node}:4222" for node in nodes)
    for service in THERE.values():
        assert service.environment.get("CONSORT_SERVER", wanted) == wanted
    assert f"--cluster {','.join(nodes)}" in THERE["keys"].command[0]


def test_every_command_of_ours_exists() -> None:
    entry = json.loads(instructions()["ENTRYPOINT"][-1])
    for file in FILES:
        for service in services(file).values():
            if not service.ours:
                continue
            if "entrypoint" in service.raw:
                lines = [line.strip() for line in service.command[0].splitlines()]
                consort = [
                    line.replace("$ISSUE $MORE", "agent.a") for line in lines if line.startswith("consort ")
                ]
                assert len(consort) == 2
                for line in consort:
                    check_command(shlex.split(line))
            elif service.command:
                check_command([*entry, *service.command])
    for line in re.findall(r"docker compose run --rm (?:client|operator) (.*)", FILES[0].read_text()):
        check_command([*entry, *shlex.split(line)])


def test_prometheus_asks_every_process_and_grafana_finds_what_it_shows() -> None:
    """J12: each service that serves metrics is asked for them; rules and dashboards have their places."""
    config = yaml.safe_load((COMPOSE / "prometheus" / "prometheus.yml").read_text())
    [*found] = [found for job in config["scrape_configs"] for found in job["dns_sd_configs"]]
    assert sorted(name for one in found for name in one["names"]) == sorted(LONG)
    assert {str(one["port"]) for one in found} == {
        THERE[name].environment["CONSORT_HEALTH_PORT"] for name in LONG
    }
    assert all(THERE[name].environment["CONSORT_HEALTH_HOST"] == "0.0.0.0" for name in LONG)
    assert config["rule_files"] == ["alerts.yml"]
    assert (
        f"--config.file={target('prometheus', './prometheus')}/prometheus.yml" in THERE["prometheus"].command
    )

    provisioning = COMPOSE / "grafana" / "provisioning"
    [provider] = yaml.safe_load((provisioning / "dashboards" / "consort.yml").read_text())["providers"]
    assert provider["options"]["path"] == target("grafana", "./grafana/dashboards")
    assert target("grafana", "./grafana/provisioning") == "/etc/grafana/provisioning"
    [source] = yaml.safe_load((provisioning / "datasources" / "consort.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert "127.0.0.1:9090:9090" in THERE["prometheus"].raw["ports"]
    for service in THERE.values():
        for mount in service.mounts:
            assert mount.named or (COMPOSE / mount.source).exists(), f"{service.name}: {mount.source}"


def target(service: str, source: str) -> str:
    [found] = [mount.target for mount in THERE[service].mounts if mount.source == source]
    return found


def test_the_image_is_small_and_runs_as_nobody_special() -> None:
    said = instructions()
    assert len(said["FROM"]) == 2
    assert all("slim" in said["ARG"][0] and line.startswith("python:${PYTHON}") for line in said["FROM"])
    assert [line.split(":")[0] for line in said["USER"]] == ["10001"]
    assert said["STOPSIGNAL"] == ["SIGTERM"]
    for exec_form in (*said["ENTRYPOINT"], *said["CMD"]):
        assert json.loads(exec_form)
    assert "-o 10001" in THERE["keys"].command[0]


def copied() -> list[str]:
    sources = [line.split()[0:-1] for line in instructions()["COPY"] if not line.startswith("--from")]
    return [one for line in sources for one in line]


def test_the_build_sees_what_it_copies_and_no_secrets() -> None:
    rules = [
        line
        for line in (COMPOSE / "Dockerfile.dockerignore").read_text().splitlines()
        if line[:1] not in ("", "#")
    ]
    assert rules[0] == "*"
    assert sorted(rule[1:] for rule in rules if rule.startswith("!")) == sorted(copied())
    assert {"**/*.creds", "**/.consort"} <= set(rules)
    assert all((ROOT / one).exists() for one in copied())


@pytest.mark.slow
def test_the_package_can_be_built_from_what_the_build_sees(tmp_path: Path) -> None:
    for one in copied():
        copy = shutil.copytree if (ROOT / one).is_dir() else shutil.copy
        copy(ROOT / one, tmp_path / one)
    [line] = [line for line in instructions()["RUN"] if "pip wheel" in line]
    words = shlex.split(line.split("&&")[0])
    assert words[:3] == ["/opt/consort/bin/pip", "wheel", "--no-deps"]
    words[words.index("/wheels")] = str(tmp_path / "wheels")
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words[1:]], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [path.suffix for path in (tmp_path / "wheels").iterdir()] == [".whl"]


@pytest.fixture
def answering() -> Iterator[tuple[int, list[int]]]:
    """A port that answers any request with the code in the list."""
    codes = [200]

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == "/readyz"
            self.send_response(codes[0])
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server.server_port, codes
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.slow
def test_the_image_knows_whether_its_process_is_ready(answering: tuple[int, list[int]]) -> None:
    port, codes = answering

    def code(environment: dict[str, str]) -> int:
        return subprocess.run(health_command(), env=environment, capture_output=True, check=False).returncode

    assert code(clean_environment(CONSORT_HEALTH_PORT=str(port))) == 0
    codes[0] = 503
    assert code(clean_environment(CONSORT_HEALTH_PORT=str(port))) != 0
    assert code(clean_environment(CONSORT_HEALTH_PORT="1")) != 0
    assert code(clean_environment()) == 0
