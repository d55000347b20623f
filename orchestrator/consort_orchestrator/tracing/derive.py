"""The spans that a run's entries stand for: pure, one entry after the other.

One span per entry (a producer's, where it gives out tasks: to dispatch a task is to
append to the log), one per attempt from its grant to its end, one per wait, and the
run's own when it ends. Nothing but what an entry holds goes into them, so two that
read the same log come to the same spans, byte for byte. Inputs, results and the text
of failures are not in them.

Where a run is taken up again after its end, its root span has been written: what
follows hangs below a span of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from consort_orchestrator.core.course import stops
from consort_orchestrator.tracing.costing import usage_attributes
from consort_shared.entries import (
    Accepted,
    ContextItem,
    Doubted,
    EffectSettled,
    Entry,
    Failure,
    Finished,
    Granted,
    Heeded,
    Paused,
    Refused,
    Reopened,
    Resumed,
    Submitted,
    Waiting,
    kind_of,
)
from consort_shared.telemetry import names
from consort_shared.telemetry.records import MOMENT, Attribute, Kind, Link, SpanRecord
from consort_shared.telemetry.span_ids import (
    attempt_span_id,
    entry_span_id,
    parse_traceparent,
    root_span_id,
    span_id,
)
from consort_shared.usage import NOTHING, Usage

SERVICE = "consort-orchestrator"
ENTRY_TEMPLATE = "log.{run}.entry.{agent}.{kind}"
_ENDS_AS = {"failed": "failed", "cancelled": "cancelled"}


class _Open(NamedTuple):
    """Something that began and has not ended."""

    span: str
    name: str
    kind: Kind
    since: float
    attributes: dict[str, Attribute]
    links: tuple[Link, ...] = ()


class Deriver:
    """Takes the entries of one run, in order, and gives the spans that have ended with each."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._plan = ""
        self._client = ""
        self._began: float | None = None
        self._caller = ""
        self._parent = root_span_id(run)
        self._ended = False
        self._reopened = 0.0
        """when the run was taken up again; 0 for a run that never was"""
        self._reopenings = 0
        self._attempts: dict[str, _Open] = {}
        self._waits: dict[str, _Open] = {}
        self._paused: _Open | None = None
        self._entry: Entry | None = None
        self._used = NOTHING
        """by all attempts of the run that reported"""

    def take(self, entry: Entry) -> list[SpanRecord]:
        """The spans that end with an entry, parents after children."""
        self._entry = entry
        found: list[SpanRecord] = []
        for fact in entry.facts:
            match fact:
                case Submitted():
                    self._submitted(fact, entry.at)
                case Reopened():
                    self._taken_up(entry.at)
                case Granted():
                    found += self._waited(fact.path)
                    self._attempts[fact.task] = self._granted(fact, entry)
                case Waiting():
                    self._waits.setdefault(fact.path, self._wait(fact.path, "wait for an agent", fact.skill))
                case Accepted():
                    found += self._attempt_over(
                        fact.task, "accepted", fact.instance, seconds=fact.seconds, usage=fact.usage
                    )
                case Failure():
                    found += self._attempt_over(fact.task, "failed", error=fact.kind, usage=fact.usage)
                case Refused() if fact.usage is not None:
                    self._used += fact.usage
                case Doubted():
                    found += self._attempt_over(fact.task, "in doubt", error="effect-in-doubt")
                    self._waits.setdefault(fact.path, self._wait(fact.path, "wait for a person", ""))
                case EffectSettled() if fact.by.startswith("person."):
                    found += self._waited(fact.path)
                case Heeded() if stops(fact.how):
                    found += self._attempt_over(fact.task, "called off", fact.instance, error="called-off")
                case Paused():
                    self._paused = self._paused or self._wait("", "paused", "")
                case Resumed():
                    found += self._resumed()
                case Finished():
                    found += self._finished(fact, entry)
                case _:
                    pass
        found.insert(0, self._decision(entry))
        return found

    # --- what begins

    def _submitted(self, fact: Submitted, at: float) -> None:
        self._taken_up(at)  # if it has ended: with a submission that could not be read
        self._plan = fact.plan.name
        self._client = fact.client
        self._caller = fact.caller
        self._began = min(fact.handed_in or at, at)

    def _taken_up(self, at: float) -> None:
        if not self._ended:
            return
        self._ended = False
        self._reopened = at
        self._reopenings += 1
        self._parent = span_id(self._run, "reopened", str(self._reopenings))

    def _granted(self, fact: Granted, entry: Entry) -> _Open:
        attributes: dict[str, Attribute] = {
            names.GENAI_OPERATION: "plan" if _plans(fact.skill) else "invoke_agent",
            names.AGENT_NAME: fact.agent,
            names.GENAI_CONVERSATION: self._run,
            names.CALLER_TYPE: "workflow",
            names.CALLER_NAME: self._plan,
            names.STEP: fact.path,
            names.SKILL: fact.skill,
            names.TASK: fact.task,
            names.ATTEMPT: fact.attempt,
        }
        if fact.why:
            attributes[names.REASON] = fact.why
        if fact.profile:
            attributes[names.PROFILE] = fact.profile
        if fact.trouble:
            attributes[names.TROUBLE] = fact.trouble.partition(":")[0]
        if fact.handoff.context:
            attributes[names.CONTEXT_READ] = _read(fact.handoff.context)
        priors = [prior for prior in fact.handoff.priors if prior.task]
        if priors:
            attributes[names.PRIORS] = tuple(dict.fromkeys(prior.path for prior in priors))
        tasks = dict.fromkeys(prior.task for prior in priors)
        links = [Link(self._run, entry_span_id(self._run, entry.n), "granted by")]
        links += [Link(self._run, attempt_span_id(self._run, task), "handed over by") for task in tasks]
        name = f"{'plan' if _plans(fact.skill) else 'invoke_agent'} {fact.agent}"
        span = attempt_span_id(self._run, fact.task)
        return _Open(span, name, "client", entry.at, attributes, tuple(links))

    def _wait(self, path: str, name: str, skill: str) -> _Open:
        assert self._entry is not None
        span = span_id(self._run, "wait", str(self._entry.n), path)
        attributes: dict[str, Attribute] = {}
        if path:
            attributes[names.STEP] = path
        if skill:
            attributes[names.SKILL] = skill
        return _Open(span, name, "internal", self._entry.at, attributes)

    # --- what ends

    def _attempt_over(
        self,
        task: str,
        outcome: str,
        instance: str = "",
        *,
        error: str | None = None,
        seconds: float = 0.0,
        usage: Usage | None = None,
    ) -> list[SpanRecord]:
        if usage is not None:
            self._used += usage
        attempt = self._attempts.pop(task, None)
        if attempt is None:
            return []
        more: dict[str, Attribute] = {names.OUTCOME: outcome}
        if instance:
            more[names.INSTANCE] = instance
        if seconds:
            more[names.SECONDS] = seconds
        if error is not None:
            more[names.ERROR_TYPE] = error
        return [self._over(attempt, more | usage_attributes(usage), error)]

    def _waited(self, path: str) -> list[SpanRecord]:
        wait = self._waits.pop(path, None)
        return [] if wait is None else [self._over(wait)]

    def _resumed(self) -> list[SpanRecord]:
        paused, self._paused = self._paused, None
        return [] if paused is None else [self._over(paused)]

    def _finished(self, fact: Finished, entry: Entry) -> list[SpanRecord]:
        found: list[SpanRecord] = []
        for task in list(self._attempts):
            found += self._attempt_over(task, "cut off", error="cut-off")
        for path in list(self._waits):
            found += self._waited(path)
        found += self._resumed()
        found.append(self._run_over(fact, entry))
        self._ended = True
        return found

    def _run_over(self, fact: Finished, entry: Entry) -> SpanRecord:
        error = _ENDS_AS.get(fact.state)
        attributes: dict[str, Attribute] = {
            names.GENAI_OPERATION: "invoke_workflow",
            names.WORKFLOW_NAME: self._plan,
            names.GENAI_CONVERSATION: self._run,
            names.RUN: self._run,
            names.CLIENT: self._client,
            names.STATE: fact.state,
            names.ENTRY: entry.n,
            **usage_attributes(self._used),
        }
        if error is not None:
            attributes[names.ERROR_TYPE] = error
        caller = parse_traceparent(self._caller)
        outside = caller is not None and caller.trace != self._run
        links = (Link(caller.trace, caller.span, "handed in by"),) if caller is not None and outside else ()
        again = bool(self._reopened)
        began = self._reopened if again else (entry.at if self._began is None else self._began)
        name = f"invoke_workflow {self._plan}".strip()
        run_itself = _Open(self._parent, name, "internal", began, attributes, links)
        over = self._over(run_itself, error=error, parent=root_span_id(self._run) if again else "")
        return over._replace(end=over.end + MOMENT)  # its last decision lies within

    def _decision(self, entry: Entry) -> SpanRecord:
        """The entry itself, at the moment of its decision."""
        grants = [fact for fact in entry.facts if isinstance(fact, Granted)]
        attributes: dict[str, Attribute] = {
            names.ENTRY: entry.n,
            names.FACTS: tuple(dict.fromkeys(fact.fact for fact in entry.facts)),
            names.CAUSES: tuple(dict.fromkeys(cause.sender for cause in entry.causes)),
            names.WRITER: entry.writer,
        }
        kind = kind_of(entry.facts)
        settled = [fact.task for fact in entry.facts if isinstance(fact, Accepted | Failure | Doubted)]
        links = tuple(Link(self._run, attempt_span_id(self._run, task), "settles") for task in settled)
        span = entry_span_id(self._run, entry.n)
        if not grants:
            return self._over(_Open(span, f"decide {kind}", "internal", entry.at, attributes, links))
        attributes |= {
            names.MESSAGING_SYSTEM: names.NATS,
            names.OPERATION_NAME: "publish",
            names.OPERATION_TYPE: "send",
            names.DESTINATION_TEMPLATE: ENTRY_TEMPLATE,
        }
        if any(fact.handoff.priors for fact in grants):
            attributes[names.TRANSFER_TARGET] = ", ".join(dict.fromkeys(fact.agent for fact in grants))
            attributes[names.TRANSFER_MODE] = "pass_control"
        return self._over(_Open(span, f"publish {ENTRY_TEMPLATE}", "producer", entry.at, attributes, links))

    def _over(
        self,
        what: _Open,
        more: dict[str, Attribute] | None = None,
        error: str | None = None,
        parent: str | None = None,
    ) -> SpanRecord:
        assert self._entry is not None
        start = _nanoseconds(what.since)
        return SpanRecord(
            trace=self._run,
            span=what.span,
            parent=self._parent if parent is None else parent,
            name=what.name,
            kind=what.kind,
            start=start,
            end=max(_nanoseconds(self._entry.at), start + MOMENT),
            attributes={**what.attributes, **(more or {})},
            links=what.links,
            error=error,
            service=SERVICE,
            instance=self._entry.writer,
        )


def derived(run: str, entries: Sequence[Entry]) -> list[SpanRecord]:
    """All spans that these entries, from the run's first on, stand for."""
    deriver = Deriver(run)
    return [span for entry in entries for span in deriver.take(entry)]


def _plans(skill: str) -> bool:
    return skill == "plan" or skill.startswith("plan.")


def _read(items: Sequence[ContextItem]) -> tuple[str, ...]:
    return tuple(f"{item.key}@{item.revision}" for item in items)


def _nanoseconds(at: float) -> int:
    return round(at * 1e6) * 1000
