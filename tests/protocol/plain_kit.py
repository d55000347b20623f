"""Starting programs of other people's making beside a system of real processes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from system_kit import Child, System

HERE = Path(__file__).parent


def environment(system: System, role: str, name: str) -> dict[str, str]:
    return {
        **os.environ,
        "CONSORT_SERVER": system.url,
        "CONSORT_CREDS": system.creds(role, name),
        "MARKS": str(system.marks),
    }


def start(system: System, name: str, command: list[str]) -> Child:
    """An agent, as a process of the system, which is killed with it."""
    log = system.folder / f"{name}-{len(system.children)}.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, env=environment(system, "agent", name), stdout=out, stderr=out, stdin=subprocess.DEVNULL
        )
    child = Child(name, process, log)
    system.children.append(child)
    return child


def plain_agent(system: System) -> Child:
    return start(system, "plain", [sys.executable, str(HERE / "plain_agent.py")])


async def tell(system: System, *orders: dict[str, Any], client: str = "shell") -> Any:
    """What the plain client answers to the last of some orders."""
    program = [sys.executable, str(HERE / "plain_client.py")]
    return (await answers(system, program, orders, client))[-1]


async def answers(
    system: System, program: list[str], orders: tuple[dict[str, Any], ...], client: str
) -> list[Any]:
    process = await asyncio.create_subprocess_exec(
        *program,
        env={**environment(system, "client", client), "CLIENT": client},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    async with asyncio.timeout(40):
        out, err = await process.communicate("\n".join(map(json.dumps, orders)).encode())
    assert process.returncode == 0, err.decode()
    return [json.loads(line) for line in out.splitlines()]
