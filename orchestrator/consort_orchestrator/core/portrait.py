"""What a history folds to, in a form that stays the same from version to version.

A recorded history names its portrait; whatever later version folds it has to come
to the same. So nothing here may change what an old history shows: a new part is
added only where it is not empty.
"""

from __future__ import annotations

from typing import Any

from consort_orchestrator.core.state import RUN_ITSELF, Effected, Node, Run
from consort_shared.messages import Output
from consort_shared.usage import Usage
from consort_shared.values import Json


def portrait(run: Run) -> dict[str, Json]:
    """The state of a run as plain values; results by their digests."""
    finished = run.finished
    made: dict[str, Any] = {
        "n": run.n,
        "client": run.client,
        "goal": run.goal,
        "state": finished.state if finished is not None else "open",
        "why": finished.why if finished is not None else "",
        "output": finished.output if finished is not None else None,
        "steps": {path: _step(node) for path, node in run.nodes.items() if path != RUN_ITSELF},
        "context": {
            key: {"revision": kept.revision, "author": kept.author, "output": kept.output.digest}
            for key, kept in run.context.items()
        },
    }
    later = {
        "effects": _effects(run),
        "paused": run.paused.by if run.paused is not None else "",
        "ending": run.ending.state if run.ending is not None else "",
        "undone": run.undone,
        "forced": run.forced.by if run.forced is not None else "",
        "given_up": list(run.given_up),
        "redriven": sorted(run.redriven),
        "poisoned": run.poisoned,
        "usage": _usage(run.usage),
    }
    return made | {name: part for name, part in later.items() if part}


def _step(node: Node) -> dict[str, Json]:
    made: dict[str, Json] = {
        "phase": node.phase.value,
        "attempts": node.attempts,
        "agent": node.agent,
        "why": node.why,
        "output": _digest(node.output),
    }
    if node.planned is not None:
        made["plan"] = node.planned.plan.name
        made["inputs"] = node.planned.inputs
    if node.usage:
        made["usage"] = _usage(node.usage)
    return made


def _usage(usage: Usage) -> dict[str, Json]:
    return usage.model_dump(exclude_defaults=True)


def _effects(run: Run) -> dict[str, dict[str, Json]]:
    found: dict[str, dict[str, Json]] = {}
    for (path, key), effect in run.effects.items():
        found.setdefault(path, {})[key] = _effect(effect)
    return found


def _effect(effect: Effected) -> dict[str, Json]:
    return {
        "task": effect.task,
        "verdict": effect.verdict or "begun",
        "by": effect.by,
        "output": _digest(effect.output),
    }


def _digest(output: Output | None) -> str | None:
    return output.digest if output is not None else None
