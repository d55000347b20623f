"""Places between two effects where a process can be made to die on purpose.

`CONSORT_FAILPOINT=entry-stored` kills the process, as `kill -9` does, the first time
it comes to that place, `entry-stored:3` the third time. Nothing happens without the
variable. The tests visit every place there is.
"""

from __future__ import annotations

import os
import signal

PLACES: dict[str, str] = {
    "entry-decided": "an orchestrator has decided, nothing is stored yet",
    "entry-stored": "an entry is stored, nothing that follows from it is done",
    "effects-halfway": "the first of what follows from an entry is sent",
    "effects-done": "all that follows from an entry is done, its causes are not acknowledged",
    "causes-acknowledged": "the messages that caused an entry are acknowledged",
    "letter-stored": "a message is set aside, it is not acknowledged",
    "consumer-created": "a joining agent has its consumer and no answer",
    "run-woken": "a run that waited for a skill is woken",
    "task-taken": "an agent has a task and has not begun it",
    "effect-allowed": "an agent may do an effect and has not done it",
    "effect-performed": "an agent has done an effect and has not said so",
    "effect-reported": "an agent has said that it did an effect, its task goes on",
    "call-begun": "an agent's call is on record and not made",
    "call-made": "an agent's call was made and its answer is not on record",
    "call-answered": "the answer to an agent's call is on record, its task goes on",
    "work-done": "an agent has done a task and has not said so",
    "report-stored": "an agent's report is stored, its task is not acknowledged",
    "task-acknowledged": "an agent's task is acknowledged",
    "tool-began": "a tool host has put down that it begins a call, it has not called the tool",
    "tool-called": "a tool host has called a tool, its answer is not stored",
    "tool-done": "a tool host has put down what a call gave, the agent has no answer",
    "tool-answered": "a tool host has answered a call, it is not acknowledged",
    "artefact-halfway": "the first part of an artefact is stored",
}


def _armed() -> dict[str, int]:
    name, _, count = os.environ.get("CONSORT_FAILPOINT", "").partition(":")
    if not name:
        return {}
    if name not in PLACES:
        raise ValueError(f"CONSORT_FAILPOINT names {name!r}; there are {', '.join(PLACES)}")
    return {name: int(count or 1)}


_left = _armed()


def failpoint(name: str) -> None:
    """Die here if this place is the one to die at."""
    if _left:
        _pass(name)


def _pass(name: str) -> None:
    left = _left.get(name)
    if left is None:
        return
    if left == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    _left[name] = left - 1
