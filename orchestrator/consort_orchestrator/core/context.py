"""Writes to the run's shared context: what fits, what does not, and what is said about it.

A write names the revision that it builds on, or none. It comes with a report, all
or nothing, or as a `Put` while the task goes on, which is answered; asked again,
a `Put` is answered again and nothing is written twice.
"""

from __future__ import annotations

from collections.abc import Sequence

from consort_orchestrator.core.advance import Advance
from consort_orchestrator.core.state import Node, Run, node_of_task
from consort_shared.entries import Refused, Written
from consort_shared.messages import Put, PutAnswer, Write


def revision(run: Run, key: str) -> int:
    """The revision of a key that stands, 0 when nobody has written it."""
    kept = run.context.get(key)
    return kept.revision if kept is not None else 0


def conflict(run: Run, writes: Sequence[Write]) -> str:
    """Why writes do not fit, empty when they do."""
    for write in writes:
        stands = revision(run, write.key)
        if write.seen is not None and write.seen != stands:
            return f"context key `{write.key}` is at revision {stands}, the write builds on {write.seen}"
    return ""


def written(run: Run, node: Node, write: Write, put: str = "") -> Written:
    """The fact that a write by the task of this instance counts."""
    return Written(
        key=write.key,
        revision=revision(run, write.key) + 1,
        author=node.agent,
        task=node.task,
        output=write.output,
        confidence=write.confidence,
        put=put,
    )


def put(going: Advance, sender: str, asked: Put) -> PutAnswer:
    """Judge a write while the task goes on."""
    run, name, key = going.run, f"{asked.task}.{asked.id}", asked.write.key
    before = run.puts.get(name)
    if before is not None:
        return before if before.accepted else before.model_copy(update={"revision": revision(run, key)})
    node = node_of_task(run, asked.task)
    why = "the task is over" if node is None else conflict(run, [asked.write])
    if node is None or why:
        if run.finished is None and asked.task in run.tasks:
            going.emit(Refused(what="put", sender=sender, task=asked.task, why=why, put=name))
        return PutAnswer(accepted=False, revision=revision(run, key), why=why)
    going.emit(written(run, node, asked.write, name))
    return PutAnswer(accepted=True, revision=revision(run, key))
