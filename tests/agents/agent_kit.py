"""A test that plays the orchestrator: it gives tasks and orders to a real agent, and hears what it says."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar

from nats.aio.msg import Msg
from pydantic import TypeAdapter

from consort_agents.finding import find_agent
from consort_agents.worker import Worker
from consort_bus import subjects
from consort_bus.artefacts import Artefacts
from consort_bus.connection import Bus
from consort_bus.envelope import CONTENT_TYPE, OrchestratorSeal, Wrapped, body_of
from consort_bus.listen import Heard, listening
from consort_bus.publish import Publisher
from consort_bus.subjects import ApiSubject, ControlSubject, CopySubject, IncomingSubject
from consort_bus.topology import agent_consumer, create_consumer
from consort_bus.wire import Wire
from consort_shared.card import Announce, AskWanted, Wanted, Welcome
from consort_shared.codec import MSGPACK, decode, encode
from consort_shared.entries import Delivery, Granted, HandOff
from consort_shared.ids import new_run_id
from consort_shared.messages import (
    Answer,
    Declined,
    Done,
    Effect,
    EffectAnswer,
    Failed,
    Heed,
    Hold,
    Put,
    PutAnswer,
    Report,
    Stop,
    agent_message,
)

HERE = Path(__file__).parent
LIMIT = 15.0
M = TypeVar("M")
_announce: TypeAdapter[Announce] = TypeAdapter(Announce)
_ask: TypeAdapter[AskWanted] = TypeAdapter(AskWanted)


async def until(holds: Callable[[], object], limit: float = LIMIT) -> None:
    """Wait for a fact."""
    async with asyncio.timeout(limit):
        while not holds():
            await asyncio.sleep(0.005)


@dataclass(frozen=True)
class Given:
    """A task that the test gave."""

    run: str
    task: str
    nonce: str


@dataclass
class Orchestrator:
    """The test's side of the bus."""

    bus: Bus
    provisioner: Bus
    wire: Wire
    seal: OrchestratorSeal
    artefacts: Artefacts
    welcome: Welcome | None = None
    """what every announcement is answered with; None for what is usual"""
    wanted: dict[str, Literal["yes", "no", "later"]] = field(default_factory=dict)
    """by run; what is not in it is wanted"""
    answers: dict[str, EffectAnswer | None] = field(default_factory=dict)
    """by effect key; what is not in it may be done, None is not answered"""
    put_answer: PutAnswer = field(default_factory=lambda: PutAnswer(accepted=False, revision=0))
    asked: list[AskWanted] = field(default_factory=list)
    announced: int = 0
    silent: set[str] = field(default_factory=set)
    """verbs that are not answered"""
    said: list[tuple[str, Any]] = field(default_factory=list)
    forged: list[Any] = field(default_factory=list)
    given: dict[tuple[str, str], Given] = field(default_factory=dict)

    async def give(
        self,
        agent: str,
        skill: str,
        inputs: dict[str, Any] | None = None,
        *,
        run: str = "",
        timeout: float = 60.0,
        body: Callable[[bytes], bytes] = lambda body: body,
        **more: Any,
    ) -> Given:
        """Put a task on the log; `body` may damage it before it is sealed."""
        given = Given(run or new_run_id(), f"1-{len(self.given)}", secrets.token_hex(6))
        granted = Granted(
            path=more.pop("path", "step"),
            task=given.task,
            attempt=1,
            agent=agent,
            skill=skill,
            inputs=inputs or {},
            handoff=more.pop("handoff", HandOff()),
            deadline=time.time() + timeout,
            nonce=given.nonce,
            **more,
        )
        delivery = Delivery(run=given.run, n=1, entry="e", granted=granted)
        wrapped = Wrapped(
            str(CopySubject(given.run, agent, given.task)),
            body(encode(delivery)),
            {CONTENT_TYPE: MSGPACK},
        )
        self.given[given.run, given.task] = given
        self.seal.address(wrapped, given.run, agent, given.task, given.nonce)
        await Publisher(self.wire).publish(wrapped.subject, wrapped.payload, wrapped.headers)
        return given

    async def order(self, agent: str, order: Stop | Hold | EffectAnswer | Answer) -> None:
        wrapped = self.seal.order(str(ControlSubject(agent)), encode(order), agent)
        await self.bus.publish(wrapped.subject, wrapped.payload, headers=wrapped.headers)

    def heard(self, given: Given, kind: type[M]) -> list[M]:
        """What was said of a task, of one kind."""
        return [
            message
            for run, message in self.said
            if run == given.run and message.task == given.task and isinstance(message, kind)
        ]

    async def report(self, given: Given) -> Done | Failed | Declined:
        await until(lambda: self.heard(given, Report))
        [report] = self.heard(given, Report)
        return report.outcome

    async def result(self, given: Given) -> Any:
        outcome = await self.report(given)
        assert isinstance(outcome, Done), outcome
        return outcome.output.value

    async def failure(self, given: Given) -> Failed:
        outcome = await self.report(given)
        assert isinstance(outcome, Failed), outcome
        return outcome

    async def heeds(self, given: Given, *expected: tuple[str, str]) -> None:
        """Wait until orders about a task were acknowledged so."""
        wanted = list(expected)
        await until(lambda: len(self.heard(given, Heed)) >= len(wanted))
        assert [(heed.order, heed.how) for heed in self.heard(given, Heed)] == wanted

    async def unacknowledged(self, agent: str) -> int:
        """Tasks that the agent's consumer still waits for, delivered or not."""
        consumer = subjects.agent_consumer_name(agent)
        info = json.loads((await self.bus.request(f"$JS.API.CONSUMER.INFO.LOG.{consumer}")).data)
        return int(info["num_ack_pending"]) + int(info["num_pending"])

    async def settled(self, agent: str) -> None:
        """Wait until nothing of the agent's is to be delivered again."""
        async with asyncio.timeout(LIMIT):
            while await self.unacknowledged(agent):
                await asyncio.sleep(0.02)

    async def take(self, request: str) -> None:
        """Have the consumer of an agent deliver one message to somebody who does nothing with it."""
        inbox = self.provisioner.nc.new_inbox()
        subscription = await self.provisioner.nc.subscribe(inbox)
        body = json.dumps({"batch": 1, "expires": 5_000_000_000}).encode()
        await self.provisioner.publish(request, body, reply=inbox)
        await subscription.next_msg(LIMIT)
        await subscription.unsubscribe()

    # --- what the bus brings

    async def _asked(self, heard: Heard) -> None:
        where = ApiSubject.parse(heard.subject)
        assert where is not None
        if not self.seal.genuine_from(where.who, heard.subject, heard.data, heard.headers):
            self.forged.append(heard)
            return
        if where.verb in self.silent:
            return
        if where.verb == "announce":
            card = decode(_announce, heard.data, MSGPACK).card
            plan = agent_consumer(where.who, timedelta(seconds=card.lease), 1000)
            if self.welcome is None:
                await create_consumer(self.bus, plan)
            self.announced += 1
            answer = self.welcome or Welcome(accepted=True, consumer=plan.name, now=time.time())
            await self.bus.publish(heard.reply, encode(answer))
        elif where.verb == "wanted":
            ask = decode(_ask, heard.data, MSGPACK)
            self.asked.append(ask)
            known = (ask.run, ask.task) in self.given  # tasks of tests before this one are over
            answer = Wanted(wanted=self.wanted.get(ask.run, "yes" if known else "no"))
            await self.bus.publish(heard.reply, encode(answer))

    async def _said(self, msg: Msg) -> None:
        where = IncomingSubject.parse(msg.subject)
        assert where is not None
        body = await body_of(msg.data, msg.headers, self.artefacts)
        message = decode(agent_message, body, MSGPACK)
        given = self.given.get((where.run, message.task))
        if given is None:
            return  # another test's
        genuine = self.seal.genuine_report(
            msg.subject,
            msg.data,
            msg.headers,
            run=given.run,
            agent=where.who,
            task=given.task,
            nonce=given.nonce,
        )
        if not genuine:
            self.forged.append(message)
            return
        self.said.append((where.run, message))
        if isinstance(message, Effect) and message.phase == "begin":
            await self._answer(where.who, where.run, message)
        elif isinstance(message, Put):
            answer = Answer(run=where.run, task=message.task, id=message.id, answer=self.put_answer)
            await self.order(where.who, answer)

    async def _answer(self, agent: str, run: str, effect: Effect) -> None:
        known = self.answers.get(
            effect.key, EffectAnswer(run=run, task=effect.task, id=effect.id, verdict="do")
        )
        if known is not None:
            await self.order(
                agent, known.model_copy(update={"run": run, "task": effect.task, "id": effect.id})
            )


