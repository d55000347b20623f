"""What can go wrong in an agent.

ConsortError
└── AgentError          the agent itself is not usable: its definition, its start
Exception
├── SkillError          raised by a skill: this task cannot be done
├── Decline             raised by a skill: not mine, let another agent try
└── NotDone             raised inside an effect: it certainly did not happen
BaseException
└── AttemptOver         raised through a skill: this attempt ends here
    ├── EffectInDoubt   nobody knows whether an effect happened; a person is asked
    ├── CalledOff       the attempt is no longer wanted
    ├── JournalLost     another process has the task, which is not even acknowledged here
    └── JournalDiverged the code asks something else than its journal holds; the task fails, or starts over

All but the last of these end it without a report. What ends an attempt
is no `Exception`, as `asyncio.CancelledError` is none, so that a
skill's `except Exception` does not turn it into a result.
"""

from __future__ import annotations

from consort_shared.errors import ConsortError


class AgentError(ConsortError):
    """The agent cannot be used as it is defined or started."""

    exit_code = 2


class SkillError(Exception):
    """A skill cannot do this task. The text is for a person; `retry` says whether trying again makes sense."""

    def __init__(self, message: str, *, retry: bool = True, kind: str = "skill-error") -> None:
        super().__init__(message)
        self.retry = retry
        self.kind = kind


class Decline(Exception):
    """A skill does not take this task; another agent with the skill may."""


class NotDone(Exception):
    """An effect certainly did not happen, so it may be tried again. The attempt fails with this text."""


class AttemptOver(BaseException):
    """The attempt ends here, whatever the skill makes of it. Not for skills to catch."""


class EffectInDoubt(AttemptOver):
    """An earlier try of an effect began, and nothing is known of its end: the step waits for a person."""

    def __init__(self, key: str) -> None:
        super().__init__(f"whether effect {key!r} happened is not known; a person is asked")
        self.key = key


class CalledOff(AttemptOver):
    """The attempt is no longer wanted: its run was cancelled, or its time is up."""

    def __init__(self) -> None:
        super().__init__("the attempt is called off")


class JournalLost(AttemptOver):
    """Another process goes on with the task: this one was taken for dead, and makes no further call."""

    def __init__(self, position: int) -> None:
        super().__init__(f"another process has the task: it wrote record {position} of its journal")
        self.position = position


class JournalDiverged(AttemptOver):
    """What was asked before the task came again is not what is asked now. `n` is the call that is missed."""

    def __init__(self, n: int, why: str) -> None:
        super().__init__(why)
        self.n = n
        self.why = why
