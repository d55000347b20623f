"""Checks of the bus itself: what must exist on it, its copies, its clock, its limits.

Pure: facts in, findings out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from consort_bus import subjects
from consort_bus.connection import OLDEST_SERVER
from consort_bus.health import StreamHealth
from consort_bus.topology import ENTRIES_PER_SUBJECT
from consort_orchestrator.cli.wording import counted, listed, size_text, span
from consort_orchestrator.doctor.facts import Facts
from consort_orchestrator.doctor.findings import Finding, Level

SLOW = 0.5
"""Seconds of a round trip that is worth a word."""
SKEW_NOTED, SKEW_WARNED, SKEW_WRONG = 1.0, 5.0, 60.0
"""Seconds between two clocks."""
NEARLY_FULL, FULL = 0.8, 0.9
DISK_LOW, DISK_OUT = 2 << 30, 256 << 20
"""Bytes that should be free, and without which the bus soon stores nothing."""
VITAL = (subjects.LOG, subjects.INBOX, subjects.TIMERS, subjects.CONTEXT)
"""Streams without which no run goes on."""


def channels(facts: Facts) -> Iterator[Finding]:
    """All findings about the bus."""
    yield from connection(facts)
    yield from nodes(facts)
    yield from existing(facts)
    yield from context(facts)
    yield from copies(facts)
    yield from clock(facts)
    yield from storage(facts)
    yield from disk(facts)


def connection(facts: Facts) -> Iterator[Finding]:
    bus = facts.bus
    told = f"the bus answers in {bus.round_trip * 1000:.1f} ms"
    if bus.round_trip > SLOW:
        yield Finding(
            "connection",
            Level.WARNING,
            f"{told}: every step of every run waits for that",
            "run orchestrators and agents nearer to it, or look at what else that machine does",
            {"round_trip": bus.round_trip},
        )
    else:
        yield Finding("connection", Level.OK, told, about={"round_trip": bus.round_trip})
    oldest = ".".join(map(str, OLDEST_SERVER))
    about = {"version": bus.version, "server": bus.server, "cluster": bus.cluster}
    yield Finding(
        "server", Level.OK, f"the server is version {bus.version}, {oldest} or newer is needed", about=about
    )
    unanswered = [one for one in bus.unseen if not one.denied]
    for one in unanswered:
        yield Finding(
            "server",
            Level.ERROR,
            f"{one.what} cannot be seen: {one.why}",
            _answers(facts),
            {"what": one.what},
        )


def _answers(facts: Facts) -> str:
    return facts.at.local("bus status") if facts.at.own else facts.at.provisioner("bus check")


def nodes(facts: Facts) -> Iterator[Finding]:
    """Servers of a folder's bus that are missing although the others go on."""
    if facts.silent:
        what = f"of the servers of the bus, {listed(facts.silent)} {'is' if len(facts.silent) == 1 else 'are'} away"
        mend = facts.at.local("bus start")
        yield Finding("copies", Level.WARNING, what, mend, {"nodes": list(facts.silent)})


def existing(facts: Facts) -> Iterator[Finding]:
    """Streams and consumers of the inbox that are missing or different."""
    mend = facts.at.provisioner("bus setup")
    missing = [one.what.partition(" ")[2] for one in facts.bus.differences if not one.key]
    different = [one for one in facts.bus.differences if one.key]
    for name in (one for one in missing if one in subjects.STREAMS):
        level = Level.ERROR if name in VITAL else Level.WARNING
        yield Finding(_stream_check(name), level, f"stream {name} is missing", mend, {"stream": name})
    parts = [one for one in missing if one not in subjects.STREAMS]
    if parts:
        level = Level.ERROR if len(parts) == subjects.SHARDS else Level.WARNING
        what = f"{counted(len(parts), 'consumer')} of the inbox missing: the runs of those parts stand still"
        yield Finding("topology", level, what, mend, {"consumers": parts})
    for name in dict.fromkeys(one.what for one in different):
        told = [one for one in different if one.what == name]
        what = f"{name} is not as it should be: " + "; ".join(
            f"{one.key} is {one.found!r}, not {one.wanted!r}" for one in told
        )
        check = _stream_check(name.partition(" ")[2])
        yield Finding(check, Level.WARNING, what, mend, {"what": name, "keys": [one.key for one in told]})
    if not facts.bus.differences and facts.bus.streams:
        number = f"{len(subjects.STREAMS)} streams and {subjects.SHARDS} parts of the inbox"
        yield Finding("topology", Level.OK, f"all {number} are there and as they should be")


def _stream_check(name: str) -> str:
    return "context" if name == subjects.CONTEXT else "topology"


def context(facts: Facts) -> Iterator[Finding]:
    if facts.context_read:
        yield Finding("context", Level.OK, "the shared context can be read")
    elif facts.bus.there(subjects.CONTEXT):
        mend = facts.at.provisioner("bus check")
        yield Finding("context", Level.ERROR, "the shared context cannot be read", mend)


