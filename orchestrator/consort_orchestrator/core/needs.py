"""Whether a step's needs are met, and whether a scope that lost steps has failed.

Counts are kept by `moves` as instances end; nothing here changes a run.
"""

from __future__ import annotations

from consort_orchestrator.core.state import Node, Phase, Run, child_path
from consort_shared.plan.model import AtLeast, JoinRule, Step


def wanted(step: Step) -> int:
    """How many of a step's needs must be done; none when it is enough that they ended."""
    if not step.needs or step.join is JoinRule.ENDED:
        return 0
    if isinstance(step.join, AtLeast):
        return step.join.at_least
    return 1 if step.join is JoinRule.ANY else len(step.needs)


def verdict(run: Run, node: Node) -> str | None:
    """Empty when the needs are met, None while that is open, otherwise why they never will be."""
    assert node.spec is not None
    step = node.spec.step
    if not step.needs:
        return ""
    left = len(step.needs) - node.needs_ended
    if step.join is JoinRule.ENDED:
        return None if left else ""
    to_go = wanted(step) - node.needs_done
    if to_go <= 0:
        return ""
    return None if to_go <= left else _never(run, node, step)


def open_again(node: Node) -> bool:
    """Whether a step that was skipped because of its needs, not of its own condition, may still be done after all."""
    assert node.spec is not None
    step = node.spec.step
    return 0 < wanted(step) - node.needs_done <= len(step.needs) - node.needs_ended


def _never(run: Run, node: Node, step: Step) -> str:
    scope = run.scope_parent(node)
    phases = {name: run.nodes[child_path(scope, name)].phase for name in step.needs}
    bad = ", ".join(
        f"`{name}` {phase.value}" for name, phase in phases.items() if phase.ended and phase is not Phase.DONE
    )
    least = wanted(step)
    return f"needs {'all' if least == len(phases) else least} of {len(phases)}: {bad}"


def unabsorbed(run: Run, block: Node) -> str | None:
    """Why a scope whose steps have all ended counts as failed; None when it does not."""
    if not block.lost:
        return None
    assert block.scope is not None
    for name, spec in block.scope.specs.items():
        node = run.nodes[child_path(block, name)]
        if node.phase is not Phase.FAILED:
            continue
        tolerant = (run.nodes[child_path(block, other)].phase is Phase.DONE for other in spec.dependents)
        if not any(tolerant):
            return f"step `{node.path}` failed: {node.why}"
    return None
