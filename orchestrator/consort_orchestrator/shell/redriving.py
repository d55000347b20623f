"""A dead letter judged again: from what was set aside to something that is said anew.

As it is, it has to prove itself as it had to the first time: what was refused for its
code is refused again. With another body, the operator's word stands in place of the
code; the broker vouches for the operator. A task that was set aside as poisonous
becomes another attempt at its step.
"""

from __future__ import annotations

import json
from typing import Any

from consort_bus.artefacts import Artefacts
from consort_bus.envelope import OrchestratorSeal
from consort_bus.letters import POISON, Letter
from consort_bus.subjects import InboxSubject
from consort_orchestrator.core import Run, Said
from consort_orchestrator.core.decide import Forged
from consort_orchestrator.shell.dead import DeadLetters
from consort_orchestrator.shell.inbox import Opened, read_message
from consort_shared.codec import decode
from consort_shared.errors import DecodeError
from consort_shared.messages import Redrive, Retry, agent_message, client_message, person_message


class Redriving:
    """Takes letters out of the stream of dead letters to be judged again."""

    def __init__(self, dead: DeadLetters, seal: OrchestratorSeal, artefacts: Artefacts) -> None:
        self._dead = dead
        self._seal = seal
        self._artefacts = artefacts

    async def reopened(self, by: str, order: Redrive, run: Run) -> tuple[Opened, Letter | None]:
        """What the letter says, or why it cannot be judged again; and the letter. Raises BusError."""
        letter = await self._dead.letter(order.letter)
        if letter is None:
            return Opened(None, f"there is no dead letter {order.letter}"), None
        if letter.run != run.id:
            return Opened(None, f"dead letter {order.letter} is not of this run"), None
        if not letter.redrivable:
            return Opened(
                None, f"dead letter {order.letter} is {letter.kind} and cannot be judged again"
            ), None
        try:
            said = await self._said(by, letter, order.body, run)
        except DecodeError as exc:
            said = Said(_sender(letter) or by, Forged(letter.seq, f"it cannot be read: {exc.why}"))
        edited = order.body is not None
        return Opened(Said(said.sender, said.message, letter=letter.id, by=by, edited=edited)), letter

    async def _said(self, by: str, letter: Letter, body: str | None, run: Run) -> Said:
        """Raises DecodeError, BusError."""
        if letter.kind == POISON:
            return Said(by, Retry(path=letter.step, inputs=None if body is None else _inputs(body)))
        where = InboxSubject.parse(letter.subject)
        if where is None or where.who is None:
            raise DecodeError(letter.body, f"{letter.subject} is no place in the inbox")
        if body is None:
            opened = await read_message(
                where, letter.body, letter.headers, letter.seq, run, self._seal, self._artefacts
            )
            if opened.said is None:
                raise DecodeError(
                    letter.body, "a redrive cannot be redriven; redrive the letter that it names"
                )
            return opened.said
        adapter = {"agent": agent_message, "client": client_message, "person": person_message}[where.kind]
        message: Any = decode(adapter, body.encode())  # type: ignore[arg-type] # one of three
        if isinstance(message, Redrive):
            raise DecodeError(body.encode(), "a redrive cannot be redriven; redrive the letter that it names")
        return Said(f"{where.kind}.{where.who}", message)


def _sender(letter: Letter) -> str:
    where = InboxSubject.parse(letter.subject)
    return f"{where.kind}.{where.who}" if where is not None and where.who is not None else ""


def _inputs(body: str) -> dict[str, Any]:
    """The inputs in an edited task: its `inputs` if it has some, as the task that was set aside does."""
    try:
        task = json.loads(body)
    except ValueError as exc:
        raise DecodeError(body.encode(), f"not JSON: {exc}") from exc
    inputs = task.get("inputs", task) if isinstance(task, dict) else None
    if not isinstance(inputs, dict):
        raise DecodeError(body.encode(), "a task has `inputs`, an object")
    return inputs
