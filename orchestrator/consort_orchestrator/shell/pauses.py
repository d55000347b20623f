"""Agents that are paused, as operators have marked them, and the bus told so.

A mark is a key; while it is there, no task is given to that agent, and the bus does
not deliver those given before: its consumer is paused, which needs no cooperation of
the agent. The backlog stays where it is. Every orchestrator applies the marks; doing
it twice is no harm.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from pydantic import TypeAdapter

from consort_bus import jetstream, subjects
from consort_bus.buckets import Bucket, Value
from consort_bus.subjects import PauseSubject
from consort_bus.wire import Wire
from consort_shared.codec import MSGPACK, decode
from consort_shared.control import PauseMark
from consort_shared.errors import DecodeError

FOR_GOOD = timedelta(days=36500)
"""A pause has no end of its own."""

log = logging.getLogger("consort.orchestrator")
_mark: TypeAdapter[PauseMark] = TypeAdapter(PauseMark)


class Pauses:
    """Which agents are paused."""

    def __init__(self, wire: Wire, control: Bucket) -> None:
        self._wire = wire
        self._control = control
        self._marked: frozenset[str | None] = frozenset()
        self._applied: dict[str, bool] = {}
        """by agent: whether this orchestrator has paused its consumer, or seen to it that it is not"""

    def __contains__(self, agent: str) -> bool:
        return bool(self._marked) and (None in self._marked or agent in self._marked)

    def __bool__(self) -> bool:
        return bool(self._marked)

    async def refresh(self, agents: Iterable[str]) -> tuple[list[str], list[str]]:
        """Read the marks and apply them to the consumers of these agents: who is paused, who goes on now.

        Raises BusError.
        """
        values = await self._control.entries(subjects.PAUSES_FILTER)
        self._marked = frozenset(where.agent for value in values if (where := _where(value)) is not None)
        marked = {agent for agent in self._marked if agent is not None}
        resumed = []
        for agent in sorted(marked.union(agents, self._applied)):
            wanted = agent in self
            if self._applied.get(agent) is wanted or not await self._pause(
                agent, until() if wanted else None
            ):
                continue
            if wanted or self._applied.get(agent):
                log.info("agent %s %s", agent, "is paused" if wanted else "goes on")
            if self._applied.get(agent) and not wanted:
                resumed.append(agent)
            self._applied[agent] = wanted
        return sorted(agent for agent, paused in self._applied.items() if paused), resumed

    def joined(self, agent: str) -> None:
        """The agent's consumer was made anew: whether it is paused is looked at again."""
        self._applied.pop(agent, None)

    async def _pause(self, agent: str, until: str | None) -> bool:
        """Whether there was such a consumer."""
        subject = jetstream.consumer_pause(subjects.LOG, subjects.agent_consumer_name(agent))
        body = json.dumps({"pause_until": until} if until else {}).encode()
        answer = json.loads((await self._wire.request(subject, body, timeout=5.0)).data)
        return "error" not in answer


def until() -> str:
    """The instant to which a paused consumer is paused, as the server wants it."""
    return (datetime.now(UTC) + FOR_GOOD).isoformat(timespec="seconds").replace("+00:00", "Z")


def _where(value: Value) -> PauseSubject | None:
    """Which agent a mark is about, None for what is no mark of an operator's."""
    where = PauseSubject.parse(value.subject)
    if where is None or value.forwarded:
        return None
    try:
        decode(_mark, value.data, value.headers.get("Content-Type", MSGPACK))
    except DecodeError as exc:
        log.warning("%s is no mark of a pause: %s", value.subject, exc.why)
        return None
    return where
