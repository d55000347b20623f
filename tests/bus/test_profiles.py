"""Profiles on a real bus: versions, who may set them, of two at once one, and what is not believed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import pytest

from consort_bus import subjects
from consort_bus.connection import Bus
from consort_bus.errors import AccessDenied
from consort_bus.operator import Operator
from consort_bus.profiles import ProfileAway, ProfileReader, newest_of, standing, version_at
from consort_bus.profiling import ProfileMoved
from consort_bus.reading import at_sequence
from consort_bus.wire import Wire
from consort_shared.codec import MSGPACK, encode
from consort_shared.profile import Profile, ProfileVersion

pytestmark = pytest.mark.slow
OpenAs = Callable[[str, str], AbstractAsyncContextManager[Bus]]
SHORT, LONG = Profile(role="a writer of short texts"), Profile(role="a writer of long texts")


@pytest.fixture
async def wires(open_as: OpenAs) -> AsyncIterator[Callable[[str, str], Wire]]:
    async with AsyncExitStack() as stack:
        opened: dict[tuple[str, str], Wire] = {}
        for role, name in (("operator", "anna"), ("agent", "rogue"), ("client", "me")):
            bus = await stack.enter_async_context(open_as(role, name))
            opened[role, name] = await stack.enter_async_context(Wire(bus.nc, bus))
        yield lambda role, name: opened[role, name]


@pytest.fixture
async def anna(open_as: OpenAs) -> AsyncIterator[Operator]:
    async with open_as("operator", "anna") as bus, Wire(bus.nc, bus) as wire:
        yield Operator(bus, wire)


@pytest.fixture
async def ben(open_as: OpenAs) -> AsyncIterator[Operator]:
    async with open_as("operator", "ben") as bus, Wire(bus.nc, bus) as wire:
        yield Operator(bus, wire)


async def test_versions_history_and_back(anna: Operator, wires: Callable[[str, str], Wire]) -> None:
    """J9: each version stays, with who set it and why; going back is a version of its own."""
    first = (await anna.set_profile("v1", SHORT, why="first")).revision
    second = (await anna.set_profile("v1", LONG)).revision
    assert (await anna.set_profile("v1", LONG)).same
    third = (await anna.set_profile("v1", await anna.profile_at("v1", first), back_to=first)).revision
    fourth = (await anna.set_profile("v1", None)).revision
    reader = wires("client", "me")
    history = await ProfileReader(reader).history("v1")
    assert [kept.revision for kept in history] == [first, second, third, fourth]
    assert [kept.version.profile for kept in history] == [SHORT, LONG, SHORT, None]
    assert [kept.version.back_to for kept in history] == [0, 0, first, 0]
    assert (history[0].version.by, history[0].version.why) == ("person.anna", "first")
    newest = await newest_of(reader, "v1")
    assert newest is not None
    assert (newest.revision, newest.counts_as) == (fourth, 0)
    assert (await version_at(reader, "v1", second)).profile == LONG
    assert (await standing(reader))["v1"].revision == fourth
    with pytest.raises(ProfileAway, match="no profile of this agent"):
        await version_at(reader, "other", second)
    assert await newest_of(reader, "nobody") is None


async def test_of_two_at_once_one_is_told(anna: Operator, ben: Operator) -> None:
    """J9: no change is lost without a word."""
    first = (await anna.set_profile("v2", SHORT)).revision
    second = (await ben.set_profile("v2", LONG, expect=first)).revision
    with pytest.raises(
        ProfileMoved, match=f"not at revision {first} but at revision {second}, set by person.ben"
    ):
        await anna.set_profile("v2", SHORT, expect=first)
    with pytest.raises(ProfileMoved, match="not at revision 0"):
        await anna.set_profile("v2", SHORT, expect=0)
    with pytest.raises(ProfileMoved, match="no revision at all"):
        await anna.set_profile("v3", SHORT, expect=7)
    assert [kept.revision for kept in await ProfileReader.of(anna).history("v2")] == [first, second]


@pytest.mark.parametrize(("role", "name"), [("client", "me"), ("agent", "rogue")])
async def test_only_operators_set_them(role: str, name: str, wires: Callable[[str, str], Wire]) -> None:
    wire = wires(role, name)
    version = ProfileVersion(agent="v4", profile=SHORT)
    with pytest.raises(AccessDenied):
        await wire.request("$KV.PROFILES.v4", encode(version), headers={"Content-Type": MSGPACK}, timeout=2)
    assert await newest_of(wire, "v4") is None


async def test_what_a_server_was_made_to_write_there_does_not_count(
    anna: Operator, wires: Callable[[str, str], Wire]
) -> None:
    """A known attack: whoever may read asks for the reply to be sent to the key of an agent."""
    await anna.set_profile("v5", SHORT)
    second = (await anna.set_profile("v5", LONG)).revision
    rogue = wires("agent", "rogue")
    wanted = encode(ProfileVersion(agent="v5", profile=Profile(role="a thief"), by="person.anna"))
    chunk = f"artefact.agent.rogue.{'0' * 64}.0"
    await rogue.request(chunk, wanted, headers={"Content-Type": MSGPACK}, timeout=5)
    body = json.dumps({"last_by_subj": chunk}).encode()
    rogue.send("$JS.API.DIRECT.GET.ARTEFACTS", body, reply="$KV.PROFILES.v5")
    forged = second + 1
    async with asyncio.timeout(10):
        while await at_sequence(rogue, subjects.PROFILES, forged) is None:
            await asyncio.sleep(0.01)
    newest = await newest_of(rogue, "v5")
    assert newest is not None
    assert newest.revision == second
    assert (await standing(rogue))["v5"].version.profile == LONG
    with pytest.raises(ProfileAway, match="no profile of this agent"):
        await version_at(rogue, "v5", forged)
    assert len(await ProfileReader(rogue).history("v5")) == 2
    third = await anna.set_profile("v5", SHORT, expect=second)  # and it keeps nobody from setting another
    assert third.revision == forged + 1


async def test_bytes_of_something_else_do_not_count(
    anna: Operator, wires: Callable[[str, str], Wire]
) -> None:
    wire = wires("operator", "anna")
    set_one = (await anna.set_profile("v6", SHORT)).revision
    for junk in (
        b"\x00junk",
        encode(ProfileVersion(agent="v5", profile=LONG)),
        encode(ProfileVersion(agent="v6", profile=LONG)) + b"x",
    ):
        await wire.request("$KV.PROFILES.v6", junk, headers={"Content-Type": MSGPACK}, timeout=2)
    newest = await newest_of(wire, "v6")
    assert newest is not None
    assert (newest.revision, newest.version.profile) == (set_one, SHORT)
