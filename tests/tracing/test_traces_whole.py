"""One trace per run, whole, whoever dies on the way: real processes, and a collector of the test's own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from collector_kit import Collector, over_grpc, over_http
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.util.genai.handler import TelemetryHandler
from system_kit import LIMIT, System, until

from consort_bus import embedded
from consort_bus.connection import open_bus
from consort_bus.publish import Publisher
from consort_bus.reading import last_of
from consort_bus.subjects import CONTROL, ORCHESTRATORS_FILTER, IncomingSubject
from consort_bus.wire import Wire
from consort_orchestrator.tracing.checking import Verdict, check
from consort_orchestrator.tracing.tree import skews, tree_of
from consort_shared.codec import JSON
from consort_shared.entries import Finished
from consort_shared.ids import new_run_id
from consort_shared.plan.model import Plan
from consort_shared.telemetry import names
from consort_shared.telemetry.records import SpanRecord
from consort_shared.telemetry.span_ids import attempt_span_id, root_span_id

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
TRACED = str(HERE / "traced_cast.py")

BOTH = ["${{ steps.a.output }}", "${{ steps.b.output }}"]
CHAIN: dict[str, Any] = {
    "steps": {
        "a": {"skill": "text.make", "with": {"name": "a"}},
        "b": {"skill": "text.make", "with": {"name": "b"}},
        "c": {
            "skill": "text.join",
            "needs": ["a", "b"],
            "with": {"parts": BOTH},
        },
        "d": {
            "skill": "text.extend",
            "needs": ["c"],
            "with": {"text": "${{ steps.c.output.text }}", "by": "d"},
        },
    },
    "output": "${{ steps.d.output.text }}",
}
GATED: dict[str, Any] = {
    "steps": {
        "gate": {"skill": "text.gate", "with": {"name": "held"}},
        "then": {"skill": "text.make", "needs": ["gate"], "with": {"name": "then"}},
    }
}


def settings(collector: Collector, **more: str) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200", **more}


async def verdict(system: System, run: str, spans: list[SpanRecord]) -> Verdict:
    return check(run, [logged.entry for logged in await system.client.entries(run)], spans)


async def all_there(system: System, orchestrators: int, agents: int) -> None:
    """Until so many show that they are there, and the orchestrators have looked round after all had shown it."""
    known = embedded.credentials_for(system.folder, "operator", "looker")
    first: dict[str, int] = {}
    async with open_bus(system.url, known) as bus, Wire(bus.nc, bus) as wire, asyncio.timeout(LIMIT):
        while True:
            signs = await last_of(wire, CONTROL, [ORCHESTRATORS_FILTER])
            if len(signs) >= orchestrators:
                first = first or {sign.subject: sign.seq for sign in signs}
                again = sum(sign.seq > first.get(sign.subject, 0) for sign in signs)
                if again >= orchestrators and len(await system.client.agents()) >= agents:
                    return
            await asyncio.sleep(0.1)


async def whole(system: System, collector: Collector, run: str, limit: float = LIMIT) -> list[SpanRecord]:
    """The spans of a run, once its trace is whole."""
    end = time.monotonic() + limit
    while True:
        spans = collector.of(run)
        found = await verdict(system, run, spans)
        if found.ended and found.whole:
            return spans
        assert time.monotonic() < end, [hole.what for hole in found.holes]
        await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("kind", "protocol"), [(over_http, "http/protobuf"), (over_grpc, "grpc")], ids=["http", "grpc"]
)
async def test_all_processes_write_one_trace(
    system: System, kind: Callable[[], AbstractContextManager[Collector]], protocol: str
) -> None:
    """J10, J11: one trace by the conventions, across all processes."""
    with kind() as collector:
        env = settings(collector, OTEL_EXPORTER_OTLP_PROTOCOL=protocol)
        system.orchestrator("one", env=env)
        system.orchestrator("two", env=env)
        system.agent("worker", env=env)
        system.agent("other", env=env)
        await all_there(system, 2, 2)
        deciding: set[str] = set()
        while len(deciding) < 2:  # the inbox is shared once something comes
            run = await system.run(CHAIN)
            await system.client.result(run, timeout=LIMIT)
            spans = await whole(system, collector, run)
            deciding |= {span.instance for span in spans if span.service == "consort-orchestrator"}
            tree = tree_of(spans, root_span_id(run))
            assert tree.lost == ()
            assert tree.root is not None
            work = [span for span in spans if span.kind == "consumer"]
            assert len(work) == 4
            assert {span.attributes[names.DELIVERY] for span in work} == {1}
            by_id = {span.span: span for span in spans}
            for span in work:
                inner = [one for one in spans if one.parent == span.span]
                assert sorted(one.kind for one in inner) == ["client", "internal", "producer"]
                attempt = by_id[span.parent]
                assert attempt.attributes[names.INSTANCE] == span.attributes[names.INSTANCE]
                assert str(attempt.attributes[names.REASON])
                assert attempt.attributes["gen_ai.operation.name"] == "invoke_agent"
            joined = next(
                span for span in spans if span.attributes.get(names.STEP) == "c" and span.kind == "client"
            )
            assert joined.attributes[names.PRIORS] == ("a", "b")
        assert {span.service for span in collector.spans} >= {"consort-orchestrator", "consort-agent-worker"}


async def test_an_orchestrator_that_dies_takes_no_span_along(system: System) -> None:
    """What it had not exported when it was killed is exported by another."""
    with over_http() as collector:
        never = settings(collector, OTEL_BSP_SCHEDULE_DELAY="600000")
        first = system.orchestrator("first", env=never)
        system.agent("worker", env=settings(collector))
        run = await system.run(GATED)
        await until(lambda: system.marked("at-held"))
        assert [span for span in collector.of(run) if span.service == "consort-orchestrator"] == []
        system.orchestrator("second", env=settings(collector))
        await all_there(system, 2, 1)
        first.kill()
        system.let_go("held")
        await system.client.result(run, timeout=LIMIT)
        spans = await whole(system, collector, run)
        assert len({span.instance for span in spans if span.service == "consort-orchestrator"}) == 2


async def test_the_next_orchestrator_makes_good_what_the_last_one_left(system: System) -> None:
    """It is killed after the run's end, with everything that it was to export."""
    with over_http() as collector:
        only = system.orchestrator("only", env=settings(collector, OTEL_BSP_SCHEDULE_DELAY="600000"))
        system.agent("worker", env=settings(collector))
        run = await system.run(CHAIN)
        await system.client.result(run, timeout=LIMIT)
        only.kill()
        assert [span for span in collector.of(run) if not span.parent] == []
        system.orchestrator("next", env=settings(collector))
        await whole(system, collector, run)


