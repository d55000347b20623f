"""`consort profile`: who agents are and how they work, in versions that count from the next task on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from consort_bus.operator import ProfileSet
from consort_bus.profiles import Kept, ProfileAway, ProfileReader
from consort_orchestrator.cli.ending import BAD_INPUT, DONE
from consort_orchestrator.cli.opening import client_of, run_to_end
from consort_orchestrator.cli.options import Place, Printer, on_the_bus, printing
from consort_orchestrator.cli.orders import operator_of
from consort_orchestrator.cli.profile_words import (
    changed,
    differences,
    doubtful,
    kept_data,
    kept_line,
    listed_agents,
)
from consort_orchestrator.cli.wording import counted, listed, one_line
from consort_shared.card import AgentCard
from consort_shared.errors import Fault, InvalidInput, ProfileError
from consort_shared.ids import is_token
from consort_shared.profile import Profile
from consort_shared.profiles_file import as_toml, load_profile


def _agent(_context: click.Context, _parameter: click.Parameter, name: str) -> str:
    if not is_token(name):
        raise click.BadParameter(f"{name!r} is no name of an agent: lower-case letters, digits, `-` and `_`")
    return name


_agent_argument = click.argument("agent", metavar="AGENT", callback=_agent)
_file_argument = click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
_expect_option = click.option(
    "--expect", type=click.IntRange(0), metavar="REVISION", help="Only if this one stands; 0 for none."
)
_why_option = click.option("--why", default="", help="The reason, for the history.")


@click.group()
def profile() -> None:
    """Who agents are and how they work, in versions."""


@profile.command("check")
@_file_argument
@printing
def profile_check(file: Path, printer: Printer) -> int:
    """Say everything that is wrong with the profile in FILE; ends with 2 if anything is.

    \b
    Example:
      consort profile check writer.toml
    """
    faults: Sequence[Fault] = ()
    doubts: list[str] = []
    try:
        doubts = doubtful(load_profile(file))
    except ProfileError as exc:
        faults = exc.faults
    printer.data({"ok": not faults, "faults": [asdict(fault) for fault in faults], "doubts": doubts})
    for fault in faults:
        printer.say(f"{file}: {fault}")
    for doubt in doubts:
        printer.say(f"{file}: {doubt}")
    printer.say(f"{file}: {counted(len(faults), 'fault')}" if faults else f"{file}: fit to be set")
    return BAD_INPUT if faults else DONE


@profile.command("set")
@_agent_argument
@_file_argument
@_why_option
@_expect_option
@on_the_bus
@printing
def profile_set(agent: str, file: Path, why: str, expect: int | None, place: Place, printer: Printer) -> None:
    """Set the profile of AGENT to what FILE says, for all its processes.

    It counts from the next task on: tasks that were given out keep the one they were
    given out under. Of two who set it at once, one is told what the other has done.

    \b
    Examples:
      consort profile set writer writer.toml --why "shorter reports"
      consort profile set writer writer.toml --expect 17
    """
    wanted = load_profile(file)
    for doubt in doubtful(wanted):
        printer.note(f"{file}: {doubt}")
    run_to_end(_set(agent, wanted, None, why, expect, place, printer))


@profile.command("rollback")
@_agent_argument
@click.argument("revision", metavar="REVISION", type=click.IntRange(0))
@_why_option
@_expect_option
@on_the_bus
@printing
def profile_rollback(
    agent: str, revision: int, why: str, expect: int | None, place: Place, printer: Printer
) -> None:
    """Set the profile of AGENT to what it was at REVISION; 0 is the one that the agent brings itself.

    It becomes a new revision: nothing is taken out of the history.

    \b
    Examples:
      consort profile rollback writer 17 --why "the reports became too short"
      consort profile rollback writer 0
    """
    run_to_end(_set(agent, None, revision, why, expect, place, printer))


async def _set(
    agent: str,
    wanted: Profile | None,
    back_to: int | None,
    why: str,
    expect: int | None,
    place: Place,
    printer: Printer,
) -> None:
    async with operator_of(place) as operator:
        before = await operator.profile_of(agent)
        if back_to is not None:
            try:
                wanted = await operator.profile_at(agent, back_to)
            except ProfileAway as exc:
                raise InvalidInput(str(exc)) from exc
        done = await operator.set_profile(agent, wanted, why=why, expect=expect, back_to=back_to or 0)
        known = await operator.knows_agent(agent)
    old = before.version.profile if before is not None else None
    lines = [] if done.same else differences(old, wanted)
    printer.data(
        {
            "agent": agent,
            "revision": done.revision,
            "same": done.same,
            "before": before.revision if before is not None else 0,
            "back_to": back_to or 0,
            "known": known,
            "orchestrators": list(done.applied.orchestrators),
            "changed": [] if done.same else changed(old, wanted),
        }
    )
    for line in lines:
        printer.say(line)
    printer.say(_told(agent, wanted, done))
    if not known:
        printer.note(f"no agent {agent!r} has ever been on this bus; it will have this profile when it comes")


def _told(agent: str, wanted: Profile | None, done: ProfileSet) -> str:
    if done.same:
        stands = f"revision {done.revision}" if done.revision else "the agent's own"
        return f"the profile of {agent} says that already, it is {stands}; nothing was changed"
    what = f"revision {done.revision}" if wanted is not None else "its own again"
    names = done.applied.orchestrators
    if not names:
        return (
            f"the profile of {agent} is {what}; no orchestrator has answered, it counts as soon as one looks"
        )
    have = "has" if len(names) == 1 else "have"
    return f"the profile of {agent} is {what}, from the next tasks on; {listed(names)} {have} it"


@profile.command("show")
@_agent_argument
@click.option("--revision", type=click.IntRange(1), help="Not the one that counts now but this one.")
@on_the_bus
@printing
def profile_show(agent: str, revision: int | None, place: Place, printer: Printer) -> None:
    """The profile of AGENT as it counts now, as a file to change and set again.

    Of a profile that an agent brings itself only role and goal are known here.

    \b
    Examples:
      consort profile show writer
      consort profile show writer --revision 17 > writer.toml
    """

    async def read() -> tuple[Kept | None, list[AgentCard]]:
        async with client_of(place) as client:
            reader = ProfileReader.of(client)
            if revision is None:
                kept = await reader.newest(agent)
            else:
                found = [one for one in await reader.history(agent) if one.revision == revision]
                if not found:
                    raise InvalidInput(str(ProfileAway(agent, revision, "there is none")))
                kept = found[0]
            cards = [one.card for one in await client.agents() if one.card.name == agent]
            return kept, cards

    kept, cards = run_to_end(read())
    if kept is None and not cards:
        raise InvalidInput(
            f"nobody has set a profile of {agent!r}, and no process of it is there to tell its own; "
            "`consort profile list` names those there are"
        )
    _show(agent, kept, cards, printer)


def _show(agent: str, kept: Kept | None, cards: list[AgentCard], printer: Printer) -> None:
    own = next((card.profile for card in reversed(cards) if card.profile is not None), None)
    profile = kept.version.profile if kept is not None else None
    told = kept_data(kept) if kept is not None else {"revision": 0}
    printer.data({"agent": agent, **told, "own": own})
    if kept is not None:
        printer.say(f"# {agent}, {kept_line(kept)}")
    if profile is not None:
        printer.say(as_toml(profile).rstrip("\n"))
    elif own is None:
        printer.say(f"# {agent} works under a profile of its own, if under any; no process of it tells more")
    else:
        printer.say(f"# {agent} works under the profile that it brings itself, {own.version}")
        said = as_toml(Profile.model_construct(role=own.role, goal=own.goal))
        printer.say(said.rstrip("\n"))


@profile.command("history")
@_agent_argument
@on_the_bus
@printing
def profile_history(agent: str, place: Place, printer: Printer) -> None:
    """The versions of AGENT's profile, the newest first: who set each, why, and what it changed.

    \b
    Examples:
      consort profile history writer
      consort profile history writer --json | jq '.[0].profile'
    """

    async def read() -> list[Kept]:
        async with client_of(place) as client:
            return await ProfileReader.of(client).history(agent)

    found = run_to_end(read())
    before: Profile | None = None
    lines: list[tuple[str, dict[str, Any]]] = []
    for kept in found:
        keys = changed(before, kept.version.profile)
        text = kept_line(kept) + (f" ({', '.join(keys)})" if keys else "")
        lines.insert(0, (text, {**kept_data(kept), "changed": keys}))
        before = kept.version.profile
    printer.data([data for _, data in lines])
    for text, _ in lines:
        printer.say(text)
    if not lines:
        printer.note(f"nobody has set a profile of {agent}")


@profile.command("list")
@on_the_bus
@printing
def profile_list(place: Place, printer: Printer) -> None:
    """The agents that have a profile, set on the bus or their own.

    \b
    Example:
      consort profile list
    """

    async def read() -> tuple[dict[str, Kept], list[AgentCard]]:
        async with client_of(place) as client:
            return await ProfileReader.of(client).standing(), [one.card for one in await client.agents()]

    agents = listed_agents(*run_to_end(read()))
    printer.data(agents)
    for one in agents:
        who = one_line(one["role"]) or "no role"
        printer.say(
            f"{one['agent']}  {one['version'] or 'no profile'}  {who}"
            + ("" if one["there"] else "  (not there)")
        )
    if not agents:
        printer.note("no agent has a profile; `consort profile set AGENT FILE` gives it one")
