"""A run driven and worked on by programs that know NATS and JSON and nothing of Consort (F9, F1 to F4, S93)."""

from __future__ import annotations

from typing import Any

import pytest
from plain_kit import plain_agent, tell
from system_kit import System, until

from consort_shared.entries import Granted, Heeded

pytestmark = pytest.mark.slow
THERE_AND_BACK: dict[str, Any] = {
    "name": "there-and-back",
    "inputs": {"word": {"type": "string"}},
    "steps": {
        "make": {"skill": "text.make", "with": {"name": "${{ inputs.word }}"}},
        "shout": {
            "skill": "plain.shout",
            "needs": ["make"],
            "with": {"text": "${{ steps.make.output.text }}"},
        },
        "extend": {
            "skill": "text.extend",
            "needs": ["shout"],
            "with": {"text": "${{ steps.shout.output.text }}", "by": "end"},
        },
    },
}
GATE: dict[str, Any] = {
    "name": "gate",
    "steps": {
        "gate": {"skill": "plain.gate", "with": {"name": "g"}},
        "after": {"skill": "text.make", "needs": ["gate"], "with": {"name": "after"}},
    },
}


async def test_a_run_goes_from_a_consort_agent_to_a_plain_one_and_back(system: System) -> None:
    """F9: submitted, worked on and read with nothing but JSON; hand-offs cross both ways."""
    system.orchestrator()
    system.agent("worker")
    plain_agent(system)
    status = await tell(
        system,
        {
            "do": "submit",
            "run": "0194f2c3a4b50123456789abcdef0123",
            "plan": THERE_AND_BACK,
            "inputs": {"word": "tea"},
        },
        {"do": "wait", "run": "0194f2c3a4b50123456789abcdef0123"},
    )
    assert status["state"] == "completed", status
    assert status["output"] == {"extend": {"text": "MADE TEA.end"}}
    assert [(step["path"], step["phase"], step["agent"]) for step in status["steps"]] == [
        ("make", "done", "worker"),
        ("shout", "done", "plain"),
        ("extend", "done", "worker"),
    ]
    assert system.marked("modules")[0].split()[2:] == []
    facts = await system.facts(status["run"])
    granted = {fact.path: fact for fact in facts if isinstance(fact, Granted)}
    assert f"shout:{granted['extend'].handoff.priors[0].digest}" in system.marked("handoff")[0]


async def test_a_plain_agent_that_is_killed_or_told_to_stop_does_what_the_contract_says(
    system: System,
) -> None:
    """F4: redelivered after kill -9 and done once; a stop order is heeded within its second."""
    system.orchestrator()
    system.agent("worker")
    first = plain_agent(system)
    taken = await tell(system, {"do": "ask", "plan": GATE})
    await until(lambda: system.marked("at-g"))
    first.kill()
    second = plain_agent(system)
    await until(lambda: len(system.marked("at-g")) == 2)
    assert [int(line.split()[0]) for line in system.marked("at-g")] == [first.process.pid, second.process.pid]
    assert "{'wanted': 'yes'}" in system.marked("asked")[0]
    system.let_go("g")
    status = await tell(system, {"do": "wait", "run": taken["run"]})
    assert (status["state"], status["output"]) == ("completed", {"after": {"text": "made after"}})
    assert await system.accepted_once(taken["run"]) == ["gate", "after"]

    (system.marks / "go-g").unlink()
    stopped = await tell(system, {"do": "ask", "plan": GATE})
    await until(lambda: len(system.marked("at-g")) == 3)
    status = await tell(
        system,
        {"do": "say", "run": stopped["run"], "say": "cancel", "why": "no more"},
        {"do": "wait", "run": stopped["run"]},
    )
    assert (status["state"], status["why"]) == ("cancelled", "no more")
    [heeded] = [fact for fact in await system.facts(stopped["run"]) if isinstance(fact, Heeded)]
    assert (heeded.agent, heeded.order, heeded.how) == ("plain", "stop", "stopped")


