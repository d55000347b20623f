"""Which recorded call answers a request, and when the code has gone another way.

A request is answered by the first recorded call of its digest that is not used up. What runs
beside the skill's own flow may come in another order than before, so only the skill's own flow is
held to its order at once: it is sequential, so its next request must be recorded as long as any
call of it is left. What anything else left unused is found when the skill returns.

A call that raised may succeed when it is made again, and what the code did after it need not come
again: what stands behind such a call is not missed. Nor is a model's call without an answer: there
is nothing to lose, and another model may have been configured because that one did not answer.
Pure: no clock, no bus.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from consort_agents.errors import JournalDiverged
from consort_shared import hiding
from consort_shared.journal import differing, part_of, parts_of, request_digest, short
from consort_shared.journal_fold import Past
from consort_shared.values import Json

_EXCERPT = 300
_NAMED = 4
"""Differing parts that are named."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that is to be answered, with its digest and those of its parts."""

    kind: str
    name: str
    request: Json
    digest: str
    parts: dict[str, str]

    @classmethod
    def of(cls, kind: str, name: str, request: Json) -> Asked:
        """Raises ValueError and TypeError for a request that is not JSON."""
        parts = parts_of(request)
        return cls(kind, name, request, request_digest(kind, name, parts), short(parts))

    @property
    def words(self) -> str:
        return f"{self.kind} {self.name}".rstrip()


class Recall:
    """The recorded calls that are not used up."""

    def __init__(self, calls: Mapping[int, Past] = {}) -> None:
        self._left = dict(sorted(calls.items()))
        self._excused: int | None = None
        """calls behind this one are not missed"""

    @property
    def replaying(self) -> bool:
        return any(past.answered is not None for past in self._left.values())

    def claim(self, asked: Asked, main: bool, within: int = 0) -> Past | None:
        """The recorded call that a request is, None if it is new; `within` is the call that asks.

        Raises JournalDiverged.
        """
        for n, past in self._left.items():
            if (past.began.request, past.began.within) == (asked.digest, within):
                del self._left[n]
                if past.answered is not None:
                    self._forget_within(n)
                if past.raised and past.answered is None:
                    self._excused = n if self._excused is None else min(n, self._excused)
                return past
        if main:
            for past in self._missed():
                if past.began.main:
                    raise JournalDiverged(past.n, _told(past, asked))
        return None

    def left_over(self) -> JournalDiverged | None:
        """What is wrong if the skill returns now."""
        for past in self._missed():
            if past.answered is not None or past.began.main:
                was = _words(past)
                told = (
                    f"call {past.n} was {was}, and the skill returned without it{_excerpt(past.began.shown)}"
                )
                return JournalDiverged(past.n, told)
        return None

    def _forget_within(self, n: int) -> None:
        """What was asked in a call that is not made again."""
        for inner in [inner for inner, past in self._left.items() if past.began.within == n]:
            del self._left[inner]
            self._forget_within(inner)

    def _missed(self) -> list[Past]:
        """What code that does the same would ask for, of what matters: what a call asks is that call's business,
        and a model's answer that nobody has binds nobody.
        """
        return [
            past
            for past in self._left.values()
            if not past.began.within
            and (past.answered is not None or past.began.call != "model")
            and (past.answered is not None or not past.raised)
            and (self._excused is None or past.n < self._excused)
        ]


def _told(past: Past, asked: Asked) -> str:
    """What was asked then, and what now; what is different, if they are of one kind."""
    was = _words(past)
    if was != asked.words:
        return f"call {past.n} was {was} and now is {asked.words}{_excerpt(past.began.shown)}"
    names = differing(past.began.parts, asked.parts)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    now = "; now " + hiding.shown(part_of(asked.request, names[0]))[:_EXCERPT] if names else ""
    return f"call {past.n}, {was}, now differs in {', '.join(names[:_NAMED])}{more}{now}"


def _words(past: Past) -> str:
    return f"{past.began.call} {past.began.name}".rstrip()


def _excerpt(shown: str) -> str:
    return f": {shown[:_EXCERPT]}" if shown else ""
