"""What an operator's orders may come to instead of being done.

OperatorError (InvalidInput)
├── UnknownLetter      there is none of that id, or no longer
├── LetterSettled      it was redriven or dropped before
├── NotRedrivable      it can only be dropped
├── UnknownAgent       nobody of that name has ever been on this bus
├── NotPaused          what is to be resumed is not paused
└── NotAllowed         an orchestrator has judged what was asked, and refuses it
NotJudged              no orchestrator has judged it in time; it will when one is there
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from consort_bus.letters import FOREIGN, Letter
from consort_shared.control import SettledMark
from consort_shared.errors import ConsortError, InvalidInput


class OperatorError(InvalidInput):
    """What an operator asked for cannot be done."""


class UnknownLetter(OperatorError):
    """There is no dead letter of that id, or no longer."""

    def __init__(self, letter: int) -> None:
        super().__init__(
            f"there is no dead letter {letter}; `consort dead list --all` names those that are kept"
        )
        self.letter = letter


class LetterSettled(OperatorError):
    """A dead letter was redriven or dropped before."""

    def __init__(self, letter: int, mark: SettledMark) -> None:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(mark.at))
        super().__init__(f"dead letter {letter} was {mark.how} by {mark.by} at {when}")
        self.letter = letter
        self.mark = mark


class NotRedrivable(OperatorError):
    """A dead letter that can only be dropped."""

    def __init__(self, letter: Letter) -> None:
        why = (
            "it stays on the log, where it does not count, and no orchestrator wrote it"
            if letter.kind == FOREIGN
            else "it names no run that could judge it"
        )
        super().__init__(
            f"dead letter {letter.id} cannot be redriven: {why}; `consort dead drop {letter.id}` settles it"
        )
        self.letter = letter.id


class UnknownAgent(OperatorError):
    """No agent of that name has ever taken part."""

    def __init__(self, name: str, there: Sequence[str]) -> None:
        known = f"known are {', '.join(there)}" if there else "no agent is there at the moment"
        super().__init__(f"there is no agent {name!r} on this bus; {known}")
        self.name = name
        self.there = tuple(there)


class NotPaused(OperatorError):
    """What is to go on is not paused."""

    def __init__(self, agent: str | None) -> None:
        super().__init__(
            "not everything is paused; `consort pause` lists what is"
            if agent is None
            else f"agent {agent} is not paused by itself; `consort pause` lists what is"
        )
        self.agent = agent


class NotAllowed(OperatorError):
    """An orchestrator has judged what was asked for, and refuses it."""


class NotJudged(ConsortError):
    """Nobody has judged in time what was asked for; it stays in the inbox and will be."""

    exit_code = 4

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(
            f"{what} is handed in, but no orchestrator has judged it within {seconds:g} s; "
            "it will be when one is there"
        )
