"""S108: within a second of an event, whoever watches is told who does what, since when, and why."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress

import pytest
from system_kit import System, system, until

from consort_orchestrator.cli.wording import event_lines
from consort_shared.errors import RunFailed

__all__ = ["system"]
pytestmark = pytest.mark.slow
PROMPT = 1.0
STEPS = {
    "first": {"skill": "text.gate", "with": {"name": "first"}},
    "second": {"skill": "text.gate", "needs": ["first"], "with": {"name": "second"}},
    "third": {"skill": "refuse", "needs": ["second"]},
    "lonely": {"skill": "nobody.offers", "needs": ["first"], "timeout": 600},
}


async def command(system: System, *arguments: str) -> Process:
    env = {
        **os.environ,
        "CONSORT_SERVER": system.url,
        "CONSORT_CREDS": system.creds("client", "me"),
        "NO_COLOR": "1",
    }
    words = ["-m", "consort_orchestrator.cli", *arguments]
    return await asyncio.create_subprocess_exec(
        sys.executable, *words, env=env, stdout=PIPE, stderr=DEVNULL, stdin=DEVNULL
    )


async def test_watch_and_show_tell_within_a_second(system: System) -> None:
    system.orchestrator()
    system.agent("worker")
    system.agent("odd")
    run = await system.run({"steps": STEPS})
    watching = await command(system, "watch", run, "--no-live")
    heard: list[tuple[float, str]] = []

    async def listen() -> None:
        assert watching.stdout is not None
        async for line in watching.stdout:
            heard.append((time.time(), line.decode().rstrip()))

    listening = asyncio.create_task(listen())

    def told(words: str) -> bool:
        return any(words in line for _, line in heard)

    await until(lambda: told("first goes to worker (only candidate)"))
    since = time.time()  # what happened before is told at once; from here on it is news
    system.let_go("first")
    await until(lambda: told("second goes to worker (only candidate)"))
    assert told("lonely waits for an agent that offers nobody.offers")
    showing = await command(system, "show", run, "--json")
    shown = json.loads((await showing.communicate())[0])
    step = {one["path"]: one for one in shown["steps"]}
    assert (step["second"]["agent"], step["second"]["phase"]) == ("worker", "granted")
    assert step["second"]["seconds"] > 0
    assert step["lonely"]["text"] == "waits for an agent that offers nobody.offers"
    system.let_go("second")
    await until(lambda: told("third"))
    await until(lambda: told("this cannot be done by anybody"))
    await system.client.cancel(run)
    with suppress(RunFailed):
        await system.client.result(run)
    await asyncio.wait_for(watching.wait(), 10)
    await listening
    entries = await system.client.entries(run)
    events = [(logged.entry.at, line) for logged in entries for line in event_lines(logged)]
    heard = [(seen, line) for seen, line in heard if line]
    assert [line for _, line in heard] == [line for _, line in events]
    late = [(line, seen - at) for (at, line), (seen, _) in zip(events, heard, strict=True) if at > since]
    assert len(late) > 5
    assert max(seconds for _, seconds in late) < PROMPT, late
