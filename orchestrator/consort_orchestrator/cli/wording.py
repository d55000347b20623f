"""Facts in words, times and spans as people read them.

One sentence for each kind of fact: the log, the live view and plain output all
use these, so one thing has one name.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from datetime import datetime
from typing import assert_never

from consort_bus.client import Logged
from consort_bus.standing import UNDO
from consort_orchestrator.cli.costs import brief
from consort_shared.entries import (
    Accepted,
    Closed,
    Doubted,
    EffectBegun,
    EffectSettled,
    Ending,
    Extended,
    Fact,
    Failure,
    Finished,
    Forced,
    GivenUp,
    Granted,
    Heeded,
    Held,
    Noted,
    Opened,
    Paused,
    Redriven,
    Refused,
    Reopened,
    Resumed,
    Shared,
    Skipped,
    Submitted,
    Waiting,
    Written,
)
from consort_shared.messages import Output
from consort_shared.plan.wording import dotted
from consort_shared.usage import Usage
from consort_shared.values import Json

LONGEST = 300

_REFUSED = {
    "forged": "a message in the inbox",
    "log": "a message on the log",
    "redrive": "the redriving",
    "effect": "an effect",
}
"""What does not count, where the word in the fact says too little."""


def in_words(fact: Fact, full: bool = False) -> str:
    """A fact as one line; `full` adds the values that it holds, on the same line."""
    match fact:
        case Submitted():
            inputs = f" with {value_text(fact.inputs)}" if full and fact.inputs else ""
            return f"{fact.client} hands in plan {fact.plan.name}, {counted(len(fact.plan.steps), 'step')}{inputs}"
        case Opened():
            return _opened_in_words(fact, full)
        case Granted():
            again = f", attempt {fact.attempt}" if fact.attempt > 1 else ""
            inputs = f" with {value_text(filled(fact))}" if full else ""
            under = f", profile {fact.profile}" if fact.profile else ""
            return f"{fact.path} goes to {fact.agent}{again} ({fact.why or fact.skill}{under}){inputs}"
        case Waiting():
            return f"{fact.path} waits for an agent that offers {fact.skill}"
        case Held():
            return f"{fact.path} waits for {fact.source}, which has the same key {fact.key}"
        case Written():
            value = f": {output_text(fact.output)}" if full else ""
            return f"{fact.author} writes {fact.key}, revision {fact.revision}{value}"
        case Accepted():
            value = f": {output_text(fact.output)}" if full else ""
            return f"{fact.path} is done by {fact.agent} in {span(fact.seconds)}{_cost(fact.usage)}{value}"
        case Failure():
            after = "" if fact.retry_at is not None else ", for good"
            cost = _cost(fact.usage)
            return f"{fact.path} fails at {fact.agent}{after}{cost}: {fact.kind}: {one_line(fact.message)}"
        case Skipped():
            return f"{fact.path} is skipped: {one_line(fact.why)}"
        case Shared():
            return f"{fact.path} takes the result of {fact.source}, key {fact.key}"
        case Closed():
            ended = "is done" if fact.done else "fails"
            return f"{fact.path} {ended}" + (f": {one_line(fact.why)}" if fact.why else "")
        case Refused():
            what = _REFUSED.get(fact.what, fact.what)
            return f"{what} of {fact.sender} does not count{_cost(fact.usage)}: {one_line(fact.why)}"
        case Noted():
            return f"{fact.path}: {one_line(fact.text)}{share(fact.done, fact.total)}"
        case Extended():
            return f"{fact.path} has until {clock(fact.deadline)} now: {one_line(fact.why)}"
        case EffectBegun() | EffectSettled() | Doubted():
            return _effect_in_words(fact, full)
        case Paused() | Resumed() | Heeded() | Redriven() | Reopened():
            return _order_in_words(fact, full)
        case Ending() | Forced() | GivenUp():
            return _ending_in_words(fact)
        case Finished():
            value = f": {value_text(fact.output)}" if full and fact.output is not None else ""
            ended = "has failed" if fact.state == "failed" else f"is {fact.state}"
            return f"the run {ended}" + (f": {one_line(fact.why)}" if fact.why else value)
        case _:
            assert_never(fact)


def _cost(usage: Usage | None) -> str:
    return f", {told}" if usage is not None and (told := brief(usage)) else ""


def _opened_in_words(fact: Opened, full: bool) -> str:
    if fact.items is not None:
        return f"{fact.path} begins with {counted(len(fact.items), 'item')}"
    if fact.plan is None:
        return f"{fact.path} begins"
    inputs = f" with {value_text(fact.inputs)}" if full and fact.inputs else ""
    steps = counted(len(fact.plan.steps), "step")
    return f"{fact.path} begins with the plan {one_line(fact.plan.name)}, {steps}{inputs}"


def _effect_in_words(fact: EffectBegun | EffectSettled | Doubted, full: bool) -> str:
    match fact:
        case EffectBegun():
            return f"{fact.agent} begins {fact.key} of {fact.path}"
        case EffectSettled():
            value = f": {output_text(fact.output)}" if full and fact.output is not None else ""
            became = "is done" if fact.verdict == "done" else "did not happen"
            return f"{fact.key} of {fact.path} {became}, says {speaker(fact.by)}{value}"
        case Doubted():
            why = f" {one_line(fact.why)}" if fact.why else ""
            return f"{fact.path} waits for a person: did {fact.key} happen at {fact.agent}?{why}"
        case _:
            assert_never(fact)


def speaker(by: str) -> str:
    """Who settled an effect: a person, or the task that did it."""
    return by if "." in by else f"task {by}"


def _ending_in_words(fact: Ending | Forced | GivenUp) -> str:
    why = f": {one_line(fact.why)}" if fact.why else ""
    match fact:
        case Ending():
            by = f", says {fact.by}" if fact.by else ""
            ending = "is being cancelled" if fact.state == "cancelled" else "is failing"
            return f"the run {ending}{by}{why}"
        case Forced():
            return f"nothing more is undone, {fact.by} forces the end{why}"
        case GivenUp():
            stood = f" ({one_line(fact.stood)})" if fact.stood else ""
            return f"{fact.path.removesuffix(UNDO)} is NOT undone{stood}: given up by {fact.by}{why}"
        case _:
            assert_never(fact)


def _order_in_words(fact: Paused | Resumed | Heeded | Redriven | Reopened, full: bool) -> str:
    match fact:
        case Paused():
            return f"the run is paused by {fact.by}" + (f": {one_line(fact.why)}" if fact.why else "")
        case Resumed():
            return f"the run goes on, says {fact.by}"
        case Heeded():
            return heeded(fact)
        case Redriven():
            return f"dead letter {fact.letter} is judged again for {fact.by}" + (
                ", edited" if fact.edited else ""
            )
        case Reopened():
            given = "" if fact.inputs is None else " with other inputs"
            value = f": {value_text(fact.inputs)}" if full and fact.inputs is not None else ""
            return f"{fact.path} is to be done again{given}, says {fact.by}{value}"
        case _:
            assert_never(fact)


def heeded(fact: Heeded) -> str:
    """What a process said to an order about its task, in words."""
    agent = f"{fact.agent} ({fact.instance})" if fact.instance else fact.agent
    match fact.how:
        case "stopped":
            return f"{agent} has stopped {fact.path}"
        case "dropped":
            return f"{agent} had not begun {fact.path} and will not"
        case "cannot":
            return f"{agent} cannot interrupt {fact.path}; its result will not count"
        case "goes-on":
            return f"{agent} " + (
                f"finishes {fact.path} in spite of the pause"
                if fact.order == "pause"
                else f"goes on with {fact.path}"
            )
        case "held":
            return f"{agent} does not begin {fact.path} until the run goes on"
        case "silent":
            return f"{agent} has not answered in time about {fact.path}"
        case _:
            assert_never(fact.how)


def answer_data(fact: Heeded) -> dict[str, str]:
    """The same for programs."""
    return {
        "path": fact.path,
        "agent": fact.agent,
        "instance": fact.instance,
        "task": fact.task,
        "how": fact.how,
    }


def filled(fact: Granted) -> Json:
    """A task's inputs, with the names of the earlier results that come into their holes."""
    inputs = deepcopy(fact.inputs)
    for hole in fact.holes:
        container: Json = inputs
        for part in hole.at[:-1]:
            container = container[part]
        container[hole.at[-1]] = f"<result of {dotted((hole.prior, *hole.path))}>"
    return inputs


