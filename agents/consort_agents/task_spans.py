"""The spans of an agent's process: one per task it works on, and what is inside of it.

`process` (messaging conventions) hangs below the attempt's span, which the orchestrator
writes; the skill runs inside of `invoke_agent` (GenAI conventions), so whatever user code
traces hangs below that. They are built whole when the task is over and go out together:
a process that is killed leaves no span without a parent. What the task was given and what
came of it is not in them unless `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT` says
so, and then without what looks like a secret.

A context that came with the task is believed only if it is the run's own.
"""

from __future__ import annotations

import random
import time
from contextvars import Token
from typing import TYPE_CHECKING

from opentelemetry import context as contexts
from opentelemetry.util.genai.types import ContentCapturingMode
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
        self.settling = f"ack {self.consumer}"
        self.new_id = random.Random().getrandbits  # noqa: S311 # no secret depends on it
        self.content = get_content_capturing_mode() in _ON_SPANS

    def begin(self, held: InHand) -> TaskSpans | None:
        """The spans of a task that is begun now; None if its trace is not wanted."""
        run = held.task.run
        sender = parse_traceparent(held.delivery.headers.get(TRACE))
        own = sender is not None and sender.trace == run
        if not (sender.sampled if sender is not None and own else self.tracing.sampled(run)):
            return None
        elsewhere = None if sender is None or own else Link(sender.trace, sender.span, "sent under")
        return TaskSpans(self, held, elsewhere)


class TaskSpans:
    """The spans of one task, from its beginning to its acknowledgement. Begins and ends in one asyncio task."""

    def __init__(self, of: AgentSpans, held: InHand, elsewhere: Link | None) -> None:
        self._of = of
        self._task, self._delivery = held.task, held.delivery
        self._elsewhere = elsewhere
        self._run = held.task.run
        self._process, self._invocation, self.report_span = (f"{of.new_id(64) or 1:016x}" for _ in range(3))
        """ids of spans; `report_span` is the one that the report is sent under"""
        self._outcome: Outcome | None = None
        self._content: dict[str, Attribute] = {}
        self._worked = 0
        self._reported: tuple[int, int] | None = None
        self._held = Held()
        inside = holding(self._held, below(self._run, self._invocation, contexts.get_current()))
        self._token: Token[contexts.Context] | None = contexts.attach(inside)
        self._began = time.time_ns()

    @property
    def inner(self) -> str:
        """A `traceparent` for what the skill has done elsewhere."""
        return traceparent(self._run, self._invocation)

    def given(self, inputs: Json) -> None:
        """What the skill is called with."""
        if self._of.content:
            self._content[names.INPUTS] = excerpt(inputs)

    def worked(self, outcome: Outcome) -> None:
        """The skill is over."""
        self._outcome, self._worked = outcome, time.time_ns()
        if self._of.content and isinstance(outcome, Done):
            self._content[names.OUTPUT] = excerpt(outcome.output.value)

    def reporting(self) -> None:
        """What came of it is to be reported."""
        now = time.time_ns()
        self._reported = now, now

    def reported(self) -> None:
        """The bus has stored the report."""
        began = self._reported[0] if self._reported is not None else self._began
        self._reported = began, time.time_ns()

    def end(self, how: str) -> None:
        """The task leaves this process: `how` its delivery was settled (`ack`), or not at all."""
        if self._token is not None:
            contexts.detach(self._token)
            self._token = None
        now = time.time_ns()
        error = _error(self._outcome)
        # It is over when it is reported: by the time the report is known to be stored, the attempt may be closed.
        over = now if self._reported is None else self._reported[0]
        records = [self._processing(over, error), self._invoking(self._worked or over, error)]
        if self._reported is not None:
            records.append(self._publishing(*self._reported))
        if how:
            records.append(self._settling(how, now))
        tracing = self._of.tracing
        tracing.emit([*self._held.release(), *(Ready(one, tracing.resource) for one in records)])

    # --- records

    def _processing(self, over: int, error: str | None) -> SpanRecord:
        delivery, granted = self._delivery, self._task.granted
        template = COPY_TEMPLATE if ".copy." in delivery.subject else ENTRY_TEMPLATE
        waited = self._began / 1e9 - delivery.time.timestamp()
        attributes: dict[str, Attribute] = {
            names.MESSAGING_SYSTEM: names.NATS,
            names.OPERATION_NAME: "process",
            names.OPERATION_TYPE: "process",
            names.DESTINATION: delivery.subject,
            names.DESTINATION_TEMPLATE: template,
            names.CONSUMER_GROUP: self._of.consumer,
            names.CONVERSATION: self._run,
            names.BODY_SIZE: len(delivery.data),
            names.INSTANCE: self._of.instance,
            names.TASK: granted.task,
            names.ATTEMPT: granted.attempt,
            names.DELIVERY: delivery.delivered,
            names.SEQUENCE: delivery.seq,
            names.QUEUE_WAIT: round(max(waited, 0.0), 6),
        }
        if waited < 0:
            attributes[names.CLOCK_SKEW] = round(waited, 6)
        if error is not None:
            attributes[names.ERROR_TYPE] = error
        entry = int(granted.task.partition("-")[0])
        links = [Link(self._run, entry_span_id(self._run, entry), "published by")]
        if self._elsewhere is not None:
            links.append(self._elsewhere)
        parent = attempt_span_id(self._run, granted.task)
        name = f"process {template}"
        return self._record(
            self._process, parent, name, "consumer", self._began, over, attributes, tuple(links), error
        )

    def _invoking(self, over: int, error: str | None) -> SpanRecord:
        card, granted = self._of.card, self._task.granted
        attributes: dict[str, Attribute] = {
            names.GENAI_OPERATION: "invoke_agent",
            names.AGENT_NAME: card.name,
            names.AGENT_VERSION: card.version,
            names.GENAI_CONVERSATION: self._run,
            names.STEP: granted.path,
            names.SKILL: granted.skill,
            **self._content,
        }
        if card.description:
            attributes[names.AGENT_DESCRIPTION] = card.description
        if error is not None:
            attributes[names.ERROR_TYPE] = error
        name = f"invoke_agent {card.name}"
        return self._record(
            self._invocation, self._process, name, "internal", self._began, over, attributes, (), error
        )

    def _publishing(self, began: int, ended: int) -> SpanRecord:
        attributes: dict[str, Attribute] = {
            names.MESSAGING_SYSTEM: names.NATS,
            names.OPERATION_NAME: "publish",
            names.OPERATION_TYPE: "send",
            names.DESTINATION_TEMPLATE: REPORT_TEMPLATE,
        }
        name = f"publish {REPORT_TEMPLATE}"
        return self._record(self.report_span, self._process, name, "producer", began, ended, attributes)

    def _settling(self, how: str, now: int) -> SpanRecord:
        attributes: dict[str, Attribute] = {
            names.MESSAGING_SYSTEM: names.NATS,
            names.OPERATION_NAME: how,
            names.OPERATION_TYPE: "settle",
            names.CONSUMER_GROUP: self._of.consumer,
        }
        span = f"{self._of.new_id(64) or 1:016x}"
        return self._record(span, self._process, self._of.settling, "client", now, now, attributes)

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
