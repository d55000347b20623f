"""What becomes of steps whose agents do them wrong, and of values of every size."""

from __future__ import annotations

from typing import Any

import pytest
from system_kit import System, until
from test_sharing import fact_of

from consort_bus import embedded
from consort_bus.artefacts import ArtefactCorrupt
from consort_bus.connection import open_bus
from consort_bus.reading import last
from consort_bus.subjects import ARTEFACTS, artefact_chunks
from consort_bus.wire import Wire
from consort_shared.entries import Failure, Granted, Noted, Refused
from consort_shared.errors import RunCancelled, RunFailed
from consort_shared.values import ArtefactRef

pytestmark = pytest.mark.slow
ONCE = {"attempts": 1}


def one(skill: str, **more: Any) -> dict[str, Any]:
    return {"steps": {"it": {"skill": skill, **more}}}


@pytest.mark.parametrize(
    ("step", "kind", "says", "attempts"),
    [
        (one("raise", retry={"attempts": 2, "wait": 0}), "exception", "RuntimeError: it broke", 2),
        (one("leave", retry=ONCE), "exception", "SystemExit: 4", 1),
        (one("leave.async", retry=ONCE), "exception", "SystemExit: 4", 1),
        (one("refuse"), "skill-error", "this cannot be done by anybody", 1),
        (one("decline", retry={"wait": 0}), "declined", "not mine", 4),
        (one("lie"), "bad-output", "valid integer", 1),
        (one("hang", timeout=0.5, retry=ONCE), "timeout", "no report within 0.5 s", 1),
        (one("die", **{"with": {"times": "many"}}), "bad-input", "times: Input should be a valid integer", 1),
    ],
)
async def test_failures_are_told_as_they_are(
    system: System, step: dict[str, Any], kind: str, says: str, attempts: int
) -> None:
    system.orchestrator()
    system.agent("odd")
    run = await system.run(step)
    with pytest.raises(RunFailed, match="it"):
        await system.client.result(run, timeout=30)
    failures = [fact for fact in await system.facts(run) if isinstance(fact, Failure)]
    assert [fact.kind for fact in failures] == [kind] * attempts
    assert says in failures[-1].message


async def test_an_agent_that_dies_at_its_task_is_followed_by_the_next_process(system: System) -> None:
    system.orchestrator()
    agent = system.agent("odd")
    run = await system.run(one("die", **{"with": {"times": 1}}))
    await until(lambda: agent.process.poll() is not None)
    system.agent("odd")
    assert await system.client.result(run, timeout=30) == {"it": "alive"}
    granted = [fact for fact in await system.facts(run) if isinstance(fact, Granted)]
    assert [fact.attempt for fact in granted] == [1]


async def test_large_results_travel_by_digest(system: System) -> None:
    """A result of 5 MB, and parts of a large one used by others and by expressions."""
    system.orchestrator()
    system.agent("odd")
    system.agent("worker")
    assert await system.client.result(await system.run(one("large")), timeout=30) == {"it": "y" * 5_000_000}
    plan: dict[str, Any] = {
        "steps": {
            "big": {"skill": "value.make", "with": {"size": 300_000}},
            "size": {
                "skill": "value.measure",
                "needs": ["big"],
                "with": {"text": "${{ steps.big.output.text }}"},
            },
            "each": {
                "skill": "text.make",
                "needs": ["big"],
                "if": "steps.big.output.small == 7",
                "for_each": {"items": "${{ steps.big.output.items }}"},
                "with": {"name": "${{ 'n' + string(item) }}"},
            },
        },
        "output": {"size": "${{ steps.size.output }}", "count": "${{ size(steps.each.output) }}"},
    }
    run = await system.run(plan)
    assert await system.client.result(run, timeout=30) == {"size": 300_000, "count": 10}
    for logged in await system.client.entries(run):
        assert len(logged.entry.model_dump_json()) < 64 * 1024