def heading(logged: Logged) -> str:
    """What stands before an entry's facts: number, time, kind, addressee, who caused it."""
    entry = logged.entry
    senders = ", ".join(dict.fromkeys(cause.sender for cause in entry.causes))
    to = f" to {logged.addressee}" if logged.addressee else ""
    because = f" on {senders}" if senders else ""
    return f"{entry.n:>4}  {clock(entry.at)}{to}{because}"


def event_lines(logged: Logged) -> list[str]:
    """An entry as lines of plain output, one a fact, each with its time."""
    return [f"{clock(logged.entry.at)}  {in_words(fact)}" for fact in logged.entry.facts]


def clock(at: float) -> str:
    """A time of day, local."""
    return datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S")


def moment(at: float) -> str:
    """Date and time, local."""
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S") if at else "-"


def span(seconds: float) -> str:
    """A span of time in at most seven characters or so: `0.4 s`, `12 s`, `3m 20s`, `2h 05m`."""
    if seconds < 9.95:
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02}m"
    return f"{whole // 86400}d {whole % 86400 // 3600:02}h"


def share(done: float | None, total: float | None) -> str:
    """How far something is: ` (3 of 12)`, or nothing."""
    if done is None:
        return ""
    return f" ({done:g} of {total:g})" if total else f" ({done:g})"


def counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def listed(parts: Sequence[str], last: str = "and") -> str:
    return f"{', '.join(parts[:-1])} {last} {parts[-1]}" if len(parts) > 1 else "".join(parts)


def one_line(text: str, longest: int = LONGEST) -> str:
    """Text of strangers on one line: no line breaks, nothing that moves a terminal's cursor, not endless."""
    flat = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return flat if len(flat) <= longest else f"{flat[: longest - 1]}…"


def output_text(output: Output, longest: int = LONGEST) -> str:
    if output.ref is not None:
        return f"stored, {size_text(output.ref.size)}"
    return value_text(output.value, longest)


def value_text(value: Json, longest: int = LONGEST) -> str:
    """A value on one line; text as it is, everything else as JSON."""
    return one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), longest)


def size_text(size: int) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024 or unit == "MiB":
            return f"{size:.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1024  # type: ignore[assignment] # a float from here on
    raise AssertionError("unreachable")
