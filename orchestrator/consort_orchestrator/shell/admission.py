"""Whether new runs are taken.

A stream that is full takes no more entries, and then nothing can go on. So the last
tenth of the log is kept for the runs under way: a new one is turned away while less
is left, with an entry that says so. How full the log is, is looked at every few
seconds, never on the way of a message.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

from consort_bus import jetstream, subjects
from consort_bus.errors import BusError
from consort_bus.wire import Wire
from consort_orchestrator.core import Said, Unreadable

KEPT_FOR_RUNS_UNDER_WAY = 0.1
LOOK_EVERY = 2.0

log = logging.getLogger("consort.orchestrator")


class Admission:
    """Knows how full the bus is."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.refusal = ""
        """why new runs are turned away at the moment, empty when they are not"""

    def turned_away(self, said: Said, why: str) -> Said:
        """What is judged in place of the submission: it ends the run it names before it began."""
        return Said(said.sender, Unreadable(f"not taken: {why}"))

    async def run(self) -> None:
        """Look again and again until cancelled."""
        while True:
            try:
                self._found(await self.look())
            except BusError as exc:
                log.info("how full the log is cannot be seen now: %s", exc)
            await asyncio.sleep(LOOK_EVERY)

    def _found(self, refusal: str) -> None:
        if bool(refusal) != bool(self.refusal):
            log.warning("new runs are %s", f"turned away: {refusal}" if refusal else "taken again")
        self.refusal = refusal

    async def look(self) -> str:
        """Why there is no room for new runs, empty when there is. Raises BusError."""
        stream = await self._ask(jetstream.stream_info(subjects.LOG))
        state, config = stream.get("state", {}), stream.get("config", {})
        for what, used, limit in (
            ("bytes", state.get("bytes", 0), config.get("max_bytes", -1)),
            ("messages", state.get("messages", 0), config.get("max_msgs", -1)),
        ):
            if (told := _full("the log", used, limit, what)) is not None:
                return told
        account = await self._ask(jetstream.ACCOUNT_INFO)
        limit = account.get("limits", {}).get("max_storage", -1)
        return _full("the bus's storage", account.get("storage", 0), limit, "bytes") or ""

    async def _ask(self, subject: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads((await self._wire.request(subject, timeout=5.0)).data)
        return answer


def _full(what: str, used: int, limit: int, unit: str) -> str | None:
    if limit <= 0 or used < limit * (1 - KEPT_FOR_RUNS_UNDER_WAY):
        return None
    room = f"{100 * KEPT_FOR_RUNS_UNDER_WAY:.0f} %"
    return (
        f"{what} holds {used:,} of {limit:,} {unit}, and its last {room} are kept for runs under way; "
        "raise the limit with `consort bus setup --log-limit`, or wait until old runs have gone"
    )