async def test_a_hundred_megabytes_pass_from_agent_to_agent_and_damage_is_noticed(system: System) -> None:
    """S43."""
    system.orchestrator()
    system.agent("worker")
    size = 100 * 1024 * 1024
    plan: dict[str, Any] = {
        "steps": {
            "make": {"skill": "blob.make", "with": {"size": size}},
            "measure": {
                "skill": "blob.measure",
                "needs": ["make"],
                "with": {"blob": "${{ steps.make.output.blob }}"},
            },
        },
        "output": {"blob": "${{ steps.make.output.blob }}", "size": "${{ steps.measure.output }}"},
    }
    result = await system.client.result(await system.run(plan), timeout=60)
    assert result["size"] == size
    ref = ArtefactRef.model_validate(result["blob"])
    role, name = ref.writer.split(".")
    subject = artefact_chunks(role, name, ref.artefact).replace("*", "3")
    creds = embedded.credentials_for(system.folder, "provisioner", "setup")
    async with open_bus(system.url, creds) as bus, Wire(bus.nc, bus) as wire:
        stored = await last(wire, ARTEFACTS, subject)
        assert stored is not None
        await bus.request(subject, b"\xff" + stored.data[1:], headers=stored.headers)
    with pytest.raises(ArtefactCorrupt, match=ref.artefact):
        await system.client.artefacts.get(ref)


async def test_a_cancelled_run_stops_its_tasks(system: System) -> None:
    system.orchestrator()
    system.agent("worker")
    run = await system.run(one("text.gate", **{"with": {"name": "never"}}))
    await until(lambda: system.marked("at-never"))
    await system.client.cancel(run, "enough")
    with pytest.raises(RunCancelled, match="enough"):
        await system.client.result(run, timeout=20)
    after = await system.run(one("text.make", **{"with": {"name": "x"}}))
    await system.client.result(after, timeout=20)


async def test_context_is_written_judged_and_projected(system: System) -> None:
    """S21 in part: each key with author, revision and time, also after all processes have stopped."""
    orchestrator, agent = system.orchestrator(), system.agent("worker")
    run = await system.run(one("context.put"))
    answers = (await system.client.result(run, timeout=20))["it"]
    assert [(answer["accepted"], answer["revision"]) for answer in answers] == [
        (True, 1),
        (False, 1),
        (True, 2),
    ]
    assert "revision 1" in answers[1]["why"]
    assert any(isinstance(fact, Refused) and fact.what == "put" for fact in await system.facts(run))
    for child in (agent, orchestrator):
        assert child.stop() == 0
    [value] = await system.client.context(run)
    assert (value.key, value.value, value.revision, value.author) == ("note", "two", 2, "worker")
    history = await system.client.context_history(run, "note")
    assert [kept.value for kept in history] == ["one", "two"]


async def test_hand_offs_name_every_predecessor_with_its_digest(system: System) -> None:
    """S1: what the successor was told is what the log holds."""
    system.orchestrator()
    system.agent("worker")
    plan: dict[str, Any] = {
        "steps": {
            "a": {"skill": "text.make", "with": {"name": "a"}},
            "b": {"skill": "text.make", "with": {"name": "b"}},
            "c": {
                "skill": "text.extend",
                "needs": ["a", "b"],
                "with": {"text": "${{ steps.a.output.text }}", "by": "c"},
            },
        }
    }
    run = await system.run(plan)
    await system.client.result(run, timeout=20)
    accepted = {fact.path: fact.output.digest for fact in await system.facts(run) if fact.fact == "accepted"}
    told = system.marked("handoff")[0].split()[2].split(",")
    assert set(told) == {f"a:{accepted['a']}", f"b:{accepted['b']}"}


async def test_a_missing_context_key_stops_the_successor_by_name(system: System) -> None:
    """S1, S2: a step whose notes nobody wrote never starts."""
    system.orchestrator()
    system.agent("worker")
    plan = one("text.make", context=["notes"], **{"with": {"name": "x"}})
    with pytest.raises(RunFailed, match="`notes` is missing"):
        await system.client.result(await system.run(plan), timeout=20)
    assert not system.marked("make")


async def test_the_same_key_is_done_once(system: System) -> None:
    """S3."""
    system.orchestrator()
    system.agent("worker")
    step = {"skill": "text.make", "key": "'the same'", "with": {"name": "k", "pause": 0.2}}
    run = await system.run({"steps": {"one": step, "two": step, "three": {**step, "needs": ["one"]}}})
    result = await system.client.result(run, timeout=20)
    assert result == {"two": {"text": "made k"}, "three": {"text": "made k"}}
    assert len(system.marked("make")) == 1
    shared = [fact for fact in await system.facts(run) if fact.fact == "shared"]
    assert {fact.path for fact in shared} == {"two", "three"}


async def test_milestones_are_on_record(system: System) -> None:
    """S42: progress is an event of its own kind."""
    system.orchestrator()
    system.agent("worker")
    run = await system.run(one("milestone.tell"))
    noted = await fact_of(system, run, Noted)
    assert (noted.text, noted.done, noted.total) == ("half-way", 1, 2)
    await system.client.result(run, timeout=20)
