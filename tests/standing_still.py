"""Stopping a process for a while, so that it has stopped when the call returns."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

LIMIT = 10.0


def freeze(pid: int) -> None:
    """SIGSTOP, and wait until every thread has heard it: they hear it one after the other, and may act meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    until = time.monotonic() + LIMIT
    while not all(_stopped(thread) for thread in Path(f"/proc/{pid}/task").iterdir()):
        assert time.monotonic() < until, f"process {pid} does not stand still"
        time.sleep(0.002)


def _stopped(thread: Path) -> bool:
    try:
        return (thread / "stat").read_text().rpartition(")")[2].split()[0] in "TtZX"
    except OSError:
        return True  # it has ended
