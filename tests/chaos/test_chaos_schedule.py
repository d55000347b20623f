"""The schedule of faults and the workload are pure functions of the seed."""

from __future__ import annotations

from itertools import islice, pairwise

import pytest

from consort_orchestrator.chaos import Options, faults_named, shapes_named
from consort_orchestrator.chaos.schedule import KINDS, RECOVERY, Fault, Field, schedule
from consort_orchestrator.chaos.shapes import SHAPES, jobs
from consort_shared.errors import InvalidInput
from consort_shared.plan.check import check

FIELD = Field(nodes=3, orchestrators=2, agents=4)


def faults(seed: int, kinds: tuple[str, ...] = tuple(KINDS), field: Field = FIELD) -> list[Fault]:
    return list(islice(schedule(seed, kinds, field, 0.5), 400))


def test_a_seed_is_the_same_faults_each_time() -> None:
    assert faults(7) == faults(7)
    assert faults(7) != faults(8)


def test_every_kind_comes_and_lasts_as_long_as_it_may() -> None:
    found = faults(3)
    assert {fault.kind for fault in found} == set(KINDS)
    for fault in found:
        shortest, longest = KINDS[fault.kind].seconds
        assert shortest <= fault.seconds <= longest
        assert 0 <= fault.target < FIELD.targets(fault.strikes)
    assert all(one.at <= other.at for one, other in pairwise(found))


def test_nobody_is_struck_twice_at_a_time_and_one_node_only() -> None:
    for seed in range(20):
        until: dict[tuple[str, int], float] = {}
        for fault in faults(seed):
            whom = (fault.strikes, 0 if fault.strikes == "node" else fault.target)
            assert until.get(whom, 0.0) <= fault.at
            until[whom] = fault.at + fault.seconds + RECOVERY


def test_no_kinds_no_faults() -> None:
    assert list(schedule(1, (), FIELD, 0.5)) == []


def test_kinds_as_people_write_them() -> None:
    assert faults_named("all") == tuple(KINDS)
    assert faults_named("none") == ()
    assert faults_named("kill") == ("kill-agent", "kill-orchestrator", "kill-node")
    assert faults_named("partition, kill-agent") == ("kill-agent", "partition")
    assert faults_named("slow-disk") == ("slow-node",)
    with pytest.raises(InvalidInput, match="no fault 'earthquake'"):
        faults_named("earthquake")
    with pytest.raises(InvalidInput, match="the workload has no 'tango'"):
        shapes_named("tango")
    with pytest.raises(InvalidInput, match="1 or 3"):
        Options(nodes=2)


def test_the_workload_is_the_same_each_time_and_its_plans_are_sound() -> None:
    shapes = tuple(SHAPES)
    again = [(job.shape, dict(job.inputs), job.expected, job.acts) for job in jobs(5, shapes, 30)]
    assert again == [(job.shape, dict(job.inputs), job.expected, job.acts) for job in jobs(5, shapes, 30)]
    assert {shape for shape, *_ in again} == set(shapes)
    assert [job.inputs for job in jobs(5, shapes, 30)] != [job.inputs for job in jobs(6, shapes, 30)]
    for shape in SHAPES.values():
        assert check(shape.plan) == []
