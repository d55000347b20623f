"""Work on a task that was begun: its inputs, the skill, the report, the acknowledgement.

Reports first and acknowledges last: a process that dies on the way leaves the task to
be delivered again. Decides nothing about which tasks are begun (`admission`) or when
one is called off (`heeding`).
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from consort_agents import telling
from consort_agents.artefacts import Artefacts as ContextArtefacts
from consort_agents.attendance import Attendance
from consort_agents.context import Context, Value
from consort_agents.heeding import InHand
from consort_agents.hosting.errors import UnknownTools
from consort_agents.isolation import Isolation
from consort_agents.journal.attempting import journalled
from consort_agents.journal.calls import Calls
from consort_agents.journal.journaling import Journaling
from consort_agents.journal.opening import Journals
from consort_agents.journal.port import Divergence
from consort_agents.kit import Skill
from consort_agents.performing import Ended, attempt, not_json, outcome_of
from consort_agents.profiles import InForce, Profiles
from consort_agents.speaking import AttemptVoice, Speaker
from consort_agents.tasks import Task, inputs_of, values_of
from consort_agents.thinking.equipment import Equipment
from consort_agents.thinking.means import Means
from consort_agents.tracing import spans_of
from consort_bus.artefacts import ArtefactCorrupt, ArtefactMissing, Artefacts
from consort_bus.profiles import ProfileAway
from consort_shared.card import AgentCard
from consort_shared.errors import DecodeError
from consort_shared.failpoints import failpoint
from consort_shared.messages import Failed, Outcome
from consort_shared.telemetry.tracing import Tracing
from consort_shared.usage import NOTHING
from consort_shared.values import Json, NoSuchPath


class Working:
    """The hands of one process. `isolated` is the agent's name, by which child processes import it."""

    def __init__(
        self,
        card: AgentCard,
        isolated: str,
        speaker: Speaker,
        artefacts: Artefacts,
        attendance: Attendance,
        tracing: Tracing | None,
        profiles: Profiles,
        equipment: Equipment,
        journals: Journals,
    ) -> None:
        self._card = card
        self._journals = journals
        self._speaker = speaker
        self._artefacts = artefacts
        self._attendance = attendance
        self._profiles = profiles
        self._equipment = equipment
        self._pool = ThreadPoolExecutor(card.slots, thread_name_prefix=card.name)
        self._isolation = Isolation(isolated)
        self._spans = spans_of(tracing, card, attendance.instance)

    def close(self) -> None:
        """Kill what runs in child processes; threads end by themselves."""
        self._isolation.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def work(self, held: InHand, skill: Skill) -> None:
        """Run the skill, report, acknowledge. Raises AttemptOver, BusError."""
        failpoint("task-taken")
        held.spans = None if self._spans is None else self._spans.begin(held)
        settled = ""
        try:
            settled = await self._worked(held, skill)
        finally:
            if held.spans is not None:
                held.spans.end(settled)

    async def report(self, held: InHand, outcome: Outcome, seconds: float = 0.0) -> None:
        """Say what came of it, then let go of its delivery. Raises BusError, ValueError, OverflowError."""
        spans = held.spans
        if spans is not None:
            spans.reporting()
        span = None if spans is None else spans.report_span
        used = NOTHING if held.context is None else held.context.usage
        await self._speaker.report(held.task, outcome, seconds, usage=used, span=span)
        if spans is not None:
            spans.reported()
        telling.reported(held, outcome, seconds)
        failpoint("report-stored")
        held.delivery.ack()
        asyncio.get_running_loop().call_soon(failpoint, "task-acknowledged")  # it is sent when this turn ends

    async def _worked(self, held: InHand, skill: Skill) -> str:
        """How the task's delivery was settled: not at all, when it was called off."""
        telling.begun(held, self._attendance.now())
        began = time.monotonic()
        outcome = await self._outcome(held, skill)
        if held.off:
            return ""
        if held.spans is not None:
            held.spans.worked(outcome)
        failpoint("work-done")
        try:
            await self.report(held, outcome, time.monotonic() - began)
        except (
            ValueError,
            OverflowError,
        ) as exc:  # JSON that cannot be sent, such as an integer over 64 bits
            await self.report(held, not_json(skill, exc), time.monotonic() - began)
        return "ack"

    async def _outcome(self, held: InHand, skill: Skill) -> Outcome:
        """What came of the attempt. Raises AttemptOver, BusError."""
        try:
            inputs = await inputs_of(held.task, self._artefacts)
            values = await values_of(held.task, self._artefacts)
            profile = await self._profiles.of(held.task.granted)
            means = await self._equipment.means()
        except (DecodeError, NoSuchPath, ArtefactMissing, ArtefactCorrupt, ProfileAway) as exc:
            lost = isinstance(exc, ArtefactMissing | ArtefactCorrupt | ProfileAway)
            if lost and held.delivery.delivered < self._card.poison_after:
                raise  # it may be there when the task comes again
            return Failed(kind="unreadable-task", message=str(exc))
        except UnknownTools as exc:
            return Failed(kind="unknown-tool", message=str(exc))
        spans = held.spans
        if spans is not None:
            spans.given(inputs)
        trace = "" if spans is None else spans.inner
        book = self._journals.of(held)
        context = held.context = self._context(held.task, values, profile, means, book, trace)
        over = "restart" in (self._journals.divergence, context.profile.divergence)
        policy: Divergence = "restart" if over else "fail"
        ended = await journalled(book, policy, context, lambda: self._ended(held, skill, inputs, context))
        return await outcome_of(ended, skill, self._artefacts)

    async def _ended(self, held: InHand, skill: Skill, inputs: dict[str, Json], context: Context) -> Ended:
        """One run of the skill. Raises CancelledError, AttemptOver."""
        if skill.isolated:
            return await self._isolation.attempt(skill, inputs, context)
        held.in_thread = not skill.is_async
        ended = await attempt(skill, inputs, context, self._pool)
        held.in_thread = False
        return ended

    def _context(
        self,
        task: Task,
        values: dict[str, Value],
        profile: InForce,
        means: Means,
        book: Journaling,
        trace: str,
    ) -> Context:
        granted = task.granted
        loop = asyncio.get_running_loop()
        return Context(
            run=task.run,
            task=granted.task,
            step=granted.path,
            skill=granted.skill,
            attempt=granted.attempt,
            artefacts=ContextArtefacts(self._artefacts, loop),
            handoff=granted.handoff,
            values=values,
            trouble=granted.trouble,
            deadline=granted.deadline,
            log=telling.logger(task),
            voice=AttemptVoice(self._speaker, task, loop),
            trace=trace,
            profile=profile.profile,
            profile_version=profile.version,
            means=means,
            journal=Calls(book, loop),
        )