async def test_large_tasks_and_results_travel_by_digest(system: System) -> None:
    """F9: over 64 KiB a delivery, a hand-off and an answer are stored, and a plain program reads them in parts."""
    system.orchestrator()
    system.agent("worker")
    plain_agent(system)
    size = 700_000
    plan = {
        "name": "large",
        "inputs": {"text": {"type": "string"}},
        "steps": {
            "make": {"skill": "value.make", "with": {"size": size}},
            "shout": {
                "skill": "plain.shout",
                "needs": ["make"],
                "with": {"text": "${{ steps.make.output.text }}"},
            },
            "again": {"skill": "plain.shout", "with": {"text": "${{ inputs.text }}"}},
            "measure": {
                "skill": "value.measure",
                "needs": ["shout"],
                "with": {"text": "${{ steps.shout.output.text }}"},
            },
        },
        "output": {"size": "${{ steps.measure.output }}", "again": "${{ steps.again.output.text }}"},
    }
    taken = await tell(system, {"do": "ask", "plan": plan, "inputs": {"text": "y" * 1_200_000}})
    status = await tell(system, {"do": "wait", "run": taken["run"]})
    assert status["state"] == "completed", status
    assert status["output"] == {"size": size, "again": "Y" * 1_200_000}


async def test_a_delivery_that_a_crash_left_out_is_sent_by_who_comes_next(system: System) -> None:
    """F9: an agent that reads JSON is always sent a copy, and its entry may be stored without it."""
    first = system.orchestrator("one", env={"CONSORT_FAILPOINT": "entry-stored:1"})
    plain_agent(system)
    plan = {"name": "shout", "steps": {"shout": {"skill": "plain.shout", "with": {"text": "tea"}}}}
    taken = await tell(system, {"do": "ask", "plan": plan})
    await until(lambda: not first.running)
    assert system.marked("shouted") == []
    system.orchestrator("two")
    status = await tell(system, {"do": "wait", "run": taken["run"]})
    assert (status["state"], status["output"]) == ("completed", {"shout": {"text": "TEA"}})


SPEAKS_JSON = """
import consort_agents.kit as kit
made = kit.Agent.card.fget
kit.Agent.card = property(lambda agent: made(agent).model_copy(update={"encoding": "json"}))
"""


async def test_all_that_an_agent_may_be_told_can_be_told_in_json(system: System) -> None:
    """F9: deliveries, answers to context writes, answers about effects, and orders, as the kit reads them."""
    system.orchestrator()
    system.agent("worker", shim=f"exec({SPEAKS_JSON!r})")
    plan = {
        "name": "all",
        "steps": {
            "put": {"skill": "context.put"},
            "effect": {"skill": "effect.once", "with": {"name": "pay"}},
            "large": {"skill": "value.make", "with": {"size": 200_000}},
            "size": {
                "skill": "value.measure",
                "needs": ["large"],
                "with": {"text": "${{ steps.large.output.text }}"},
            },
        },
        "output": {"put": "${{ steps.put.output }}", "size": "${{ steps.size.output }}"},
    }
    taken = await tell(system, {"do": "ask", "plan": plan})
    status = await tell(system, {"do": "wait", "run": taken["run"]})
    assert status["state"] == "completed", status
    assert [answer["accepted"] for answer in status["output"]["put"]] == [True, False, True]
    assert status["output"]["size"] == 200_000
    assert len(system.marked("effect-pay")) == 1
    [presence] = await system.client.agents()
    assert presence.card.encoding == "json"

    gate = {"name": "gate", "steps": {"gate": {"skill": "text.gate", "with": {"name": "g"}}}}
    run = (await tell(system, {"do": "ask", "plan": gate}))["run"]
    await until(lambda: system.marked("at-g"))
    status = await tell(system, {"do": "say", "run": run, "say": "cancel"}, {"do": "wait", "run": run})
    [heeded] = [fact for fact in await system.facts(run) if isinstance(fact, Heeded)]
    assert (status["state"], heeded.how) == ("cancelled", "stopped")
