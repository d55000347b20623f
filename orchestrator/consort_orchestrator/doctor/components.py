"""The health view: the five components of the system, each with one word for how it is.

Decided from the findings, by which check they come from: an error puts its component
down, a warning degrades it. Nothing is looked at here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from consort_bus.errors import CredentialsRefused, KeysUnusable
from consort_orchestrator.doctor.findings import Component, Finding, Level, Status, worst_first

COMPONENTS: dict[str, tuple[str, ...]] = {
    "orchestrators": ("orchestrators", "inbox"),
    "agents": ("agents", "cards", "skills", "pauses", "limits"),
    "context": ("context",),
    "channels": ("connection", "server", "topology", "copies", "storage", "disk"),
    "governance": ("credentials", "rights", "letters"),
}
"""By component: the checks that tell how it is. The first one to be well gives the words for it."""


def view(findings: Sequence[Finding]) -> tuple[Component, ...]:
    """How each component is, by what was found."""
    return tuple(_component(name, checks, findings) for name, checks in COMPONENTS.items())


def _component(name: str, checks: Sequence[str], findings: Iterable[Finding]) -> Component:
    own = worst_first(finding for finding in findings if finding.check in checks)
    if not own:
        return Component(name, Status.UNKNOWN, "could not be looked at")
    worst = own[0]
    if worst.level is Level.ERROR:
        return Component(name, Status.DOWN, worst.what)
    if worst.level is Level.WARNING:
        return Component(name, Status.DEGRADED, worst.what)
    held_up = next((one for one in own if one.check == "pauses" or one.about.get("gone")), None)
    if held_up is not None:
        return Component(name, Status.DEGRADED, held_up.what)
    well = [one for one in own if one.level is Level.OK]
    well.sort(key=lambda finding: checks.index(finding.check))
    return Component(name, Status.HEALTHY, well[0].what if well else worst.what)


def unreachable(error: Exception) -> tuple[Component, ...]:
    """How the components are when nobody could get onto the bus."""
    refused = isinstance(error, (CredentialsRefused, KeysUnusable))
    what = "credentials are refused or cannot be read" if refused else "the bus cannot be reached"
    found = []
    for name in COMPONENTS:
        if refused:
            down = name == "governance"
            found.append(
                Component(
                    name, Status.DOWN if down else Status.UNKNOWN, what if down else "could not be looked at"
                )
            )
        else:
            own = name == "channels"
            found.append(Component(name, Status.DOWN, what if own else "nothing works without the bus"))
    return tuple(found)
