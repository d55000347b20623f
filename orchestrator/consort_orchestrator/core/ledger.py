"""What facts about effects change: the ledger of what was begun outside, and what became of it.

An effect is known by the path of its step and the author's key, so the attempts at
one step share what they know. Between its begin and its settling nobody knows
whether it happened. Raises `IllegalMove`, as `apply` does.
"""

from __future__ import annotations

from typing import assert_never

from consort_orchestrator.core.moves import attempt, move, set_due
from consort_orchestrator.core.state import Effected, IllegalMove, Phase, Run
from consort_shared.entries import Doubted, EffectBegun, EffectSettled


def apply(run: Run, fact: EffectBegun | EffectSettled | Doubted, at: float) -> None:
    """Raises IllegalMove."""
    match fact:
        case EffectBegun():
            _begun(run, fact)
        case EffectSettled():
            _settled(run, fact, at)
        case Doubted():
            _doubted(run, fact)
        case _:
            assert_never(fact)


def unsettled(run: Run) -> list[tuple[str, str]]:
    """Path and key of every effect of which nobody knows whether it happened."""
    return [place for place, effect in run.effects.items() if effect.open]


def _begun(run: Run, fact: EffectBegun) -> None:
    attempt(run, fact.path, fact.task)
    before = run.effects.get((fact.path, fact.key))
    past: frozenset[str] = frozenset()
    if before is not None:
        past = before.past | {before.id}
        if before.verdict == "done" or fact.id in past:
            raise IllegalMove(fact.path, f"the effect `{fact.key}` is done, or was begun by this try already")
    run.effects[fact.path, fact.key] = Effected(fact.id, fact.task, fact.agent, fact.instance, past=past)


def _settled(run: Run, fact: EffectSettled, at: float) -> None:
    effect = run.effects.get((fact.path, fact.key))
    if effect is None or effect.verdict == "done" or effect.verdict == fact.verdict:
        raise IllegalMove(fact.path, f"the effect `{fact.key}` is not begun, or settled already")
    effect.verdict = fact.verdict
    effect.output = fact.output
    effect.by = fact.by
    node = run.nodes[fact.path]
    node.doubts = node.doubts - {fact.key}
    if node.phase is Phase.ASKING and not node.doubts and run.finished is None:
        move(run, node, Phase.BACKOFF)
        set_due(run, node.path, at)


def _doubted(run: Run, fact: Doubted) -> None:
    node = attempt(run, fact.path, fact.task)
    effect = run.effects.get((fact.path, fact.key))
    if effect is None or not effect.open:
        raise IllegalMove(fact.path, f"the effect `{fact.key}` is not in doubt")
    move(run, node, Phase.ASKING)
    run.due.pop(node.path, None)
    node.noted.clear()
    node.trouble = fact.why
    node.doubts = node.doubts | {fact.key}