async def test_who_takes_leave_has_exported_its_spans(system: System) -> None:
    """Nobody does it again, neither who is there nor who comes later."""
    with over_http() as collector:
        env = settings(collector, OTEL_BSP_SCHEDULE_DELAY="600000", OTEL_RESOURCE_ATTRIBUTES="stage=trial")
        first = system.orchestrator("first", env=env)
        system.agent("worker", env=settings(collector))
        run = await system.run(CHAIN)
        await system.client.result(run, timeout=LIMIT)
        second = system.orchestrator("second", env=env)
        await all_there(system, 2, 1)
        assert await asyncio.to_thread(first.stop) == 0
        spans = await whole(system, collector, run)
        third = system.orchestrator("third", env=env)
        await all_there(system, 2, 1)
        assert len(collector.of(run)) == len(spans)
        for later in (second, third):
            assert "exported again" not in later.log.read_text()
        told = repr(collector.told)
        assert "'stage'" in told


async def test_an_agent_that_dies_leaves_no_span_without_a_parent(system: System) -> None:
    """Its task's spans were held back; the next process of it tells of the second delivery."""
    with over_http() as collector:
        system.orchestrator(env=settings(collector))
        dying = system.agent("traced", TRACED, env=settings(collector, OTEL_BSP_SCHEDULE_DELAY="20"))
        run = await system.run({"steps": {"one": {"skill": "trace.held"}}})
        await until(lambda: system.marked("at-held"))
        dying.kill()
        system.agent("traced", TRACED, env=settings(collector))
        await until(lambda: len(system.marked("at-held")) == 2)
        system.let_go("held")
        await system.client.result(run, timeout=LIMIT)
        spans = await whole(system, collector, run)
        [work] = [span for span in spans if span.kind == "consumer"]
        assert work.attributes[names.DELIVERY] == 2
        assert sorted(span.name for span in spans if span.name.endswith("held")) == [
            "inner held",
            "outer held",
        ]


