"""Drives one run by hand: says things, keeps the entries, and looks at what was decided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias, TypeVar

from consort_orchestrator.core import Candidate, Decision, Node, Phase, Run, Said, World, apply, decide
from consort_orchestrator.core.decide import Message
from consort_shared.card import AgentCard
from consort_shared.entries import Fact, Granted
from consort_shared.messages import (
    Declined,
    Done,
    Failed,
    Heed,
    Hold,
    Outcome,
    Output,
    Report,
    Stop,
    Submit,
    Wake,
    Write,
)
from consort_shared.plan.check import check
from consort_shared.plan.model import Plan
from consort_shared.values import ArtefactRef, Json, digest

F = TypeVar("F")
CLIENT = "client.me"
How: TypeAlias = Literal["stopped", "dropped", "cannot", "goes-on", "held"]


def make_plan(steps: dict[str, Any], **rest: Any) -> Plan:
    plan = Plan.model_validate({"name": "test", "steps": steps, **rest})
    assert check(plan) == []
    return plan


def inline(value: Json) -> Output:
    return Output(value=value, digest=digest(value))


def stored(value: Json) -> Output:
    ref = ArtefactRef(artefact=digest(value), writer="agent.ann", size=9)
    return Output(ref=ref, digest=digest(value))


class Driver:
    """A run, the world around it, and, unless there is no time for it, a twin that only ever sees the facts."""

    def __init__(self, agents: Sequence[str] = ("ann",), *, twin: bool = True) -> None:
        self.run = Run("0" * 32)
        self.twin = Run("0" * 32) if twin else None
        self.now = 1000.0
        self.agents = list(agents)
        self.blobs: dict[str, Json] = {}
        self.candidates: Callable[[str], list[Candidate]] = lambda skill: [
            Candidate(name, 4) for name in self.agents
        ]
        self.paused: frozenset[str] = frozenset()
        self.cards: list[AgentCard] = []
        self.last = Decision(())

    def say(self, *said: Said) -> tuple[Fact, ...]:
        world = World(self.now, "abc", self.candidates, self.blobs, self.paused, lambda: self.cards)
        self.last = decide(self.run, said, world)
        self.run.n += bool(self.last.facts)
        if self.twin is not None:
            for fact in self.last.facts:
                apply(self.twin, fact, self.now)
            self.twin.n = self.run.n
            assert self.run == self.twin
        return self.last.facts

    def tell(self, message: Message, sender: str = "client.me") -> tuple[Fact, ...]:
        return self.say(Said(sender, message))

    def submit(self, plan: Plan, **inputs: Json) -> tuple[Fact, ...]:
        return self.tell(Submit(plan=plan, inputs=inputs))

    def start(self, steps: dict[str, Any], rest: dict[str, Any] | None = None, **inputs: Json) -> Driver:
        self.submit(make_plan(steps, **(rest or {})), **inputs)
        return self

    def node(self, path: str) -> Node:
        return self.run.nodes[path]

    def phase(self, path: str) -> Phase:
        return self.run.nodes[path].phase

    def report(self, path: str, outcome: Outcome, task: str = "") -> tuple[Fact, ...]:
        node = self.node(path)
        report = Report(task=task or node.task, instance="i1", outcome=outcome)
        return self.tell(report, f"agent.{node.agent}")

    def done(self, path: str, value: Json = None, *writes: Write) -> tuple[Fact, ...]:
        output = value if isinstance(value, Output) else inline(value)
        return self.report(path, Done(output=output, writes=writes))

    def fail(self, path: str, *, retry: bool = True) -> tuple[Fact, ...]:
        return self.report(path, Failed(kind="skill-error", message="no luck", retry=retry))

    def decline(self, path: str) -> tuple[Fact, ...]:
        return self.report(path, Declined(why="busy"))

    def wait(self, seconds: float) -> tuple[Fact, ...]:
        self.now += seconds
        return self.tell(Wake(), "timer")

    def facts(self, kind: type[F]) -> list[F]:
        """Those of the last decision."""
        return [fact for fact in self.last.facts if isinstance(fact, kind)]

    def granted(self, path: str) -> Granted:
        """The grant of the last decision for a path."""
        (found,) = [fact for fact in self.facts(Granted) if fact.path == path]
        return found

    def heed(self, path: str, order: Literal["stop", "pause", "resume"], how: How) -> tuple[Fact, ...]:
        node = self.node(path)
        return self.tell(Heed(task=node.task, instance="i1", order=order, how=how), f"agent.{node.agent}")

    @property
    def stopped(self) -> list[tuple[str, str]]:
        """Agents, and the tasks that the last decision told them to stop."""
        return [(agent, order.task) for agent, order in self.last.orders if isinstance(order, Stop)]

    @property
    def held(self) -> list[tuple[str, bool]]:
        """Agents that the last decision told that the run is paused, or goes on."""
        return [(agent, order.on) for agent, order in self.last.orders if isinstance(order, Hold)]

    @property
    def at_work(self) -> list[str]:
        return [node.path for node in self.run.nodes.values() if node.phase is Phase.GRANTED]

    @property
    def outcome(self) -> tuple[str, Json, str]:
        finished = self.run.finished
        assert finished is not None
        return finished.state, finished.output, finished.why
