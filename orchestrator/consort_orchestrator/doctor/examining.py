"""From a place to a report: getting onto the bus, gathering, judging, summing up.

Never starts a bus and never makes a folder: an examination that mends what it finds
would report that all is well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from consort_bus import embedded
from consort_bus.artefacts import Artefacts
from consort_bus.attendance import agents_there
from consort_bus.connection import open_bus
from consort_bus.credentials import Credentials
from consort_bus.errors import (
    AccessDenied,
    BusError,
    BusUnreachable,
    BusUnsuitable,
    CredentialsRefused,
    KeysUnusable,
    ServerUntrusted,
)
from consort_bus.recorded import recording, run_index
from consort_bus.wire import Wire
from consort_orchestrator.cli.offers import installed, offers_of
from consort_orchestrator.cli.wording import listed
from consort_orchestrator.doctor.channels import channels
from consort_orchestrator.doctor.commands import Commands
from consort_orchestrator.doctor.components import unreachable, view
from consort_orchestrator.doctor.facts import Facts
from consort_orchestrator.doctor.findings import Finding, Level, Report
from consort_orchestrator.doctor.gathering import LOOKED_AT as REOPENED
from consort_orchestrator.doctor.gathering import Bounds, gather, under_way
from consort_orchestrator.doctor.governance import governance
from consort_orchestrator.doctor.processes import processes
from consort_orchestrator.doctor.providers import providers
from consort_orchestrator.doctor.runs import runs
from consort_orchestrator.doctor.upgrade import checked
from consort_orchestrator.doctor.upgrade import judged as upgraded
from consort_shared.card import AgentCard

OPERATOR = "me"
NEVER = "nothing was ever started in this folder"
HANGS = "it runs and does not answer"


@dataclass(frozen=True, slots=True)
class Patient:
    """The bus to examine: one elsewhere, or with an empty `server` the one of a folder."""

    server: str
    creds: Path | None
    folder: Path

    @property
    def commands(self) -> Commands:
        creds = str(self.creds or "operator.creds")
        return Commands(str(self.folder), self.server, creds, frozenset(installed()))

    @property
    def named(self) -> str:
        return self.server or str(self.folder)


async def examine(patient: Patient, bounds: Bounds) -> Report:
    """A report on a bus; one that cannot be reached has a report too. Never raises BusError."""
    try:
        url, credentials = await asyncio.to_thread(way_in, patient)
        async with open_bus(url, credentials) as bus:
            facts = await gather(
                bus,
                credentials,
                patient.commands,
                bounds,
                folder=None if patient.server else patient.folder,
                silent=() if patient.server else silent_nodes(patient.folder),
                offering=offering,
            )
    except BusError as exc:
        return Report(patient.named, unreachable(exc), (no_way_in(patient, exc),), reached=False)
    return judged(patient.named, facts)


def judged(bus: str, facts: Facts) -> Report:
    """The report that follows from facts."""
    findings = (*channels(facts), *governance(facts), *processes(facts), *providers(facts), *runs(facts))
    return Report(bus, view(findings), findings)


def way_in(patient: Patient) -> tuple[str, Credentials]:
    """Address and credentials. Raises BusUnreachable, KeysUnusable, and what else the bus refuses."""
    if patient.server:
        if patient.creds is None:
            raise KeysUnusable("--creds", "a bus elsewhere is examined with an operator's credentials")
        return patient.server, Credentials.load(patient.creds)
    if not (patient.folder / "bus").is_dir():
        raise BusUnreachable(str(patient.folder), NEVER)
    server = embedded.status(patient.folder, whole=False)
    if server is None:
        silent, servers = silent_nodes(patient.folder), embedded.nodes(patient.folder)
        if not silent:
            raise BusUnreachable(str(patient.folder), HANGS)
        which = "it does" if len(servers) == 1 else f"of its {len(servers)} servers, {listed(silent)} do"
        raise BusUnreachable(str(patient.folder), f"{which} not run")
    known = Credentials.load(patient.creds) if patient.creds is not None else None
    return server.url, known or embedded.credentials_for(patient.folder, "operator", OPERATOR)


def silent_nodes(folder: Path) -> tuple[str, ...]:
    """The servers of a folder's bus that do not run."""
    return tuple(node.name for node in embedded.nodes(folder) if node.pid is None)


def no_way_in(patient: Patient, error: BusError) -> Finding:
    """Why the bus could not be examined, and what to do."""
    at = patient.commands
    issue = f"consort access issue operator {OPERATOR} --out operator.creds"
    match error:
        case CredentialsRefused():
            return Finding("credentials", Level.ERROR, str(error), issue, {"why": error.why})
        case KeysUnusable():
            return Finding("credentials", Level.ERROR, str(error), issue, {"where": error.where})
        case AccessDenied():
            return Finding("rights", Level.ERROR, str(error), issue)
        case BusUnsuitable():
            return Finding("server", Level.ERROR, error.what, error.mend)
        case ServerUntrusted():
            what = f"no bus at {error.address}: {error.why}"
            return Finding("connection", Level.ERROR, what, error.advice, {"why": error.why})
        case BusUnreachable():
            mend = at.local("bus start") if at.own else "nats-server -c server.conf"
            if at.own and error.why == NEVER:
                mend = at.local("up")
            elif at.own and error.why == HANGS:
                mend = at.local("bus stop") + "; " + at.local("bus start")
            what = f"no bus at {error.address}: {error.why}"
            return Finding("connection", Level.ERROR, what, mend, {"why": error.why})
        case _:
            return Finding("connection", Level.ERROR, str(error), at.local("bus status") if at.own else "")


async def offering(skills: set[str]) -> dict[str, str]:
    """By skill: the installed agent that offers it. Agents that cannot tell are passed over."""
    offers, _ = await offers_of(installed())
    found: dict[str, str] = {}
    for offer in offers:
        for skill in offer.skills & skills:
            found.setdefault(skill, offer.reference)
    return found


async def rehearse(patient: Patient, cards: Sequence[AgentCard], version: str, limit: int | None) -> Report:
    """What this version, and agents with these cards, would break; at most `limit` runs, the newest, are tried.

    Never raises BusError.
    """
    try:
        url, credentials = await asyncio.to_thread(way_in, patient)
        async with open_bus(url, credentials) as bus, Wire(bus.nc, bus) as wire:
            left = await under_way(wire, await run_index(bus), REOPENED)
            tried = left if limit is None else left[-limit:]
            artefacts = Artefacts(wire, bus.identity)
            tries = [checked(await recording(wire, artefacts, one.run)) for one in tried]
            live = [one.card for one in await agents_there(wire)]
    except BusError as exc:
        return Report(patient.named, unreachable(exc), (no_way_in(patient, exc),), reached=False)
    still = [one for one in tries if not one.ended]
    findings = upgraded(still, live, cards, patient.commands, version, len(left) - len(tried))
    return Report(patient.named, (), tuple(findings))
