"""What a task is told of all that happened before it.

Every result that the step needs is named with its author and digest. Values are
not repeated in the entry where the log has them: `delivered` puts them in for the
agent, which does not read the log.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from consort_orchestrator.core.state import Node, Phase, Role, Run, child_path
from consort_shared.entries import ContextItem, Granted, HandOff, Hole, Prior
from consort_shared.values import NoSuchPath, digest


def hand_off(run: Run, node: Node, holes: Sequence[Hole]) -> HandOff:
    """The hand-off of a task. Raises NoSuchPath for a context key that nobody has written."""
    assert node.spec is not None
    step = node.spec.step
    paths: dict[str, None] = {}
    if step.needs:
        scope = run.scope_parent(node)
        for name in step.needs:
            paths[child_path(scope, name)] = None
    for hole in holes:
        paths[hole.prior] = None
    priors = tuple(_prior(run, run.nodes[path]) for path in paths if run.nodes[path].phase is Phase.DONE)
    return HandOff(after=run.n, chain=run.chain, priors=priors, context=_context(run, step.context))


def _prior(run: Run, node: Node) -> Prior:
    spec = node.spec
    assert spec is not None
    if node.role is Role.TASK:
        assert node.output is not None
        return Prior(
            path=node.path,
            skill=spec.step.skill or "",
            agent=node.agent,
            task=node.task,
            digest=node.output.digest,
        )
    return Prior(path=node.path, digest=_digest(run, node))


def _digest(run: Run, node: Node) -> str:
    """Of a block or loop: the digest of its steps' digests, by path."""
    inside = {
        other.path: other.output.digest
        for other in run.nodes.values()
        if other.output is not None and other.path.startswith((f"{node.path}.", f"{node.path}["))
    }
    return digest(inside)


def _context(run: Run, keys: Sequence[str]) -> tuple[ContextItem, ...]:
    items = []
    for key in keys:
        kept = run.context.get(key)
        if kept is None:
            there = ", ".join(sorted(run.context)) or "none"
            raise NoSuchPath(
                f"context key `{key}` is missing from the hand-off: nobody has written it (there are: {there})"
            )
        items.append(
            ContextItem(
                key=key,
                revision=kept.revision,
                author=kept.author,
                task=kept.task,
                confidence=kept.confidence,
                output=kept.output,
            )
        )
    return tuple(items)


def delivered(run: Run, granted: Granted, at_hand: Collection[str] = ()) -> Granted:
    """The task with the results it was promised; those `at_hand` stand in the same entry."""
    handoff = granted.handoff
    if all(prior.path in at_hand or prior.output is not None for prior in handoff.priors):
        return granted
    priors = tuple(
        prior.model_copy(update={"output": run.nodes[prior.path].output})
        if prior.path not in at_hand and run.nodes[prior.path].output is not None
        else prior
        for prior in handoff.priors
    )
    return granted.model_copy(update={"handoff": handoff.model_copy(update={"priors": priors})})
