"""Plays the orchestrator for one agent, and keeps a record of all that is said.

The record comes from one subscription to everything, so its order is the order in
which the server had it from the agent's connection: whether an acknowledgement came
before the report is seen there. Gives tasks and orders, good ones and such as no
orchestrator gives. Judges nothing.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, TypeAdapter

from consort_bus import subjects
from consort_bus.artefacts import Artefacts
from consort_bus.connection import Bus
from consort_bus.envelope import (
    CONTENT_TYPE,
    SCHEMA,
    STORED_BODY,
    VERSION,
    OrchestratorSeal,
    Wrapped,
    body_of,
)
from consort_bus.jetstream import AckSubject, next_message
from consort_bus.listen import Heard, listening
from consort_bus.publish import Publisher
from consort_bus.subjects import AgentSubject, ApiSubject, ControlSubject, CopySubject, IncomingSubject
from consort_bus.topology import agent_consumer, create_consumer
from consort_bus.wire import Wire
from consort_orchestrator.conformance.record import Given, Noticed, Record, granted_of, word_of
from consort_shared.card import AgentCard, Announce, AskWanted, Presence, Wanted, Welcome
from consort_shared.codec import JSON, MSGPACK, decode, pack_as, plain
from consort_shared.entries import Delivery
from consort_shared.errors import DecodeError
from consort_shared.ids import new_run_id
from consort_shared.messages import Hold, Report, Stop, agent_message
from consort_shared.values import Json

IN_HAND = 100
_LOOK_AGAIN = 0.25
"""Seconds after which is looked again although the agent said nothing: its process may be gone."""
_announce: TypeAdapter[Announce] = TypeAdapter(Announce)
Damage: TypeAlias = Literal["", "code", "forwarded"]
_ask: TypeAdapter[AskWanted] = TypeAdapter(AskWanted)
_presence: TypeAdapter[Presence] = TypeAdapter(Presence)


class Stage:
    """The orchestrator's side of one agent's bus."""

    def __init__(self, name: str, orchestrator: Bus, provisioner: Bus, wire: Wire) -> None:
        assert orchestrator.mac_key is not None
        self.name = name
        self.card: AgentCard | None = None
        self.instances: set[str] = set()
        self.welcomed = False
        self.record = Record()
        self.wanted: dict[str, Literal["yes", "no", "later"]] = {}
        self.before_welcome: Callable[[], Any] | None = None
        """awaited once, when the consumer is there and the agent is not welcomed yet"""
        self._bus = orchestrator
        self._provisioner = provisioner
        self._publisher = Publisher(wire)
        self._seal = OrchestratorSeal(orchestrator.mac_key)
        self._stranger = OrchestratorSeal(secrets.token_bytes(32))
        self.artefacts = Artefacts(wire, orchestrator.identity)
        self._given: dict[tuple[str, str], Given] = {}
        self._news = asyncio.Event()

    @property
    def consumer(self) -> str:
        return subjects.agent_consumer_name(self.name)

    # --- giving

    async def give(
        self,
        skill: str,
        inputs: dict[str, Json],
        *,
        run: str = "",
        seconds: float = 60.0,
        damage: Damage = "",
        stored: bool = False,
        hole: str = "",
    ) -> Given:
        """Put a task on the log. `hole` names the input that is to come from an earlier result. Raises BusError."""
        run, task, nonce = run or new_run_id(), f"1-{len(self._given)}", secrets.token_hex(6)
        granted = granted_of(self.name, skill, task, nonce, inputs, time.time() + seconds, hole)
        delivery = Delivery(run=run, n=1, entry=nonce, granted=granted)
        payload, headers = await self._packed(delivery, stored)
        subject = str(CopySubject(run, self.name, task))
        seal = self._stranger if damage == "code" else self._seal
        wrapped = seal.address(Wrapped(subject, payload, headers), run, self.name, task, nonce)
        if damage == "code":  # all but the code is as it should be, so that only the code can tell
            genuine = self._seal.address(
                Wrapped(subject, payload, dict(headers)), run, self.name, task, nonce
            )
            wrapped.headers["Consort-Token"] = genuine.headers["Consort-Token"]
        if damage == "forwarded":
            wrapped.headers["Nats-Stream"] = subjects.ARTEFACTS
        self._given[run, task] = Given(run, task, nonce, skill, 0)
        seq = await self._publisher.publish(subject, wrapped.payload, wrapped.headers)
        given = self._given[run, task] = Given(run, task, nonce, skill, seq)
        return given

    async def order(self, order: Stop | Hold, *, forged: bool = False) -> None:
        """Raises BusError."""
        seal = self._stranger if forged else self._seal
        body = pack_as(self._reads, plain(order))
        wrapped = seal.order(str(ControlSubject(self.name)), body, self.name, self._reads)
        await self._bus.publish(wrapped.subject, wrapped.payload, headers=wrapped.headers)

    async def take(self, count: int) -> list[str]:
        """Have so many tasks delivered to nobody: where each would be acknowledged. Raises BusError."""
        inbox = self._provisioner.new_inbox()
        taken: asyncio.Queue[str] = asyncio.Queue()

        async def heard(message: Heard) -> None:
            if message.reply:
                taken.put_nowait(message.reply)

        async with listening(self._provisioner, inbox, heard):
            request = json.dumps({"batch": count, "expires": 5_000_000_000}).encode()
            await self._provisioner.publish(next_message(subjects.LOG, self.consumer), request, reply=inbox)
            async with asyncio.timeout(5):
                return [await taken.get() for _ in range(count)]

    async def give_back(self, reply: str) -> None:
        await self._provisioner.publish(reply, b"-NAK")

    async def _packed(self, delivery: Delivery, stored: bool) -> tuple[bytes, dict[str, str]]:
        body = pack_as(self._reads, plain(delivery))
        headers = {CONTENT_TYPE: self._reads, SCHEMA: VERSION}
        if not stored:
            return body, headers
        ref = await self.artefacts.put(body, media_type=self._reads)
        return b"", headers | {STORED_BODY: ref.model_dump_json()}

    @property
    def _reads(self) -> str:
        return MSGPACK if self.card is not None and self.card.encoding == "msgpack" else JSON

    # --- what is seen of a task

    def said_of(self, given: Given) -> list[Noticed]:
        """What was said of a task, faulty or not."""
        subject = str(IncomingSubject("agent", self.name, given.run))
        return [one for one in self.record.said if one.heard.subject == subject]

    def reports_of(self, given: Given) -> list[Report]:
        return [one.message for one in self.said_of(given) if isinstance(one.message, Report)]

    def acks_of(self, given: Given) -> Iterator[tuple[float, AckSubject, bytes, int]]:
        return (one for one in self.record.acks if one[1].seq == given.seq)

    def acked(self, given: Given) -> bytes | None:
        """The last word about a delivery, `+ACK`, `-NAK` or `+TERM`; None while there is none."""
        words = [word_of(what) for _, _, what, _ in self.acks_of(given)]
        last = [word for word in words if word != b"+WPI"]
        return last[-1] if last else None

    async def until(self, holds: Callable[[], object], limit: float) -> bool:
        """Wait for a fact; whether it came in time."""
        try:
            async with asyncio.timeout(limit):
                while not holds():
                    self._news.clear()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_LOOK_AGAIN):
                            await self._news.wait()
        except TimeoutError:
            return False
        return True

    # --- what the bus brings

    async def heard(self, message: Heard) -> None:
        """Keep what the agent says."""
        now, head = time.monotonic(), message.subject.partition(".")[0]
        if head == "in":
            noticed = await self._noticed(now, message)
            if noticed is not None:
                self.record.said.append(noticed)
        elif (
            ack := AckSubject.parse(message.subject)
        ) is not None and f".{self.consumer}." in message.subject:
            self.record.acks.append((now, ack, message.data, len(self.record.said)))
        elif (where := AgentSubject.parse(message.subject)) is not None and where.agent == self.name:
            self._lives(now, message)
        self._news.set()

    async def _noticed(self, now: float, message: Heard) -> Noticed | None:
        where = IncomingSubject.parse(message.subject)
        if where is None or (where.kind, where.who) != ("agent", self.name):
            return None
        try:
            body = await body_of(message.data, message.headers, self.artefacts)
            told = decode(agent_message, body, message.headers.get(CONTENT_TYPE))
        except DecodeError as exc:
            return Noticed(now, message, fault=f"it cannot be read: {exc.why}")
        given = self._given.get((where.run, told.task))
        if given is None:
            return Noticed(now, message, told, f"it names task {told.task}, which was not given for that run")
        genuine = self._seal.genuine_report(
            message.subject,
            message.data,
            message.headers,
            run=given.run,
            agent=self.name,
            task=given.task,
            nonce=given.nonce,
        )
        return Noticed(
            now, message, told, "" if genuine else "its code does not prove that it received the task"
        )

    def _lives(self, now: float, message: Heard) -> None:
        if message.headers.get("KV-Operation"):
            return
        fault = ""
        if not self._seal.genuine_from(self.name, message.subject, message.data, message.headers):
            fault = "its code is wrong"
        else:
            try:
                presence = decode(_presence, message.data, message.headers.get(CONTENT_TYPE))
                fault = "" if presence.card == self.card else "it shows another card than was announced"
            except DecodeError as exc:
                fault = f"it cannot be read: {exc.why}"
        self.record.lives.append((now, message.headers.get("Nats-TTL", ""), fault))

    async def asked(self, message: Heard) -> None:
        """Answer the agent's requests, as an orchestrator does."""
        where = ApiSubject.parse(message.subject)
        if where is None or where.who != self.name:
            return
        content_type = message.headers.get(CONTENT_TYPE)
        prefix = subjects.inbox_prefix("agent", self.name)
        if not message.reply.startswith(f"{prefix}."):
            self.record.strange.append(
                f"api.{where.verb} wants its answer at {message.reply!r}, not below {prefix}"
            )
        elif not self._seal.genuine_from(self.name, message.subject, message.data, message.headers):
            self.record.strange.append(f"the code of api.{where.verb} is missing or wrong")
        else:
            try:
                answer = await self._answer(where.verb, message.data, content_type)
            except DecodeError as exc:
                self.record.strange.append(f"api.{where.verb} cannot be read: {exc.why}")
                answer = Welcome(accepted=False, why=exc.why)
            if answer is not None:
                encoding = MSGPACK if content_type == MSGPACK else JSON
                body = pack_as(encoding, plain(answer))
                await self._bus.publish(message.reply, body, headers={CONTENT_TYPE: encoding})
        self._news.set()

    async def _answer(self, verb: str, data: bytes, content_type: str | None) -> BaseModel | None:
        if verb == "wanted":
            ask = decode(_ask, data, content_type)
            self.record.asked.append((ask.run, ask.task))
            return Wanted(wanted=self.wanted.get(ask.run, "yes"))
        if verb != "announce":
            return None
        announce = decode(_announce, data, content_type)
        if announce.card.name != self.name:
            told = f"the card names {announce.card.name!r}, the credentials {self.name!r}"
            self.record.strange.append(told)
            return Welcome(accepted=False, why=told)
        self.card = announce.card
        self.instances.add(announce.instance)
        plan = agent_consumer(self.name, timedelta(seconds=announce.card.lease), IN_HAND)
        await create_consumer(self._bus, plan)
        if self.before_welcome is not None:
            prepare, self.before_welcome = self.before_welcome, None
            await prepare()
        self.welcomed = True
        return Welcome(accepted=True, consumer=plan.name, now=time.time())


@asynccontextmanager
async def staged(name: str, orchestrator: Bus, provisioner: Bus) -> AsyncIterator[Stage]:
    """The stage for an agent of that name, listening while the block lasts."""
    async with Wire(orchestrator.nc, orchestrator) as wire:
        stage = Stage(name, orchestrator, provisioner, wire)
        async with (
            listening(provisioner, subjects.WHATEVER_IS_SAID, stage.heard),
            listening(orchestrator, subjects.API_FILTER, stage.asked),
        ):
            yield stage
