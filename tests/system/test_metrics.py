"""What a running system tells of itself: figures that are scraped or sent, and lines of its logs."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from collecting import collector
from prometheus_client.parser import text_string_to_metric_families
from scraping import ANY_PORT, get, until_told
from system_kit import Child, System, system, until

from consort_bus.recorded import open_runs
from consort_shared.errors import RunFailed

__all__ = ["system"]
pytestmark = pytest.mark.slow
COMPOSE = Path(__file__).parents[2] / "compose"
CANARY = "canary-5f1c"
QUIET = {"retry": {"attempts": 1}}


def named() -> dict[str, set[str]]:
    """By file: every name of a figure in its expressions. What follows an operator or a bracket is none."""
    board = json.loads((COMPOSE / "grafana/dashboards/consort.json").read_text())
    rules = yaml.safe_load((COMPOSE / "prometheus/alerts.yml").read_text())
    expressions = {
        "dashboard": [t["expr"] for panel in board["panels"] for t in panel.get("targets", ())],
        "alerts": [rule["expr"] for group in rules["groups"] for rule in group["rules"]],
    }
    assert len(expressions["dashboard"]) > 30
    assert len(expressions["alerts"]) > 7
    return {
        where: {
            name
            for text in found
            for name in re.findall(r"\b(?:consort|process|gen_ai|messaging)_\w+(?=\{|\[|\)| |$)", _bare(text))
        }
        for where, found in expressions.items()
    }


def _bare(expression: str) -> str:
    """Without what stands in braces, and without lists of labels."""
    expression = re.sub(r"\b(by|on|group_left) \([^)]*\)", "", expression)
    return re.sub(r"\{[^}]*(\{[^}]*\}[^}]*)*\}", "", expression)


def page() -> str:
    return (COMPOSE.parent / "docs/observability.md").read_text()


WITH_THE_FIRST_EVENT = ("consort_limits_", "consort_tool_")
"""Figures that are not there before something of their kind has happened; nothing does here."""


def documented() -> set[str]:
    """The figures of the table in the documentation, as Prometheus writes their beginnings."""
    rows = re.findall(r"^\| (`[\w.]+`(?:, `[\w.]+`)*) \| (?:\{\w+\}|s|1) \|", page(), re.MULTILINE)
    return {name.replace(".", "_") for row in rows for name in re.findall(r"`([\w.]+)`", row)}


def labels(expressions: str) -> set[str]:
    return set(re.findall(r"\b((?:consort|gen_ai|messaging|error)_\w+)(?==|!|~)", expressions))


async def samples(*children: Child) -> dict[str, list[tuple[dict[str, str], float]]]:
    """By name: labels and value of everything that some processes export."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for child in children:
        status, text = await get(child, "/metrics")
        assert status == 200
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def total(found: dict[str, list[tuple[dict[str, str], float]]], name: str, **wanted: str) -> float:
    return sum(value for about, value in found[name] if wanted.items() <= about.items())


def step(skill: str, text: str, **more: Any) -> dict[str, Any]:
    return {"skill": skill, "with": {"text": text}, **more}


