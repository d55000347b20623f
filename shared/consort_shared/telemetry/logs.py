"""How processes log: one line per event to standard error, for people or, as JSON, for programs.

What a record is about (run, step, task, skill, agent) is known from where it was made,
also when the code that logs knows nothing of it: the process says what it is at work on
(`set_about`), and whatever is logged in that context is marked so. Threads of a pool and
coroutines inherit it; a thread that is started bare does not.

Secrets never reach a logger: nothing that holds one has a readable representation. Nor
does what skills are given and give; `without_words` is how an error of theirs is logged.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

SHOWN = ("run", "entry", "step", "task", "skill", "agent")
"""What a record may be about: passed to a logger as `extra`, or known from its context."""
_OWN = ("consort.", "consort")


@dataclass(frozen=True, slots=True)
class About:
    """What a process is at work on."""

    run: str
    step: str = ""
    task: str = ""
    skill: str = ""
    agent: str = ""

    @property
    def marks(self) -> dict[str, str]:
        told = {
            "run": self.run,
            "step": self.step,
            "task": self.task,
            "skill": self.skill,
            "agent": self.agent,
        }
        return {name: value for name, value in told.items() if value}


_about: ContextVar[About | None] = ContextVar("consort_about", default=None)
_about_everywhere: About | None = None


def set_about(about: About) -> None:
    """From here on, in this context: in an asyncio task of one's own, and in what is started from it."""
    _about.set(about)


def set_about_everywhere(about: About) -> None:
    """In every thread of a process that does one thing at a time."""
    global _about_everywhere
    _about_everywhere = about


class Marking(logging.Filter):
    """Marks each record with what it is about. For the handler of a program that lets agents run in it, too."""

    def filter(self, record: logging.LogRecord) -> bool:
        about = _about.get() or _about_everywhere
        held = record.__dict__
        if about is not None and "run" not in held:
            held.update(about.marks)
        if (span := _span(held.get("run"))) is not None:
            held["span_id"] = span
        return True


class _Line(logging.Formatter):
    """For people: time, level, text, and what it is about."""

    def __init__(self) -> None:
        super().__init__()
        self._second = 0, ""

    def format(self, record: logging.LogRecord) -> str:
        about = " ".join([f"{key}={value}" for key, value in _marks(record).items()])
        whose = "" if record.name.startswith(_OWN) else f"{record.name}: "
        line = f"{self._when(record.created)} {record.levelname.lower():7} {whose}{record.getMessage()}"
        line = f"{line}  ({about})" if about else line
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line

    def _when(self, created: float) -> str:
        """Local time; what changes once a second is worked out once a second."""
        whole = int(created)
        if whole != self._second[0]:
            self._second = whole, time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(whole))
        return f"{self._second[1]}.{int((created - whole) * 1000):03d}"


class _Json(logging.Formatter):
    """For programs: one object per line."""

    def format(self, record: logging.LogRecord) -> str:
        marks = _marks(record)
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **marks,
        }
        if "run" in marks:
            told["trace_id"] = marks["run"]  # a run's id is that of its trace
        if (span := getattr(record, "span_id", None)) is not None:
            told["span_id"] = span
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str)


def _marks(record: logging.LogRecord) -> dict[str, Any]:
    held = record.__dict__
    return {key: value for key in SHOWN if (value := held.get(key)) is not None}


def _span(run: str | None) -> str | None:
    """The span that the record was made in, if it is one of the run's trace. Loads nothing for it."""
    tracing = sys.modules.get("opentelemetry.trace")
    if tracing is None or run is None:
        return None
    span = tracing.get_current_span().get_span_context()
    return f"{span.span_id:016x}" if span.is_valid and f"{span.trace_id:032x}" == run else None


def set_up_logging(level: str = "info", style: str = "human") -> None:
    """Send the records of this process to standard error.

    For processes to call; a library leaves logging to its host.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if style == "json" else _Line())
    handler.addFilter(Marking())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("opentelemetry.util.re").setLevel(logging.CRITICAL)  # quotes headers, secret ones too
    logging.getLogger("consort").setLevel(logging.getLevelNamesMapping().get(level.upper(), logging.INFO))


def in_force() -> tuple[str, str]:
    """Level and style, for a child process to log as this one does."""
    level = logging.getLevelName(logging.getLogger("consort").getEffectiveLevel())
    styles = ("json" for handler in logging.getLogger().handlers if isinstance(handler.formatter, _Json))
    return level, next(styles, "human")


def message_of(line: str) -> str:
    """What a line of a log says, whichever style it is in."""
    try:
        told = json.loads(line)
    except ValueError:
        return line
    return str(told["message"]) if isinstance(told, dict) and "message" in told else line


def without_words(error: BaseException) -> str:
    """Where an error was raised, and of which kinds it and its causes are, but nothing that it says.

    What an error of a skill says may hold what the skill was given.
    """
    told: list[str] = []
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        frames = "".join(traceback.StackSummary.extract(traceback.walk_tb(at.__traceback__)).format())
        told.append(f"{frames}{type(at).__name__}")
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
    return "\nbecause of\n".join(told)
