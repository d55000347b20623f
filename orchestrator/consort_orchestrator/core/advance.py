"""How a run moves on: which steps may start, and when blocks and loops end.

Works through what has just ended, one instance at a time, and emits facts; each
fact is applied at once, so every question is asked of the newest state. Order is
plan order throughout: two orchestrators that see the same decide the same.

A failed step fails its scope once all else there has ended, unless a step that
needs it went ahead without it (`join: any`, `at_least`, `ended`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from consort_orchestrator.core import needs
from consort_orchestrator.core.apply import apply
from consort_orchestrator.core.assign import Candidate, choose
from consort_orchestrator.core.ending import end_run, wind_up
from consort_orchestrator.core.handoff import hand_off
from consort_orchestrator.core.moves import node_at
from consort_orchestrator.core.planning import opened_with_plan, without_output
from consort_orchestrator.core.resolve import Bound, View
from consort_orchestrator.core.said import Said
from consort_orchestrator.core.state import Node, Phase, Role, Run, child_path
from consort_shared.card import AgentCard
from consort_shared.entries import Closed, Fact, Finished, Granted, Held, Opened, Shared, Skipped, Waiting
from consort_shared.errors import PlanError
from consort_shared.messages import Answer, EffectAnswer, Hold, Stop
from consort_shared.offers import offers_of
from consort_shared.plan.expressions import ExpressionError
from consort_shared.plan.planned import in_words
from consort_shared.plan.wording import kind_of
from consort_shared.values import Json, NoSuchPath


@dataclass(frozen=True, slots=True)
class World:
    """What a decision may know besides the run: the time, who is there, stored values that it asked for."""

    now: float
    nonce: str
    candidates: Callable[[str], Sequence[Candidate]]
    blobs: Mapping[str, Json] = field(default_factory=dict)
    paused: frozenset[str] = frozenset()
    """agents that are paused: they are not among the candidates, and what they have in hand may take longer"""
    cards: Callable[[], Sequence[AgentCard]] = tuple
    """those of the live agents that are not paused: what may be planned with"""


class Advance:
    """One decision in the making: the run, and the facts so far."""

    def __init__(self, run: Run, world: World) -> None:
        self.run = run
        self.world = world
        self.facts: list[Fact] = []
        self.orders: list[tuple[str, Stop | Answer | EffectAnswer | Hold]] = []
        self.refused: list[tuple[Said, str]] = []
        self._ended: deque[str] = deque()
        self._grants = 0
        self._given: dict[str, int] = {}

    def emit(self, fact: Fact) -> None:
        apply(self.run, fact, self.world.now)
        self.facts.append(fact)

    def end(self, fact: Fact, path: str) -> None:
        """Emit a fact that ends an instance, and remember to look at what follows from it."""
        self.emit(fact)
        self._ended.append(path)

    def begin(self) -> None:
        """The run was just submitted: start what needs nothing."""
        self._consider_all(self.run.nodes[""])
        self.settle()

    def settle(self) -> None:
        """Follow everything that ended to its consequences, until the run is still or over."""
        while self._ended and self.run.finished is None:
            node = self.run.nodes[self._ended.popleft()]
            if self.run.ending is not None:
                wind_up(self)
                continue
            self._release_held(node)
            assert node.parent is not None
            parent = self.run.nodes[node.parent]
            if parent.role is Role.BLOCK:
                self._dependents(node, parent)
                self._close_scope(parent)
            elif parent.role is Role.EACH:
                self._more(parent)
            else:
                self._after_iteration(node, parent)
        self._ended.clear()  # of a run that is over nothing follows, also when it is opened again

    def wake(self) -> None:
        """Look again at steps that wait for an agent."""
        if self.run.paused is not None:
            return
        offered = {skill for skill in self.run.wanted if self.world.candidates(skill)}
        if offered:
            for path, skill in list(self.run.waiting.items()):
                if skill in offered:
                    self.grant(self.run.nodes[path])
            self.settle()

    def look_round(self) -> None:
        """Start whatever may start: the run goes on after a pause, or again after it had failed."""
        for node in list(self.run.nodes.values()):
            if node.phase is Phase.PENDING:
                self.consider(node)
            elif node.phase is Phase.OPEN and node.role is Role.EACH:
                self._more(node)
            elif node.phase is Phase.OPEN and node.role is Role.LOOP and not node.live:
                self._after_iteration(self.run.nodes[f"{node.path}[{node.started}]"], node)
        self.settle()

    def _dependents(self, node: Node, scope: Node) -> None:
        assert node.spec is not None
        for name in node.spec.dependents:
            self.consider(self.run.nodes[child_path(scope, name)])

    def consider(self, node: Node) -> None:
        """Start or skip a pending step if its needs allow to say."""
        if node.phase is not Phase.PENDING:
            return
        verdict = needs.verdict(self.run, node)
        if verdict is None:
            return
        if verdict:
            self.end(Skipped(path=node.path, why=verdict), node.path)
            return
        if self.run.paused is not None:
            return
        assert node.spec is not None
        when = node.spec.step.when
        if when is not None:
            try:
                holds = self.view(node).holds(when)
            except (ExpressionError, NoSuchPath) as exc:
                self._fail(node, f"if: {exc}")
                return
            if not holds:
                self.end(Skipped(path=node.path, why=f"`{when}` does not hold"), node.path)
                return
        self.start(node)

    def _close_scope(self, block: Node) -> None:
        if block.live or block.phase is not Phase.OPEN:
            return
        reason = needs.unabsorbed(self.run, block)
        if reason is None and block.planned is not None:
            reason = without_output(View(self.run, block, self.world.blobs, within=True), block.planned.plan)
        if block.path == "":
            self._finish(block, reason)
        else:
            self.end(Closed(path=block.path, done=reason is None, why=reason or ""), block.path)

    def _finish(self, root: Node, reason: str | None) -> None:
        plan = self.run.plan
        assert plan is not None
        if reason is not None:
            end_run(self, "failed", reason)
            return
        try:
            output = self.view(root).given(plan)
        except (ExpressionError, NoSuchPath) as exc:
            end_run(self, "failed", f"output: {exc}")
            return
        self.emit(Finished(state="completed", output=output))

    # --- starting

    def start(self, node: Node) -> None:
        assert node.spec is not None
        match node.role:
            case Role.TASK:
                self.grant(node)
            case Role.BLOCK:
                self._open_block(node)
            case Role.EACH:
                self._open_each(node)
            case Role.LOOP:
                self.emit(Opened(path=node.path))
                self._begin_child(node, 1)

    def _open_block(self, node: Node) -> None:
        """Raises NeedArtefacts for a plan that is stored out of line."""
        assert node.spec is not None
        opened = Opened(path=node.path)
        if node.spec.step.plan is not None:
            try:
                opened = opened_with_plan(self.run, node, self.view(node))
            except (ExpressionError, NoSuchPath, PlanError) as exc:
                self._fail(node, in_words(exc) if isinstance(exc, PlanError) else f"plan: {exc}")
                return
        self.emit(opened)
        self._consider_all(node)

    def _consider_all(self, block: Node) -> None:
        assert block.scope is not None
        for name in block.scope.specs:
            self.consider(self.run.nodes[child_path(block, name)])

    def _open_each(self, node: Node) -> None:
        assert node.spec is not None
        assert node.spec.step.for_each is not None
        try:
            items = self.view(node).value(node.spec.step.for_each.items)
        except (ExpressionError, NoSuchPath) as exc:
            self._fail(node, f"for_each.items: {exc}")
            return
        if not isinstance(items, list):
            self._fail(node, f"for_each.items is {kind_of(items)}, not a list")
            return
        self.emit(Opened(path=node.path, items=tuple(items)))
        self._more(node)

    def _more(self, each: Node) -> None:
        """Start items up to the bound in flight; close when none is left."""
        assert each.spec is not None
        assert each.spec.step.for_each is not None
        rule = each.spec.step.for_each
        while (
            each.phase is Phase.OPEN
            and self.run.paused is None
            and each.live < rule.in_flight
            and each.started < len(each.items)
            and each.lost <= rule.tolerate
        ):
            self._begin_child(each, each.started)
        if each.live or each.phase is not Phase.OPEN:
            return
        if each.lost > rule.tolerate:
            items = (self.run.nodes[f"{each.path}[{i}]"] for i in range(each.started))
            first = next(item for item in items if item.phase is Phase.FAILED)
            why = f"{each.lost} of {len(each.items)} items failed, {rule.tolerate} tolerated"
            why += f"; [{first.index}]: {first.why}"
            self.end(Closed(path=each.path, done=False, why=why), each.path)
        elif each.started == len(each.items):
            self.end(Closed(path=each.path, done=True), each.path)

    def _begin_child(self, parent: Node, index: int) -> None:
        assert parent.spec is not None
        path = f"{parent.path}[{index}]"
        if parent.spec.is_block:
            self._open_block(node_at(self.run, path))
        else:
            self.grant(node_at(self.run, path))

    def _after_iteration(self, node: Node, loop: Node) -> None:
        if loop.phase is not Phase.OPEN:
            return
        assert loop.spec is not None
        assert loop.spec.step.repeat is not None
        rule = loop.spec.step.repeat
        if node.phase is not Phase.DONE:
            self.end(Closed(path=loop.path, done=False, why=f"iteration {node.index}: {node.why}"), loop.path)
            return
        try:
            holds = self.view(node).holds(rule.until)
        except (ExpressionError, NoSuchPath) as exc:
            self.end(Closed(path=loop.path, done=False, why=f"repeat.until: {exc}"), loop.path)
            return
        if holds:
            self.end(Closed(path=loop.path, done=True), loop.path)
        elif node.index < rule.max:
            if self.run.paused is None:
                self._begin_child(loop, node.index + 1)
        else:
            why = f"`{rule.until}` does not hold after {rule.max} iterations, the plan's bound"
            self.end(Closed(path=loop.path, done=rule.exhausted == "accept", why=why), loop.path)

    # --- tasks

    def grant(self, node: Node) -> None:
        """Give the task to an agent, or wait for one, or take another step's result. Not while the run is paused."""
        if self.run.paused is not None:
            return
        assert node.spec is not None
        step = node.spec.step
        assert step.skill is not None
        view = self.view(node)
        try:
            key = self._key(node, view)
            if key is None:
                return
            choice = choose(node, self.world.candidates(step.skill), self._given)
            if choice is None:
                if node.phase is not Phase.WAITING:
                    self.emit(Waiting(path=node.path, skill=step.skill, key=key))
                return
            inputs = view.inputs(step.with_) if node.inputs is None else Bound(node.inputs)
            handoff = hand_off(self.run, node, inputs.holes, inputs.sources)
        except (ExpressionError, NoSuchPath) as exc:
            self._fail(node, str(exc))
            return
        granted = Granted(
            path=node.path,
            task=f"{self.run.n + 1}-{self._grants}",
            attempt=node.attempts + 1,
            agent=choice.agent,
            skill=step.skill,
            inputs=inputs.value,
            holes=tuple(inputs.holes),
            handoff=handoff,
            deadline=self.world.now + step.timeout,
            nonce=f"{self.world.nonce}{self._grants}",
            why=choice.why,
            trouble=node.trouble,
            key=key,
        )
        if choice.profile:
            granted = granted.model_copy(update={"profile": choice.profile})
        self.emit(granted)
        self._grants += 1
        self._given[choice.agent] = self._given.get(choice.agent, 0) + 1

    def _key(self, node: Node, view: View) -> str | None:
        """The step's key, empty when it has none; None when another step has done or is doing the work."""
        assert node.spec is not None
        if node.spec.step.key is None:
            return ""
        key = view.text(node.spec.step.key)
        owner = self.run.keys.get(key)
        if owner is None or owner == node.path:
            return key
        if self.run.nodes[owner].phase.ended:
            self.end(Shared(path=node.path, source=owner, key=key), node.path)
        else:
            self.emit(Held(path=node.path, key=key, source=owner))
        return None

    def _release_held(self, node: Node) -> None:
        held = self.run.held.get(node.path)
        if held:
            for path, key in list(held.items()):
                self.end(Shared(path=path, source=node.path, key=key), path)

    def _fail(self, node: Node, why: str) -> None:
        self.end(Closed(path=node.path, done=False, why=why), node.path)

    def view(self, node: Node) -> View:
        """What an instance sees; one that undoes another sees what that saw, and its result."""
        if node.undoes:
            return View(self.run, self.run.nodes[node.undoes], self.world.blobs, undoing=True)
        return View(self.run, node, self.world.blobs, offers=lambda: offers_of(self.world.cards()))
