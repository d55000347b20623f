"""A fleet of real processes behind one key, the real SDK, and a provider with a limit of its own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from benchmarks.limits_fleet import KEY, Fleet, fleet, in_windows

from consort_agents.models.anthropic import Anthropic
from consort_bus.operator import operating
from consort_shared.rates import Limits, Rate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
SECONDS = 4.0
LIMITED = "{limit: {requests_per_minute: 600, burst: 60}, latency: 0.1, otherwise: {answer: 'yes'}}"
FREE = "{latency: 0.1, otherwise: {answer: 'yes'}}"
DOWN = """
latency: 0.05
rules:
- {when: {user: begin}, answer: 'yes', times: 1}
- {fail: {status: 529}, times: 25}
otherwise: {answer: 'yes'}
"""


def key_of(there: Fleet) -> str:
    return Anthropic(api_key=KEY, base_url=there.fake.url).key


async def shown(there: Fleet) -> dict[str, Any] | None:
    """What `consort limits` tells of the key."""
    command = [
        sys.executable,
        "-m",
        "consort_orchestrator.cli",
        "limits",
        "--json",
        "--folder",
        str(there.folder),
    ]
    ended = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    found = [one for one in json.loads(ended.stdout) if one["key"] == key_of(there)]
    return found[0] if found else None


async def until_known(there: Fleet, holds: Callable[[Rate], bool], limit: float = 60) -> None:
    """As `until_shown`, without a process for each look: what passes quickly is seen."""
    async with operating(folder=there.folder) as operator, asyncio.timeout(limit):
        while (found := (await operator.limits()).get(key_of(there))) is None or not holds(found):
            await asyncio.sleep(0.02)


async def until_shown(
    there: Fleet, holds: Callable[[dict[str, Any]], bool], limit: float = 60
) -> dict[str, Any]:
    async with asyncio.timeout(limit):
        while (found := await shown(there)) is None or not holds(found):
            await asyncio.sleep(0.05)
    return found


async def test_twenty_processes_behind_one_key_use_their_limit_and_are_refused_once_at_most(
    tmp_path: Path,
) -> None:
    """C13: 20 agents behind one key: none is refused after the first burst, all end, 90 % of the limit is used."""
    async with fleet(tmp_path / "bus", LIMITED) as there:
        there.start({f"p{n}": "a" if n < 19 else "b" for n in range(20)}, 2 * SECONDS, at_once=2)
        await there.go()
        told = await there.done(120)
        assert len(told) == 20
        served, refused = there.times(), there.times(429)
        assert all(at < refused[0] + 1 for at in refused), refused
        late = [at for at in served if SECONDS <= at < 2 * SECONDS]
        assert len(late) >= 0.9 * 10 * SECONDS - 1
        found = await shown(there)
    assert found is not None
    assert found["learned"]["requests_per_minute"] == 600


@pytest.mark.long
async def test_a_run_with_one_process_has_its_share_beside_one_with_many(tmp_path: Path) -> None:
    """C13: fair between runs."""
    async with fleet(tmp_path / "bus", FREE) as there:
        async with operating(folder=there.folder) as operator:
            await operator.set_limits(key_of(there), Limits(requests_per_minute=600))
        there.start({f"p{n}": "a" if n < 5 else "b" for n in range(6)}, SECONDS, at_once=4)
        await there.go()
        await there.done(120)
        many, one = there.times(agent="a"), there.times(agent="b")
        assert in_windows(there.times(), SECONDS) <= 10 * (SECONDS + 2)  # a second of lateness is made good
    assert 0.35 < len(one) / (len(one) + len(many)) < 0.65, (len(one), len(many))


async def test_an_outage_opens_the_breaker_which_is_visible_and_closes_by_itself(tmp_path: Path) -> None:
    """S101: the outage of a third party is contained; C13."""
    async with fleet(tmp_path / "bus", DOWN) as there:
        there.start({f"p{n}": f"r{n}" for n in range(4)}, 45)
        await there.go()
        found = await until_shown(there, lambda found: found["breaker"] != "closed")
        assert found["waiting"] or found["breaker"] == "half-open"
        during = len(there.times(529))
        assert during <= 5 + 4, "those under way, and no more"


@pytest.mark.long
async def test_a_breaker_closes_when_the_provider_is_back(tmp_path: Path) -> None:
    """S101: after the outage all goes on."""
    script = DOWN.replace("times: 25", "times: 7")  # five open it, and two may be under way
    async with fleet(tmp_path / "bus", script) as there:
        there.start({f"p{n}": f"r{n}" for n in range(3)}, 14)
        await there.go()
        await until_known(there, lambda rate: rate.breaker.openings > 0)
        await until_known(there, lambda rate: rate.breaker.openings == 0)
        told = await there.done(120)
    assert all(one["answered"] for one in told)


@pytest.mark.long  # the same is shown on one connection by tests/agents/test_paced.py
async def test_a_killed_process_gives_back_the_calls_that_it_had_under_way(tmp_path: Path) -> None:
    """C13, S101: slots expire with whoever holds them."""
    async with fleet(tmp_path / "bus", "{latency: 1, otherwise: {answer: 'yes'}}") as there:
        async with operating(folder=there.folder) as operator:
            await operator.set_limits(key_of(there), Limits(concurrent=2))
        doomed = there.start({"doomed": "a"}, 60, at_once=2)
        await there.go()
        await until_shown(there, lambda found: found["held"] == 2)
        there.kill(doomed)
        there.start({"other": "b"}, 60)
        async with asyncio.timeout(60):
            while not there.times(agent="b"):
                await asyncio.sleep(0.05)
