"""Starts one command in its confinement, waits for it, and leaves nothing of it behind.

    supervisor ── first ── the command and whatever it starts

The supervisor holds a socket to the agent's process. An order comes in, protections and the
command's end are told; when the other side hangs up, also by dying, everything is killed.
`first` is the first process of the command's namespaces: with it all others end. Where there
are no namespaces the supervisor is `first` too, and adopts what runs away, to kill it.

The command runs only if every protection that the order requires is in force.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

from consort_agents.tools.confinement import kernel, landlock, rooms
from consort_agents.tools.confinement.protections import Protection

NOBODY = 65534
_NOT_STARTED = 127


@dataclass(slots=True)
class State:
    """What protects, and what does not: by what, or why."""

    by: dict[Protection, list[str]] = field(default_factory=dict)
    missing: dict[Protection, str] = field(default_factory=dict)

    def add(self, protection: Protection, by: str) -> None:
        self.by.setdefault(protection, []).append(by)

    def lacks(self, protection: Protection, why: object) -> None:
        self.missing[protection] = str(why)


class Line:
    """This end of the socket: one JSON object a line."""

    def __init__(self, descriptor: int) -> None:
        self.end = socket.socket(fileno=descriptor)
        self.end.set_inheritable(False)

    def order(self) -> dict[str, Any]:
        with self.end.makefile("rb") as lines:
            told: dict[str, Any] = json.loads(lines.readline())
        return told

    def tell(self, **what: Any) -> None:
        with suppress(OSError):
            self.end.sendall(json.dumps(what).encode() + b"\n")


def main() -> NoReturn:
    """`python -I -S start.py DESCRIPTOR`."""
    line = Line(int(sys.argv[1]))
    order = line.order()
    state = State()
    wake, woken = socket.socketpair()
    woken.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken.fileno())
    try:
        rooms.leave_the_others(network=order["network"])
    except OSError as exc:
        for protection in ("processes", "network"):
            state.lacks(protection, exc)
        with suppress(OSError):
            kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        child = os.fork() or _command(order, state, line)
    else:
        state.add("processes", "namespaces")
        if not order["network"]:
            state.add("network", "namespaces")
        child = os.fork() or _first(order, state, line)
    _watch(child, line, wake, told="processes" in state.by)


def _watch(child: int, line: Line, wake: socket.socket, *, told: bool) -> NoReturn:
    """Until the child has ended, or nobody is interested any more; then end all that is left."""
    while True:
        ready, _, _ = select.select([line.end, wake], [], [])
        if line.end in ready:  # nothing more is said to us: it was closed
            break
        wake.recv(4096)
        ended = _reap(child)
        if ended is not None:
            if not told:
                _tell_end(line, ended)
            break
    _kill_all()
    os._exit(0)


def _reap(child: int) -> int | None:
    """How a child ended, if it has; others that have ended are cleared away."""
    found = None
    with suppress(ChildProcessError):
        while True:
            who, status = os.waitpid(-1, os.WNOHANG)
            if who == 0:
                return found
            if who == child:
                found = status
    return found


def _tell_end(line: Line, status: int) -> None:
    code = os.waitstatus_to_exitcode(status)
    line.tell(code=max(code, 0), signal=max(-code, 0))


def _kill_all() -> None:
    """Everything that descends from this process, also what left the group and what lost its parent."""
    for _ in range(1000):
        found = _descendants()
        if not found:
            break
        for stop in (signal.SIGSTOP, signal.SIGKILL):
            for process in found:
                with suppress(OSError):
                    os.kill(process, stop)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        select.select([], [], [], 0.002)


def _descendants() -> list[int]:
    """Processes below this one, without those that have ended. Empty where there is no /proc."""
    below: dict[int, list[int]] = {}
    try:
        names = [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []
    for name in names:
        with suppress(OSError, ValueError, IndexError):
            with open(f"/proc/{name}/stat", "rb") as file:
                state, parent = file.read().rpartition(b")")[2].split()[:2]
            if state not in (b"Z", b"X"):
                below.setdefault(int(parent), []).append(int(name))
    found, left = [], [os.getpid()]
    while left:
        children = below.get(left.pop(), [])
        found += children
        left += children
    return found


def _first(order: dict[str, Any], state: State, line: Line) -> NoReturn:
    """The first process in the namespaces: builds the room, starts the command, reaps, and ends with it."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with suppress(OSError):
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        rooms.furnish(order["root"], order["folder"], order["read"], network=order["network"])
        state.add("files", "a root of its own")
    except OSError as exc:
        state.lacks("files", exc)
    command = os.fork() or _command(order, state, line)
    while True:
        who, status = os.wait()
        if who == command:
            _tell_end(line, status)
            os._exit(0)  # the kernel ends everything else in here


def _command(order: dict[str, Any], state: State, line: Line) -> NoReturn:
    """Becomes the command, once every protection is in force."""
    try:
        _confine(order, state)
        lacking = [name for name in order["require"] if name not in state.by]
        by = {name: ", ".join(by) for name, by in state.by.items()}
        line.tell(by=by, missing=state.missing, lacking=lacking)
        if lacking or not order["argv"]:
            os._exit(_NOT_STARTED)
        os.chdir(order["folder"])
        _be_ready()
        os.execve(order["argv"][0], order["argv"], order["env"])  # noqa: S606
    except BaseException as exc:  # noqa: BLE001  nothing may go on in a copy of the supervisor
        line.tell(trouble=f"{type(exc).__name__}: {exc}")
    os._exit(_NOT_STARTED)


def _confine(order: dict[str, Any], state: State) -> None:
    _change_user(state)
    if "processes" in state.by:
        with suppress(OSError):
            rooms.only_a_user_here()
    with suppress(OSError):
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    readable = [*rooms.SYSTEM, *rooms.SETTINGS, *order["read"], *rooms.DEVICES]
    readable += rooms.NETWORK_SETTINGS if order["network"] else ()
    readable += ["/proc"] if "files" in state.by else []
    try:
        by = landlock.restrict(readable, [order["folder"], "/dev/null"], network=order["network"])
    except OSError as exc:
        state.missing.setdefault("files", str(exc))
    else:
        state.missing.pop("files", None)
        state.add("files", by)
    if "files" in state.by:
        state.missing.pop("files", None)
    _limit(order["limits"], state)


def _change_user(state: State) -> None:
    if os.geteuid() != 0:
        state.add("identity", f"user {os.geteuid()}")
        return
    try:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        state.add("identity", f"user {NOBODY}")
    except OSError as exc:
        state.lacks("identity", exc)


def _limit(limits: dict[str, int], state: State) -> None:
    wanted = {
        "RLIMIT_CPU": limits["cpu"],
        "RLIMIT_AS": limits["memory"],
        "RLIMIT_FSIZE": limits["file_size"],
        "RLIMIT_NOFILE": limits["files"],
        "RLIMIT_CORE": 0,
        "RLIMIT_NPROC": limits["processes"] if "processes" in state.by else None,
    }
    try:
        for name, value in wanted.items():
            if value is not None:
                resource.setrlimit(getattr(resource, name), (value, value))
        apart = "processes" in state.by
        state.add("limits", "rlimits" if apart else "rlimits, without the number of processes")
    except (OSError, ValueError) as exc:
        state.lacks("limits", exc)


def _be_ready() -> None:
    """As a process is when a shell starts it: no signal blocked or ignored, no descriptor but the three."""
    for number in signal.valid_signals():
        with suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.umask(0o077)
    os.closerange(3, 65536)
