"""What an operator may do: mend runs, have dead letters judged again or drop them, pause agents; profiles, limits.

    async with operating() as operator:
        for letter in await operator.letters():
            await operator.redrive(letter.id)

An operator speaks to runs as a person.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from consort_bus.client import connect
from consort_bus.credentials import Credentials
from consort_bus.dead_letters import DeadLetters, Redrove
from consort_bus.embedded import DEFAULT_FOLDER
from consort_bus.letters import Letter
from consort_bus.limiting import Limiting
from consort_bus.pausing import Applied, PausedAgent
from consort_bus.profiling import ProfileMoved, ProfileSet, Profiling
from consort_bus.refusals import (
    LetterSettled,
    NotAllowed,
    NotJudged,
    NotPaused,
    NotRedrivable,
    OperatorError,
    UnknownAgent,
    UnknownLetter,
)
from consort_bus.runs import RunReader

__all__ = [
    "Applied",
    "Letter",
    "LetterSettled",
    "NotAllowed",
    "NotJudged",
    "NotPaused",
    "NotRedrivable",
    "Operator",
    "OperatorError",
    "PausedAgent",
    "ProfileMoved",
    "ProfileSet",
    "Redrove",
    "UnknownAgent",
    "UnknownLetter",
    "operating",
]


class Operator(DeadLetters, Profiling, Limiting):
    """Talks to the bus as an operator. Made by `operating`, or over any connection of an operator."""

    @classmethod
    def of(cls, reader: RunReader) -> Operator:
        """An operator over the connection that somebody else has opened, and will close."""
        return cls(reader.bus, reader._wire)


@asynccontextmanager
async def operating(
    server: str | None = None,
    credentials: Credentials | Path | str | None = None,
    *,
    folder: Path | str = DEFAULT_FOLDER,
) -> AsyncIterator[Operator]:
    """An operator of the bus at `server` with its credentials, or of the embedded bus of a folder, as `connect`.

    Raises BusError.
    """
    async with connect(server, credentials, folder=folder, role="operator") as client:
        yield Operator.of(client)
