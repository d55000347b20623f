"""The core in a world in which everything goes wrong: see `simulation` for the world, `auditor` for the rules."""

from __future__ import annotations

import pytest
from auditor import Auditor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plans import plans
from simulation import RUN, Simulation, same

from consort_orchestrator.core import IllegalMove, Run, fold
from consort_shared.codec import JSON, decode, encode
from consort_shared.entries import Failure, Opened, entry_adapter
from consort_shared.plan.check import check
from consort_shared.plan.model import Plan

QUIET = settings(
    max_examples=30,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(7))
def test_any_plan_any_faults(block: int) -> None:
    """S20: with the runs of the next test 1,000 seeded ones; no step ever starts before what it needs is accepted."""
    for seed in range(block * 100, block * 100 + 100):
        try:
            Simulation(seed).go()
        except Exception as exc:
            raise AssertionError(f"seed {seed}") from exc


@pytest.mark.slow
def test_a_forced_end_ends_the_run_whatever_is_missing() -> None:
    """Nobody is there who takes anything back: without the force these runs stand still for ever."""
    given_up = 0
    for seed in range(200):
        try:
            ended = Simulation(seed, lost="back.u").go()
        except Exception as exc:
            raise AssertionError(f"seed {seed}") from exc
        given_up += len(ended.folded.given_up)
    assert given_up > 40


@pytest.mark.slow
@pytest.mark.parametrize("block", range(3))
def test_the_same_result_with_and_without_faults(block: int) -> None:
    for seed in range(block * 100, block * 100 + 100):
        try:
            disturbed = Simulation(seed, calm=True).go()
            undisturbed = Simulation(seed, calm=True, faults=False).go()
        except Exception as exc:
            raise AssertionError(f"seed {seed}") from exc
        assert disturbed.result() == undisturbed.result(), f"seed {seed}"
        assert disturbed.effects() == undisturbed.effects(), f"seed {seed}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "bug", ["no attempt check", "no fence", "no dedupe", "stale", "no ledger", "undo twice"]
)
def test_seeded_defects_are_found(bug: str) -> None:
    """`stale`: nothing to write was decided on a stale run, and the message counted as dealt with."""
    for seed in range(400):
        try:
            Simulation(seed, calm=seed % 2 == 0, bug=bug).go()
        except (AssertionError, IllegalMove):
            return
    raise AssertionError(f"`{bug}` was not found")


@pytest.mark.slow
def test_plans_that_come_while_a_run_goes_on() -> None:
    """S15, A3: planners answer garbage and mend it, plans are carried out inside plans, whatever else goes wrong."""
    opened, refused, inside = 0, 0, 0
    for seed in range(1000, 1300):
        try:
            facts = [fact for entry, _ in Simulation(seed).go().log for fact in entry.facts]
        except Exception as exc:
            raise AssertionError(f"seed {seed}") from exc
        brought = [fact.path for fact in facts if isinstance(fact, Opened) and fact.plan is not None]
        opened += len(brought)
        inside += sum(path.endswith(".p4") for path in brought)
        refused += sum(isinstance(fact, Failure) and fact.kind == "bad-plan" for fact in facts)
    assert min(opened, refused) > 30
    assert inside > 5


def test_the_auditor_sees_another_plan_than_the_one_accepted() -> None:
    for seed in range(200):
        done = Simulation(seed, faults=False).go()
        again = Auditor()
        again.reported = done.auditor.reported
        for entry, _ in done.log:
            facts = [
                fact.model_copy(update={"plan": fact.plan.model_copy(update={"name": "other"})})
                if isinstance(fact, Opened) and fact.plan is not None
                else fact
                for fact in entry.facts
            ]
            try:
                again.take(entry.model_copy(update={"facts": tuple(facts)}))
            except AssertionError:
                return
    raise AssertionError("nobody noticed")


@QUIET
@given(plans(), st.integers(0, 2**32))
def test_drawn_plans_survive(plan: Plan, seed: int) -> None:
    assert check(plan) == []
    simulation = Simulation(seed, plan=plan).go()
    again = Auditor()
    again.reported, again.paid = simulation.auditor.reported, simulation.auditor.paid
    run = Run(RUN)
    for entry, digest in simulation.log:
        in_json = decode(
            entry_adapter, entry.model_dump_json(by_alias=True, exclude_unset=True).encode(), JSON
        )
        assert encode(in_json) == encode(entry)
        again.take(in_json)
        fold(run, [(in_json, digest)])
    same(run, simulation.folded)


@QUIET
@given(plans(calm=True), st.integers(0, 2**32))
def test_drawn_calm_plans_end_the_same(plan: Plan, seed: int) -> None:
    assert check(plan) == []
    disturbed = Simulation(seed, plan=plan, calm=True).go()
    undisturbed = Simulation(seed + 1, plan=plan, calm=True, faults=False).go()
    assert disturbed.result() == undisturbed.result()
    assert disturbed.effects() == undisturbed.effects()