def verdict(word: Literal["do", "done", "ask", "stop"], output: Any = None) -> EffectAnswer:
    """An answer to any question."""
    return EffectAnswer(run="0" * 32, task="0", id="0", verdict=word, output=output)


@asynccontextmanager
async def playing(orchestrator: Bus, provisioner: Bus) -> AsyncIterator[Orchestrator]:
    """Play the orchestrator. Reports are overheard, which takes another right."""
    assert orchestrator.mac_key is not None
    async with Wire(orchestrator.nc, orchestrator) as wire:
        artefacts = Artefacts(wire, orchestrator.identity)
        play = Orchestrator(
            orchestrator, provisioner, wire, OrchestratorSeal(orchestrator.mac_key), artefacts
        )
        overhearing = await provisioner.nc.subscribe("in.agent.*.*", cb=play._said)
        await provisioner.barrier()
        async with listening(orchestrator, subjects.API_FILTER, play._asked):
            yield play
        await overhearing.unsubscribe()
        assert not play.forged


@asynccontextmanager
async def at_work(
    bus: Bus, name: str, *, slots: int | None = None, grace: float = 5.0
) -> AsyncIterator[Worker]:
    """An agent of `troupe` at work in this process, under the credentials' name."""
    reference = f"{HERE / 'troupe.py'}:{name}"
    stop, ready = asyncio.Event(), asyncio.Event()
    async with Wire(bus.nc, bus) as wire:
        worker = Worker(find_agent(reference), bus, wire, slots=slots, name=reference)
        work = asyncio.create_task(worker.run(stop, grace=timedelta(seconds=grace), ready=ready.set))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=LIMIT)
        if work.done():
            work.result()
        try:
            yield worker
        finally:
            stop.set()
            async with asyncio.timeout(LIMIT):
                await work
