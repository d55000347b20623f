"""Random plans that make sense: every kind of step, join and modifier, small enough to run by the thousand.

The same generator serves seeded simulations and Hypothesis; both only have to
throw dice. A calm plan ends the same whatever the order of events: it joins on
`all` or `ended` only, keyed steps do the same work, and there are attempts enough.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from consort_shared.plan.model import Plan

Below = Callable[[int], int]
"""A throw of dice: a number from 0 to less than the given one."""

INPUTS: dict[str, Any] = {"xs": [3, 1, 2], "n": 4}


def seeded_plan(rng: random.Random, *, calm: bool) -> Plan:
    return _Maker(lambda n: int(rng.random() * n), calm).plan()


@st.composite
def plans(draw: st.DrawFn, *, calm: bool = False) -> Plan:
    return _Maker(lambda n: draw(st.integers(0, n - 1)), calm).plan()


@dataclass
class _Scope:
    """What a step may name: steps before it, by name, and what surrounds it."""

    tasks: list[str] = field(default_factory=list)
    """plain tasks in sight"""
    seen: list[str] = field(default_factory=list)
    item: bool = False
    loop: list[str] | None = None
    """names in the repeated block around; empty for a repeated task"""


class _Maker:
    def __init__(self, below: Below, calm: bool) -> None:
        self.below = below
        self.calm = calm
        self.count = 0
        self.left = 7
        self.plain: set[str] = set()
        self.writers: set[str] = set()
        self.planners: set[str] = set()
        self.before: dict[str, set[str]] = {}

    def often(self, percent: int) -> bool:
        return self.below(100) >= 100 - percent

    def pick(self, options: list[Any]) -> Any:
        return options[self.below(len(options))]

    def plan(self) -> Plan:
        steps = self.steps(2 + self.below(4), _Scope(), depth=0)
        plan: dict[str, Any] = {
            "name": "random",
            "inputs": {"xs": {"type": "array"}, "n": {"type": "integer"}},
            "steps": steps,
        }
        if not self.calm and self.often(15):
            plan["timeout"] = 5 + self.below(60)
        if self.often(50):
            names = list(steps)
            plan["output"] = {
                "whole": f"${{{{ steps.{self.pick(names)}.output }}}}",
                "text": "n is ${{ inputs.n }}",
                "list": [f"${{{{ steps.{self.pick(names)}.output }}}}"],
            }
        return Plan.model_validate(plan)

    def steps(self, count: int, around: _Scope, depth: int) -> dict[str, Any]:
        names: list[str] = []
        made: dict[str, Any] = {}
        for _ in range(count):
            if self.left <= 0 and made:
                break
            self.left -= 1
            self.count += 1
            name = f"s{self.count}"
            made[name] = self.step(name, names, around, depth)
            names.append(name)
        return made

    def step(self, name: str, earlier: list[str], around: _Scope, depth: int) -> dict[str, Any]:
        needs = [other for other in earlier[-4:] if self.often(50)]
        self.before[name] = set(needs).union(*(self.before[need] for need in needs))
        # In a calm plan only what is needed directly: what comes before that may be skipped early, and go on meanwhile.
        known = set(needs) if self.calm else self.before[name]
        seen = [other for other in earlier if other in known]
        here = _Scope(
            [*around.tasks, *(other for other in seen if other in self.plain)],
            [*around.seen, *seen],
            around.item,
            around.loop,
        )
        step: dict[str, Any] = {"retry": self.retry(), "timeout": 5 + self.below(40)}
        if needs:
            step["needs"] = needs
            self.join(step, needs)
        if self.often(20):
            step["if"] = self.condition(here)
        kind = self.below(100)
        block = depth < 2 and self.left > 0 and kind < 25
        if block:
            del step["retry"], step["timeout"]
        planners = [need for need in needs if need in self.planners]
        if planners and not block and self.often(80):
            del step["retry"], step["timeout"]
            inner = self.modifier(step, here)
            step["plan"] = f"${{{{ steps.{self.pick(planners)}.output }}}}"
            step["with"] = {"x": self.pick(["${{ item }}" if inner.item else 1, "${{ inputs.n }}"])}
            return step
        inner = self.modifier(step, here)
        if block:
            names_before = self.count
            step["steps"] = self.steps(1 + self.below(3), inner, depth + 1)
            if "repeat" in step:
                last = list(step["steps"])[-1]
                own = f"steps.{last}.output"
                step["repeat"]["until"] = self.pick(
                    [f"{own} == null", "iteration >= 2", f"{own} != {own}", "inputs.n > 3"]
                )
            assert self.count > names_before
        else:
            self.task(name, step, inner, needs)
        return step

    def retry(self) -> dict[str, Any]:
        attempts = 100 if self.calm else 1 + self.below(3)
        return {"attempts": attempts, "wait": self.below(3), "factor": 1 + self.below(2), "longest": 5}

    def join(self, step: dict[str, Any], needs: list[str]) -> None:
        if self.often(35):
            rules: list[Any] = ["ended"]
            if not self.calm:
                rules += ["any", {"at_least": 1 + self.below(len(needs))}]
            step["join"] = self.pick(rules)

    def condition(self, here: _Scope) -> str:
        options = ["inputs.n > 3", "size(inputs.xs) > 5", "inputs.n in inputs.xs"]
        for name in here.tasks[-2:]:
            options += [
                f"steps.{name}.output != null && steps.{name}.output.n > 3",
                f"steps.{name}.output == null || steps.{name}.output.n > 3",
            ]
        return str(self.pick(options))

    def modifier(self, step: dict[str, Any], here: _Scope) -> _Scope:
        """A `for_each` or `repeat`, sometimes; what the step inside it sees."""
        throw = self.below(100)
        if throw < 22:
            lists: list[Any] = ["${{ inputs.xs }}", [1, "two", {"three": 3}], []]
            lists += [f"${{{{ steps.{name}.output.items }}}}" for name in here.tasks[-2:]] * 2
            step["for_each"] = {
                "items": self.pick(lists),
                "in_flight": 1 + self.below(3),
                "tolerate": self.below(2),
            }
            return _Scope(here.tasks, here.seen, True, here.loop)
        if throw < 40:
            until = self.pick(["output.n > 4", "iteration >= 2", "output == null"])
            step["repeat"] = {
                "until": until,
                "max": 1 + self.below(3),
                "exhausted": self.pick(["fail", "accept", "accept"]),
            }
            return _Scope(here.tasks, here.seen, here.item, [])
        return here

    def task(self, name: str, step: dict[str, Any], here: _Scope, needs: list[str]) -> None:
        modified = "for_each" in step or "repeat" in step
        if not modified and self.often(12):
            self.planners.add(name)
            step |= {"skill": "plan.p", "returns": "plan", "max_steps": 9}
            step["with"] = {**self.inputs(step, here), "seed": self.count}
            if not self.calm:
                step["with"]["offers"] = "${{ offers }}"
            return
        if not modified:
            self.plain.add(name)
        if self.often(12):
            number = self.below(2)
            step |= {"skill": f"keyed.k{number}", "key": f"'k{number}'", "with": {"q": number}}
            if not self.calm:
                self.undo(step)
            return
        self.undo(step)
        step["skill"] = self.pick(["work.a", "work.a", "work.b", "frail.c"])
        step["with"] = self.inputs(step, here)
        writers = [need for need in needs if need in self.writers]
        if writers and step.get("join", "all") == "all":
            step["context"] = [f"k_{writers[0]}"]
        elif not self.calm and self.often(3):
            step["context"] = ["nobody"]
        elif not modified and here.loop is None and not here.item and self.often(25):
            step["skill"] = "writer.w"
            step["with"] = {**step["with"], "key": f"k_{name}"}
            self.writers.add(name)
        if step["skill"] != "writer.w" and self.often(25):
            step["skill"] = "pay.p"
            step["with"] = {**step["with"], "unknown": self.unknown()}

    def unknown(self) -> str:
        """What is to be done about an effect of which nobody knows; a calm plan does each effect in the end."""
        return str(self.pick(["ask", "ask", "redo"] if self.calm else ["ask", "ask", "ask", "redo", "done"]))

    def undo(self, step: dict[str, Any]) -> None:
        if self.often(25):
            given = self.pick(
                [{"it": "${{ output }}"}, {"part": "of ${{ output.n }}"}, {"n": "${{ output.n }}"}]
            )
            step["undo"] = {
                "skill": "back.u",
                "with": {**given, "unknown": self.unknown()},
                "timeout": 5 + self.below(20),
                "retry": self.retry(),
            }

    def inputs(self, step: dict[str, Any], here: _Scope) -> dict[str, Any]:
        given: dict[str, Any] = {}
        for name in here.seen[-3:]:
            throw = self.below(4)
            if throw == 0:
                given[f"whole_{name}"] = f"${{{{ steps.{name}.output }}}}"
            elif throw == 1:
                given["nested"] = {"list": [1, f"${{{{ steps.{name}.output }}}}"], "n": "${{ inputs.n + 1 }}"}
            elif throw == 2 and name in here.tasks:
                given["part"] = f"${{{{ steps.{name}.output.items }}}}"
            elif throw == 3 and name in here.tasks:
                given["text"] = f"of {name}: ${{{{ steps.{name}.output }}}}"
        if here.item:
            given["item"] = self.pick(["${{ item }}", "item ${{ item }} at ${{ index }}"])
        if here.loop is not None:
            given["round"] = "${{ iteration }}"
            if "repeat" in step:
                given["before"] = "${{ previous.output }}"
        return given
