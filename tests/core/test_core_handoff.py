"""What a task is told: every result it comes after, by digest; the context it must have; values where they belong."""

from __future__ import annotations

from typing import Any

from driving import Driver, inline, stored

from consort_orchestrator.core import Phase
from consort_orchestrator.core.handoff import delivered
from consort_shared.messages import Write
from consort_shared.values import digest


def told(driver: Driver, path: str) -> dict[str, str]:
    return {prior.path: prior.digest for prior in driver.granted(path).handoff.priors}


def test_each_later_task_has_the_earlier_results_digests() -> None:
    """Research, analysis, writing, fact-check: nobody starts from zero."""
    names = ["research", "analysis", "writing", "check"]
    steps: dict[str, Any] = {}
    for at, name in enumerate(names):
        steps[name] = {"skill": f"s.{name}", "needs": names[:at]}
    driver = Driver().start(steps)
    for at, name in enumerate(names):
        granted = driver.granted(name)
        assert told(driver, name) == {before: inline(f"by {before}").digest for before in names[:at]}
        assert granted.handoff.after == driver.run.n - 1
        for prior in granted.handoff.priors:
            assert (prior.agent, prior.skill) == ("ann", f"s.{prior.path}")
            assert prior.task == driver.node(prior.path).task
        driver.done(name, f"by {name}")


def test_a_block_is_told_by_the_digest_of_all_in_it() -> None:
    body = {"x": {"skill": "s.x"}, "y": {"skill": "s.y", "if": "1 > 2"}}
    driver = Driver().start(
        {
            "b": {"for_each": {"items": [1, 2]}, "steps": body},
            "r": {"skill": "s.r", "repeat": {"until": "output == 2", "max": 3}},
            "z": {"skill": "s.z", "needs": ["b", "r"]},
        }
    )
    for path, value in (("b[0].x", 1), ("b[1].x", 2), ("r[1]", 1), ("r[2]", 2)):
        driver.done(path, value)
    ones, twos = inline(1).digest, inline(2).digest
    assert told(driver, "z") == {
        "b": digest({"b[0].x": ones, "b[1].x": twos}),
        "r": digest({"r[1]": ones, "r[2]": twos}),
    }


def test_the_first_steps_of_a_block_come_after_what_the_block_needs() -> None:
    driver = Driver().start(
        {
            "a": {"skill": "s.a"},
            "b": {"needs": ["a"], "steps": {"x": {"skill": "s.x"}, "y": {"skill": "s.y", "needs": ["x"]}}},
        }
    )
    driver.done("a", 1)
    assert told(driver, "b.x") == {"a": inline(1).digest}
    driver.done("b.x", 2)
    assert told(driver, "b.y") == {"b.x": inline(2).digest}


def test_an_iteration_comes_after_the_one_before() -> None:
    driver = Driver().start(
        {
            "a": {"skill": "s.a"},
            "l": {
                "needs": ["a"],
                "repeat": {"until": "steps.x.output == 'good'", "max": 3},
                "steps": {"x": {"skill": "s.x"}},
            },
        }
    )
    driver.done("a", 1)
    assert told(driver, "l[1].x") == {"a": inline(1).digest}
    driver.done("l[1].x", "bad")
    assert told(driver, "l[2].x") == {
        "a": inline(1).digest,
        "l[1]": digest({"l[1].x": inline("bad").digest}),
    }


def test_what_the_inputs_were_made_from_is_told() -> None:
    given = {"part": "${{ steps.a.output.deep }}", "text": "see ${{ steps.a.output.deep }}"}
    driver = Driver().start(
        {
            "a": {"skill": "s.a"},
            "m": {"skill": "s.m", "needs": ["a"]},
            "z": {"skill": "s.z", "needs": ["m"], "with": given},
        }
    )
    driver.done("a", {"deep": 5})
    driver.done("m", 2)
    granted = driver.granted("z")
    assert granted.inputs == {"part": 5, "text": "see 5"}
    assert set(told(driver, "z")) == {"m", "a"}
    sent = {prior.path: prior.output for prior in delivered(driver.run, granted).handoff.priors}
    assert sent == {"m": inline(2), "a": None}


def test_results_at_hand_are_not_sent_again() -> None:
    driver = Driver().start({"a": {"skill": "s.a"}, "z": {"skill": "s.z", "needs": ["a"]}})
    driver.done("a", 1)
    granted = driver.granted("z")
    assert delivered(driver.run, granted, {"a"}) is granted
    (prior,) = delivered(driver.run, granted).handoff.priors
    assert prior.output == inline(1)


def test_a_stored_result_travels_by_reference() -> None:
    driver = Driver().start(
        {
            "a": {"skill": "s.a"},
            "m": {"skill": "s.m", "needs": ["a"]},
            "z": {"skill": "s.z", "needs": ["m"], "with": {"part": "${{ steps.a.output.deep[0] }}"}},
        }
    )
    driver.done("a", stored({"deep": [5]}))
    driver.done("m", 2)
    granted = driver.granted("z")
    assert granted.inputs == {"part": None}
    (hole,) = granted.holes
    assert (hole.at, hole.prior, hole.path) == (("part",), "a", ("deep", 0))
    sent = {prior.path: prior.output for prior in delivered(driver.run, granted).handoff.priors}
    assert sent["a"] == stored({"deep": [5]})


def test_a_step_whose_context_is_missing_never_starts() -> None:
    driver = Driver().start(
        {"a": {"skill": "s.a"}, "z": {"skill": "s.z", "needs": ["a"], "context": ["notes"]}}
    )
    driver.done("a", 1, Write(key="other", output=inline(1)))
    assert driver.phase("z") is Phase.FAILED
    assert driver.node("z").task == ""
    state, _, why = driver.outcome
    assert state == "failed"
    assert why == (
        "step `z` failed: context key `notes` is missing from the hand-off: "
        "nobody has written it (there are: other)"
    )


def test_context_is_handed_over_with_author_and_revision() -> None:
    driver = Driver().start(
        {"a": {"skill": "s.a"}, "z": {"skill": "s.z", "needs": ["a"], "context": ["notes"]}}
    )
    task = driver.node("a").task
    driver.done("a", 1, Write(key="notes", output=inline("n"), confidence=0.5))
    (item,) = driver.granted("z").handoff.context
    assert (item.key, item.revision, item.author, item.task) == ("notes", 1, "ann", task)
    assert (item.confidence, item.output) == (0.5, inline("n"))
