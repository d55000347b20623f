"""Clears up when the chaos run itself is killed.

A stopped process cannot notice that its supervisor is gone, a bus node does not
look for one, and a mounted disk knows nothing at all. So a small shell waits at
the end of a pipe: it is told what there is and what has ended, and when the pipe
closes it ends the processes that are left, and takes the disks down.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import TracebackType

_SCRIPT = """
trap '' INT TERM HUP
pids=; disks=
while IFS= read -r line; do
  what=${line#?}
  case $line in
    +*) pids="$pids $what" ;;
    -*) left=; for pid in $pids; do [ "$pid" = "$what" ] || left="$left $pid"; done; pids=$left ;;
    /*) disks="$disks $line" ;;
  esac
done
for pid in $pids; do kill -9 "$pid" 2>/dev/null; done
for disk in $disks; do umount -l "$disk" 2>/dev/null; done
"""


class Guard:
    """A context manager; whoever starts or ends a process tells it."""

    def __enter__(self) -> Guard:
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", _SCRIPT],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What was ended in order is forgotten already; should anything be left, it ends now."""
        assert self._shell.stdin is not None
        self._shell.stdin.close()
        self._shell.wait(10)

    def began(self, pid: int) -> None:
        self._tell(f"+{pid}")

    def ended(self, pid: int) -> None:
        self._tell(f"-{pid}")

    def mounted(self, place: Path) -> None:
        self._tell(str(place))

    def _tell(self, line: str) -> None:
        assert self._shell.stdin is not None
        try:
            self._shell.stdin.write(f"{line}\n".encode())
            self._shell.stdin.flush()
        except OSError:
            return  # the guard was killed: there is one safeguard less, nothing else
