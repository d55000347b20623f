"""The guard against circles: pure, so over turns of all kinds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consort_agents.thinking.guard import Bounds, End, Fine, Made, Verdict, Warn, Watched, watch


def judged(turns: list[list[Made]]) -> list[Verdict]:
    seen, verdicts = Watched(), []
    for turn in turns:
        seen, verdict = watch(seen, turn)
        verdicts.append(verdict)
    return verdicts


A, B = Made("a", "1", "x"), Made("b", "1", "y")


def test_the_same_call() -> None:
    """C13: told at the third, ended at the fourth."""
    kinds = [type(one) for one in judged([[A]] * 4)]
    assert kinds == [Fine, Fine, Warn, End]


def test_a_call_whose_answers_differ_may_be_polling() -> None:
    polled = [[Made("a", "1", str(n))] for n in range(7)]
    assert [type(one) for one in judged(polled)] == [Fine] * 5 + [Warn, End]


def test_two_calls_in_turn() -> None:
    verdicts = judged([[Made("a", "1", str(n))] if n % 2 else [Made("b", "1", str(n))] for n in range(7)])
    assert [type(one) for one in verdicts] == [Fine] * 5 + [Warn, End]
    assert isinstance(verdicts[-1], End)
    assert verdicts[-1].kind == "loop-pingpong"


def test_turns_in_which_nothing_succeeds() -> None:
    failed = [[Made("a", str(n), str(n), failed=True)] for n in range(4)]
    verdicts = judged(failed)
    assert [type(one) for one in verdicts] == [Fine, Fine, Warn, End]
    assert isinstance(verdicts[-1], End)
    assert verdicts[-1].kind == "loop-stuck"
    mended = [*failed[:2], [Made("a", "fine", "fine"), *failed[2]], *failed[2:]]
    assert [type(one) for one in judged(mended)] == [Fine] * 5


made = st.builds(Made, st.sampled_from("abc"), st.sampled_from("123"), st.sampled_from("xy"), st.booleans())


@given(st.lists(st.lists(made, min_size=1, max_size=4), max_size=30))
def test_nobody_is_ended_unwarned(turns: list[list[Made]]) -> None:
    """An end is always of a kind that was warned of before; the same turns give the same verdicts."""
    warned = set()
    for verdict in judged(turns):
        match verdict:
            case Warn():
                warned.add(verdict.kind)
            case End():
                assert verdict.kind in warned
            case Fine():
                pass
    assert judged(turns) == judged(turns)


@given(st.lists(st.integers(), unique=True, max_size=40))
def test_calls_that_all_differ_and_succeed_are_fine(numbers: list[int]) -> None:
    assert all(isinstance(one, Fine) for one in judged([[Made("a", str(n), str(n))] for n in numbers]))


@given(st.integers(2, 6))
def test_bounds_are_heeded(same: int) -> None:
    seen = Watched()
    for n in range(1, same + 1):
        seen, verdict = watch(seen, [A], Bounds(same=same, pairs=99, stuck=99))
        assert isinstance(verdict, Warn) == (n == same)
    assert watch(seen, [])[1] == Fine()
    assert isinstance(watch(seen, [B], Bounds(same=same, pairs=99, stuck=99))[1], Fine)
