"""Whether a bus is what it should be, and what to do where it is not.

`topology.check` compares configurations; here the state is looked at too: whether each
stream has its leader and all its copies, how full everything is, whether writes reach the
disk before they count. What could not be found out is a warning, never taken for well.

Looks and changes nothing.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import shutil
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from consort_bus import jetstream, subjects, topology
from consort_bus.connection import Bus
from consort_bus.errors import BusError, NoAnswer
from consort_bus.layout import Layout
from consort_bus.server_process import answering, running_pid
from consort_bus.topology import MEND, Finding

__all__ = ["Trouble", "check", "check_folder", "check_monitor"]

PATIENCE = 5.0
_TIMEOUT = 2.0
_NEARLY_FULL = 0.8
_LEAST_FREE = 0.1
_START = "start it with `consort bus start`"
_MOST = "most of the servers must run: see `consort bus status`, and start what is missing"
_WAIT = "it catches up by itself while it runs; if this lasts, see the log of that server"
_ROOM = "remove old runs, or raise the limit with `consort bus setup`"
_SYNC = "`sync_interval: always` in the `jetstream` block of the server's configuration"
_MONITOR = "name the address of a server's monitoring with --monitor, such as http://localhost:8222"


@dataclass(frozen=True, slots=True)
class Trouble(Finding):
    """Something about the state, told in a sentence instead of as a difference."""

    said: str = ""

    def __str__(self) -> str:
        return f"{self.what}: {self.said}"


def _wrong(what: str, said: str, mend: str) -> Trouble:
    return Trouble(what, "state", None, None, mend, "wrong", said)


def _doubt(what: str, said: str, mend: str) -> Trouble:
    return Trouble(what, "state", None, None, mend, "warning", said)


async def check(bus: Bus, replicas: int | None = None) -> list[Finding]:
    """What is missing, different, without a leader or nearly full. For orchestrators and the provisioner.

    Without `replicas` there must be as many copies as the servers in sight are good for.
    Raises AccessDenied; what nobody answered for is among the findings.
    """
    infos = await asyncio.gather(*(_info(bus, name) for name in subjects.STREAMS))
    found = dict(zip(subjects.STREAMS, infos, strict=True))
    silent = [name for name, info in found.items() if info is None]
    if silent:
        trouble = [_wrong(f"stream {name}", "has no leader: nothing is stored", _MOST) for name in silent]
        return [*trouble, *_states(found)]
    findings: list[Finding] = []
    try:
        findings += await topology.check(bus, replicas, patience=PATIENCE)
    except BusError as exc:
        findings.append(_wrong("consumers", str(exc), MEND))
    if replicas is None:
        findings += _too_few_copies(found, topology.default_replicas(bus))
    findings += _states(found)
    findings += await _account(bus)
    return findings


def check_folder(folder: Path) -> list[Finding]:
    """What can be seen of the bus of a folder on this machine: its nodes, its settings, its disk."""
    layout = Layout.of(folder)
    findings: list[Finding] = []
    for place in layout.places:
        what = f"node {place.node}" if place.node else "the server"
        pid = running_pid(place)
        if pid is None:
            findings.append(_wrong(what, "does not run", _START))
        elif answering(place, pid) is None:
            findings.append(
                _wrong(what, f"process {pid}, does not answer", f"end it: kill -9 {pid}; then {_START}")
            )
    if not _syncs_always(layout):
        again = "stop it and start it with `consort bus start --sync-always`"
        findings.append(_doubt("the disk", "a power failure may lose the last writes", again))
    return findings + list(_disk(folder))


def check_monitor(url: str | None) -> list[Finding]:
    """What a server says on its monitoring address. Blocks; without an address there is a doubt instead."""
    if url is None:
        return [_doubt("the disk", "whether writes reach it at once is unknown", _MONITOR)]
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/varz", timeout=_TIMEOUT) as answer:  # noqa: S310
            settings = json.loads(answer.read())["jetstream"]["config"]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as exc:
        said = f"{url} tells nothing of JetStream ({type(exc).__name__})"
        return [_doubt("the disk", said, _MONITOR)]
    if settings.get("sync_always"):
        return []
    return [_doubt("the disk", "a power failure may lose the last writes", _SYNC)]


async def _info(bus: Bus, stream: str) -> Mapping[str, Any] | None:
    """What the stream's leader says, {} if there is no such stream, None if nobody answered."""
    loop = asyncio.get_running_loop()
    until = loop.time() + PATIENCE
    while True:
        try:
            msg = await bus.request(jetstream.stream_info(stream), timeout=_TIMEOUT)
            answer: Mapping[str, Any] = json.loads(msg.data)
            error = answer.get("error")
            if error is None:
                return answer
            if error.get("err_code") not in topology.NOT_NOW:
                return {}
        except NoAnswer:
            pass
        if loop.time() >= until:
            return None
        await asyncio.sleep(0.2)


