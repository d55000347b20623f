"""Machines of a test's own: network namespaces with addresses, cables and a switch, and a page's commands run on them.

A machine has a network stack and a home folder of its own; the file system is shared, so copying from one
to another is copying between folders. Needs Linux, an administrator and the command `ip`.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

_fence = re.compile(r"^```sh\n# (\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SCP = """#!/bin/sh
# Stands for ssh: scp -r FOLDER MACHINE:NAME
test "$1" = -r && cp -r "$2" "$MACHINES/${3%%:*}/${3#*:}"
"""
"""A command of this name, for machines whose homes are folders of `MACHINES`."""
_ENTER = 'mount --bind "$0" /etc/hosts && exec "$@"'
_NETWORK = "10.83.7"


@dataclass(frozen=True)
class Block:
    """Commands that a page shows, and the machine they are for."""

    machine: str
    text: str

    @property
    def exports(self) -> str:
        """What a shell in which it was run has set."""
        return "".join(f"{line}\n" for line in self.text.splitlines() if line.startswith("export "))


def blocks(page: Path) -> list[Block]:
    return [Block(machine, text) for machine, text in _fence.findall(page.read_text(encoding="utf-8"))]


@dataclass(frozen=True)
class Hosts:
    """The machines, by name; each has the home folder `folder/NAME`."""

    folder: Path
    prefix: str

    def home(self, machine: str) -> Path:
        return self.folder / machine

    def command(self, machine: str, script: str) -> list[str]:
        enter = [
            "ip",
            "netns",
            "exec",
            f"{self.prefix}{machine}",
            "sh",
            "-c",
            _ENTER,
            str(self.folder / "hosts"),
        ]
        return [*enter, "bash", "-euc", script]

    def environment(self) -> Mapping[str, str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("CONSORT_", "NATS_"))
        }
        path = f"{self.folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {**kept, "PATH": path, "MACHINES": str(self.folder), "NO_COLOR": "1"}

    def run(self, machine: str, script: str, *, timeout: float = 60) -> str:
        """Commands to their end, but for what they leave running; what they said on standard output."""
        log = self.folder / f"{machine}.log"
        out = self.folder / f"{machine}.out"
        with log.open("ab") as errors, out.open("wb") as output:
            done = subprocess.run(
                self.command(machine, script),
                env=self.environment(),
                cwd=self.home(machine),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                timeout=timeout,
                check=False,
            )
        assert done.returncode == 0, f"{script}\n{out.read_text()}\n{log.read_text()[-4000:]}"
        return out.read_text()

    @contextmanager
    def reading(self, machine: str, script: str) -> Iterator[Iterator[str]]:
        """The lines of commands that go on."""
        process = subprocess.Popen(
            self.command(machine, script),
            env=self.environment(),
            cwd=self.home(machine),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        try:
            yield iter(process.stdout)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()

    def cable(self, machine: str, state: str) -> None:
        """Pulls the machine's cable at the switch, `down`, or puts it back, `up`."""
        _ip("-n", f"{self.prefix}switch", "link", "set", machine, state)

    def listening(self, machine: str) -> set[str]:
        """Addresses and ports on which something waits for connections, as other machines would see them."""
        shown = _ip("netns", "exec", f"{self.prefix}{machine}", "ss", "-Hltn").splitlines()
        return {line.split()[3] for line in shown if not line.split()[3].startswith("127.")}

    def processes(self, machine: str) -> list[str]:
        """The command lines of what runs there."""
        found = []
        for pid in _ip("netns", "pids", f"{self.prefix}{machine}").split():
            path = Path(f"/proc/{pid}/cmdline")
            if path.exists() and (line := path.read_bytes().replace(b"\0", b" ").decode().strip()):
                found.append(line)
        return found


@contextmanager
def hosts(folder: Path, machines: Sequence[str]) -> Iterator[Hosts]:
    """Machines that reach each other by name, while the block lasts. Skips the test where that cannot be had."""
    if os.geteuid() != 0:
        pytest.skip("machines of their own take an administrator")
    if shutil.which("ip") is None or shutil.which("ss") is None:
        pytest.skip("there is no command `ip` here; it is in the package iproute2")
    _remove_orphans()
    there = Hosts(folder, f"consort-{os.getpid()}-")
    names = [f"{there.prefix}{name}" for name in ("switch", *machines)]
    try:
        _build(there, machines)
        yield there
    finally:
        for name in names:
            _remove(name)


def _build(there: Hosts, machines: Sequence[str]) -> None:
    switch = f"{there.prefix}switch"
    added = subprocess.run(["ip", "netns", "add", switch], capture_output=True, text=True, check=False)
    if added.returncode != 0:
        pytest.skip(f"network namespaces are not permitted here: {added.stderr.strip()}")
    linked = ["ip", "-n", switch, "link", "add", "bridge", "type", "bridge"]
    if (made := subprocess.run(linked, capture_output=True, text=True, check=False)).returncode != 0:
        pytest.skip(f"there can be no bridge here: {made.stderr.strip()}")
    _ip("-n", switch, "link", "set", "bridge", "up")
    lines = ["127.0.0.1 localhost"]
    for number, name in enumerate(machines, start=1):
        space = f"{there.prefix}{name}"
        _ip("netns", "add", space)
        _ip("-n", switch, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", space)
        _ip("-n", switch, "link", "set", name, "master", "bridge", "up")
        _ip("-n", space, "address", "add", f"{_NETWORK}.{number}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", space, "link", "set", device, "up")
        lines.append(f"{_NETWORK}.{number} {name}")
        there.home(name).mkdir()
    (there.folder / "hosts").write_text("\n".join([*lines, ""]))
    scp = there.folder / "bin" / "scp"
    scp.parent.mkdir()
    scp.write_text(SCP)
    scp.chmod(0o755)


def _remove_orphans() -> None:
    """What a test left that was killed before it could clean up: its process is in the name."""
    for line in _ip("netns", "list").splitlines():
        found = re.match(r"consort-(\d+)-\w+", line)
        if found is not None and not Path(f"/proc/{found[1]}").exists():
            _remove(found[0])


def _remove(space: str) -> None:
    """Ends what runs in a namespace, and the namespace with all that is in it."""
    found = subprocess.run(["ip", "netns", "pids", space], capture_output=True, text=True, check=False)
    for pid in found.stdout.split():
        try:
            os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            continue
    subprocess.run(["ip", "netns", "delete", space], capture_output=True, check=False)


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
    return done.stdout
