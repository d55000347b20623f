"""`python -m benchmarks.journal`: what a journal adds to a call, and what it takes to go on from one.

One agent's connection to a real server in a temporary folder. The calls themselves do nothing, so
what is measured is the journal: microseconds for each call, one after the other and 32 at a time,
beside a bare stored message; writes for each call; and how long another process takes to read
the journal, take the task over and replay all answers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from typing import Any

import uvloop

from consort_agents.journal.journaling import Journaling, Whose
from consort_agents.journal.keeping import Keeping
from consort_agents.journal.port import Call
from consort_bus import topology
from consort_bus.artefacts import Artefacts
from consort_bus.connection import Bus, open_bus
from consort_bus.embedded import credentials_for, running
from consort_bus.envelope import AgentSeal
from consort_bus.journals import TaskJournal
from consort_bus.publish import Publisher
from consort_bus.sealing import Box
from consort_bus.subjects import JournalSubject
from consort_bus.wire import Wire
from consort_shared.ids import new_run_id

ANSWER = {"content": [{"type": "text", "text": "word " * 100}], "stop_reason": "end_turn"}
AT_ONCE = 32


def _request(n: int) -> dict[str, Any]:
    """About what the nth call of a conversation looks like."""
    turns = [
        {"role": "user", "content": [{"type": "text", "text": f"{at} " * 50}]} for at in range(n % 10 + 1)
    ]
    return {"model": "m", "messages": turns, "system": "Be brief. " * 20, "n": n}


async def _answer(_: Call) -> Any:
    return ANSWER


class Bench:
    """One task after the other on one connection."""

    def __init__(self, bus: Bus, wire: Wire) -> None:
        assert bus.mac_key is not None
        self._bus, self._wire = bus, wire
        self._seal, self._box = AgentSeal(bus.mac_key), Box(bus.mac_key)
        self._run = new_run_id()

    def book(self, task: str, delivered: int = 1) -> Journaling:
        store = TaskJournal(self._wire, self._seal, self._bus.identity.name, self._run, task)
        keeping = Keeping(Artefacts(self._wire, self._bus.identity), self._box)
        return Journaling(store, keeping, Whose(self._run, task, delivered=delivered))

    async def bare(self, calls: int) -> float:
        """Seconds for each of so many stored messages of the same size, one after the other."""
        publisher, task = Publisher(self._wire), secrets.token_hex(4)
        body = json.dumps(ANSWER).encode()
        since = time.perf_counter()
        for n in range(1, calls + 1):
            await publisher.publish(str(JournalSubject(self._bus.identity.name, self._run, task, n)), body)
        return (time.perf_counter() - since) / calls

    async def calls(self, task: str, calls: int, at_once: int) -> tuple[float, float, float]:
        """Seconds, processor seconds and writes for each call."""
        book = self.book(task)
        await book.open()
        room = asyncio.Semaphore(at_once)

        async def one(n: int) -> None:
            async with room:
                await book.call("model", "m", _request(n), _answer)

        since, used = time.perf_counter(), time.process_time()
        if at_once == 1:
            for n in range(calls):
                await book.call("model", "m", _request(n), _answer)
        else:
            await asyncio.gather(*map(one, range(calls)))
        taken, used = time.perf_counter() - since, time.process_time() - used
        return taken / calls, used / calls, book.writes / calls

    async def replay(self, task: str, calls: int) -> tuple[float, float]:
        """Seconds to take the task over, and for each replayed answer after that."""
        book = self.book(task, delivered=2)
        since = time.perf_counter()
        await book.open()
        opened = time.perf_counter()
        for n in range(calls):
            recorded = await book.call("model", "m", _request(n), _answer)
            assert recorded.replayed
        return opened - since, (time.perf_counter() - opened) / calls


async def measure(calls: int, rounds: int) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="consort-bench-"))
        server = await stack.enter_async_context(running(folder))
        async with open_bus(server.url, credentials_for(folder, "provisioner", "bench")) as setup:
            await topology.ensure(setup)
        bus = await stack.enter_async_context(open_bus(server.url, credentials_for(folder, "agent", "bench")))
        bench = Bench(bus, await stack.enter_async_context(Wire(bus.nc, bus)))
        bare, chain, many, used, opening, replaying = [], [], [], [], [], []
        writes = 0.0
        for turn in range(rounds):
            bare.append(await bench.bare(calls))
            seconds, processor, writes = await bench.calls(f"{turn}-0", calls, 1)
            chain.append(seconds)
            used.append(processor)
            many.append((await bench.calls(f"{turn}-1", calls, AT_ONCE))[0])
            opened, each = await bench.replay(f"{turn}-0", calls)
            opening.append(opened)
            replaying.append(each)
        return {
            "calls": calls,
            "rounds": rounds,
            "bare_stored_message_us": _micros(bare),
            "call_one_after_the_other_us": _micros(chain),
            "processor_time_of_the_agent_per_call_us": _micros(used),
            f"call_{AT_ONCE}_at_a_time_us": _micros(many),
            "writes_per_call": round(writes, 2),
            "writes_waited_for_per_call": 1,
            f"take_over_{calls}_calls_ms": round(statistics.median(opening) * 1e3, 1),
            "replayed_answer_us": _micros(replaying),
        }


def _micros(seconds: list[float]) -> int:
    return round(statistics.median(seconds) * 1e6)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.journal", description=__doc__)
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    print(json.dumps(uvloop.run(measure(asked.calls, asked.rounds)), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
