"""Whether a process tells rightly how it is: alive, ready, or why not."""

from __future__ import annotations

import asyncio
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from scraping import ANY_PORT, LIMIT, fetch, told, until_told
from system_kit import System, system, until

from consort_bus import embedded
from consort_shared.telemetry.health import Address, PortTaken, answering, for_children

__all__ = ["system"]
pytestmark = pytest.mark.slow
STEPS = {"steps": {"one": {"skill": "text.gate", "with": {"name": "door"}}}}


async def test_ready_means_taking_part(system: System) -> None:
    agent = system.agent("worker", env=ANY_PORT)
    await until_told(agent, "/readyz", 503, "no orchestrator has welcomed it yet")
    assert (await told(agent, "/livez"))[0] == 200
    orchestrator = system.orchestrator(env=ANY_PORT)
    await until_told(orchestrator, "/readyz", 200)
    await until_told(agent, "/readyz", 200)
    await system.run(STEPS)
    await until(lambda: system.marked("at-door"))
    agent.process.terminate()
    await until_told(agent, "/readyz", 503, "it is stopping")
    assert (await told(agent, "/livez"))[0] == 200
    system.let_go("door")
    assert await asyncio.to_thread(agent.process.wait, 20) == 0
    await asyncio.to_thread(embedded.stop, system.folder)
    await until_told(orchestrator, "/readyz", 503, "it is not connected to the bus")
    assert await told(orchestrator, "/livez") == (200, {"status": "ok"})
    status, answer = await told(orchestrator, "/elsewhere")
    assert (status, answer["paths"]) == (404, ["/livez", "/readyz", "/metrics"])


async def test_a_port_that_is_taken_is_said_in_one_sentence(system: System) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        taken = {"CONSORT_HEALTH_PORT": str(port)}
        both = [system.orchestrator(env=taken), system.agent("worker", env=taken)]
        codes = [await asyncio.to_thread(child.process.wait, 20) for child in both]
        assert codes == [3, 3]
        for child in both:
            lines = child.log.read_text().splitlines()
            assert len(lines) == 1, lines
            assert f"health checks cannot be answered at 127.0.0.1:{port}: Address already in use" in lines[0]
            assert "--health-port" in lines[0]


async def test_a_loop_that_hangs_is_told_of_while_it_hangs() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with answering(Address("127.0.0.1", port), stale=0.3) as vitals:
        vitals.ready_unless(lambda: "")
        assert (await asyncio.to_thread(fetch, port, "/readyz"))[0] == 200
        with ThreadPoolExecutor(1) as pool:  # the loop stands still as long as this block waits
            (live, why), (ready, _) = pool.submit(_until_dead, port).result()
        assert (live, ready) == (503, 503)
        assert "has not turned" in why
        with pytest.raises(PortTaken):
            async with answering(Address("127.0.0.1", port)):
                pass


def _until_dead(port: int) -> tuple[tuple[int, str], tuple[int, str]]:
    until = time.monotonic() + LIMIT
    while (live := fetch(port, "/livez"))[0] == 200:
        assert time.monotonic() < until
        time.sleep(0.02)
    return live, fetch(port, "/readyz")


def test_children_are_not_given_a_port_that_only_one_can_have() -> None:
    assert for_children({"CONSORT_HEALTH_PORT": "9401", "A": "b"}) == {"A": "b"}
    assert for_children({"CONSORT_HEALTH_PORT": "0"}) == {"CONSORT_HEALTH_PORT": "0"}
