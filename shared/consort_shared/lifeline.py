"""How a process notices that whoever started it is gone.

A supervisor holds the writing end of a pipe and hands its children the reading
end, whose number is in `CONSORT_LIFELINE`. Nothing is ever written. When the
supervisor ends, in whatever way, the system closes its end and every child reads
the end of the pipe: it stops as if told to, and ends hard if that takes too long.

Works wherever there are pipes; no child can forget to be told, and no pid is
looked up that may be another process by now.
"""

from __future__ import annotations

import os
import stat
import sys
import threading
from collections.abc import Callable, Mapping
from types import TracebackType

VARIABLE = "CONSORT_LIFELINE"
PATIENCE = 60.0
"""Seconds a process may take to stop by itself once its supervisor is gone."""
ORPHANED = 70
"""Exit code of a process that did not stop in that time."""


class Lifeline:
    """The supervisor's end; a context manager. Children hold on as long as it is open."""

    def __init__(self) -> None:
        self.reading, self._writing = os.pipe()

    def __enter__(self) -> Lifeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.reading)
        os.close(self._writing)

    def environment(self, inherited: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of a child that is started with `pass_fds=(lifeline.reading,)`."""
        return {**(os.environ if inherited is None else inherited), VARIABLE: str(self.reading)}


def hold_on(lost: Callable[[], object], *, patience: float = PATIENCE) -> bool:
    """Call `lost` once the supervisor is gone, from a thread of its own; whether there is a supervisor.

    `patience` is how many seconds the process then has before it is ended.
    """
    end = _inherited()
    if end is None:
        return False
    threading.Thread(target=_wait, args=(end, lost, patience), name="lifeline", daemon=True).start()
    return True


def _inherited() -> int | None:
    """The pipe's end, taken out of the environment so that grandchildren do not mistake it for theirs."""
    text = os.environ.pop(VARIABLE, "")
    try:
        end = int(text)
        if not stat.S_ISFIFO(os.fstat(end).st_mode):
            return None
        os.set_inheritable(end, False)
    except (ValueError, OSError, OverflowError):
        return None
    return end


def _wait(end: int, lost: Callable[[], object], patience: float) -> None:
    try:
        while os.read(end, 1):
            pass
    except OSError:
        return
    try:
        lost()
    except RuntimeError:
        return  # the event loop that was to be told is closed: the process is ending anyway
    threading.Event().wait(patience)
    sys.stderr.write("the supervisor is gone and this process does not stop: ending it\n")
    os._exit(ORPHANED)