def copies(facts: Facts) -> Iterator[Finding]:
    """Leaders and replicas, where the bus is a cluster."""
    if not facts.bus.cluster:
        return
    streams = [one for one in facts.bus.streams.values() if one is not None]
    status = facts.at.local("bus start") if facts.at.own else facts.at.provisioner("bus check")
    found = [*_leaderless(streams, status), *_lagging(streams, status)]
    single = [one.name for one in streams if one.copies < 2]
    if single:
        what = f"there is only one copy of {listed(single)} although the bus is a cluster"
        found.append(
            Finding(
                "copies",
                Level.WARNING,
                what,
                facts.at.provisioner("bus setup --replicas 3"),
                {"streams": single},
            )
        )
    yield from found or [Finding("copies", Level.OK, "every stream has a leader and all its copies")]


def _leaderless(streams: Iterable[StreamHealth], mend: str) -> Iterator[Finding]:
    for one in streams:
        if not one.leader:
            what = f"stream {one.name} has no leader: nothing can be stored in it"
            yield Finding("copies", Level.ERROR, what, mend, {"stream": one.name})


def _lagging(streams: Iterable[StreamHealth], mend: str) -> Iterator[Finding]:
    behind: dict[str, list[str]] = {}
    for stream in streams:
        for replica in stream.replicas:
            if replica.offline or not replica.current:
                behind.setdefault(f"{replica.name} {'is offline' if replica.offline else 'lags'}", []).append(
                    stream.name
                )
    for told, names in behind.items():
        node = told.partition(" ")[0]
        what = f"node {told}: {listed(names)} {'has' if len(names) == 1 else 'have'} a copy less than wanted"
        yield Finding("copies", Level.WARNING, what, mend, {"node": node, "streams": names})


def clock(facts: Facts) -> Iterator[Finding]:
    seen = facts.bus.clock
    if seen is None:
        return
    off = abs(seen.skew)
    about = {"skew": seen.skew, "uncertainty": seen.uncertainty}
    if off <= max(SKEW_NOTED, seen.uncertainty):
        yield Finding("clock", Level.OK, f"this machine's clock is {off:.3f} s off the bus's", about=about)
        return
    level = Level.NOTE if off < SKEW_WARNED else Level.WARNING if off < SKEW_WRONG else Level.ERROR
    way = "ahead of" if seen.skew > 0 else "behind"
    what = f"this machine's clock is {span(off)} {way} the bus's"
    yield Finding(
        "clock",
        level,
        what,
        "set it by NTP, on this machine or on the bus's: timedatectl set-ntp true",
        about,
    )


def storage(facts: Facts) -> Iterator[Finding]:
    """How much of what the account and the streams may hold is used."""
    usage, fullest = facts.bus.usage, 0.0
    limits: list[tuple[str, int, int, str]] = []
    if usage is not None:
        limits.append(("the account's storage", usage.storage, usage.max_storage, "bytes"))
        limits.append(("the account's streams", usage.streams, usage.max_streams, "streams"))
        limits.append(("the account's consumers", usage.consumers, usage.max_consumers, "consumers"))
    for stream in facts.bus.streams.values():
        if stream is not None:
            limits.append((f"stream {stream.name}", stream.bytes, stream.max_bytes, "bytes"))
            limits.append((f"stream {stream.name}", stream.messages, stream.max_messages, "messages"))
    if facts.runs is not None:
        limits.append(("the longest run", facts.runs.fullest, ENTRIES_PER_SUBJECT, "entries of one kind"))
    for what, used, limit, unit in limits:
        if limit <= 0:
            continue
        fullest = max(fullest, used / limit)
        if used >= NEARLY_FULL * limit:
            yield _nearly_full(facts, what, used, limit, unit)
    if fullest < NEARLY_FULL and usage is not None:
        held = f"the bus holds {size_text(usage.storage)}"
        told = f", at most {fullest:.0%} of any limit" if fullest else ", there is no limit but the disk"
        yield Finding("storage", Level.OK, held + told, about={"storage": usage.storage, "fullest": fullest})


def _nearly_full(facts: Facts, what: str, used: int, limit: int, unit: str) -> Finding:
    level = Level.ERROR if used >= FULL * limit and not what.startswith("the longest") else Level.WARNING
    told = f"{size_text(used)} of {size_text(limit)}" if unit == "bytes" else f"{used:,} of {limit:,} {unit}"
    mend = facts.at.provisioner("bus setup --log-limit SIZE")
    if what.startswith("the account"):
        mend = "raise the limit in the server's configuration (jetstream, max_file_store)"
    elif what == f"stream {subjects.INBOX}":
        mend = facts.at.orchestrator()
    elif what.startswith("the longest"):
        mend = facts.at.operator("cancel RUN")
    about = {"what": what, "used": used, "limit": limit, "unit": unit}
    return Finding("storage", level, f"{what} is {used / limit:.0%} full: {told}", mend, about)


def disk(facts: Facts) -> Iterator[Finding]:
    found = facts.disk
    if found is None:
        return
    about = {"path": found.path, "total": found.total, "free": found.free}
    told = f"{found.free / 2**30:.1f} GiB are free on the disk of {found.path}"
    if found.free >= DISK_LOW:
        yield Finding("disk", Level.OK, told, about=about)
        return
    level = Level.ERROR if found.free < DISK_OUT else Level.WARNING
    yield Finding(
        "disk", level, f"only {told}: a bus without disk stores nothing", f"du -xsh {found.path}/*", about
    )