async def test_what_skills_trace_hangs_below_their_task(system: System) -> None:
    """In the loop, in a thread, and in the child process of an isolated slot."""
    with over_http() as collector:
        system.orchestrator(env=settings(collector))
        system.agent("traced", TRACED, env=settings(collector))
        steps = {name: {"skill": f"trace.{name}"} for name in ("async", "thread", "child")}
        run = await system.run({"steps": steps, "output": "${{ steps['async'].output }}"})
        told = await system.client.result(run, timeout=LIMIT)
        spans = await whole(system, collector, run)
        by_id = {span.span: span for span in spans}
        for outer in ("outer loop", "outer thread", "outer child"):
            [span] = [span for span in spans if span.name == outer]
            assert by_id[span.parent].name == "invoke_agent traced"
        [inner] = [span for span in spans if span.name == "inner loop"]
        assert by_id[inner.parent].name == "outer loop"
        outer = by_id[inner.parent]
        assert told == f"00-{run}-{outer.parent}-01"  # what a skill sends along is its own span
        [child] = [span for span in spans if span.name == "outer child"]
        assert child.instance.startswith("slot-")


async def test_agents_models_and_tools_are_named_by_the_conventions(system: System) -> None:
    """The agent's span is what the library for these conventions would write; what skills use it for hangs below."""
    with over_http() as collector:
        system.orchestrator(env=settings(collector))
        system.agent("traced", TRACED, env=settings(collector))
        run = await system.run({"steps": {"one": {"skill": "trace.genai", "with": {"query": "tea"}}}})
        await system.client.result(run, timeout=LIMIT)
        spans = await whole(system, collector, run)
    [agent] = [span for span in spans if span.name == "invoke_agent traced" and span.kind == "internal"]
    below = {span.name: span for span in spans if span.parent == agent.span}
    assert below.keys() == {"execute_tool search", "chat none-1"}
    assert below["chat none-1"].kind == "client"
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    handler = TelemetryHandler(tracer_provider=provider)
    with handler.invoke_local_agent(agent_name="traced", conversation_id=run) as invocation:
        invocation.agent_description = "Traces."
    [wanted] = exporter.get_finished_spans()
    assert (agent.name, agent.kind) == (wanted.name, wanted.kind.name.lower())
    assert dict(wanted.attributes or {}).items() <= dict(agent.attributes).items()


