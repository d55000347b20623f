"""What a task is told of all that happened before it.

Named with author and digest is every result that the step comes after: of the
steps it needs; at the start of a block of those that the block needs, and of the
iteration before; of the step that it undoes; and whatever its inputs were made from. Values are not repeated
in the entry where the log has them: `delivered` puts in those that the step
itself needs or that fill its inputs, for the agent, which does not read the log.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from consort_orchestrator.core.state import Node, Phase, Role, Run, child_path
from consort_shared.entries import ContextItem, Granted, HandOff, Hole, Prior
from consort_shared.messages import Output
from consort_shared.values import NoSuchPath, digest


def hand_off(run: Run, node: Node, holes: Sequence[Hole], sources: Iterable[str] = ()) -> HandOff:
    """The hand-off of a task; `sources` are paths of steps that its inputs were made from.

    Raises NoSuchPath for a context key that nobody has written.
    """
    assert node.spec is not None
    paths = dict.fromkeys(_before(run, node))
    paths.update(dict.fromkeys(hole.prior for hole in holes))
    paths.update(dict.fromkeys(sources))
    priors = tuple(_prior(run, run.nodes[path]) for path in paths if run.nodes[path].phase is Phase.DONE)
    return HandOff(after=run.n, chain=run.chain, priors=priors, context=_context(run, node.spec.step.context))


def _needed(run: Run, node: Node) -> Iterator[str]:
    """Paths of the steps that this instance's step needs itself, or undoes."""
    assert node.spec is not None
    if node.undoes:
        yield node.undoes
    if node.spec.step.needs:
        scope = run.scope_parent(node)
        for name in node.spec.step.needs:
            yield child_path(scope, name)


def _before(run: Run, node: Node) -> Iterator[str]:
    """Paths of what this instance comes right after: its needs or, where it has none, those of what it is in."""
    at = node
    if node.undoes:
        yield node.undoes
    while at.parent is not None:
        yield from _needed(run, at)
        parent = run.nodes[at.parent]
        if parent.role is Role.LOOP and at.index > 1:
            yield f"{parent.path}[{at.index - 1}]"
            return
        assert at.spec is not None
        if at.spec.step.needs:
            return
        at = parent if parent.role is Role.BLOCK else run.scope_parent(at)


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
    """Of a block or loop that is done: the digest of its steps' digests, by path."""
    if not node.digest:
        inside = {}
        waiting = [node]
        while waiting:
            at = waiting.pop()
            if at.output is not None:
                inside[at.path] = at.output.digest
            waiting.extend(_children(run, at))
        node.digest = digest(inside)
    return node.digest


def _children(run: Run, node: Node) -> Iterator[Node]:
    if node.role is Role.EACH:
        yield from (run.nodes[f"{node.path}[{index}]"] for index in range(node.started))
    elif node.role is Role.LOOP:
        yield from (run.nodes[f"{node.path}[{index}]"] for index in range(1, node.started + 1))
    elif node.scope is not None and node.phase is not Phase.SKIPPED:
        paths = (child_path(node, name) for name in node.scope.specs)
        yield from (run.nodes[path] for path in paths if path in run.nodes)


def _context(run: Run, keys: Sequence[str]) -> tuple[ContextItem, ...]:
    items = []
    for key in keys:
        kept = run.context.get(key)
        if kept is None:
            there = ", ".join(sorted(run.context)) or "none"
            raise NoSuchPath(
                f"context key `{key}` is missing from the hand-off: "
                f"nobody has written it (there are: {there})"
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


def promised(run: Run, granted: Granted, at_hand: Collection[str] = ()) -> dict[str, Output]:
    """The results, by path, that a task is to be given besides those `at_hand`, which stand in the same entry."""
    wanted = {hole.prior for hole in granted.holes}
    wanted.update(_needed(run, run.nodes[granted.path]))
    wanted.difference_update(at_hand)
    outputs = ((prior.path, run.nodes[prior.path].output) for prior in granted.handoff.priors)
    return {path: output for path, output in outputs if output is not None and path in wanted}


def delivered(run: Run, granted: Granted, at_hand: Collection[str] = ()) -> Granted:
    """The task with the results it was promised."""
    outputs = promised(run, granted, at_hand)
    if not outputs:
        return granted
    handoff = granted.handoff
    priors = tuple(
        prior.model_copy(update={"output": outputs[prior.path]}) if prior.path in outputs else prior
        for prior in handoff.priors
    )
    return granted.model_copy(update={"handoff": handoff.model_copy(update={"priors": priors})})
