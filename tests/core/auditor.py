"""Reads the entries of a run and says whether they may stand, from the plan alone.

Knows the rules that users rely on and nothing of how the core works, so a bug
there cannot hide here. Every broken rule is an AssertionError.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from consort_shared.entries import (
    Accepted,
    Closed,
    Doubted,
    EffectBegun,
    EffectSettled,
    Ending,
    Entry,
    Extended,
    Fact,
    Failure,
    Finished,
    Forced,
    GivenUp,
    Granted,
    Heeded,
    Held,
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
from consort_shared.plan.check import check
from consort_shared.plan.model import AtLeast, JoinRule, Plan, Step, Undo
from consort_shared.usage import NOTHING
from consort_shared.values import Json

UNDO = "!undo"
AFTER_THE_END = (Refused, Redriven, Reopened, EffectSettled, Heeded)
_SEGMENT = re.compile(r"([a-z0-9_]+)(?:\[(\d+)\])?")


@dataclass(frozen=True)
class Where:
    """What a path means: the step, the path of the block around it, and which item or iteration it is."""

    step: Step
    scope: str
    base: str
    index: int | None


class Auditor:
    def __init__(self) -> None:
        self.plan: Plan | None = None
        self.plans: dict[str, Plan] = {}
        """by path of the block that carries it out: a plan that came while the run was going on"""
        self.results: dict[str, Json] = {}
        """by path: what was accepted, of those that stand in the entry"""
        self.state: dict[str, str] = {}
        self.task: dict[str, str] = {}
        """by path: the attempt under way"""
        self.attempts: Counter[str] = Counter()
        self.counted: Counter[str] = Counter()
        self.accepted: dict[str, str] = {}
        """by path: digest of what was accepted"""
        self.owner: dict[str, str] = {}
        self.children: defaultdict[str, list[str]] = defaultdict(list)
        self.revisions: Counter[str] = Counter()
        self.reported: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
        """by task: process and digest of every result that an agent did report"""
        self.finished: Finished | None = None
        self.ending: Ending | None = None
        self.forced: Forced | None = None
        self.paused = False
        self.to_undo: list[str] = []
        """completed tasks that can be undone, in the order of their results"""
        self.shared: dict[str, str] = {}
        """by path: whose failure it shares"""
        self.begun: dict[tuple[str, str], EffectBegun] = {}
        """effects of which nobody knows whether they happened"""
        self.settled: dict[tuple[str, str], str] = {}
        self.doubts: set[tuple[str, str]] = set()
        self.letters: set[int] = set()
        self.asked = 0.0
        self.heard: set[tuple[str, str, str]] = set()
        self.paid: defaultdict[str, set[int]] = defaultdict(set)
        """by task: what its reports said that they cost"""
        self.used = NOTHING
        """by all attempts whose report is on record"""
        self.charged: set[tuple[str, str]] = set()

    def take(self, entry: Entry) -> None:
        for fact in entry.facts:
            assert self.finished is None or isinstance(fact, AFTER_THE_END), f"{fact.fact} after the end"
            self._take(fact)
        idle = self.forced is not None and not self.task
        assert self.finished is not None or not idle, "its end is forced, nothing is in hand, and it goes on"

    def _charge(self, fact: Accepted | Failure | Refused) -> None:
        if fact.usage is None:
            return
        assert fact.usage.cost in self.paid[fact.task], "charged for what nobody reported"
        assert (fact.task, fact.fact) not in self.charged, "charged twice"
        self.charged.add((fact.task, fact.fact))
        self.used += fact.usage

    def _take(self, fact: Fact) -> None:
        if isinstance(fact, Accepted | Failure | Refused):
            self._charge(fact)
        match fact:
            case Submitted():
                assert self.plan is None, "submitted twice"
                self.plan = fact.plan
            case Granted() if fact.path.endswith(UNDO):
                self._undoing(fact)
            case Waiting() if fact.path.endswith(UNDO):
                self._may_undo(fact.path)
            case Closed() if fact.path.endswith(UNDO):
                assert not fact.done
                self._may_undo(fact.path)
                self.to_undo.pop()
            case Granted():
                self._granted(fact)
            case Opened():
                self._start(fact.path)
                self._brings(fact)
            case Waiting() | Held():
                self._start(fact.path)
            case Shared():
                self._start(fact.path)
                assert self.state[fact.source] in ("done", "failed")
                self._end(fact.path, self.state[fact.source])
                if self.state[fact.source] == "failed":
                    self.shared[fact.path] = fact.source
                if fact.source in self.accepted:
                    self.accepted[fact.path] = self.accepted[fact.source]
            case Skipped():
                self._skipped(fact.path)
            case Accepted():
                self._accepted(fact)
            case Failure():
                self._failure(fact)
            case Closed():
                self._start(fact.path)
                live = [c for c in self.children[fact.path] if self.state[c] == "open"]
                assert not live, f"{fact.path} closed over {live}"
                self._end(fact.path, "done" if fact.done else "failed")
            case Written():
                self.revisions[fact.key] += 1
                assert fact.revision == self.revisions[fact.key], "a revision was skipped or written twice"
            case Extended():
                assert self.task.get(fact.path) == fact.task, "more time for an attempt that is over"
            case EffectBegun() | EffectSettled() | Doubted():
                self._effect(fact)
            case Paused() | Resumed():
                assert fact.asked > self.asked, f"{fact.fact} although something newer was asked for"
                assert not (self.paused and isinstance(fact, Paused)), "paused twice"
                self.asked, self.paused = fact.asked, isinstance(fact, Paused)
            case Heeded():
                self._heeded(fact)
            case Redriven():
                assert fact.letter not in self.letters, "a dead letter was judged again twice"
                self.letters.add(fact.letter)
            case Ending():
                self._ending(fact)
            case Forced():
                assert self.ending is not None, "forced to an end that has not begun"
                assert self.forced is None, "forced twice"
                self.forced = fact
            case GivenUp():
                self._given_up(fact)
            case Reopened():
                self._reopened(fact)
            case Finished():
                self._finished(fact)
            case _:
                pass

    def _brings(self, fact: Opened) -> None:
        """A block carries out a plan that was accepted, and no other; it is told of nothing that it does not want."""
        where = self.where(fact.path)
        outermost = where.index is not None or (where.step.for_each is None and where.step.repeat is None)
        assert (fact.plan is not None) == (where.step.plan is not None and outermost), (
            "with or without its plan"
        )
        if fact.plan is None or where.step.plan is None:
            return
        assert not check(fact.plan), "carries out what is no plan"
        assert fact.inputs is not None
        assert fact.inputs.keys() == fact.plan.inputs.keys()
        assert fact.path.count(".") < 40, "plans without end"
        found = re.fullmatch(r"\$\{\{ steps\.(\w+)\.output \}\}", where.step.plan)
        assert found is not None
        source = f"{where.scope}.{found[1]}" if where.scope else found[1]
        assert source in self.accepted, f"the plan of {fact.path} was never accepted"
        if source in self.results:
            assert Plan.model_validate(self.results[source]) == fact.plan, (
                "another plan than the one accepted"
            )
        self.plans[fact.path] = fact.plan

    # --- the end

    def _ending(self, fact: Ending) -> None:
        assert self.ending is None, "ends twice"
        assert self.task or self.to_undo, "nothing to call off and nothing to undo"
        self.ending = fact
        self.paused = False
        for path, state in self.state.items():
            if state == "open" and path not in self.task:
                self.state[path] = "cancelled"

    def _finished(self, fact: Finished) -> None:
        if self.ending is not None:
            assert fact.state == self.ending.state
        if fact.state != "completed":
            assert not self.task, "ended with tasks in hand"
            assert not self.to_undo, f"ended without undoing {self.to_undo}"
        if fact.state == "completed" or (fact.state == "failed" and fact.why.startswith("step ")):
            assert "open" not in self.state.values(), "finished over open steps"
        self.finished = fact
        self.paused = False

    def _given_up(self, fact: GivenUp) -> None:
        assert self.forced is not None, "given up, and nobody has forced the end"
        assert (fact.by, fact.why) == (self.forced.by, self.forced.why)
        assert not self.task, "given up while something is in hand"
        assert fact.path not in self.accepted, "given up although it was undone"
        assert f"{self.to_undo.pop()}{UNDO}" == fact.path, "not the last one first"
        self.state[fact.path] = "cancelled"

    def _heeded(self, fact: Heeded) -> None:
        said = (fact.task, fact.order, fact.how)
        assert said not in self.heard, "said before"
        self.heard.add(said)
        if fact.order == "stop" and self.task.get(fact.path) == fact.task:
            assert self.ending is not None, "stopped, and the run is not ending"
            del self.task[fact.path]
            self.state[fact.path] = "cancelled"

    def _may_undo(self, path: str) -> Undo:
        assert self.ending is not None, "undone, and the run is not ending"
        assert self.forced is None, "undone although the end was forced"
        assert self.task.keys() <= {path}, "undone while something is in hand"
        assert f"{self.to_undo[-1]}{UNDO}" == path, "not the last one first"
        undo = self.where(path.removesuffix(UNDO)).step.undo
        assert undo is not None
        return undo

    def _undoing(self, fact: Granted) -> None:
        undo = self._may_undo(fact.path)
        assert fact.skill == undo.skill
        assert fact.path not in self.task, "two attempts at a time"
        self._no_doubt(fact.path)
        self.task[fact.path] = fact.task
        self.state[fact.path] = "open"
        self.attempts[fact.path] += 1
        assert fact.attempt == self.attempts[fact.path]
        undone = fact.path.removesuffix(UNDO)
        assert {prior.path: prior.digest for prior in fact.handoff.priors}[undone] == self.accepted[undone]

    def _no_doubt(self, path: str) -> None:
        assert not any(place[0] == path for place in self.doubts), f"{path} goes on in doubt"

    # --- trying again

    def _reopened(self, fact: Reopened) -> None:
        assert self.state[fact.path] == "failed"
        assert self.attempts[fact.path], "never was a task"
        assert not any(self.attempts[p] for p in self.attempts if p.endswith(UNDO)), "tried again and undone"
        if self.ending is not None:
            assert self.forced is None, "tried again after somebody has forced the end"
            assert self.ending.state == "failed"
            assert not self.ending.by, "not because its steps failed"
        assert self.finished is None or self.finished.state == "failed"
        self.finished = self.ending = None
        self.counted[fact.path] = 0
        again = [fact.path, *(path for path, source in self.shared.items() if source == fact.path)]
        for path in again:
            around = list(self._around(path))
            if all(self.state[outer] in ("open", "failed") for outer in around):
                self.state.update(dict.fromkeys([path, *around], "open"))
                self.shared.pop(path, None)
        assert self.state[fact.path] == "open", "what is around went on without it"
        self._unskip()

    def _around(self, path: str) -> Iterator[str]:
        """The items, iterations, loops and blocks around an instance, innermost first."""
        while True:
            if path.endswith("]"):
                path = path[: path.rindex("[")]
            elif "." in path:
                path = path[: path.rindex(".")]
            else:
                return
            yield path

    def _unskip(self) -> None:
        """What was skipped because of its needs may start again once they may be met again."""
        found = True
        while found:
            found = False
            for path, state in list(self.state.items()):
                where = self.where(path) if state == "skipped" else None
                if where is None or where.step.join is JoinRule.ENDED:
                    continue
                inside = where.scope == "" or self.state[where.scope] == "open"
                if inside and self._met(where) is None:
                    del self.state[path]
                    found = True

    # --- effects

    def _effect(self, fact: EffectBegun | EffectSettled | Doubted) -> None:
        place = (fact.path, fact.key)
        match fact:
            case EffectBegun():
                assert self.task.get(fact.path) == fact.task, "begun by an attempt that is over"
                assert self.settled.get(place) != "done", "begun again after it was done"
                before = self.begun.get(place)
                assert before is None or before.id != fact.id
                assert before is None or self._unknown(fact.path) == "redo", "begun again, nobody knows why"
                self.begun[place] = fact
                self.settled.pop(place, None)
            case EffectSettled():
                late = self.settled.get(place) == "undone" and fact.verdict == "done"
                assert place in self.begun or late, "settled and not begun"
                self.begun.pop(place, None)
                self.settled[place] = fact.verdict
                self.doubts.discard(place)
            case Doubted():
                assert place in self.begun, "in doubt and not begun"
                assert self.task.pop(fact.path) == fact.task
                self.doubts.add(place)

    def _unknown(self, path: str) -> str:
        step = self.where(path.removesuffix(UNDO)).step
        given = step.undo.with_ if path.endswith(UNDO) and step.undo is not None else step.with_
        return str(given.get("unknown", "ask"))

    # --- steps

    def _start(self, path: str) -> None:
        """Whatever makes an instance begin. Doing it again while it is open is another attempt at the same."""
        assert self.ending is None, f"{path} began although the run is ending"
        if path in self.state:
            assert self.state[path] == "open", f"{path} began after it had {self.state[path]}"
            return
        where = self.where(path)
        if where.index is None:
            assert where.scope == "" or self.state.get(where.scope) == "open"
            assert self._met(where) is True, f"{path} began before its needs allowed it"
            if where.scope:
                self.children[where.scope].append(path)
        else:
            self._child(path, where)
        self.state[path] = "open"

    def _child(self, path: str, where: Where) -> None:
        assert self.state.get(where.base) == "open"
        siblings = self.children[where.base]
        if where.step.for_each is not None:
            assert where.index == len(siblings), "items begin in order, each once"
            live = sum(self.state[s] == "open" for s in siblings)
            assert live < where.step.for_each.in_flight, "more in flight than allowed"
        else:
            assert where.step.repeat is not None
            assert where.index == len(siblings) + 1 <= where.step.repeat.max, "past the bound"
            assert not siblings or self.state[siblings[-1]] == "done"
        siblings.append(path)

    def _met(self, where: Where) -> bool | None:
        """Whether the needs of a step are met; None while that is open."""
        step = where.step
        states = [self.state.get(f"{where.scope}.{n}" if where.scope else n, "open") for n in step.needs]
        done, left = states.count("done"), states.count("open")
        if step.join is JoinRule.ENDED:
            return None if left else True
        wanted = len(states)
        if isinstance(step.join, AtLeast):
            wanted = step.join.at_least
        elif step.join is JoinRule.ANY:
            wanted = min(1, wanted)
        if done >= wanted:
            return True
        return None if done + left >= wanted else False

    def _end(self, path: str, how: str) -> None:
        assert self.state[path] == "open"
        self.state[path] = how

    def _skipped(self, path: str) -> None:
        where = self.where(path)
        assert path not in self.state
        met = self._met(where)
        assert met is False or (met is True and where.step.when is not None)
        self.state[path] = "skipped"

    def _granted(self, fact: Granted) -> None:
        path, step = fact.path, self.where(fact.path).step
        assert not self.paused, f"{path} was given out in a pause"
        self._start(path)
        self._no_doubt(path)
        assert path not in self.task, "two attempts at a time"
        self.task[path] = fact.task
        self.attempts[path] += 1
        assert fact.attempt == self.attempts[path]
        if fact.key:
            assert self.owner.setdefault(fact.key, path) == path, "a key's work is done twice"
        priors = {prior.path: prior for prior in fact.handoff.priors}
        assert len(priors) == len(fact.handoff.priors)
        scope = self.where(path).scope
        for need in step.needs:
            needed = f"{scope}.{need}" if scope else need
            if self.state.get(needed) == "done":
                assert needed in priors, f"{path} is not told of {needed}"
        for prior in priors.values():
            assert self.state[prior.path] == "done", "told of what is not done"
            if prior.path in self.accepted:
                assert prior.digest == self.accepted[prior.path]
        assert all(hole.prior in priors for hole in fact.holes)
        assert [item.key for item in fact.handoff.context] == list(step.context)
        for item in fact.handoff.context:
            assert item.revision == self.revisions[item.key]

    def _accepted(self, fact: Accepted) -> None:
        assert fact.path not in self.accepted, f"a second result of {fact.path}"
        assert self.task.get(fact.path) == fact.task, "a result of an attempt that is over"
        said = self.reported[fact.task]
        assert (fact.instance, fact.output.digest) in said, "a result that nobody reported for this attempt"
        self.accepted[fact.path] = fact.output.digest
        if fact.output.ref is None:
            self.results[fact.path] = fact.output.value
            returned = self.where(fact.path.removesuffix(UNDO)).step
            if returned.returns is not None and not fact.path.endswith(UNDO):
                plan = Plan.model_validate(fact.output.value)
                assert not check(plan), "accepted what is no plan"
                assert len(plan.steps) <= (returned.max_steps or 50), "accepted a plan that is too large"
        del self.task[fact.path]
        self._end(fact.path, "done")
        if fact.path.endswith(UNDO):
            assert f"{self.to_undo.pop()}{UNDO}" == fact.path
        elif self.where(fact.path).step.undo is not None:
            self.to_undo.append(fact.path)

    def _failure(self, fact: Failure) -> None:
        assert self.task.pop(fact.path, None) == fact.task
        self.counted[fact.path] += fact.counts
        undoing = fact.path.endswith(UNDO)
        step = self.where(fact.path.removesuffix(UNDO)).step
        retry = step.undo.retry if undoing and step.undo is not None else step.retry
        assert self.counted[fact.path] <= retry.attempts
        if fact.retry_at is None:
            called_off = self.forced is not None or (self.ending is not None and not undoing)
            self._end(fact.path, "cancelled" if called_off else "failed")
            if undoing and not called_off:
                self.to_undo.pop()
        else:
            assert self.ending is None or undoing, "another attempt, and the run is ending"
            assert self.forced is None, "another attempt, and the end was forced"

    def where(self, path: str) -> Where:
        assert self.plan is not None
        steps, scope = self.plan.steps, ""
        parts = path.split(".")
        for at, part in enumerate(parts):
            match = _SEGMENT.fullmatch(part)
            assert match is not None
            name, number = match.groups()
            step = steps[name]
            base = f"{scope}.{name}" if scope else name
            if at == len(parts) - 1:
                return Where(step, scope, base, int(number) if number else None)
            scope = f"{scope}.{part}" if scope else part
            brought = self.plans.get(scope)
            inner = step.steps if brought is None else brought.steps
            assert inner is not None
            steps = inner
        raise AssertionError(path)
