"""Reading dead letters, settling them, and having them judged again.

A letter is done with when it has a mark, which the stream takes only once: whoever
comes second is told who was first. Dropping sets the mark here; redriving asks the
orchestrator that owns the run, which sets it when it has judged. An order that an
orchestrator refuses has its mark from the beginning: its sender has the answer.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, replace

from pydantic import TypeAdapter

from consort_bus import letters as kept
from consort_bus import subjects
from consort_bus.chain import entry_of
from consort_bus.envelope import CONTENT_TYPE, body_of
from consort_bus.errors import NoAnswer
from consort_bus.hints import Hints, hinted
from consort_bus.leading import last_of_whole, leader_last, read_whole
from consort_bus.letters import Letter, letter_of
from consort_bus.owner import Owner
from consort_bus.publish import WrongLastSequence
from consort_bus.reading import Stored, read
from consort_bus.refusals import LetterSettled, NotAllowed, NotJudged, NotRedrivable, UnknownLetter
from consort_bus.subjects import InboxSubject, SettledSubject
from consort_shared.codec import MSGPACK, decode, encode, unpack
from consort_shared.control import SettledMark
from consort_shared.entries import Entry, Redriven, Refused
from consort_shared.errors import DecodeError, InvalidInput
from consort_shared.messages import Redrive, agent_message, client_message, person_message
from consort_shared.values import Json

__all__ = ["DeadLetters", "Redrove", "check_body"]

JUDGED_WITHIN = 10.0
"""Seconds that a redriven letter is waited for."""
LOOK_EVERY = 0.25
_EXPECTED = "Nats-Expected-Last-Subject-Sequence"

_settled: TypeAdapter[SettledMark] = TypeAdapter(SettledMark)


@dataclass(frozen=True, slots=True)
class Redrove:
    """A letter that was judged again; `again` is the new letter if it was refused once more, and why."""

    letter: int
    run: str
    entry: int
    again: int = 0
    why: str = ""


class DeadLetters(Owner):
    """What an operator does with dead letters. `judged_within` is how many seconds redriving waits."""

    judged_within = JUDGED_WITHIN

    async def letters(self, *, run: str | None = None, settled: bool = False) -> list[Letter]:
        """The dead letters, oldest first: of one run or all; with `settled` also those that are done with.

        Raises BusError.
        """
        marks = await self._marks()
        found: list[Letter] = []
        for where in _wheres(run):
            async for stored in read_whole(self._wire, subjects.DEAD, where):
                letter = letter_of(stored)
                if letter is not None and (settled or letter.id not in marks):
                    found.append(replace(letter, settled=marks.get(letter.id)))
        return sorted(found, key=lambda letter: letter.id)

    async def letter(self, seq: int) -> Letter:
        """One dead letter by its id. Raises UnknownLetter, BusError."""
        if seq < 1:
            raise UnknownLetter(seq)
        async for stored in read(self._wire, subjects.DEAD, subjects.DEAD_FILTER, seq, batch=1):
            letter = letter_of(stored) if stored.seq == seq else None
            if letter is not None:
                return replace(letter, settled=await self._mark(seq))
            break
        raise UnknownLetter(seq)

    async def body(self, letter: Letter) -> bytes:
        """A letter's body, fetched if it is stored. Raises BusError, DecodeError."""
        return await body_of(letter.body, letter.headers, self.artefacts)

    async def readable(self, letter: Letter) -> Json | None:
        """A letter's body as a value that JSON can hold; None for one that cannot be read. Raises BusError."""
        try:
            value = unpack(await self.body(letter), letter.content_type)
            json.dumps(value, allow_nan=False)
        except (DecodeError, TypeError, ValueError, RecursionError):
            return None
        return value

    async def redrive(self, seq: int, body: str | None = None) -> Redrove:
        """Have a letter judged again, as it is or with another `body`, JSON text; waits until it was.

        Raises UnknownLetter, LetterSettled, NotRedrivable, NotAllowed, NotJudged, InvalidInput for a body that
        is no such message, BusError.
        """
        letter = await self._open_letter(seq)
        run = letter.run
        if run is None or not letter.redrivable:
            raise NotRedrivable(letter)
        if body is not None:
            check_body(letter, body)
        tail = await leader_last(self._wire, subjects.LOG, subjects.run_entries(run))
        async with hinted(self.bus, run) as hints:
            asked = await self._tell(run, Redrive(letter=seq, body=body))
            try:
                async with asyncio.timeout(self.judged_within):
                    return await self._judged(run, letter, asked, tail.seq if tail else 0, hints)
            except TimeoutError:
                raise NotJudged(f"letter {seq}", self.judged_within) from None

    async def drop(self, seq: int) -> SettledMark:
        """Settle a letter for good without judging it; it stays readable.

        Raises UnknownLetter, LetterSettled, BusError.
        """
        await self._open_letter(seq)
        mark = SettledMark(how="dropped", by=self.speaks_as, at=time.time())
        headers = {CONTENT_TYPE: MSGPACK, _EXPECTED: "0"}
        try:
            await self._publisher.publish(str(SettledSubject(seq)), encode(mark), headers, timeout=5.0)
        except (WrongLastSequence, NoAnswer):
            stands = await self._mark(seq)
            if stands == mark:
                return mark
            if stands is None:
                raise
            raise LetterSettled(seq, stands) from None
        return mark

    async def refusal(self, run: str, asked: int) -> str | None:
        """Why an orchestrator refused what was said to a run, by its place in the inbox; None if it did not.

        Raises BusError.
        """
        async for stored in read_whole(self._wire, subjects.DEAD, subjects.dead_of(subjects.INBOX, run)):
            letter = letter_of(stored)
            if letter is not None and letter.seq == asked:
                return letter.reason
        return None

    async def _open_letter(self, seq: int) -> Letter:
        letter = await self.letter(seq)
        if letter.settled is not None:
            raise LetterSettled(seq, letter.settled)
        return letter

    async def _judged(self, run: str, letter: Letter, asked: int, after: int, hints: Hints) -> Redrove:
        while True:
            hints.looking()
            async for stored in read(self._wire, subjects.LOG, subjects.run_entries(run), after + 1):
                after = stored.seq
                entry = await entry_of(stored, self.artefacts)
                if entry is not None and entry.run == run and _judges(entry, letter.id):
                    return await self._redrove(entry, letter)
            if (why := await self.refusal(run, asked)) is not None:
                raise NotAllowed(f"letter {letter.id} is not redriven: {why}")
            await hints.wait(after, LOOK_EVERY)

    async def _redrove(self, entry: Entry, letter: Letter) -> Redrove:
        """What the entry that judges a letter again means for it. Raises NotAllowed."""
        for fact in entry.facts:
            if isinstance(fact, Refused) and fact.what == "redrive" and fact.seq == letter.id:
                raise NotAllowed(f"letter {letter.id} is not redriven: {fact.why}")
        done = Redrove(letter.id, entry.run, entry.n)
        if any(not isinstance(fact, (Redriven, Refused)) for fact in entry.facts):
            return done
        refused = next((fact for fact in entry.facts if isinstance(fact, Refused)), None)
        for _ in range(4):
            again = [
                newer
                for newer in await self.letters(run=entry.run, settled=True)
                if newer.id > letter.id and newer.reason.startswith(kept.again(letter.id))
            ]
            if again:
                return replace(done, again=again[-1].id, why=kept.refusal(again[-1].reason))
            await asyncio.sleep(LOOK_EVERY)
        return replace(done, why=refused.why if refused is not None else "")

    async def _marks(self) -> dict[int, SettledMark]:
        found = await last_of_whole(self._wire, subjects.DEAD, subjects.SETTLED_FILTER)
        marks = {
            where.letter: _mark_in(stored) for stored in found if (where := _settles(stored)) is not None
        }
        return {letter: mark for letter, mark in marks.items() if mark is not None}

    async def _mark(self, seq: int) -> SettledMark | None:
        stored = await leader_last(self._wire, subjects.DEAD, str(SettledSubject(seq)))
        return None if stored is None else _mark_in(stored)