async def test_figures_are_those_that_the_dashboard_and_the_alerts_name(system: System) -> None:
    """J12."""
    orchestrator = system.orchestrator(env=ANY_PORT)
    agents = [system.agent("worker", slots=1, env=ANY_PORT), system.agent("odd", env=ANY_PORT)]
    for child in (orchestrator, *agents):
        await until_told(child, "/readyz", 200)
    chain = {"a": {"skill": "text.make", "with": {"name": "x"}}}
    chain["b"] = {
        "skill": "text.extend",
        "needs": ["a"],
        "with": {"text": "${{ steps.a.output.text }}", "by": "y", "cost": 2_000_000},
    }
    run = await system.run({"steps": chain})
    await system.client.result(run)
    bad = await system.run({"steps": {"r": {"skill": "refuse"}, "l": {"skill": "raise", **QUIET}}})
    with pytest.raises(RunFailed):
        await system.client.result(bad)
    gates = [
        await system.run({"steps": {"g": {"skill": "text.gate", "with": {"name": "all"}}}}) for _ in range(3)
    ]
    await until(lambda: system.marked("at-all"))
    await system.client.bus.publish(f"in.client.me.{gates[0]}", b"nonsense")
    await until_told(
        orchestrator, "/metrics", 200, 'consort_dead_letters_total{consort_reason="unreadable"} 1.0'
    )
    await until_told(orchestrator, "/metrics", 200, 'consort_queue_depth{gen_ai_agent_name="worker"} 2.0')
    found = await samples(orchestrator, *agents)

    worker = {"gen_ai_agent_name": "worker"}
    assert total(found, "consort_runs_started_total") == 5
    assert total(found, "consort_runs_ended_total", consort_state="completed") == 1
    assert total(found, "consort_runs_ended_total", consort_state="failed") == 1
    assert total(found, "consort_attempts_total", consort_outcome="done", **worker) == 2
    assert total(found, "consort_attempts_total", consort_skill="refuse", error_type="skill-error") == 1
    assert total(found, "consort_attempts_total", consort_skill="raise", error_type="exception") == 1
    assert total(found, "consort_tasks_granted_total", **worker) == 5
    assert total(found, "consort_cost_total", **worker) == 0.002
    assert total(found, "consort_tokens_total", gen_ai_token_type="output", **worker) == 3
    assert total(found, "consort_queue_in_hand", **worker) == 1
    assert 0 < total(found, "consort_queue_age_seconds", **worker) < 60
    assert total(found, "consort_agent_busy", **worker) == 1
    assert total(found, "consort_handoff_decision_duration_seconds_count", consort_skill="text.extend") == 1
    assert total(found, "consort_handoff_decision_duration_seconds_sum", consort_skill="text.extend") < 5
    assert total(found, "consort_handoff_pickup_duration_seconds_count", **worker) == 3
    assert total(found, "gen_ai_invoke_agent_duration_seconds_count", consort_outcome="done", **worker) == 2
    assert total(found, "gen_ai_invoke_agent_duration_seconds_count", consort_outcome="failed") == 2
    assert total(found, "consort_process_ready") == 3
    everything = {about for names in found.values() for each, _ in names for about in each}
    text = (COMPOSE / "grafana/dashboards/consort.json").read_text() + (
        COMPOSE / "prometheus/alerts.yml"
    ).read_text()
    for where, names in named().items():
        assert names
        assert names <= found.keys(), (where, names - found.keys())
    assert labels(text) <= everything, labels(text) - everything
    foreign = ("process_", "target_info")
    told = documented()
    for name in told:
        if not name.startswith(WITH_THE_FIRST_EVENT):
            assert any(one.startswith(name) for one in found), name
    unexplained = {one for one in found if not one.startswith((*told, *foreign))}
    assert not unexplained
    assert labels(text) <= {about.replace(".", "_") for about in re.findall(r"`([\w.]+)`", page())}
    values = {value for each in found.values() for about, _ in each for value in about.values()}
    assert not [value for value in values if any(one in value for one in (run, bad, *gates))]
    assert await open_runs(system.client.bus) == 3  # the figure itself is counted every half minute
    assert len(found["consort_runs_open"]) == 1

    both = [orchestrator, system.orchestrator("second", env=ANY_PORT)]
    await until_told(both[1], "/readyz", 200)
    telling: list[str] = []
    async with asyncio.timeout(20):
        while len(telling) != 1:  # the share that goes with it may move to the other
            pages = [(await get(child, "/metrics"))[1] for child in both]
            telling = [page for page in pages if "consort_queue_depth{" in page]
    system.let_go("all")


async def test_nothing_that_skills_are_given_is_logged_or_counted(system: System) -> None:
    """Also T4 and T19: every line of an agent's own code says which run, step and task it belongs to."""
    env = {**ANY_PORT, "CONSORT_LOG_FORMAT": "json", "CONSORT_LOG_LEVEL": "debug"}
    orchestrator, agent = system.orchestrator(env=env), system.agent("chatty", "chatty.py", env=env)
    steps = {
        "thread": step("talk.thread", CANARY),
        "loop": step("talk.async", CANARY),
        "child": step("talk.isolated", CANARY),
        "raised": step("talk.raise", CANARY, **QUIET),
        "gave_up": step("talk.give-up", CANARY),
        "odd": step("talk.odd", CANARY),
    }
    run = await system.run({"steps": steps})
    with pytest.raises(RunFailed):
        await system.client.result(run)
    await until_told(agent, "/metrics", 200, 'consort_agent_busy{gen_ai_agent_name="chatty"} 0.0')
    scraped = [(await get(child, "/metrics"))[1] for child in (orchestrator, agent)]
    assert [child.stop() for child in (orchestrator, agent)] == [0, 0]
    logs = [child.log.read_text() for child in (orchestrator, agent)]
    assert not [text for text in (*scraped, *logs) if CANARY in text]
    assert 'error_type="_OTHER"' in scraped[0]

    decided, worked = ([json.loads(line) for line in text.splitlines()] for text in logs)
    for line in (*decided, *worked):
        assert {"time", "level", "logger", "message"} <= line.keys()
    granted = [line for line in decided if line["message"].startswith("granted: thread to chatty")]
    assert [line["run"] == line["trace_id"] == run and line["agent"] == "chatty" for line in granted] == [
        True
    ]
    assert [line["step"] for line in decided if line["message"].startswith("accepted")].count("thread") == 1
    [failed] = [line for line in decided if line["message"].startswith("finished")]
    assert failed["message"].startswith("finished: run is failed: ")
    task = {line["step"]: line["task"] for line in decided if line["message"].startswith("granted")}
    places = {
        "in a thread": "thread",
        "in the loop": "loop",
        "in a thread of the loop": "loop",
        "by the context": "loop",
        "in a child": "child",
        "in a bare thread of a child": "child",
    }
    for text, path in places.items():
        [line] = [line for line in worked if line["message"] == text]
        assert (line["run"], line["step"], line["task"]) == (run, path, task[path]), line
    for path in task:
        told = [
            line["message"].split(":")[0]
            for line in worked
            if line.get("step") == path and line["logger"] == "consort.agent"
        ]
        assert told[0] == "begun"
        assert told[-1] in ("done", "failed")
    [raised] = [line for line in worked if "raised ValueError at" in line["message"]]
    assert "raise KeyError(text)" in raised["message"]


