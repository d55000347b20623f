"""From the records of a journal to the calls they tell of. Pure: no bus, no keys, no clock.

Who wrote the first record has the task, until a `Resumed` says that another process has it. What
a process wrote after it had lost the task is a stray: it was under way when the other one took
over, and does not count. Nor does what could not be believed: it takes up its position, no more.

Records of concurrent calls are interleaved, and a call's end may stand before its beginning, which
was sent first but had to be sent again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TypeAlias, assert_never

from consort_shared.journal import Answered, Began, Raised, Record, Restarted, Resumed


@dataclass(frozen=True, slots=True)
class Void:
    """A position taken by something that is no record of the task's."""

    why: str


Slot: TypeAlias = Record | Void


@dataclass(frozen=True, slots=True)
class Past:
    """A call as it stands on record."""

    began: Began
    answered: Answered | None = None
    raised: bool = False

    @property
    def n(self) -> int:
        return self.began.n


@dataclass(frozen=True, slots=True)
class Memory:
    """What a journal tells: the calls that count, by number, and how it came about."""

    calls: dict[int, Past] = field(default_factory=dict)
    holder: str = ""
    last: int = 0
    """the highest number of a call, void ones too"""
    length: int = 0
    """positions that are taken"""
    resumed: tuple[Resumed, ...] = ()
    restarted: tuple[Restarted, ...] = ()
    void: int = 0
    """positions that do not count"""


def fold(slots: Iterable[Slot]) -> Memory:
    """What the records tell, from position 1 on."""
    memory = Memory()
    early: dict[int, Answered | Raised] = {}
    for slot in slots:
        memory = replace(memory, length=memory.length + 1)
        if isinstance(slot, Void) or (not isinstance(slot, Resumed) and memory.holder not in ("", slot.by)):
            memory = replace(memory, void=memory.void + 1)
        else:
            memory = _with(replace(memory, holder=slot.by), slot, early)
    return memory


def _with(memory: Memory, record: Record, early: dict[int, Answered | Raised]) -> Memory:
    match record:
        case Began():
            past = Past(record)
            if record.n in early:
                past = _ended(past, early.pop(record.n))
            memory.calls[record.n] = past
            return replace(memory, last=max(memory.last, record.n))
        case Answered() | Raised():
            if record.n in memory.calls:
                memory.calls[record.n] = _ended(memory.calls[record.n], record)
            else:
                early[record.n] = record
            return replace(memory, last=max(memory.last, record.n))
        case Resumed():
            return replace(memory, resumed=(*memory.resumed, record))
        case Restarted():
            early.clear()
            return replace(memory, calls={}, restarted=(*memory.restarted, record))
        case _:
            assert_never(record)


def _ended(past: Past, end: Answered | Raised) -> Past:
    if isinstance(end, Answered):
        return replace(past, answered=end)
    return past if past.answered is not None else replace(past, raised=True)
