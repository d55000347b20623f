"""The spans of an agent's process: one per task it works on, and what is inside of it.

`process` (messaging conventions) hangs below the attempt's span, which the orchestrator
writes; the skill runs inside of `invoke_agent` (GenAI conventions), so whatever user code
traces hangs below that. They go out together when the task is over: a process that is
killed leaves no span without a parent. What the task was given and what came of it is
not in them unless `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT` says so, and then
without what looks like a secret.

A context that came with the task is believed only if it is the run's own.
"""

from __future__ import annotations

import time
from contextvars import Token
from typing import TYPE_CHECKING

from opentelemetry import context as contexts
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.util.genai.handler import TelemetryHandler
from opentelemetry.util.genai.types import ContentCapturingMode, Error
from opentelemetry.util.genai.utils import get_content_capturing_mode

from consort_bus.envelope import TRACE
from consort_bus.subjects import agent_consumer_name
from consort_shared.card import AgentCard
from consort_shared.ids import traceparent
from consort_shared.messages import Declined, Done, Failed, Outcome
from consort_shared.telemetry import names
from consort_shared.telemetry.contexts import below
from consort_shared.telemetry.holding import Held, holding
from consort_shared.telemetry.records import MOMENT, Attribute, Kind, Link, SpanRecord
from consort_shared.telemetry.redacting import excerpt
from consort_shared.telemetry.span_ids import attempt_span_id, entry_span_id, parse_traceparent
from consort_shared.telemetry.spans import Ready
from consort_shared.telemetry.tracing import Tracing
from consort_shared.values import Json

if TYPE_CHECKING:
    from opentelemetry.util.genai.invocation import LocalAgentInvocation

    from consort_agents.heeding import InHand

ENTRY_TEMPLATE, COPY_TEMPLATE = "log.{run}.entry.{agent}.{kind}", "log.{run}.copy.{agent}.{task}"
REPORT_TEMPLATE = "in.agent.{agent}.{run}"
_ON_SPANS = (ContentCapturingMode.SPAN_ONLY, ContentCapturingMode.SPAN_AND_EVENT)


class AgentSpans:
    """Makes the spans of one process."""

    def __init__(self, tracing: Tracing, card: AgentCard, instance: str) -> None:
        self.tracing = tracing
        self.card = card
        self.instance = instance
        self.consumer = agent_consumer_name(card.name)
        self.new_id = RandomIdGenerator().generate_span_id
        self.content = get_content_capturing_mode() in _ON_SPANS
        self.handler = TelemetryHandler(
            tracer_provider=tracing.provider,
            meter_provider=NoOpMeterProvider(),
            instrumentation_scope_name=names.SCOPE,
        )

    def begin(self, held: InHand) -> TaskSpans | None:
        """The spans of a task that is begun now; None if its trace is not wanted."""
        run = held.task.run
        sender = parse_traceparent(held.delivery.headers.get(TRACE))
        if sender is not None and sender.trace == run and not sender.sampled:
            return None
        own = sender is not None and sender.trace == run
        return TaskSpans(self, held) if own or self.tracing.sampled(run) else None


