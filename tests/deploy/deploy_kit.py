"""What the tests of deployments share: certificates, servers of a configuration, and whether a command is real."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click
import pytest

from consort_agents.process import main as agents_main
from consort_bus.embedded import find_binary
from consort_orchestrator.cli import cli

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "compose"
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@dataclass(frozen=True)
class Certificates:
    """An authority of a test's own, in a folder, and what it signs."""

    folder: Path
    name: str = "ca"

    @property
    def authority(self) -> Path:
        path = self.folder / f"{self.name}.pem"
        if not path.exists():
            key = self.folder / f"{self.name}.key"
            _openssl(
                "req",
                "-x509",
                *NEW_KEY,
                "-days",
                "2",
                "-subj",
                f"/CN={self.name}",
                "-keyout",
                key,
                "-out",
                path,
            )
        return path

    def server(self, out: Path, names: str = "IP:127.0.0.1,DNS:localhost", days: int = 2) -> Path:
        """`server.pem` and `server.key` in a folder; with days below zero the certificate has expired."""
        authority, request = self.authority, out / "request"
        out.mkdir(parents=True, exist_ok=True)
        extensions = (
            "-addext",
            f"subjectAltName={names}",
            "-addext",
            "extendedKeyUsage=serverAuth,clientAuth",
        )
        _openssl(
            "req", *NEW_KEY, "-subj", "/CN=bus", *extensions, "-keyout", out / "server.key", "-out", request
        )
        signed = ("-CA", authority, "-CAkey", authority.with_suffix(".key"), "-copy_extensions", "copy")
        _openssl("x509", "-req", "-in", request, *signed, "-days", str(days), "-out", out / "server.pem")
        shutil.copy(authority, out / "ca.pem")
        return out


def _openssl(*arguments: str | Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl command to make certificates with")
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@dataclass
class Processes:
    """Processes of a test, each with a log; all are ended when its block ends."""

    folder: Path
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        with self.log(name).open("ab") as out:
            self.running[name] = subprocess.Popen(
                [str(word) for word in command],
                env=None if env is None else dict(env),
                cwd=cwd or self.folder,
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
            )

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def said(self, name: str) -> str:
        return self.log(name).read_text(errors="replace")

    def end(self, name: str) -> int:
        """SIGTERM, and the exit code."""
        process = self.running[name]
        process.send_signal(signal.SIGTERM)
        return process.wait(20)


@contextmanager
def processes(folder: Path) -> Iterator[Processes]:
    there = Processes(folder)
    try:
        yield there
    finally:
        for process in there.running.values():
            if process.poll() is None:
                process.kill()
        for process in there.running.values():
            process.wait(10)


def start_server(
    there: Processes, name: str, config: Path, port: int, env: Mapping[str, str] | None = None
) -> None:
    """A nats-server of a configuration file; returns when it listens."""
    there.start(name, [find_binary(), "-c", config], env={**os.environ, **(env or {})})

    def listens() -> bool:
        assert there.running[name].poll() is None, there.said(name)
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    until(listens, told=lambda: there.said(name))


def until(holds: Callable[[], object], limit: float = 30.0, told: Callable[[], str] = lambda: "") -> None:
    """Wait for a fact."""
    end = time.monotonic() + limit
    while not holds():
        assert time.monotonic() < end, f"waited in vain\n{told()}"
        time.sleep(0.02)


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without anything that is said to Consort; its command is found first."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CONSORT_", "NATS_", "OTEL_"))
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**kept, "PATH": path, "NO_COLOR": "1", **more}


def check_command(words: Sequence[str]) -> None:
    """Parse a command line of Consort without running it. Raises click.UsageError, AssertionError."""
    program, *rest = words
    if program == "python":
        assert rest[:2] == ["-m", "consort_agents"], words
        command: click.Command = agents_main
        rest = rest[2:]
    else:
        assert program == "consort", f"{words} is no command of Consort"
        command = cli
    context = click.Context(command, info_name=program)
    while isinstance(command, click.Group):
        _, rest, _ = command.make_parser(context).parse_args(list(rest))
        if not rest and command.invoke_without_command:
            return
        found = command.get_command(context, rest[0]) if rest else None
        assert found is not None, f"there is no command {' '.join(words)}"
        context, command, rest = (
            click.Context(found, info_name=rest[0], parent=context),
            found,
            list(rest[1:]),
        )
    given, left, _ = command.make_parser(context).parse_args(list(rest))
    assert not left, f"{words}: not taken: {left}"
    for parameter in command.params:
        if parameter.required and not parameter.value_from_envvar(context):
            assert given.get(parameter.name or "") not in (None, (), []), f"{words} wants {parameter.name}"