async def test_figures_are_sent_to_a_collector(system: System) -> None:
    with collector("http/protobuf") as (http, by_http), collector("grpc") as (grpc, by_grpc):
        every = {"OTEL_METRIC_EXPORT_INTERVAL": "200"}
        orchestrator = system.orchestrator(
            env={**every, "OTEL_EXPORTER_OTLP_ENDPOINT": http, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
        )
        agent = system.agent(
            "worker",
            env={**every, "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": grpc, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        )
        await until(lambda: ("consort-orchestrator", "consort.runs.open") in by_http)
        await until(lambda: ("consort-agent", "consort.agent.slots") in by_grpc)
        run = await system.run({"steps": {"a": {"skill": "text.make", "with": {"name": "x"}}}})
        await system.client.result(run)
        assert [child.stop() for child in (agent, orchestrator)] == [0, 0]
        # what happened last is sent last
        assert ("consort-agent", "gen_ai.invoke_agent.duration") in by_grpc
        assert ("consort-orchestrator", "consort.run.duration") in by_http
        for child in (agent, orchestrator):
            assert "cannot be sent" not in child.log.read_text()


async def test_a_collector_that_does_not_answer_harms_nothing(system: System) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        env |= {"OTEL_METRIC_EXPORT_INTERVAL": "100", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
        children = [
            system.orchestrator(env={**env, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}),
            system.agent("worker", env={**env, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}),
        ]
        run = await system.run({"steps": {"a": {"skill": "text.make", "with": {"name": "x"}}}})
        await system.client.result(run)
        await until(lambda: all("cannot be sent" in child.log.read_text() for child in children))
        began = time.monotonic()
        assert [await asyncio.to_thread(child.stop) for child in reversed(children)] == [0, 0]
        assert time.monotonic() - began < 15  # two seconds each for the last figures, and a busy machine
        for child in children:
            assert child.log.read_text().count("cannot be sent") == 1
            assert "Traceback" not in child.log.read_text()


@pytest.mark.parametrize(
    ("code", "environment"),
    [
        ("import consort_orchestrator.cli as c; c.invoke(['--help'])", {}),
        (
            "import consort_orchestrator.shell.service, consort_agents.process\n"
            "from consort_shared.telemetry.metering import metering\n"
            "with metering('agent', 'a', False) as meters: assert meters.scrape is None",
            {},
        ),
        (
            "from consort_shared.telemetry.metering import metering\n"
            "with metering('agent', 'a', True) as meters: assert meters.scrape is None",
            {"OTEL_METRICS_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
        ),
    ],
)
def test_nothing_is_loaded_where_nobody_wants_figures(code: str, environment: dict[str, str]) -> None:
    check = "import sys; assert not [name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'grpc'))]"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{check}"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr


HOST = """
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
reader = InMemoryMetricReader()
mine = MeterProvider([reader])
metrics.set_meter_provider(mine)
from consort_shared.telemetry import metrics as ours
from consort_shared.telemetry.metering import metering
with metering("agent", "a", True) as meters:
    assert metrics.get_meter_provider() is mine
    ours.run_started()
    assert b"consort_runs_started_total 1.0" in meters.scrape().body
data = reader.get_metrics_data()
assert "consort.runs.started" in data.to_json()
"""


def test_a_provider_that_is_there_is_not_replaced() -> None:
    done = subprocess.run([sys.executable, "-c", HOST], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_variable_that_is_wrong_is_told_of_and_the_work_goes_on() -> None:
    code = (
        "from consort_shared.telemetry.logs import set_up_logging; set_up_logging()\n"
        "from consort_shared.telemetry.metering import metering\n"
        "with metering('agent', 'a', False): print('at work')"
    )
    wrong = {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_METRIC_EXPORT_INTERVAL": "-1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=wrong, check=False
    )
    assert (done.returncode, done.stdout) == (0, "at work\n")
    assert "an OTEL_ variable is wrong" in done.stderr