class TaskSpans:
    """The spans of one task, from its beginning to its acknowledgement. Begins and ends in one asyncio task."""

    def __init__(self, of: AgentSpans, held: InHand) -> None:
        self._of = of
        self._task, self._delivery = held.task, held.delivery
        self._run = held.task.run
        self._began = time.time_ns()
        self._span = f"{of.new_id():016x}"
        self._report = f"{of.new_id():016x}"
        self._outcome: Outcome | None = None
        self._reported: tuple[int, int] | None = None
        self._held = Held()
        outer = holding(self._held, below(self._run, self._span, contexts.get_current()))
        self._token: Token[contexts.Context] | None = contexts.attach(outer)
        self._invocation: LocalAgentInvocation | None = of.handler.invoke_local_agent(
            agent_name=of.card.name, conversation_id=self._run
        )
        self._invocation.attributes.update(self._about())

    @property
    def report_span(self) -> str:
        """The span that the report is sent under."""
        return self._report

    @property
    def inner(self) -> str:
        """A `traceparent` for what runs in another process on behalf of the skill."""
        span = f"{self._invocation.span.get_span_context().span_id:016x}" if self._invocation else self._span
        return traceparent(self._run, span)

    def given(self, inputs: Json) -> None:
        """What the skill is called with."""
        if self._of.content and self._invocation is not None:
            self._invocation.attributes[names.INPUTS] = excerpt(inputs)

    def worked(self, outcome: Outcome | None) -> None:
        """The skill is over; None where it was called off."""
        self._outcome = outcome
        invocation, self._invocation = self._invocation, None
        if invocation is None:
            return
        if self._of.content and isinstance(outcome, Done):
            invocation.attributes[names.OUTPUT] = excerpt(outcome.output.value)
        kind = _error(outcome)
        if kind is None:
            invocation.stop()
        else:
            invocation.fail(Error(message=kind, type=kind))

    def reporting(self) -> None:
        """What came of it is to be reported."""
        now = time.time_ns()
        self._reported = now, now

    def reported(self) -> None:
        """The bus has stored the report."""
        began = self._reported[0] if self._reported is not None else self._began
        self._reported = began, time.time_ns()

    def end(self, how: str) -> None:
        """The task leaves this process: `how` its delivery was settled (`ack`, `nak`), or not at all."""
        if self._invocation is not None:
            self.worked(self._outcome)
        if self._token is not None:
            contexts.detach(self._token)
            self._token = None
        now = time.time_ns()
        # It is over when it is reported: by the time the report is known to be stored, the attempt may be closed.
        records = [self._process(now if self._reported is None else self._reported[0])]
        if self._reported is not None:
            records.append(self._publish(*self._reported))
        if how:
            records.append(self._settle(how, now))
        tracing = self._of.tracing
        tracing.emit([*self._held.release(), *(Ready(one, tracing.resource) for one in records)])

    # --- records

    def _about(self) -> dict[str, Attribute]:
        granted = self._task.granted
        about: dict[str, Attribute] = {
            names.AGENT_VERSION: self._of.card.version,
            names.STEP: granted.path,
            names.SKILL: granted.skill,
            names.TASK: granted.task,
            names.ATTEMPT: granted.attempt,
            names.INSTANCE: self._of.instance,
        }
        return about

    def _process(self, now: int) -> SpanRecord:
        delivery = self._delivery
        copied = ".copy." in delivery.subject
        template = COPY_TEMPLATE if copied else ENTRY_TEMPLATE
        waited = self._began / 1e9 - delivery.time.timestamp()
        attributes = self._about() | {
            names.MESSAGING_SYSTEM: names.NATS,
            names.OPERATION_NAME: "process",
            names.OPERATION_TYPE: "process",
            names.DESTINATION: delivery.subject,
            names.DESTINATION_TEMPLATE: template,
            names.CONSUMER_GROUP: self._of.consumer,
            names.CONVERSATION: self._run,
            names.BODY_SIZE: len(delivery.data),
            names.CLIENT_ID: self._of.instance,
            names.DELIVERY: delivery.delivered,
            names.SEQUENCE: delivery.seq,
            names.QUEUE_WAIT: round(max(waited, 0.0), 6),
        }
        if waited < 0:
            attributes[names.CLOCK_SKEW] = round(waited, 6)
        kind = _error(self._outcome)
        if kind is not None:
            attributes[names.ERROR_TYPE] = kind
        entry = int(self._task.granted.task.partition("-")[0])
        links = [Link(self._run, entry_span_id(self._run, entry), "published by")]
        sender = parse_traceparent(delivery.headers.get(TRACE))
        if sender is not None and sender.trace != self._run:
            links.append(Link(sender.trace, sender.span, "sent under"))
        parent = attempt_span_id(self._run, self._task.granted.task)
        name = f"process {template}"
        return self._record(
            self._span, parent, name, "consumer", self._began, now, attributes, tuple(links), kind
        )

    def _publish(self, began: int, ended: int) -> SpanRecord:
        attributes: dict[str, Attribute] = {
            names.MESSAGING_SYSTEM: names.NATS,
            names.OPERATION_NAME: "publish",
            names.OPERATION_TYPE: "send",
            names.DESTINATION_TEMPLATE: REPORT_TEMPLATE,
            names.CONVERSATION: self._run,
            names.TASK: self._task.granted.task,
        }
        return self._record(
            self._report, self._span, f"publish {REPORT_TEMPLATE}", "producer", began, ended, attributes
        )

    def _settle(self, how: str, now: int) -> SpanRecord:
        attributes: dict[str, Attribute] = {
            names.MESSAGING_SYSTEM: names.NATS,
            names.OPERATION_NAME: how,
            names.OPERATION_TYPE: "settle",
            names.CONSUMER_GROUP: self._of.consumer,
            names.CONVERSATION: self._run,
        }
        span = f"{self._of.new_id():016x}"
        return self._record(span, self._span, f"{how} {self._of.consumer}", "client", now, now, attributes)

    def _record(
        self,
        span: str,
        parent: str,
        name: str,
        kind: Kind,
        start: int,
        end: int,
        attributes: dict[str, Attribute],
        links: tuple[Link, ...] = (),
        error: str | None = None,
    ) -> SpanRecord:
        return SpanRecord(
            self._run, span, parent, name, kind, start, max(end, start + MOMENT), attributes, links, error
        )


def _error(outcome: Outcome | None) -> str | None:
    match outcome:
        case None:
            return "called-off"
        case Failed():
            return outcome.kind
        case Declined():
            return "declined"
        case Done():
            return None
