"""Agents that think, disturbed at random instants: no answer is lost, none that is on record is paid for again.

Runs in waves of four, each from a seed. While a wave is under way, processes of the agent are killed and
frozen, the orchestrator and the bus are killed; all come back. `make storms` goes through forty runs,
`CONSORT_STORM_WAVES` and `CONSORT_STORM_SEED` say how many waves of four and from which seed.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from system_kit import Child, System, until

from consort_agents.fake_llm import Fake, read_script, serving
from consort_bus import embedded
from consort_bus.connection import open_bus
from consort_bus.leading import read_whole
from consort_bus.subjects import JOURNAL, journal_of_run
from consort_bus.wire import Wire
from consort_shared.codec import MSGPACK, decode
from consort_shared.entries import Accepted
from consort_shared.journal import record_adapter
from consort_shared.journal_fold import fold

pytestmark = pytest.mark.slow
THINKERS = str(Path(__file__).parent.parent / "thinking" / "thinkers.py")
WAVES = int(os.environ.get("CONSORT_STORM_WAVES", "10"))
SEED = int(os.environ.get("CONSORT_STORM_SEED", "1"))
CALLS, AT_ONCE, LIMIT = 12, 4, 90.0
SLACK = 0.1
"""Seconds between a request as it comes to the fake and the same moment on the server's clock."""

_USES = [
    "{tool: read_file, input: {name: 'file-%d.txt'}}",
    "{tool: count, input: {words: 'one two %d'}}",
    "{tool: note, input: {text: 'note %d'}}",
]
_TURNS = "\n".join(f"    - {{answer: {{use: [{_USES[n % 3] % n}]}}}}" for n in range(CALLS - 1))
SCRIPT = f"""
latency: 0.03
conversations:
  detective:
{_TURNS}
    - {{answer: "It was {{{{ user }}}}", latency: 0.05}}
"""
NOTES = sum(n % 3 == 2 for n in range(CALLS - 1))


@pytest.fixture
async def fake() -> AsyncIterator[Fake]:
    async with serving(read_script(SCRIPT)) as served:
        yield served


@dataclass
class Storm:
    """What befalls a system, by chance of a seed."""

    system: System
    fake: Fake
    chance: random.Random
    agents: list[Child] = field(default_factory=list)
    orchestrators: list[Child] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)

    def begin(self) -> None:
        self.orchestrators.append(self.system.orchestrator())
        self.agents += [self._agent(), self._agent()]

    def _agent(self) -> Child:
        known = {"ANTHROPIC_BASE_URL": self.fake.url, "CONSORT_MODEL": "claude-sonnet-5-5"}
        return self.system.agent("detective", THINKERS, env=known)

    async def strike(self, blows: int) -> None:
        for _ in range(blows):
            await asyncio.sleep(self.chance.uniform(0.05, 1.2))
            [blow] = self.chance.choices(["agent", "freeze", "orchestrator", "bus"], [6, 2, 1, 1])
            self.done[blow] += 1
            await getattr(self, f"_{blow}_falls")()

    async def _agent_falls(self) -> None:
        fallen = self.agents.pop(self.chance.randrange(len(self.agents)))
        fallen.kill()
        self.agents.append(self._agent())

    async def _freeze_falls(self) -> None:
        frozen = self.chance.choice(self.agents)
        frozen.freeze()
        await asyncio.sleep(self.chance.uniform(0.1, 3.0))
        frozen.thaw()

    async def _orchestrator_falls(self) -> None:
        self.orchestrators.pop().kill()
        self.orchestrators.append(self.system.orchestrator())

    async def _bus_falls(self) -> None:
        there = embedded.status(self.system.folder)
        assert there is not None
        os.kill(there.pid, signal.SIGKILL)
        await until(lambda: embedded.status(self.system.folder) is None)
        await asyncio.to_thread(embedded.start, self.system.folder)


def plan(case: str) -> dict[str, object]:
    step = {"skill": "solve", "timeout": 80, "with": {"case": case}}
    return {"steps": {"one": step}, "output": "${{ steps.one.output }}"}


