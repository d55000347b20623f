"""A client written from docs/protocol.md alone: nats-py, the standard library, JSON, and nothing of Consort.

    echo '{"do": "ask", "plan": {…}, "inputs": {…}, "key": "order-17"}' | python plain_client.py

Reads orders and prints what came of them, a line of JSON each.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
import time
from typing import Any

import nats
from nats.aio.client import Client
from plain_parts import INLINE, fetch, store

NAME = os.environ.get("CLIENT", "shell")
ENDED = ("completed", "failed", "cancelled")


async def request(
    nc: Client, subject: str, body: dict[str, Any], headers: dict[str, str] | None = None
) -> Any:
    until = time.monotonic() + 20
    data, headers = json.dumps(body).encode(), headers or {}
    if len(data) > INLINE:
        headers["Consort-Body"] = json.dumps(await store(nc, "client", NAME, data))
        data = b""
    while True:
        try:
            answer = await nc.request(subject, data, 10, headers=headers or None)
            stored = (answer.headers or {}).get("Consort-Body")
            return json.loads(answer.data if stored is None else await fetch(nc, json.loads(stored)))
        except nats.errors.NoRespondersError:  # nobody has it, so asking again does no harm
            if time.monotonic() > until:
                raise
            await asyncio.sleep(0.1)


async def wait(nc: Client, run: str, limit: float) -> Any:
    """Ask where the run stands, when the log hints that it has ended and every second anyway."""
    ended = asyncio.Event()

    async def hint(_: object) -> None:
        ended.set()

    await nc.subscribe(f"log.{run}.entry.*.ended", cb=hint)
    until = time.monotonic() + limit
    while True:
        status = await request(nc, f"api.status.{NAME}", {"run": run})
        if status["state"] in ENDED or time.monotonic() > until:
            return status
        ended.clear()
        try:
            async with asyncio.timeout(1):
                await ended.wait()
        except TimeoutError:
            continue


async def do(nc: Client, order: dict[str, Any]) -> Any:
    what = order.pop("do")
    headers = order.pop("headers", None)
    run = order.get("run", "")
    match what:
        case "submit":
            run = order.pop("run", None) or f"{int(time.time() * 1000):012x}{secrets.token_hex(10)}"
            receipt = await request(nc, f"in.client.{NAME}.{run}", {"say": "submit", **order}, headers)
            return {"run": run, **receipt}
        case "say":
            return await request(nc, f"in.client.{NAME}.{order.pop('run')}", order)
        case "ask":
            return await request(nc, f"api.submit.{NAME}", order, headers)
        case "status":
            return await request(nc, f"api.status.{NAME}", order)
        case "wait":
            return await wait(nc, run, order.get("limit", 20.0))
        case _:
            raise ValueError(what)


async def main(orders: list[str]) -> None:
    nc = await nats.connect(
        os.environ["CONSORT_SERVER"],
        user_credentials=os.environ["CONSORT_CREDS"],
        inbox_prefix=f"_INBOX.client.{NAME}".encode(),
    )
    for order in orders:
        print(json.dumps(await do(nc, json.loads(order))))
    await nc.close()
    assert not [name for name in sys.modules if name.startswith("consort")]


if __name__ == "__main__":
    asyncio.run(main(sys.stdin.read().splitlines()))