@pytest.mark.parametrize("mood", ["refuses", "stalls", "nonsense", "away"])
async def test_a_collector_that_is_of_no_use_is_not_noticed(system: System, mood: Any) -> None:
    with over_http() as collector:
        env = settings(collector, OTEL_EXPORTER_OTLP_TIMEOUT="1")
        if mood == "away":
            env["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:9"
        else:
            collector.mood = mood
        orchestrator, agent = system.orchestrator(env=env), system.agent("worker", env=env)
        for _ in range(3):
            run = await system.run(CHAIN)
            assert await system.client.result(run, timeout=LIMIT) == "made a + made b.d"
        for child in (agent, orchestrator):
            await until(lambda child=child: "spans cannot be exported to" in child.log.read_text())  # type: ignore[misc]
            began = time.monotonic()
            assert await asyncio.to_thread(child.stop) == 0
            assert time.monotonic() - began < 10
            lines = child.log.read_text().splitlines()
            assert sum("spans cannot be exported" in line for line in lines) == 1
            assert not any("Traceback" in line for line in lines)


async def test_clocks_that_differ_are_told(system: System) -> None:
    shim = "import time; right = time.time_ns; time.time_ns = lambda: right() - 600 * 10**9"
    with over_http() as collector:
        system.orchestrator(env=settings(collector))
        system.agent("worker", env=settings(collector), shim=shim)
        run = await system.run(CHAIN)
        await system.client.result(run, timeout=LIMIT)
        spans = await whole(system, collector, run)
        tree = tree_of(spans, root_span_id(run))
        [behind] = skews(tree).values()
        assert behind == pytest.approx(600, abs=20)
        assert all(branch.span.seconds >= 0 for _, branch in tree.branches)
        waits = [span.attributes[names.QUEUE_WAIT] for span in spans if span.kind == "consumer"]
        assert waits == [0.0] * 4


async def submit_json(system: System, header: str | None) -> str:
    """As any NATS client would, under a span of its own or none."""
    run = new_run_id()
    plan = Plan.model_validate({"name": "test", **CHAIN}).model_dump_json(by_alias=True, exclude_unset=True)
    headers = {"Content-Type": JSON} | ({} if header is None else {"traceparent": header.format(run=run)})
    body = f'{{"say": "submit", "plan": {plan}}}'.encode()
    await Publisher(system.client._wire).publish(str(IncomingSubject("client", "me", run)), body, headers)
    await system.client.result(run, timeout=LIMIT)
    return run


async def test_a_context_that_comes_with_a_submission(system: System) -> None:
    """Of another trace it is linked, not adopted; garbage is ignored; who does not want a trace gets none."""
    with over_http() as collector:
        system.orchestrator(env=settings(collector))
        system.agent("worker", env=settings(collector))
        unwanted = await submit_json(system, f"00-{'ab' * 16}-{'cd' * 8}-00")
        foreign = await submit_json(system, f"00-{'ab' * 16}-{'cd' * 8}-01")
        garbage = await submit_json(system, "00-nonsense")
        none = await submit_json(system, None)
        for run, links in ((foreign, [("ab" * 16, "cd" * 8)]), (garbage, []), (none, [])):
            spans = await whole(system, collector, run)
            [root] = [span for span in spans if not span.parent]
            assert [(link.trace, link.span) for link in root.links] == links
        assert collector.of(unwanted) == []
        assert not any(span.trace == "ab" * 16 for span in collector.spans)


async def test_a_sampler_decides_for_all_processes_alike(system: System) -> None:
    with over_http() as collector:
        env = settings(
            collector, OTEL_TRACES_SAMPLER="parentbased_traceidratio", OTEL_TRACES_SAMPLER_ARG="0.5"
        )
        system.orchestrator(env=env)
        system.agent("worker", env=env)
        # The sampler looks at the last 8 bytes of the trace id, as a share of all there are.
        wanted, unwanted = f"{new_run_id()[:16]}{'0' * 15}1", f"{new_run_id()[:16]}{'f' * 16}"
        for run in (unwanted, wanted):
            await system.run_as(run, CHAIN)
            await system.client.result(run, timeout=LIMIT)
        await whole(system, collector, wanted)
        assert collector.of(unwanted) == []


@pytest.mark.parametrize("captured", [False, True])
async def test_content_is_not_captured_unless_it_is_asked_for(system: System, captured: bool) -> None:
    with over_http() as collector:
        more = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY"} if captured else {}
        orchestrator = system.orchestrator(env=settings(collector, **more))
        agent = system.agent("traced", TRACED, env=settings(collector, **more))
        plan = {
            "inputs": {"secret": {"type": "string"}},
            "steps": {
                "one": {"skill": "trace.thread", "with": {"secret": "${{ inputs.secret }}"}},
                "two": {"skill": "trace.fail", "needs": ["one"], "retry": {"attempts": 1}},
            },
        }
        key = "sk-canary-0123456789abcdef"
        run = await system.run(plan, {"secret": f"tea with {key}"})
        entries = system.client
        await until_finished(system, run)
        spans = await whole(system, collector, run)
        told = repr(collector.told)
        assert key not in told
        assert "canary-4711" not in told
        assert ("tea with [redacted]" in told) is captured
        [failed] = [
            span for span in spans if span.kind == "client" and span.attributes.get(names.STEP) == "two"
        ]
        assert failed.error == "exception"
        assert entries is not None
        for child in (orchestrator, agent):
            assert key not in child.log.read_text()


async def until_finished(system: System, run: str) -> None:
    async for logged in system.client.watch(run):
        if any(isinstance(fact, Finished) for fact in logged.entry.facts):
            return


async def test_attempts_are_told_apart(system: System) -> None:
    with over_http() as collector:
        system.orchestrator(env=settings(collector))
        system.agent("odd", env=settings(collector))
        run = await system.run({"steps": {"bad": {"skill": "raise", "retry": {"attempts": 3, "wait": 0.05}}}})
        await until_finished(system, run)
        spans = await whole(system, collector, run)
        attempts = sorted(
            (span for span in spans if span.attributes.get(names.OUTCOME)), key=lambda span: span.start
        )
        assert [span.attributes[names.ATTEMPT] for span in attempts] == [1, 2, 3]
        assert [span.attributes.get(names.TROUBLE) for span in attempts] == [None, "exception", "exception"]
        assert all(span.span == attempt_span_id(run, str(span.attributes[names.TASK])) for span in attempts)
