"""A small disk under one bus node, so that it can be full.

It is a file system in memory, which only Linux gives and only to an administrator:
elsewhere the fault is left out and the report says so. Whatever happens to the
block, the disk is taken down at its end; what was on it is in the folder afterwards.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from consort_orchestrator.chaos.guard import Guard

_BALLAST = "ballast"
_BLOCK = 1 << 20


class SmallDisk:
    """A folder that lies on a disk of its own."""

    def __init__(self, folder: Path) -> None:
        self._ballast = folder / _BALLAST

    def fill(self) -> None:
        """Use up all the room there is left."""
        with self._ballast.open("ab", buffering=0) as file:
            size = _BLOCK
            while size:
                try:
                    file.write(b"\0" * size)
                except OSError as exc:
                    if exc.errno != errno.ENOSPC:
                        raise
                    size //= 16

    def clear(self) -> None:
        """Give the room back."""
        self._ballast.unlink(missing_ok=True)


def why_not() -> str:
    """Why there can be no small disk here; empty if there can."""
    if not sys.platform.startswith("linux"):
        return "only Linux can put a bus on a small disk"
    return "" if os.geteuid() == 0 else "only an administrator can put a bus on a small disk"


@contextmanager
def small_disk(folder: Path, megabytes: int, guard: Guard) -> Iterator[SmallDisk | str]:
    """A disk mounted at a folder while the block lasts; or why there is none."""
    if why := why_not():
        yield why
        return
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    options = f"size={megabytes}m,mode=0700"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        yield f"no small disk can be put under the bus: {done.stderr.strip()}"
        return
    guard.mounted(folder)
    disk = SmallDisk(folder)
    try:
        yield disk
    finally:
        disk.clear()
        saved = Path(tempfile.mkdtemp(dir=folder.parent))
        with suppress(
            OSError, shutil.Error
        ):  # files that go away meanwhile are those of a node that still ends
            shutil.copytree(folder, saved, dirs_exist_ok=True)
        _unmount(folder)
        shutil.copytree(saved, folder, dirs_exist_ok=True)
        shutil.rmtree(saved, ignore_errors=True)


def _unmount(folder: Path) -> None:
    if subprocess.run(["umount", str(folder)], capture_output=True, check=False).returncode != 0:
        subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)
