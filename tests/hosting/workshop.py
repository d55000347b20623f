"""Tools for tests: each leaves a mark when it is done, some wait for a go."""

from __future__ import annotations

import os
import time
from pathlib import Path

from consort_agents import tool
from consort_agents.tools.definition import Caller


def marks() -> Path:
    return Path(os.environ["MARKS"])


def mark(name: str, text: str) -> None:
    with (marks() / name).open("a") as file:
        file.write(f"{text}\n")


def wait_for_go(name: str) -> None:
    if not name:
        return
    mark(f"waits-{name}", "here")
    until = time.monotonic() + 30
    while not (marks() / f"go-{name}").exists() and time.monotonic() < until:
        time.sleep(0.01)


@tool
def look(query: str, gate: str = "") -> str:
    """Look something up."""
    wait_for_go(gate)
    mark("looked", query)
    return f"found {query}"


@tool(risk="danger", idempotent=False, cache=False)
def pay(amount: int, gate: str = "") -> str:
    """Pay; not to be done twice."""
    wait_for_go(gate)
    mark("paid", str(amount))
    return f"paid {amount}"


@tool(risk="write", idempotent=False, cache=False)
def book(room: str, caller: Caller) -> str:
    """Book a room; the key makes it one booking."""
    mark("booked", f"{room} {caller.call_id}")
    return f"booked {room}"


@tool
def secret_length() -> int:
    """How long the key is, which only the host has."""
    return len(os.environ["WORKSHOP_KEY"])


@tool
def big(size: int) -> dict[str, str]:
    """A large answer."""
    return {"text": "x" * size}


@tool(timeout=0.5)
def hang() -> str:
    """Never ends."""
    time.sleep(60)
    return "no"


@tool
def broken() -> str:
    """Raises."""
    raise RuntimeError("the disk is on fire")
