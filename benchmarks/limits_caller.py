"""One process of a fleet that shares a provider's key: calls as fast as it is let, through the real SDK.

    python -m benchmarks.limits_caller NAME RUN CREDS FOLDER SECONDS [CALLS AT A TIME]

Writes `ready-NAME` into FOLDER, waits for `go` there, and ends by itself. The bus and the model
server are in the environment: CONSORT_SERVER, ANTHROPIC_BASE_URL, ANTHROPIC_API_KEY.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path

from consort_agents.models.anthropic import Anthropic
from consort_agents.models.errors import ModelError, Overloaded, RateLimited, Unreachable
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
                permit.limited(exc.retry_after, exc.limits)
                self.told["refused"] += 1
            except (Overloaded, Unreachable) as exc:
                permit.troubled(exc.retry_after)
                self.told["troubled"] += 1
            else:
                permit.answered(reply.usage.input_tokens + reply.usage.output_tokens, self.provider.limits())
                self.told["answered"] += 1
                return True
        return False


async def main(name: str, run: str, creds: str, folder: Path, seconds: float, at_once: int) -> None:
    provider = Anthropic()
    async with (
        open_bus(os.environ["CONSORT_SERVER"], Credentials.load(Path(creds))) as bus,
        Wire(bus.nc, bus) as wire,
        pacing_of(bus, wire, Publisher(wire), time.time, claimant=name) as pacing,
    ):
        try:  # the import of the SDK is no part of what is measured
            await provider._made()
        except ModelError:
            raise SystemExit(1) from None
        (folder / f"ready-{name}").touch()
        while not (folder / "go").exists():
            await asyncio.sleep(0.02)
        caller = Caller(name, run, provider, pacing, time.time() + seconds)
        await asyncio.gather(*(caller.work(n) for n in range(at_once)))
    await provider.close()
    (folder / f"told-{name}.json").write_text(json.dumps({"name": name, "run": run, **caller.told}))


if __name__ == "__main__":
    arguments = sys.argv[1:]
    run_for_long(
        main(
            arguments[0],
            arguments[1],
            arguments[2],
            Path(arguments[3]),
            float(arguments[4]),
            int(arguments[5]) if len(arguments) > 5 else 1,
        )
    )
