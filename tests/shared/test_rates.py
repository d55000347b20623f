"""Limits that processes share, without a bus: the pace is kept, nobody starves, what is learned is right."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from rates_simulation import Provider, Simulation, in_windows, per_run

from consort_shared.codec import MSGPACK, decode, encode
from consort_shared.rates import (
    Breaker,
    Limits,
    Rate,
    Told,
    Want,
    alone,
    corrected,
    fine,
    free,
    limited,
    pace_of,
    saw,
    troubled,
    turn,
)
from consort_shared.rates.breaking import FAILURES

T0 = 1_000_000.0


def simulation(seed: int, rate: Rate, limit: int | None = None, **more: float) -> Simulation:
    return Simulation(random.Random(seed), rate, Provider(limit), **more)


def of(requests: int | None = None, tokens: int | None = None, concurrent: int | None = None) -> Rate:
    return Rate(limits=Limits(requests_per_minute=requests, tokens_per_minute=tokens, concurrent=concurrent))


# --- the pace


@pytest.mark.slow
@settings(max_examples=6, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    limit=st.sampled_from([6, 60, 300]),
    skew=st.floats(0, 0.3),
    delay=st.floats(0.001, 0.03),
    lost=st.sampled_from([0.0, 0.2]),
)
def test_no_window_sees_more_than_the_limit_and_little_is_left_unused(
    seed: int, limit: int, skew: float, delay: float, lost: float
) -> None:
    """C13: processes with clocks that differ, delays and lost hints keep to one limit, and use 95 % of it."""
    there = simulation(seed, of(limit), delay=delay, lost_hints=lost)
    for _ in range(10):
        process = there.process(there.random.uniform(-skew, skew))
        for n in range(max(2, limit // 100)):
            there.calls(process, f"{process.name}-{n}")
    minutes = {6: 10, 60: 3, 300: 2}[limit]
    there.run(minutes * 60)
    times = [at for at, _ in there.provider.served]
    assert in_windows(times) <= limit
    late = [at for at in times if at > T0 + 60]
    assert len(late) >= 0.95 * limit * (minutes - 1) - 1


def test_a_run_with_one_call_that_waits_has_its_share_beside_one_with_twenty() -> None:
    """C13: fair between runs, whoever has more processes."""
    there = simulation(1, of(60))
    for _ in range(20):
        there.calls(there.process(), "many")
    alone_ = there.process()
    for _ in range(2):  # while its call is made another waits
        there.calls(alone_, "one")
    there.run(240)
    many, one = per_run(there.provider, ["many", "one"], T0 + 60)
    assert abs(many - one) <= 0.1 * (many + one), (many, one)


def test_processes_that_were_killed_hold_nobody_up() -> None:
    there = simulation(2, of(120))
    processes = [there.process() for _ in range(10)]
    for process in processes:
        there.calls(process, process.name)
        there.calls(process, process.name)
    there.run(30)
    for process in processes[:6]:
        process.alive = False
    there.run(5)
    before = len(there.provider.served)
    there.run(60)
    assert len(there.provider.served) - before >= 0.95 * 120 - 1


def test_tokens_are_reserved_by_estimate_and_corrected_by_use() -> None:
    rate = of(tokens=60_000)
    pace = pace_of(rate, T0)
    rate, first = turn(rate, "a", [Want("r", 10_000, T0)], T0)
    assert first.granted == (0,)
    rate, second = turn(rate, "a", [Want("r", 10_000, T0)], T0 + 1)
    assert not second.granted
    assert second.until == pytest.approx(T0 - 1 + 10_000 * pace.token, abs=0.01)
    rate, third = turn(corrected(rate, -8_000, T0 + 1), "a", [Want("r", 10_000, T0)], T0 + 1.5)
    assert third.granted == (0,)


# --- calls at a time


def test_calls_at_a_time_are_bounded_and_a_killed_process_gives_back_what_it_held() -> None:
    """S101, C13: slots expire."""
    there = simulation(3, of(concurrent=4), lasts=2.0)
    processes = [there.process() for _ in range(6)]
    for process in processes:
        there.calls(process, process.name)
        there.calls(process, process.name)
    there.run(30)
    assert there.most_under_way == 4
    before = len(there.provider.served)
    assert before >= 0.85 * 30 / 2 * 4
    for process in processes[:5]:
        process.alive = False
        process.under_way = 0
    there.run(25)
    before = len(there.provider.served)
    there.run(20)
    assert len(there.provider.served) - before >= 0.8 * 20 / 2 * 2


# --- refusals


@pytest.mark.slow
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6), limit=st.sampled_from([60, 120]), pause=st.sampled_from([0.5, 5.0]))
def test_one_refusal_stops_everybody_once_and_teaches_the_limit(seed: int, limit: int, pause: float) -> None:
    """C13: 429 slows everyone once, not each in turn; without a word of the provider on its limits."""
    there = simulation(seed, Rate(), limit, lasts=pause)
    for _ in range(20):
        process = there.process(there.random.uniform(-0.05, 0.05))
        for n in range(2):
            there.calls(process, f"{process.name}-{n}")
    there.run(300)
    refused = there.provider.refused
    assert refused
    assert len([at for at in refused if at > refused[0] + 0.5]) <= 4, refused
    assert there.rate.learned is not None
    assert there.rate.learned.requests_per_minute is not None
    late = [at for at, _ in there.provider.served if at > T0 + 180]
    assert len(late) >= 0.65 * limit * 2


def test_what_the_provider_tells_is_learned_only_when_it_presses() -> None:
    rate = saw(Rate(), Told(60, 50, 100_000, 90_000), T0)
    assert rate == Rate()
    assert free(rate, T0)
    rate = saw(rate, Told(60, 29, 100_000, 90_000), T0)
    assert rate.learned is not None
    assert pace_of(rate, T0).request == pytest.approx(60 / 60 / 0.97)
    assert not free(rate, T0)
    assert free(rate, T0 + 601)


def test_a_provider_may_lower_what_was_configured_and_not_raise_it() -> None:
    assert saw(of(50), Told(60, 0), T0).learned is None
    lowered = saw(of(100), Told(60, 10), T0)
    assert pace_of(lowered, T0).request == pytest.approx(60 / 60 / 0.97)


def test_a_refusal_in_spite_of_the_limits_eases_the_pace_for_a_while() -> None:
    rate = limited(of(60), "a", T0 - 1, 3.0, None, {}, T0)
    assert rate.blocked_until == T0 + 3
    assert pace_of(rate, T0).request == pytest.approx(1 / 0.97 / 0.9)
    assert pace_of(rate, T0 + 700).request == pytest.approx(1 / 0.97)
    again = limited(rate, "b", T0 - 0.5, 5.0, None, {}, T0 + 0.2)
    assert again.refusals == 1, "it was under way when the first was refused"
    assert again.blocked_until == T0 + 5.2


def test_a_retry_after_beyond_reason_is_not_believed() -> None:
    rate = limited(Rate(), "a", T0, 10.0**9, None, {}, T0)
    assert rate.blocked_until <= T0 + 3600


# --- the breaker


def test_trouble_of_all_processes_opens_the_breaker_one_probes_and_an_answer_closes_it() -> None:
    """S101: an outage is contained."""
    rate = Rate()
    for n in range(FAILURES):
        assert not rate.breaker.openings
        rate = troubled(rate, f"p{n}", None, T0 + n)
    opened = T0 + FAILURES - 1
    assert rate.breaker.open_until == opened + 5
    assert not free(rate, opened + 1)
    late = troubled(rate, "p9", None, opened + 1)
    assert late is rate, "it was under way before"
    rate, closed = turn(rate, "a", [Want("r", 0, opened)] * 3, opened + 1)
    assert not closed.granted
    assert closed.at_least == opened + 5
    rate, half = turn(rate, "a", [Want("r", 0, opened)] * 3, opened + 5)
    assert half.granted == (0,)
    _, other = turn(rate, "b", [Want("r", 0, opened)], opened + 6)
    assert not other.granted
    twice = troubled(rate, "a", None, opened + 6)
    assert twice.breaker.open_until == opened + 6 + 10
    rate = fine(rate, opened + 5, opened + 7)
    assert rate.breaker == Breaker()
    assert free(rate, opened + 7)


def test_an_answer_between_failures_keeps_the_breaker_closed() -> None:
    rate = Rate()
    for n in range(3 * FAILURES):
        rate = fine(troubled(rate, "a", None, T0 + n), T0 + n + 0.1, T0 + n + 0.2)
    assert not rate.breaker.openings


def test_a_retry_after_keeps_the_breaker_open_for_as_long() -> None:
    rate = Rate()
    for n in range(FAILURES):
        rate = troubled(rate, "a", 42.0, T0 + n)
    assert rate.breaker.open_until == T0 + FAILURES - 1 + 42


# --- the state


def test_times_that_only_a_wrong_clock_can_have_written_are_not_believed() -> None:
    rate = of(60).model_copy(
        update={"blocked_until": T0 + 10**6, "next_request": T0 + 10**6, "free_since": T0 + 10**6}
    )
    rate, first = turn(rate, "a", [Want("r", 0, T0)], T0)
    assert first.granted or first.until < T0 + 2


def test_a_process_without_the_bus_keeps_to_an_even_share() -> None:
    rate = of(60)
    for n, who in enumerate("abcd"):
        rate, _ = turn(rate, who, [Want("r", 0, T0)] * 2, T0 + 2 * n)
    own = alone(rate, "a", T0 + 8)
    assert pace_of(own, T0 + 8).request == pytest.approx(4 / 0.97)
    assert not own.waiting


def test_a_state_goes_over_the_wire_and_back() -> None:
    rate, _ = turn(of(60, 1000, 3), "a", [Want("r", 10, T0)] * 2, T0, under_way=1)
    rate = troubled(limited(rate, "a", T0, None, Told(10, 0), {int(T0): 3}, T0), "a", None, T0)
    assert decode(TypeAdapter(Rate), encode(rate), MSGPACK) == rate


def test_nothing_is_written_where_nothing_changes() -> None:
    rate, _ = turn(of(60), "a", [Want("r", 0, T0)] * 2, T0)
    rate, waits = turn(rate, "a", [Want("r", 0, T0)] * 2, T0 + 0.1)
    assert waits.granted == (0,)
    same, again = turn(rate, "a", [Want("r", 0, T0)], T0 + 0.2)
    assert same is rate
    assert again.until == waits.until
    nothing = Rate()
    idle, goes = turn(nothing, "a", [Want("r", 0, T0)], T0)
    assert idle is nothing
    assert goes.granted == (0,)
