"""How processes log: one line per event to standard error, or JSON when asked.

`CONSORT_LOG_FORMAT=json` gives one JSON object per line, with run, step and task
where a record has them. Secrets never reach a logger: nothing that holds one has a
readable representation.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

ABOUT = ("run", "step", "task", "skill")
"""What a record may be about; passed to a logger as `extra`."""


class _Line(logging.Formatter):
    """For people: time, level, text, and what it is about."""

    def format(self, record: logging.LogRecord) -> str:
        when = (
            datetime.fromtimestamp(record.created)
            .astimezone()
            .isoformat(sep=" ", timespec="milliseconds")[:-6]
        )
        about = " ".join(f"{key}={value}" for key, value in _about(record).items())
        line = f"{when} {record.levelname.lower():7} {record.getMessage()}" + (
            f"  ({about})" if about else ""
        )
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class _Json(logging.Formatter):
    """For programs: one object per line."""

    def format(self, record: logging.LogRecord) -> str:
        told = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **_about(record),
        }
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str)


def _about(record: logging.LogRecord) -> dict[str, str]:
    return {key: str(value) for key in ABOUT if (value := getattr(record, key, None)) is not None}


def set_up_logging(level: str = "info", style: str = "human") -> None:
    """Send the records of this process to standard error.

    For processes to call; a library leaves logging to its host.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if style == "json" else _Line())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("consort").setLevel(logging.getLevelNamesMapping().get(level.upper(), logging.INFO))
