"""Answers clients that ask instead of publishing: submissions without a run id, and where a run stands.

A submission is answered only after it lies in the inbox, under the name of the client that
asked and a run id made here; a bad one is refused at once, with every fault. From there on it
is a submission like any other: whoever serves that part of the inbox judges it, this
orchestrator or another. A client's key is a mark that reserves a run id, no truth about the
run: asking again hands the same thing in again under that id, which changes nothing.

No answer means that nothing is known. Nothing here decides about a run.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import TypeVar

from pydantic import BaseModel, TypeAdapter

from consort_bus import subjects
from consort_bus.artefacts import ArtefactCorrupt, ArtefactMissing, Artefacts
from consort_bus.buckets import Bucket
from consort_bus.connection import Bus
from consort_bus.envelope import CONTENT_TYPE, FORWARDED, OrchestratorSeal, body_of, context_of, stow
from consort_bus.errors import AccessDenied, BusError, StorageFull
from consort_bus.listen import Heard, listening
from consort_bus.publish import Publisher, PublishRefused, WrongLastSequence
from consort_bus.standing import Standing
from consort_bus.subjects import ApiSubject, IncomingSubject, KeySubject
from consort_bus.wire import TooLarge
from consort_orchestrator.core import Role, Run
from consort_orchestrator.core.state import IllegalMove, Node
from consort_orchestrator.shell.admission import Admission
from consort_orchestrator.shell.history import History, UnknownKind
from consort_orchestrator.shell.joining import QUEUE
from consort_shared.asking import (
    UNKNOWN,
    AskStatus,
    AskSubmit,
    KeyMark,
    PlanFault,
    Refusal,
    RunStatus,
    StatusAnswer,
    StepStatus,
    SubmitAnswer,
    Taken,
)
from consort_shared.codec import JSON, MSGPACK, decode, encode, pack_as, plain
from consort_shared.errors import DecodeError, InvalidInput, PlanError
from consort_shared.ids import new_run_id
from consort_shared.messages import Submit
from consort_shared.plan.check import check_inputs
from consort_shared.plan.source import of_value
from consort_shared.values import bytes_digest

SUBMIT, STATUS = "submit", "status"
KEY_KEPT = timedelta(days=1)
"""For how long a client's key stands for its run."""
AT_ONCE = 16
"""Requests that are seen to at the same time; the others wait."""
WAITING_AT_MOST = 1000
"""Requests in all; who asks while so many wait is not answered."""
_STORE_TRIES = 4.0
"""Seconds for which it is tried to store a submission."""
_HEADERS_ROOM = 4096
"""Bytes of a message left for its headers."""
_LOOK_AGAIN, _LOOKS = 0.05, 20
"""A replica that is asked for a key's mark may be behind."""

log = logging.getLogger("consort.orchestrator")
A = TypeVar("A", bound=BaseModel)
_ask_submit: TypeAdapter[AskSubmit] = TypeAdapter(AskSubmit)
_ask_status: TypeAdapter[AskStatus] = TypeAdapter(AskStatus)
_mark: TypeAdapter[KeyMark] = TypeAdapter(KeyMark)


