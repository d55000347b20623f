"""What tests ask of the health endpoints of processes."""

from __future__ import annotations

import asyncio
import json
import re
import time
import urllib.error
import urllib.request
from typing import Any

from system_kit import Child

LIMIT = 20.0
ANY_PORT = {"CONSORT_HEALTH_PORT": "0"}


def port_of(child: Child) -> int:
    """The port that a process says it answers at, 0 before it did."""
    found = re.findall(r"answered at http://127\.0\.0\.1:(\d+)", child.log.read_text())
    return int(found[-1]) if found else 0


def fetch(port: int, path: str) -> tuple[int, str]:
    """Status and text."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=LIMIT) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


async def get(child: Child, path: str) -> tuple[int, str]:
    until = time.monotonic() + LIMIT
    while not (port := port_of(child)):
        assert time.monotonic() < until, child.log.read_text()
        await asyncio.sleep(0.02)
    return await asyncio.to_thread(fetch, port, path)


async def told(child: Child, path: str) -> tuple[int, Any]:
    status, text = await get(child, path)
    return status, json.loads(text)


async def until_told(child: Child, path: str, status: int, words: str = "") -> None:
    """Wait until an endpoint says so."""
    until = time.monotonic() + LIMIT
    while True:
        found = await get(child, path)
        if found[0] == status and words in found[1]:
            return
        assert time.monotonic() < until, (found, child.log.read_text())
        await asyncio.sleep(0.05)
