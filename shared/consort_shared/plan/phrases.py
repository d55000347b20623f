"""A step's modifiers in words, as every drawing shows them."""

from __future__ import annotations

import json

from consort_shared.plan.expressions import OPEN
from consort_shared.plan.model import DEFAULT_MAX_STEPS, DEFAULT_TIMEOUT, AtLeast, JoinRule, Retry, Step
from consort_shared.values import Json


def described(step: Step) -> list[str]:
    """What is special about a step: `for each of …, 16 in flight`, `if …`, one phrase each."""
    found = []
    if step.plan is not None:
        found.append(f"the steps of {_bare(step.plan)}")
    if step.returns is not None:
        found.append(f"gives a plan of at most {step.max_steps or DEFAULT_MAX_STEPS} steps")
    if step.when is not None:
        found.append(f"if {_bare(step.when)}")
    if step.for_each is not None:
        each = step.for_each
        lost = f", {each.tolerate} may fail" if each.tolerate else ""
        found.append(f"for each of {_bare(each.items)}, {each.in_flight} in flight{lost}")
    if step.repeat is not None:
        accept = ", then accept" if step.repeat.exhausted == "accept" else ""
        found.append(f"repeat until {_bare(step.repeat.until)}, at most {step.repeat.max}{accept}")
    if isinstance(step.join, AtLeast):
        found.append(f"when {step.join.at_least} of {len(step.needs)} are done")
    elif step.join is JoinRule.ANY:
        found.append("when any is done")
    elif step.join is JoinRule.ENDED:
        found.append("when all have ended")
    if step.key is not None:
        found.append(f"once per {_bare(step.key)}")
    if step.timeout != DEFAULT_TIMEOUT:
        found.append(f"within {duration(step.timeout)}")
    if step.undo is not None:
        found.append(f"undone by {step.undo.skill}")
    if step.retry.attempts != Retry().attempts:
        found.append(f"{step.retry.attempts} attempt{'s' if step.retry.attempts > 1 else ''}")
    return found


def needs_of(step: Step) -> str:
    return ", ".join(step.needs)


def shortened(text: str, most: int) -> str:
    """Text on one line, with an ellipsis where it is cut. What does not print is left out.

    Plans may be written by strangers, and a terminal obeys some of what does not print.
    """
    line = "".join(char for char in " ".join(text.split()) if char.isprintable())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _bare(value: Json) -> str:
    """An expression without its braces, a literal list by its length when it is long."""
    if isinstance(value, str):
        text = value.strip()
        whole = text.startswith(OPEN) and text.endswith("}}") and text.count(OPEN) == 1
        return shortened(text[len(OPEN) : -2] if whole else text, 60)
    text = json.dumps(value, ensure_ascii=False)
    if len(text) > 40 and isinstance(value, list | tuple):
        return f"{len(value)} items"
    return shortened(text, 40)


def duration(seconds: float) -> str:
    """`90s`, `5m`: a time as plans write it."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"