class Asking:
    """The door for clients that ask."""

    def __init__(
        self,
        bus: Bus,
        publisher: Publisher,
        control: Bucket,
        artefacts: Artefacts,
        seal: OrchestratorSeal,
        history: History,
        admission: Admission,
        now: Callable[[], float],
    ) -> None:
        self._bus = bus
        self._publisher = publisher
        self._control = control
        self._artefacts = artefacts
        self._seal = seal
        self._history = history
        self._admission = admission
        self._now = now
        self._free = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Answer until cancelled."""
        async with (
            listening(self._bus, subjects.api_requests(SUBMIT), self._heard, queue=QUEUE),
            listening(self._bus, subjects.api_requests(STATUS), self._heard, queue=QUEUE),
        ):
            try:
                await asyncio.Event().wait()
            finally:
                for task in self._tasks:
                    task.cancel()

    async def _heard(self, heard: Heard) -> None:
        where = ApiSubject.parse(heard.subject)
        if where is None or not heard.reply or FORWARDED in heard.headers:
            return
        if not heard.reply.startswith(subjects.inbox_prefix("client", where.who) + "."):
            log.warning("%s wants its answer sent to %s: ignored", where.who, heard.reply)
            return
        if len(self._tasks) >= WAITING_AT_MOST:
            log.warning("%s is not answered: %d requests wait", where.who, len(self._tasks))
            return
        answer = self._submitted(where.who, heard) if where.verb == SUBMIT else self._status(heard)
        task = asyncio.get_running_loop().create_task(self._answer(where.who, heard, answer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(
        self, who: str, heard: Heard, answer: Coroutine[None, None, SubmitAnswer | StatusAnswer]
    ) -> None:
        """Answer in the encoding of the request. What is not certain is not answered: the client asks again."""
        content_type = MSGPACK if heard.headers.get(CONTENT_TYPE) == MSGPACK else JSON
        try:
            async with self._free:
                told: BaseModel = await _or_refusal(answer)
                payload, headers = await self._written(told, content_type)
                await self._bus.publish(heard.reply, payload, headers=headers)
        except BusError as exc:
            log.warning("client %s cannot be answered now: %s", who, exc)
        except Exception:
            log.exception("client %s cannot be answered", who)

    async def _written(self, told: BaseModel, content_type: str) -> tuple[bytes, dict[str, str]]:
        """What fits into a message is not stored: whoever asks may know no more than requests and JSON."""
        try:
            body = pack_as(content_type, plain(told))
        except (TypeError, ValueError) as exc:
            body = pack_as(
                content_type, plain(Refusal(refused=f"it cannot be told as {content_type}: {exc}"))
            )
        limit = self._bus.max_payload - _HEADERS_ROOM
        return await stow(body, self._artefacts, content_type, limit=limit)

    async def _read(self, adapter: TypeAdapter[A], heard: Heard) -> A:
        """Raises DecodeError, BusError."""
        body = await body_of(heard.data, heard.headers, self._artefacts)
        return decode(adapter, body, heard.headers.get(CONTENT_TYPE))

    # --- submissions

    async def _submitted(self, client: str, heard: Heard) -> SubmitAnswer:
        asked = await self._read(_ask_submit, heard)
        submit = _checked(asked)
        if self._admission.refusal:
            return Refusal(refused=self._admission.refusal)
        body = encode(submit)
        run = new_run_id(self._now())
        if asked.key:
            mark = await self._reserved(client, asked.key, KeyMark(run=run, digest=bytes_digest(body)))
            if mark.digest != bytes_digest(body):
                return Refusal(
                    refused=f"key {asked.key!r} stands for run {mark.run}, which is another submission"
                )
            run = mark.run
        payload, headers = await stow(body, self._artefacts)
        headers |= context_of(heard.headers)
        subject = str(IncomingSubject("client", client, run))
        seq = await self._publisher.publish(subject, payload, headers, patience=_STORE_TRIES)
        return Taken(run=run, seq=seq)

    async def _reserved(self, client: str, key: str, mark: KeyMark) -> KeyMark:
        """The mark of a client's key: this one, if there was none. Raises BusError."""
        subject = str(KeySubject.of(client, key))
        wrapped = self._seal.own(subject, encode(mark))
        expected = 0
        for _ in range(_LOOKS):
            try:
                await self._control.put(
                    subject,
                    wrapped.payload,
                    headers=wrapped.headers,
                    ttl=KEY_KEPT,
                    expected_revision=expected,
                )
                return mark
            except WrongLastSequence:
                found = await self._control.get(subject)
            if found is None:
                await asyncio.sleep(_LOOK_AGAIN)
            elif self._seal.genuine_own(subject, found.data, found.headers):
                return decode(_mark, found.data, MSGPACK)
            else:  # somebody had the server write there: it is no orchestrator's mark, and is replaced
                expected = found.revision
        raise PublishRefused(subject, 0, "the mark of the key cannot be read")

    # --- where a run stands

    async def _status(self, heard: Heard) -> StatusAnswer:
        asked = await self._read(_ask_status, heard)
        try:
            standing = Standing()
            run = (await self._history.load(asked.run, standing=standing)).run
        except (UnknownKind, IllegalMove, ValueError) as exc:
            return RunStatus(run=asked.run, state="unreadable", why=str(exc))
        return status_of(run, standing, steps=asked.steps)


async def _or_refusal(
    answer: Coroutine[None, None, SubmitAnswer | StatusAnswer],
) -> SubmitAnswer | StatusAnswer:
    """What was certainly not done is refused with the reason. Raises BusError for what is not known."""
    try:
        return await answer
    except DecodeError as exc:
        return Refusal(refused=f"the request cannot be read: {exc.why}")
    except PlanError as exc:
        faults = tuple(PlanFault(where=fault.where, what=fault.what) for fault in exc.faults)
        return Refusal(refused="the plan or its inputs are faulty", faults=faults)
    except AccessDenied as exc:
        told = (
            f"{exc}; the server's rights are older than this orchestrator: see `consort access server-config`"
        )
        return Refusal(refused=told)
    except (InvalidInput, StorageFull, TooLarge, ArtefactMissing, ArtefactCorrupt) as exc:
        return Refusal(refused=str(exc))


def _checked(asked: AskSubmit) -> Submit:
    """Raises InvalidInput, PlanError, DecodeError."""
    plan = of_value(asked.plan)
    submit = Submit(plan=plan, inputs=check_inputs(plan, asked.inputs), goal=asked.goal)
    try:
        encode(submit)
    except (ValueError, OverflowError) as exc:
        raise InvalidInput(f"the submission holds what cannot be stored: {exc}") from exc
    return submit


def status_of(run: Run, standing: Standing, *, steps: bool) -> RunStatus:
    """Where a run stands, for somebody who knows nothing of entries."""
    if run.n == 0:
        told = "nothing of it is on the log: it was not handed in, or is not taken up yet, or is gone"
        return RunStatus(run=run.id, state=UNKNOWN, why=told)
    finished = run.finished
    return RunStatus(
        run=run.id,
        state=standing.state,
        why=standing.why,
        plan=run.plan.name if run.plan is not None else "",
        client=run.client,
        entries=run.n,
        steps=tuple(_step(node) for path, node in run.nodes.items() if path) if steps else (),
        output=finished.output if finished is not None else None,
    )


def _step(node: Node) -> StepStatus:
    is_task = node.role is Role.TASK
    return StepStatus(
        path=node.path,
        phase=node.phase.value,
        skill=(node.spec.step.skill or "") if is_task and node.spec is not None else "",
        agent=node.agent,
        attempt=node.attempts,
        why=node.why or node.trouble,
    )
