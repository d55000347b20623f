"""Reads the entries of a run and says whether they may stand, from the plan alone.

Knows the rules that users rely on and nothing of how the core works, so a bug
there cannot hide here. Every broken rule is an AssertionError.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass

from consort_shared.entries import (
    Accepted,
    Closed,
    Entry,
    Fact,
    Failure,
    Finished,
    Granted,
    Held,
    Opened,
    Refused,
    Shared,
    Skipped,
    Submitted,
    Waiting,
    Written,
)
from consort_shared.plan.model import AtLeast, JoinRule, Plan, Step

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

    def take(self, entry: Entry) -> None:
        for fact in entry.facts:
            assert self.finished is None or isinstance(fact, Refused), f"{fact.fact} after the end"
            self._take(fact)

    def _take(self, fact: Fact) -> None:
        match fact:
            case Submitted():
                assert self.plan is None, "submitted twice"
                self.plan = fact.plan
            case Granted():
                self._granted(fact)
            case Opened() | Waiting() | Held():
                self._start(fact.path)
            case Shared():
                self._start(fact.path)
                assert self.state[fact.source] in ("done", "failed")
                self._end(fact.path, self.state[fact.source])
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
            case Finished():
                if fact.state != "cancelled":
                    assert "open" not in self.state.values(), "finished over open steps"
                self.finished = fact
            case _:
                pass

    def _start(self, path: str) -> None:
        """Whatever makes an instance begin. Doing it again while it is open is another attempt at the same."""
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
        self._start(path)
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
        del self.task[fact.path]
        self._end(fact.path, "done")

    def _failure(self, fact: Failure) -> None:
        assert self.task.pop(fact.path, None) == fact.task
        self.counted[fact.path] += fact.counts
        assert self.counted[fact.path] <= self.where(fact.path).step.retry.attempts
        if fact.retry_at is None:
            self._end(fact.path, "failed")

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
            assert step.steps is not None
            steps = step.steps
        raise AssertionError(path)
