"""Profiles in words: what two of them differ in, who set which, and what had better not be in one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from consort_bus.profiles import Kept
from consort_orchestrator.cli.wording import moment, one_line
from consort_shared.card import AgentCard
from consort_shared.profile import Profile
from consort_shared.profiles_file import as_toml, stated
from consort_shared.telemetry.redacting import HIDDEN, redacted_text
from consort_shared.values import Json


def differences(before: Profile | None, after: Profile | None) -> list[str]:
    """The lines that come and go, as of their files."""
    one, other = (as_toml(profile).splitlines() if profile is not None else [] for profile in (before, after))
    compared = difflib.unified_diff(one, other, lineterm="", n=0)
    return [line for line in compared if not line.startswith(("---", "+++", "@@"))]


def changed(before: Profile | None, after: Profile | None) -> list[str]:
    """The keys under which two profiles say something else, such as `limits.turns`."""
    one, other = (_flat(stated(profile)) if profile is not None else {} for profile in (before, after))
    return [key for key in {**one, **other} if one.get(key) != other.get(key)]


def _flat(said: Mapping[str, Json]) -> dict[str, Json]:
    limits = said.get("limits") or {}
    return {key: value for key, value in said.items() if key != "limits"} | {
        f"limits.{key}": value for key, value in limits.items()
    }


def doubtful(profile: Profile) -> list[str]:
    """What looks like a secret: a profile is read by every agent and client, and goes to a model."""
    texts = {name: value for name, value in stated(profile).items() if isinstance(value, str)}
    return [
        f"{name}: something in it looks like a key, or like data of a person; everybody on the bus reads profiles"
        for name, text in texts.items()
        if HIDDEN not in text and HIDDEN in redacted_text(text)
    ]


def kept_line(kept: Kept) -> str:
    """`revision 17 of 2026-11-28 12:00:00, by person.anna: shorter`."""
    version = kept.version
    by = f", by {version.by}" if version.by else ""
    why = f": {one_line(version.why)}" if version.why else ""
    back = f", back to {version.back_to}" if version.back_to else ""
    if version.profile is None:
        back = ", back to the agent's own"
    return f"revision {kept.revision} of {moment(kept.time.timestamp())}{by}{back}{why}"


def kept_data(kept: Kept) -> dict[str, Any]:
    """The same for programs, with the profile."""
    version = kept.version
    return {
        "revision": kept.revision,
        "time": kept.time.isoformat(),
        "by": version.by,
        "why": version.why,
        "back_to": version.back_to,
        "profile": version.profile,
    }


def profile_data(card: AgentCard | None, kept: Kept | None) -> dict[str, Any]:
    """Who an agent is as it counts now: role, goal, version, and whether it was set on the bus."""
    if kept is not None and kept.version.profile is not None:
        profile = kept.version.profile
        return {"role": profile.role, "goal": profile.goal, "version": str(kept.revision), "set": True}
    own = card.profile if card is not None else None
    if own is None:
        return {"role": "", "goal": "", "version": "", "set": False}
    return {"role": own.role, "goal": own.goal, "version": own.version, "set": False}


def listed_agents(standing: Mapping[str, Kept], cards: Iterable[AgentCard]) -> list[dict[str, Any]]:
    """Every agent that is there, or has a profile on the bus."""
    there = {card.name: card for card in cards}
    names = sorted(there.keys() | standing.keys())
    return [
        {"agent": name, "there": name in there, **profile_data(there.get(name), standing.get(name))}
        for name in names
    ]
