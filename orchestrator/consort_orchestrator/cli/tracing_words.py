"""A trace as lines of text and as data."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import click

from consort_orchestrator.cli.wording import one_line
from consort_orchestrator.tracing.tree import NOTHING, Branch, Tree
from consort_shared.telemetry import names
from consort_shared.telemetry.records import SpanRecord

BAR = 24
"""Columns of the timeline."""
_MESSAGING = {"publish": "publish", "process": "process", "ack": "acknowledge"}


def tree_lines(run: str, ended: bool, tree: Tree, *, everything: bool) -> Iterator[str]:
    """The tree, one line per span; without `everything` only what took time, or failed."""
    begin, end = tree.begin, tree.end
    width = max(shutil.get_terminal_size((110, 24)).columns, 60)
    yield f"trace {run}" + ("" if ended else "  (goes on)")
    tops = [tree.root] if tree.root is not None else []
    for branch in (*tops, *tree.lost):
        if not everything and branch is not tree.root and not _shown(branch):
            continue
        yield from _lines(branch, "", "", begin, end, width, everything)


def _lines(
    branch: Branch, first: str, rest: str, begin: int, end: int, width: int, everything: bool
) -> Iterator[str]:
    span = branch.span
    room = max(width - BAR - 14 - len(first), 20)
    label = one_line(_label(span), room)
    mark = "*" if branch.critical else " "
    bar = _bar(span, begin, end)
    text = f"{label:<{room}}"
    if span.error is not None:
        text = click.style(text, fg="red")
    elif branch.critical:
        text = click.style(text, bold=True)
    before = len(bar) - len(bar.lstrip())
    shown = " " * before + click.style(bar.strip(), fg="cyan") + " " * (BAR - before - len(bar.strip()))
    yield f"{first}{text} {mark} {shown} {_took(span):>9}"
    children = [child for child in branch.children if everything or _shown(child)]
    for child in children:
        last = child is children[-1]
        yield from _lines(
            child,
            rest + ("└ " if last else "├ "),
            rest + ("  " if last else "│ "),
            begin,
            end,
            width,
            everything,
        )


def span_data(depth: int, branch: Branch) -> dict[str, Any]:
    """One span for `--json`; times in seconds since 1970."""
    span = branch.span
    return {
        "span": span.span,
        "parent": span.parent or None,
        "depth": depth,
        "name": span.name,
        "kind": span.kind,
        "start": span.start / 1e9,
        "seconds": span.seconds,
        "critical": branch.critical,
        "error": span.error,
        "service": span.service,
        "instance": span.instance,
        "attributes": dict(span.attributes),
        "links": [{"trace": link.trace, "span": link.span, "what": link.what} for link in span.links],
    }


def _shown(branch: Branch) -> bool:
    span = branch.span
    if span.kind == "producer" or names.FACTS in span.attributes:
        return False
    told = not {names.CALL, names.HOST}.isdisjoint(span.attributes)
    counts = span.end - span.start > NOTHING or span.error is not None or told
    return counts or any(map(_shown, branch.children))


def _label(span: SpanRecord) -> str:
    """What a person wants to read: who does what for which step."""
    about = span.attributes
    step, attempt = about.get(names.STEP, ""), about.get(names.ATTEMPT, 1)
    if names.CALL in about:
        return f"{span.name}{_called(about)}{_failed(span)}"
    if names.HOST in about:
        saved = ", saved" if about.get(names.SAVED) else ""
        return f"tool host {about[names.HOST]}: {span.name}{_waited(about)}{saved}{_failed(span)}"
    if span.kind == "client" and names.AGENT_NAME in about:
        again = f", attempt {attempt}" if isinstance(attempt, int) and attempt > 1 else ""
        why = f" after {about[names.TROUBLE]}" if names.TROUBLE in about else ""
        return f"{step}: {about[names.AGENT_NAME]}{again}{why}{_failed(span)}"
    if span.kind == "consumer":
        return f"process by {span.instance}{_waited(about)}{_failed(span)}"
    if names.FACTS in about:
        facts = about[names.FACTS]
        told = ", ".join(facts) if isinstance(facts, tuple) else str(facts)
        return f"entry {about.get(names.ENTRY)}: {told}"
    operation = about.get("messaging.operation.name")
    if operation in _MESSAGING:
        return f"{_MESSAGING[str(operation)]} {about.get(names.DESTINATION_TEMPLATE, '')}".rstrip()
    if span.name.startswith("wait for"):
        return f"{step}: {span.name}" + (f" with {about[names.SKILL]}" if names.SKILL in about else "")
    if names.STATE in about:
        return f"{span.name}: {about[names.STATE]}"
    return f"{span.name}{_failed(span)}"


def _waited(about: Any) -> str:
    waited, times = about.get(names.QUEUE_WAIT, 0.0), about.get(names.DELIVERY, 1)
    told = f", waited {_seconds(waited)}" if isinstance(waited, float) and waited > 0.001 else ""
    return told + (f", delivery {times}" if isinstance(times, int) and times > 1 else "")


def _called(about: Any) -> str:
    """What a call of a model or a tool came to."""
    read, written = about.get("gen_ai.usage.input_tokens"), about.get("gen_ai.usage.output_tokens")
    tokens = f", {read} + {written} tokens" if read is not None and written is not None else ""
    cost = about.get(names.COST)
    money = f", ${cost:.4f}" if isinstance(cost, float) and cost else ""
    return tokens + money + (", replayed" if about.get(names.REPLAYED) else "")


def _failed(span: SpanRecord) -> str:
    return f" [{span.error}]" if span.error else ""


def _bar(span: SpanRecord, begin: int, end: int) -> str:
    whole = max(end - begin, 1)
    left = min(int((span.start - begin) / whole * BAR), BAR - 1)
    length = max(1, round((span.end - span.start) / whole * BAR))
    return (" " * left + "━" * min(length, BAR - left)).ljust(BAR)


def _took(span: SpanRecord) -> str:
    return _seconds(span.seconds)


def _seconds(seconds: float) -> str:
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.1f} ms"
    if seconds < 120:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m {rest:02}s" if minutes < 120 else f"{minutes // 60}h {minutes % 60:02}m"
