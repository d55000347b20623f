"""The shipped example in a real Jaeger: one trace, from all its processes, whole although two of them were killed.

`make jaeger` builds the Jaeger that this needs, where there is Go; otherwise the tests are skipped.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from system_kit import LIMIT, System

from consort_orchestrator.tracing.checking import check
from consort_orchestrator.tracing.sources import Jaeger
from consort_shared.entries import Granted
from consort_shared.ids import new_run_id
from consort_shared.telemetry.span_ids import root_span_id

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

EXAMPLE = Path(__file__).parents[2] / "examples" / "market-analysis"
AGENTS = ("researcher", "analyst", "surveyor", "writer", "checker")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "consort" / "jaeger"
PROGRAM = Path(os.environ.get("CONSORT_JAEGER_PROGRAM") or CACHE / "jaeger")
CONFIG = """
service:
  extensions: [jaeger_storage, jaeger_query]
  pipelines: {{traces: {{receivers: [otlp], exporters: [jaeger_storage_exporter]}}}}
  telemetry: {{metrics: {{level: none}}}}
extensions:
  jaeger_query:
    storage: {{traces: some}}
    http: {{endpoint: "127.0.0.1:{query}"}}
    grpc: {{endpoint: "127.0.0.1:{rpc}"}}
  jaeger_storage: {{backends: {{some: {{memory: {{max_traces: 1000}}}}}}}}
receivers:
  otlp:
    protocols: {{grpc: {{endpoint: "127.0.0.1:{grpc}"}}, http: {{endpoint: "127.0.0.1:{http}"}}}}
exporters:
  jaeger_storage_exporter: {{trace_storage: some}}
"""


@dataclass(frozen=True)
class Running:
    query: str
    endpoints: dict[str, str]
    """by protocol"""


@pytest.fixture
def jaeger(tmp_path: Path) -> Iterator[Running]:
    if not PROGRAM.exists():
        pytest.skip(f"there is no Jaeger at {PROGRAM}: `make jaeger` builds one where there is Go")
    ports = dict(zip(("query", "rpc", "grpc", "http"), _free_ports(4), strict=True))
    config = tmp_path / "jaeger.yaml"
    config.write_text(CONFIG.format(**ports))
    with (tmp_path / "jaeger.log").open("wb") as log:
        process = subprocess.Popen([PROGRAM, "--config", config], stdout=log, stderr=log)
    query = f"http://127.0.0.1:{ports['query']}"
    try:
        _until_there(query, process, tmp_path / "jaeger.log")
        endpoints = {
            "http/protobuf": f"http://127.0.0.1:{ports['http']}",
            "grpc": f"http://127.0.0.1:{ports['grpc']}",
        }
        yield Running(query, endpoints)
    finally:
        process.kill()
        process.wait()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _until_there(query: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + LIMIT
    while True:
        try:
            with urllib.request.urlopen(f"{query}/api/services", timeout=2):
                return
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.1)


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
async def test_the_example_is_one_trace_although_an_agent_and_an_orchestrator_die(
    system: System, jaeger: Running, protocol: str
) -> None:
    """J11."""
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": jaeger.endpoints[protocol],
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_BSP_SCHEDULE_DELAY": "300",
    }
    orchestrators = [system.orchestrator(name, env=env) for name in ("one", "two")]
    agents = {name: system.agent(name, module=None, env=env) for name in AGENTS}
    run = new_run_id()
    await _submitted(system, run, env)
    writers: list[str] = []
    killed: list[str] = []
    async with asyncio.timeout(120):
        async for logged in system.client.watch(run):
            writers.append(logged.entry.writer)
            for fact in logged.entry.facts:
                if isinstance(fact, Granted) and fact.agent == "surveyor" and not killed:
                    decides = next(
                        one for one in orchestrators if writers[-1].startswith(one.name.partition("-")[2])
                    )
                    decides.kill()
                    system.orchestrator("three", env=env)
                    agents["surveyor"].kill()
                    system.agent("surveyor", module=None, env=env)
                    killed = [decides.name, "agent-surveyor"]
    assert len(killed) == 2
    assert len(set(writers)) >= 2, "another orchestrator went on"
    source = Jaeger(jaeger.query)
    entries = [logged.entry for logged in await system.client.entries(run)]
    until = time.monotonic() + LIMIT
    while not (found := check(run, entries, await asyncio.to_thread(source.spans, run))).whole:
        assert time.monotonic() < until, [hole.what for hole in found.holes]
        await asyncio.sleep(0.2)
    assert found.processes >= 8  # five agents, two orchestrators, the client
    told = await asyncio.to_thread(_trace_in_the_ui, jaeger.query, run)
    spans = {span["spanID"]: span for span in told["spans"]}
    roots = [span for span in spans.values() if not span["references"] or _parent(span) is None]
    assert [span["spanID"] for span in roots] == [root_span_id(run)]
    assert all(_parent(span) in spans for span in spans.values() if _parent(span))
    missing = [
        span for span in await asyncio.to_thread(source.spans, run) if not span.name.startswith("process")
    ]
    holes = check(run, entries, missing).holes
    assert {hole.kind for hole in holes} == {"no parent", "no work"}


async def _submitted(system: System, run: str, env: dict[str, str]) -> None:
    """By a person at a terminal: the client is a process of the trace too."""
    command = ["-m", "consort_orchestrator.cli", "submit", EXAMPLE / "plan.yaml", "--run", run]
    command += ["--input", f"sources={EXAMPLE / 'sources'}", "--creds", system.creds("client", "me")]
    environment = {**os.environ, **env, "CONSORT_SERVER": system.url}
    process = await asyncio.create_subprocess_exec(
        sys.executable, *map(str, command), env=environment, stdout=asyncio.subprocess.DEVNULL
    )
    assert await asyncio.wait_for(process.wait(), LIMIT) == 0


def _trace_in_the_ui(query: str, run: str) -> Any:
    """As Jaeger's own user interface is given it."""
    with urllib.request.urlopen(f"{query}/api/traces/{run}", timeout=10) as answer:
        [trace] = json.load(answer)["data"]
    assert not any(re.search("invalid parent", str(span.get("warnings"))) for span in trace["spans"])
    return trace


def _parent(span: dict[str, Any]) -> str | None:
    parents = [one["spanID"] for one in span["references"] if one["refType"] == "CHILD_OF"]
    return parents[0] if parents else None