def check_body(letter: Letter, body: str) -> None:
    """Whether another body for a letter is such a message at all. Raises InvalidInput with what does not fit."""
    try:
        value = unpack(body.encode())
        where = InboxSubject.parse(letter.subject)
        if letter.kind == kept.POISON:
            _require_inputs(value, body)
        elif where is not None and where.kind == "agent":
            decode(agent_message, body.encode())
        elif where is not None and where.kind == "client":
            decode(client_message, body.encode())
        elif where is not None and where.kind == "person":
            decode(person_message, body.encode())
    except DecodeError as exc:
        raise InvalidInput(f"the new body of letter {letter.id} does not fit: {exc.why}") from exc


def _require_inputs(value: Json, body: str) -> None:
    inputs = value.get("inputs", value) if isinstance(value, dict) else None
    if not isinstance(inputs, dict):
        raise DecodeError(body.encode(), "a task is an object with `inputs`, which is an object too")


def _wheres(run: str | None) -> list[str]:
    if run is None:
        return [subjects.DEAD_FILTER]
    return [subjects.dead_of(stream, run) for stream in (subjects.INBOX, subjects.LOG)]


def _settles(stored: Stored) -> SettledSubject | None:
    return SettledSubject.parse(stored.subject)


def _mark_in(stored: Stored) -> SettledMark | None:
    if stored.forwarded:
        return None
    try:
        return decode(_settled, stored.data, stored.headers.get(CONTENT_TYPE, MSGPACK))
    except DecodeError:
        return None


def _judges(entry: Entry, letter: int) -> bool:
    return any(
        (isinstance(fact, Redriven) and fact.letter == letter)
        or (isinstance(fact, Refused) and fact.what == "redrive" and fact.seq == letter)
        for fact in entry.facts
    )