def _too_few_copies(found: Mapping[str, Mapping[str, Any] | None], wanted: int) -> Iterator[Finding]:
    for name, info in found.items():
        copies = info["config"].get("num_replicas", 1) if info else wanted
        if copies < wanted:
            mend = f"`consort bus setup --replicas {wanted}`"
            yield Finding(f"stream {name}", "num_replicas", wanted, copies, mend)


def _states(found: Mapping[str, Mapping[str, Any] | None]) -> Iterator[Finding]:
    for name, info in found.items():
        if info:
            yield from _copies(f"stream {name}", info.get("cluster") or {}, info["config"])
            yield from _fullness(name, info["config"], info["state"])


def _copies(what: str, cluster: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[Finding]:
    if cluster and not cluster.get("leader"):
        yield _wrong(what, "has no leader: nothing is stored", _MOST)
        return
    others: Sequence[Mapping[str, Any]] = cluster.get("replicas") or ()
    if cluster and 1 + len(others) < config.get("num_replicas", 1):
        yield _wrong(what, f"has {1 + len(others)} of {config['num_replicas']} copies", _WAIT)
    for copy in others:
        if copy.get("offline"):
            yield _wrong(what, f"its copy on {copy['name']} is away", _START)
        elif not copy.get("current"):
            behind = f", {copy['lag']} changes behind" if copy.get("lag") else ""
            yield _doubt(what, f"its copy on {copy['name']} is not up to date{behind}", _WAIT)


def _fullness(name: str, config: Mapping[str, Any], state: Mapping[str, Any]) -> Iterator[Finding]:
    what = f"stream {name}"
    for limit, used, unit in (("max_msgs", "messages", "messages"), ("max_bytes", "bytes", "bytes")):
        most = config.get(limit, -1)
        if most > 0 and state[used] >= _NEARLY_FULL * most:
            yield _level(what, state[used], most, unit)
    if name == subjects.INBOX and config.get("max_msgs", -1) <= 0:
        yield _doubt(what, "has no limit: what nobody judges fills the disk", MEND)


def _level(what: str, used: int, most: int, unit: str) -> Trouble:
    said = f"holds {used} of at most {most} {unit}"
    return _wrong(what, said, _ROOM) if used >= most else _doubt(what, said, _ROOM)


async def _account(bus: Bus) -> Iterable[Finding]:
    try:
        answer = json.loads((await bus.request(jetstream.ACCOUNT_INFO, timeout=_TIMEOUT)).data)
    except NoAnswer as exc:
        return [_doubt("the account", str(exc), "try again")]
    most, used = answer.get("limits", {}).get("max_storage", -1), answer.get("storage", 0)
    if most > 0 and used >= _NEARLY_FULL * most:
        mend = "remove old runs, or raise the limit of the account"
        return [replace(_level("the account", used, most, "bytes"), mend=mend)]
    return []


def _syncs_always(layout: Layout) -> bool:
    for place in layout.places:
        try:
            if "\n  sync_interval: always\n" not in place.config.read_text(encoding="utf-8"):
                return False
        except OSError:
            return False
    return True


def _disk(folder: Path) -> Iterator[Finding]:
    usage = shutil.disk_usage(folder)
    if usage.free < _LEAST_FREE * usage.total:
        said = f"{usage.free // 2**20} of {usage.total // 2**20} MiB are free where {folder} lies"
        yield _doubt("the disk", said, "make room, before the bus refuses to store")
