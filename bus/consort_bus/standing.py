"""Where a run stands, in one word, as any reader of its entries can tell.

A reader holds no state machine: of a run's facts only those count here that
change the word. The word says what is most worth knowing: a run that waits for a
person's answer is `asking` although other steps go on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from consort_shared.entries import (
    Accepted,
    Closed,
    Doubted,
    EffectSettled,
    Ending,
    Fact,
    Failure,
    Finished,
    Forced,
    GivenUp,
    Granted,
    Heeded,
    Paused,
    Reopened,
    Resumed,
    Shared,
    Skipped,
    Submitted,
    Waiting,
)

UNDO = "!undo"
"""What follows the path of a step in the path of the task that undoes it."""

STATES: dict[str, str] = {
    "running": "steps are at work, or about to be",
    "waiting": "nothing is at work, and nobody offers a skill that is wanted next",
    "paused": "no task starts until it is resumed",
    "asking": "whether an effect happened is not known; a person has to say so",
    "cancelling": "it was cancelled, and tasks in hand are being called off",
    "failing": "it has failed, and tasks in hand are being called off",
    "undoing": "completed steps are being undone, the last first",
    "completed": "it has its result",
    "failed": "it ended without its result",
    "cancelled": "it was stopped",
    "unreadable": "its entries cannot be read by this version",
}
ENDED_STATES = frozenset({"completed", "failed", "cancelled"})


@dataclass(slots=True)
class Standing:
    """Takes facts in order, and says where that leaves the run."""

    waiting: dict[str, str] = field(default_factory=dict)
    """by path: the skill that nobody offers"""
    at_work: set[str] = field(default_factory=set)
    """paths of tasks that are given out, or about to be tried again"""
    doubts: dict[str, dict[str, Doubted]] = field(default_factory=dict)
    """by path and effect: what a person has to answer"""
    paused: Paused | None = None
    ending: Ending | None = None
    undoing: bool = False
    forced: Forced | None = None
    finished: Finished | None = None

    def take(self, facts: Iterable[Fact]) -> None:
        for fact in facts:
            self._take(fact)

    def _take(self, fact: Fact) -> None:
        match fact:
            case Granted():
                self._gone(fact.path)
                self.at_work.add(fact.path)
                self.undoing = self.undoing or fact.path.endswith(UNDO)
            case Waiting():
                self._gone(fact.path)
                self.waiting[fact.path] = fact.skill
                self.undoing = self.undoing or fact.path.endswith(UNDO)
            case Failure():
                if fact.retry_at is None:
                    self._gone(fact.path)
            case Accepted() | Skipped() | Closed() | Shared() | GivenUp():
                self._gone(fact.path)
            case Heeded():
                if fact.order == "stop":
                    self._gone(fact.path)
            case Doubted():
                self.at_work.discard(fact.path)
                self.doubts.setdefault(fact.path, {})[fact.key] = fact
            case EffectSettled():
                self._settled(fact.path, fact.key)
            case Paused():
                self.paused = fact
            case Resumed():
                self.paused = None
            case Ending():
                self.ending, self.paused = fact, None
                self.waiting.clear()
                self.doubts.clear()
            case Forced():
                self.forced, self.undoing = fact, False
                self.waiting.clear()
                self.doubts.clear()
            case Reopened():
                self._again(fact.path)
            case Submitted():
                self.finished = None  # what was no plan ended the run, and was mended
            case Finished():
                self.finished = fact
            case _:
                pass  # does not change the word

    def _again(self, path: str) -> None:
        """Nothing has been undone yet of a run that is taken up again."""
        self.finished = self.ending = None
        if self.undoing:
            self.undoing = False
            self.waiting.clear()
            self.at_work = {path for path in self.at_work if not path.endswith(UNDO)}
        self.at_work.add(path)

    def _gone(self, path: str) -> None:
        self.at_work.discard(path)
        self.waiting.pop(path, None)

    def _settled(self, path: str, key: str) -> None:
        open_of_step = self.doubts.get(path)
        if open_of_step is None or open_of_step.pop(key, None) is None:
            return
        if not open_of_step:
            del self.doubts[path]
            self.at_work.add(path)

    @property
    def state(self) -> str:
        """One of `STATES`."""
        if self.finished is not None:
            return self.finished.state
        if self.ending is not None:
            if self.undoing:
                return "undoing"
            return "cancelling" if self.ending.state == "cancelled" else "failing"
        if self.paused is not None:
            return "paused"
        if self.doubts:
            return "asking"
        return "waiting" if self.waiting and not self.at_work else "running"

    @property
    def why(self) -> str:
        """A sentence about that state, empty where there is nothing to say."""
        match self.state:
            case "completed" | "failed" | "cancelled":
                return self.finished.why if self.finished is not None else ""
            case "cancelling" | "failing" | "undoing":
                return self.ending.why if self.ending is not None else ""
            case "paused":
                assert self.paused is not None
                return f"by {self.paused.by}" + (f": {self.paused.why}" if self.paused.why else "")
            case "asking":
                doubt = next(iter(next(iter(self.doubts.values())).values()))
                return f"did {doubt.key} of {doubt.path} happen?"
            case "waiting":
                return f"no agent offers {', '.join(sorted(set(self.waiting.values())))}"
            case _:
                return ""