async def answered_at(system: System, run: str) -> dict[int, float]:
    """When the answer of each turn was on record, by the server's clock."""
    credentials = embedded.credentials_for(system.folder, "auditor", "look")
    async with open_bus(system.url, credentials) as bus, Wire(bus.nc, bus) as wire:
        stored = [one async for one in read_whole(wire, JOURNAL, journal_of_run(run))]
    records = [decode(record_adapter, one.data, MSGPACK) for one in stored]
    times = {id(record): one.time.timestamp() for record, one in zip(records, stored, strict=True)}
    calls = sorted(fold(records).calls.values(), key=lambda past: past.n)
    asked = [past for past in calls if past.began.call == "model"]
    assert len(asked) == CALLS
    return {turn: times[id(past.answered)] for turn, past in enumerate(asked)}


def tokens_of(usage: Mapping[str, int]) -> tuple[int, int]:
    """In and out."""
    caches = ("cache_read_input_tokens", "cache_creation_input_tokens")
    return usage["input_tokens"] + sum(usage.get(name) or 0 for name in caches), usage["output_tokens"]


async def check(storm: Storm, run: str, case: str, done: Counter[str]) -> int:
    """That a run ended as an undisturbed one; how often it was asked again.

    Who dies asks nothing more. Who is frozen or cut off in the midst of asking, and was taken for dead, may still
    ask for that one thing before it learns that another has gone on.
    """
    system = storm.system
    ended = await system.client.result(run, timeout=LIMIT)
    assert (ended["turns"], ended["role"]) == (CALLS, "a detective"), (case, ended)
    requests = [one for one in storm.fake.requests if f"{case}." in repr(one.body["messages"][0])]
    by_turn: dict[int, set[str]] = {}
    late = 0
    recorded = await answered_at(system, run)
    for one in requests:
        turn = sum(message["role"] == "assistant" for message in one.body["messages"])
        by_turn.setdefault(turn, set()).add(one.digest)
        late += one.time > recorded[turn] + SLACK
    assert sorted(by_turn) == list(range(CALLS))
    assert all(len(digests) == 1 for digests in by_turn.values()), f"{case}: a turn was asked in two ways"
    assert late <= done["freeze"] + done["bus"], f"{case}: asked for again after the answer was on record"
    assert len(requests) <= CALLS + done["agent"] + done["freeze"] + done["bus"]
    [accepted] = [fact for fact in await system.facts(run) if isinstance(fact, Accepted)]
    assert accepted.usage is not None
    assert accepted.usage.calls == CALLS
    paid = {one.digest: tokens_of(one.answer["usage"]) for one in requests}
    assert (accepted.usage.input_tokens, accepted.usage.output_tokens) == tuple(
        map(sum, zip(*paid.values(), strict=True))
    )
    return len(requests) - CALLS


async def wave(storm: Storm, seed: int, runs: int, blows: int) -> int:
    storm.chance = random.Random(seed)
    cases = [f"case {seed}-{n}" for n in range(runs)]
    ids = [await storm.system.run(plan(f"{case}.")) for case in cases]
    before = storm.done.copy()
    await storm.strike(blows)
    done = storm.done - before
    return sum([await check(storm, run, case, done) for run, case in zip(ids, cases, strict=True)])


def notes(system: System) -> list[str]:
    return [line.split()[0] for line in system.marked("noted")]


async def test_three_disturbed_runs_pay_for_nothing_twice(system: System, fake: Fake) -> None:
    """G6, S9, invariant 7: killed at random instants, each ends as if it had not been."""
    storm = Storm(system, fake, random.Random())
    storm.begin()
    await wave(storm, SEED, 3, 3)
    assert len(set(notes(system))) == 3 * NOTES


@pytest.mark.soak
@pytest.mark.timeout(WAVES * 120)
async def test_a_storm_of_many_seeds(system: System, fake: Fake) -> None:
    """G6, S9, invariant 7, over many seeds."""
    storm = Storm(system, fake, random.Random())
    storm.begin()
    again = 0
    for seed in range(SEED, SEED + WAVES):
        again += await wave(storm, seed, AT_ONCE, 6)
        print(f"seed {seed}: {dict(storm.done)}, {again} requests made again", flush=True)
    assert len(set(notes(system))) == WAVES * AT_ONCE * NOTES
