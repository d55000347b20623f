"""The plans of the built-in workload, and what must come of each.

What a run must give is computed here from its inputs alone, by a few lines that
share nothing with the orchestrator. Every skill puts the id of its task into what
it returns, so a checker can tell whose result was taken. The skills are in
`consort_agents.chaos_agents`; the two meet on the wire only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from consort_shared.plan.model import Plan
from consort_shared.values import Json

AGENT = "chaos"
AGENT_REFERENCE = "consort_agents.chaos_agents:agent"
LEDGER = "CONSORT_CHAOS_LEDGER"
"""Names the file in which agents under test write down what they do to the outside world."""
PATIENT: dict[str, Json] = {"attempts": 100, "wait": 0.05, "factor": 1.0}


@dataclass(frozen=True, slots=True)
class Expected:
    """How a run must end. `effects` are the step paths and keys of what it does outside."""

    states: frozenset[str]
    output: Json = None
    effects: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Act:
    """Something a client does to a run, so many seconds after handing it in."""

    what: str
    after: float


@dataclass(frozen=True, slots=True)
class Job:
    """A run to hand in, and how it must end; None where nobody knows."""

    shape: str
    plan: Plan
    inputs: Mapping[str, Json]
    expected: Expected | None
    acts: tuple[Act, ...] = ()


@dataclass(frozen=True, slots=True)
class Shape:
    """A plan with inputs drawn at random, and what follows from them."""

    plan: Plan
    draw: Callable[[Random], dict[str, Json]]
    expect: Callable[[Mapping[str, Any]], Expected]
    acts: Callable[[Random], tuple[Act, ...]] = field(default=lambda _: ())


def jobs(seed: int, shapes: tuple[str, ...], runs: int) -> list[Job]:
    """The runs of a seed: the same each time, all shapes in turn."""
    made = []
    for number in range(runs):
        rng = Random(f"consort chaos {seed} run {number}")  # noqa: S311
        name = shapes[(seed + number) % len(shapes)]
        shape = SHAPES[name]
        inputs = {**shape.draw(rng), "pause": round(rng.uniform(0.01, 0.12), 3)}
        made.append(Job(name, shape.plan, inputs, shape.expect(inputs), shape.acts(rng)))
    return made


def _task(skill: str, *needs: str, **inputs: Json) -> dict[str, Any]:
    return {
        "skill": f"chaos.{skill}",
        "needs": list(needs),
        "with": {**inputs, "pause": "${{ inputs.pause }}"},
        "timeout": 120,
        "retry": PATIENT,
    }


def _plan(name: str, steps: dict[str, Any], output: Json, **inputs: str) -> Plan:
    kinds = {"pause": {"type": "number"}, **{key: {"type": kind} for key, kind in inputs.items()}}
    return Plan.model_validate({"name": f"chaos {name}", "inputs": kinds, "steps": steps, "output": output})


def _completed(output: Json, *effects: tuple[str, str]) -> Expected:
    return Expected(frozenset({"completed"}), output, frozenset(effects))


def _word(rng: Random) -> str:
    return f"w{rng.randrange(10**6)}"


def _chain_steps(length: int) -> dict[str, Any]:
    steps = {"s1": _task("add", text="${{ inputs.text }}", by="1")}
    for at in range(2, length + 1):
        before = f"s{at - 1}"
        steps[f"s{at}"] = _task("add", before, text=f"${{{{ steps.{before}.output.value }}}}", by=str(at))
    return steps


def _chain_value(text: str, length: int) -> str:
    return ".".join([text, *(str(at) for at in range(1, length + 1))])


def _chain() -> Shape:
    plan = _plan("chain", _chain_steps(5), "${{ steps.s5.output.value }}", text="string")
    return Shape(
        plan, lambda rng: {"text": _word(rng)}, lambda given: _completed(_chain_value(given["text"], 5))
    )


def _fan() -> Shape:
    each = _task("add", "first", text="${{ item }}", by="${{ steps.first.output.value }}")
    steps = {
        "first": _task("add", text="${{ inputs.text }}", by="f"),
        "each": {**each, "for_each": {"items": "${{ inputs.items }}", "in_flight": 3}},
        "side": _task("add", "first", text="${{ steps.first.output.value }}", by="side"),
        "both": _task(
            "join", "each", "side", parts="${{ steps.each.output }}", last="${{ steps.side.output }}"
        ),
    }
    plan = _plan("fan", steps, "${{ steps.both.output.value }}", text="string", items="array")

    def draw(rng: Random) -> dict[str, Json]:
        return {"text": _word(rng), "items": [_word(rng) for _ in range(rng.randint(2, 6))]}

    def expect(given: Mapping[str, Any]) -> Expected:
        first = f"{given['text']}.f"
        return _completed(" ".join([*(f"{item}.{first}" for item in given["items"]), f"{first}.side"]))

    return Shape(plan, draw, expect)


def _loop() -> Shape:
    inner = {
        "count": _task("count", number="${{ iteration }}", enough="${{ inputs.enough }}"),
        "tell": _task("add", "count", text="${{ inputs.text }}", by="${{ string(iteration) }}"),
    }
    steps = {
        "first": _task("add", text="${{ inputs.text }}", by="0"),
        "loop": {
            "needs": ["first"],
            "repeat": {"until": "steps.count.output.enough", "max": 6},
            "steps": inner,
        },
        "last": _task("add", "loop", text="${{ steps.loop.output.tell.value }}", by="end"),
    }
    plan = _plan("loop", steps, "${{ steps.last.output.value }}", text="string", enough="integer")
    return Shape(
        plan,
        lambda rng: {"text": _word(rng), "enough": rng.randint(1, 4)},
        lambda given: _completed(f"{given['text']}.{given['enough']}.end"),
    )


def _retry() -> Shape:
    steps = {
        "first": _task("stumble", text="${{ inputs.text }}", times="${{ inputs.times }}"),
        "second": _task("add", "first", text="${{ steps.first.output.value }}", by="2"),
    }
    plan = _plan("retry", steps, "${{ steps.second.output.value }}", text="string", times="integer")
    return Shape(
        plan,
        lambda rng: {"text": _word(rng), "times": rng.randint(1, 3)},
        lambda given: _completed(f"{given['text']}.stumbled.2"),
    )


def _hurry() -> Shape:
    """Steps with so little time that a fault makes them late: two attempts at a time, one of which counts."""
    steps = {}
    for at, (name, step) in enumerate(_chain_steps(3).items()):
        step["timeout"] = 1.0
        step["with"] = {**step["with"], "pause": 0.3 + 0.05 * at}
        steps[name] = step
    plan = _plan("hurry", steps, "${{ steps.s3.output.value }}", text="string")
    return Shape(
        plan, lambda rng: {"text": _word(rng)}, lambda given: _completed(_chain_value(given["text"], 3))
    )


def _fail() -> Shape:
    steps = {
        "first": _task("add", text="${{ inputs.text }}", by="1"),
        "second": _task("refuse", "first", text="${{ steps.first.output.value }}"),
        "third": _task("add", "second", text="never", by="3"),
    }
    plan = _plan("fail", steps, "${{ steps.third.output.value }}", text="string")
    return Shape(plan, lambda rng: {"text": _word(rng)}, lambda _: Expected(frozenset({"failed"})))


def _cancel() -> Shape:
    plan = _plan("cancel", _chain_steps(8), "${{ steps.s8.output.value }}", text="string")
    return Shape(
        plan,
        lambda rng: {"text": _word(rng)},
        lambda given: Expected(frozenset({"cancelled", "completed"}), _chain_value(given["text"], 8)),
        lambda rng: (Act("cancel", round(rng.uniform(0.0, 0.8), 3)),),
    )


def _pause() -> Shape:
    def acts(rng: Random) -> tuple[Act, ...]:
        begin = round(rng.uniform(0.0, 0.4), 3)
        return Act("pause", begin), Act("resume", round(begin + rng.uniform(0.1, 0.8), 3))

    plan = _plan("pause", _chain_steps(4), "${{ steps.s4.output.value }}", text="string")
    return Shape(
        plan, lambda rng: {"text": _word(rng)}, lambda given: _completed(_chain_value(given["text"], 4)), acts
    )


def _effects() -> Shape:
    each = _task("charge", "first", key="item-${{ item }}", amount="${{ index }}")
    steps = {
        "first": _task("charge", key="deposit", amount="${{ inputs.amount }}"),
        "each": {**each, "for_each": {"items": "${{ inputs.items }}", "in_flight": 2}},
        "last": _task("join", "each", parts="${{ steps.each.output }}", last="${{ steps.first.output }}"),
    }
    plan = _plan("effects", steps, "${{ steps.last.output.value }}", amount="integer", items="array")

    def draw(rng: Random) -> dict[str, Json]:
        return {"amount": rng.randint(1, 99), "items": [_word(rng) for _ in range(rng.randint(1, 3))]}

    def expect(given: Mapping[str, Any]) -> Expected:
        items = given["items"]
        charged = [f"charged {at} for item-{item}" for at, item in enumerate(items)]
        effects = [(f"each[{at}]", f"item-{item}") for at, item in enumerate(items)]
        output = " ".join([*charged, f"charged {given['amount']} for deposit"])
        return _completed(output, ("first", "deposit"), *effects)

    return Shape(plan, draw, expect)


def _undo() -> Shape:
    book = _task("charge", key="book", amount="${{ inputs.amount }}")
    undo = {
        "skill": "chaos.charge",
        "with": {"key": "refund", "amount": "${{ inputs.amount }}", "pause": 0.02},
    }
    steps = {
        "book": {**book, "undo": {**undo, "timeout": 120, "retry": PATIENT}},
        "then": _task("refuse", "book", text="${{ steps.book.output.value }}"),
    }
    plan = _plan("undo", steps, "${{ steps.then.output.value }}", amount="integer")
    effects = frozenset({("book", "book"), ("book!undo", "refund")})
    return Shape(
        plan,
        lambda rng: {"amount": rng.randint(1, 99)},
        lambda _: Expected(frozenset({"failed"}), effects=effects),
    )


SHAPES: dict[str, Shape] = {
    "chain": _chain(),
    "fan": _fan(),
    "effects": _effects(),
    "loop": _loop(),
    "hurry": _hurry(),
    "retry": _retry(),
    "undo": _undo(),
    "cancel": _cancel(),
    "pause": _pause(),
    "fail": _fail(),
}
