"""Processes of a fleet that shares a provider's key: each calls as fast as it is let, through the real SDK.

    python -m benchmarks.limits_caller FOLDER SECONDS AT_ONCE NAME:RUN …

One process for each NAME, forked after the SDK was imported, which takes longer than all else. Each
takes NAME.creds from FOLDER, writes `ready-NAME` there, waits for `go`, and ends by itself. The bus and
the model server are in the environment: CONSORT_SERVER, ANTHROPIC_BASE_URL, ANTHROPIC_API_KEY.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import traceback
from pathlib import Path

from consort_agents.models.anthropic import Anthropic
from consort_agents.models.errors import Overloaded, RateLimited, Unreachable
from consort_agents.models.port import Request, user
from consort_agents.paced import BusPacing, pacing_of
from consort_agents.pacing import PacingLate
from consort_bus.connection import open_bus
from consort_bus.credentials import Credentials
from consort_bus.publish import Publisher
from consort_bus.wire import Wire
from consort_shared.looping import run_for_long

MODEL = "claude-sonnet-5-5"
TOKENS = 10
SILENT = bool(os.environ.get("SILENT"))
"""Whether what the provider tells of its limits is not listened to."""


class Caller:
    def __init__(self, name: str, run: str, provider: Anthropic, pacing: BusPacing, end: float) -> None:
        self.name = name
        self.run = run
        self.provider = provider
        self.pacing = pacing
        self.end = end
        self.told: dict[str, float] = {"answered": 0, "refused": 0, "troubled": 0, "late": 0, "waited": 0.0}

    async def work(self, n: int) -> None:
        asked = 0
        while time.time() < self.end:
            text = f"{self.name} {n} asks {asked}"
            request = Request(model=MODEL, messages=(user(text),), max_tokens=16, agent=self.run)
            try:
                asked += await self.call(request)
            except PacingLate:
                self.told["late"] += 1

    async def call(self, request: Request) -> bool:
        async with self.pacing.permit(
            self.provider.key, run=self.run, tokens=TOKENS, deadline=self.end
        ) as permit:
            self.told["waited"] += permit.waited
            try:
                reply = await self.provider.ask(request, timeout=30)
            except RateLimited as exc:
                permit.limited(exc.retry_after, None if SILENT else exc.limits)
                self.told["refused"] += 1
            except (Overloaded, Unreachable) as exc:
                permit.troubled(exc.retry_after)
                self.told["troubled"] += 1
            else:
                permit.answered(
                    reply.usage.input_tokens + reply.usage.output_tokens,
                    None if SILENT else self.provider.limits(),
                )
                self.told["answered"] += 1
                return True
        return False


async def main(name: str, run: str, folder: Path, seconds: float, at_once: int) -> None:
    provider = Anthropic()
    async with (
        open_bus(os.environ["CONSORT_SERVER"], Credentials.load(folder / f"{name}.creds")) as bus,
        Wire(bus.nc, bus) as wire,
        pacing_of(bus, wire, Publisher(wire), time.time, claimant=name) as pacing,
    ):
        (folder / f"ready-{name}").touch()
        while not (folder / "go").exists():
            await asyncio.sleep(0.02)
        caller = Caller(name, run, provider, pacing, time.time() + seconds)
        await asyncio.gather(*(caller.work(n) for n in range(at_once)))
    await provider.close()
    (folder / f"told-{name}.json").write_text(json.dumps({"name": name, "run": run, **caller.told}))


def fork(folder: Path, seconds: float, at_once: int, whom: list[tuple[str, str]]) -> int:
    """One child for each; the number of those that failed."""
    children = []
    for name, run in whom:
        pid = os.fork()
        if pid == 0:
            try:
                run_for_long(main(name, run, folder, seconds, at_once))
            except BaseException:  # noqa: BLE001 - the edge of a process
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        children.append(pid)
    return sum(os.waitpid(pid, 0)[1] != 0 for pid in children)


if __name__ == "__main__":
    import anthropic  # noqa: F401 - before the fork

    where, lasting, slots, *pairs = sys.argv[1:]
    parts = [pair.partition(":") for pair in pairs]
    sys.exit(fork(Path(where), float(lasting), int(slots), [(name, run) for name, _, run in parts]))
