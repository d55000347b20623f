"""Whose turn it is: fair between runs, within quotas; pure."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consort_agents.hosting.turns import WINDOW, Quota, Turns


def test_runs_take_turns() -> None:
    """S101: one call of a run is never behind more than one of each other run."""
    turns: Turns[str] = Turns(1, {})
    for n in range(100):
        turns.add("greedy", "t", f"g{n}")
    assert turns.take(0.0) == "g0"
    turns.add("modest", "t", "m")
    turns.ended("t")
    order = []
    for _ in range(3):
        order.append(turns.take(0.0))
        turns.ended("t")
    assert "m" in order[:2]


def test_a_minute_s_allowance_opens_as_calls_age() -> None:
    turns: Turns[int] = Turns(10, {"t": Quota(per_minute=2)})
    for n in range(3):
        turns.add("r", "t", n)
    assert [turns.take(0.0), turns.take(1.0), turns.take(2.0)] == [0, 1, None]
    assert turns.next_at(2.0) == WINDOW
    assert turns.take(WINDOW - 0.1) is None
    assert turns.take(WINDOW) == 2
    assert turns.next_at(WINDOW) is None


def test_a_full_tool_does_not_hold_up_another() -> None:
    turns: Turns[str] = Turns(10, {"narrow": Quota(concurrent=1)})
    turns.add("r", "narrow", "a")
    turns.add("r", "narrow", "b")
    turns.add("r", "wide", "c")
    assert [turns.take(0.0), turns.take(0.0), turns.take(0.0)] == ["a", "c", None]
    assert turns.next_at(0.0) is None, "only an end opens it"
    turns.ended("narrow")
    assert turns.take(0.0) == "b"


_adds = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xy")), max_size=40)


@settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow]
)  # beside other tests everything is slow
@given(_adds, st.integers(1, 4), st.integers(1, 3))
def test_nothing_is_lost_nor_over_the_limits(adds: list[tuple[str, str]], slots: int, narrow: int) -> None:
    """Whatever comes in whatever order: all get their turn, never too many at once, one run's tool in order."""
    turns: Turns[tuple[str, str, int]] = Turns(slots, {"x": Quota(concurrent=narrow)})
    for n, (run, tool) in enumerate(adds):
        turns.add(run, tool, (run, tool, n))
    busy: list[tuple[str, str, int]] = []
    done: list[tuple[str, str, int]] = []
    while turns.waiting or busy:
        while (item := turns.take(0.0)) is not None:
            busy.append(item)
        assert len(busy) == turns.busy <= slots
        assert sum(tool == "x" for _, tool, _ in busy) <= narrow
        assert busy, "something may always go on"
        over = busy.pop(0)
        turns.ended(over[1])
        done.append(over)
    assert len(done) == len(adds)
    for run, tool in {(run, tool) for run, tool in adds}:
        mine = [n for r, t, n in done if (r, t) == (run, tool)]
        assert mine == sorted(mine)
