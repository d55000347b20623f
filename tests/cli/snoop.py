"""An agent that looks at who else was started with which environment."""

from __future__ import annotations

import os
from pathlib import Path

from consort_agents import Agent

agent = Agent("snoop")


@agent.skill("snoop.around")
def around(folder: str) -> dict[str, list[str]]:
    """Names of the variables that processes which name a folder in their command line were started with."""
    found: dict[str, list[str]] = {}
    for process in Path("/proc").iterdir():
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
            if not any(folder.encode() in word for word in command):
                continue
            names = [
                pair.partition(b"=")[0].decode() for pair in (process / "environ").read_bytes().split(b"\0")
            ]
        except OSError:
            continue
        words = [word.decode(errors="replace") for word in command]
        kind = "orchestrator" if "orchestrator" in words else "bus" if "-c" in words else "agent"
        found[kind] = sorted(name for name in names if name)
    return {**found, "self": sorted(os.environ)}
