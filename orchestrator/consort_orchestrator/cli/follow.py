"""A run as somebody looks at it: what the log and the live progress tell of each step.

The state comes from the core's own fold, so the view cannot differ from what the
orchestrator thinks; here are only times, texts and the order of rows. Pure: no
I/O and no clock, `now` is an argument.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from consort_bus.client import LiveProgress, Logged
from consort_bus.standing import UNDO, Standing
from consort_orchestrator.cli.wording import counted, one_line, share, span
from consort_orchestrator.core import Node, Phase, Role, Run, fold
from consort_orchestrator.core.state import child_path
from consort_shared.entries import (
    Accepted,
    Closed,
    Fact,
    Failure,
    Finished,
    GivenUp,
    Granted,
    Heeded,
    Noted,
    Opened,
    Reopened,
    Shared,
    Skipped,
    Submitted,
    Waiting,
)
from consort_shared.usage import NOTHING, Usage

WRITTEN = 60
"""Characters that are shown of what a model writes: the newest."""


@dataclass(slots=True)
class Traces:
    """What the state does not keep of one instance of a step: when, and what was said last."""

    began: float | None = None
    ended: float | None = None
    said: str = ""
    said_for: str = ""
    """the task that said it"""
    written: str = ""
    """the end of what its model has written since"""


@dataclass(slots=True)
class Share:
    """What one agent did in a run."""

    steps: int = 0
    failures: int = 0
    seconds: float = 0.0
    """working time, as the agent reported it"""
    usage: Usage = NOTHING


@dataclass(frozen=True, slots=True)
class Row:
    """One instance of a step, to be shown on one line."""

    path: str
    label: str
    depth: int
    phase: Phase
    agent: str
    attempt: int
    seconds: float | None
    text: str
    usage: Usage = NOTHING


@dataclass(slots=True)
class Picture:
    """Everything that is shown of one run. `take` each entry in order, `hear` what comes in between."""

    run: Run
    standing: Standing = field(default_factory=Standing)
    traces: dict[str, Traces] = field(default_factory=dict)
    shares: dict[str, Share] = field(default_factory=dict)
    ended: float | None = None
    last: float = 0.0
    paused_agents: dict[str | None, str] = field(default_factory=dict)
    """agents that are paused, or with None all, and by whom: no entry of the run tells"""
    held_back: dict[str, str] = field(default_factory=dict)
    """by skill: a paused agent that offers it"""

    @classmethod
    def of(cls, run_id: str) -> Picture:
        return cls(Run(run_id))

    def take(self, logged: Logged) -> None:
        """The next entry. Raises IllegalMove and ValueError for a log that makes no sense."""
        fold(self.run, [(logged.entry, logged.digest)])
        self.standing.take(logged.entry.facts)
        self.last = logged.entry.at
        for fact in logged.entry.facts:
            self._trace(fact, logged.entry.at)

    def hear(self, told: LiveProgress) -> None:
        """What a task says of itself meanwhile; of no effect if it is over."""
        if self.run.tasks.get(told.task) == told.step:
            traces = self._of(told.step)
            if told.written:
                before = traces.written if traces.said_for == told.task else ""
                traces.written = (before + told.written)[-WRITTEN:]
                traces.said = f"…{one_line(traces.written)}"
            else:
                traces.written, traces.said = "", one_line(told.text) + share(told.done, told.total)
            traces.said_for = told.task

    def _of(self, path: str) -> Traces:
        return self.traces.setdefault(path, Traces())

    def _trace(self, fact: Fact, at: float) -> None:
        match fact:
            case Granted() | Opened() | Waiting():
                traces = self._of(fact.path)
                traces.began = at if traces.began is None else traces.began
                traces.ended = None
            case Accepted():
                self._of(fact.path).ended = at
                done = self.shares.setdefault(fact.agent, Share())
                done.steps += 1
                done.seconds += fact.seconds
                done.usage += fact.usage or NOTHING
            case Failure():
                failed = self.shares.setdefault(fact.agent, Share())
                failed.failures += 1
                failed.usage += fact.usage or NOTHING
                if fact.retry_at is None:
                    self._of(fact.path).ended = at
            case Skipped() | Closed() | Shared() | GivenUp():
                self._of(fact.path).ended = at
            case Noted():
                traces = self._of(fact.path)
                traces.said = one_line(fact.text) + share(fact.done, fact.total)
                traces.said_for = fact.task
            case Heeded():
                if fact.order == "stop":
                    self._of(fact.path).ended = at
            case Reopened():
                self._reopen(fact.path)
            case Submitted():
                self.ended = None
            case Finished():
                self.ended = at
            case _:
                pass  # says nothing about one step's times or texts

    def _reopen(self, path: str) -> None:
        """A step that had ended goes on, and with it all that it is inside of."""
        self.ended = None
        for known, traces in self.traces.items():
            if path == known or path.startswith((f"{known}.", f"{known}[")):
                traces.ended = None

    # --- the whole run

    @property
    def state(self) -> str:
        """`unknown`, or one of `consort_bus.standing.STATES`."""
        return self.standing.state if self.run.n else "unknown"

    @property
    def name(self) -> str:
        return self.run.plan.name if self.run.plan is not None else ""

    def seconds(self, now: float) -> float:
        """From the submission to the end, or to now."""
        return (now if self.ended is None else self.ended) - self.run.submitted_at

    def tally(self) -> dict[Phase, int]:
        """How many tasks stand where; blocks and loops are not counted, nor what undoes a step."""
        found: dict[Phase, int] = {}
        for node in self.run.nodes.values():
            if node.role is Role.TASK and node.path and not node.path.endswith(UNDO):
                found[node.phase] = found.get(node.phase, 0) + 1
        return found

    def undone(self) -> list[str]:
        """The steps that were undone, in the order in which that began."""
        return [node.path.removesuffix(UNDO) for node in self.undoing() if node.phase is Phase.DONE]

    def undoing(self) -> list[Node]:
        """The tasks that take completed steps back, in the order in which they began or were given up."""
        return [self.run.nodes[path] for path in self.run.undone if path in self.run.nodes]

    def missing(self) -> list[str]:
        """The skills that the run waits for, and no agent is there that offers them, not even a paused one."""
        return sorted(set(self.run.waiting.values()) - self.held_back.keys())

    # --- rows

    def rows(self, now: float, *, brief: bool = False) -> list[Row]:
        """A row for each instance of a step, in plan order.

        When brief, what is over inside blocks and loops is left out: blocks that are done are one row,
        a loop shows its current iteration, a `for_each` the items at work and those that failed.
        """
        root = self.run.nodes.get("")
        if root is None:
            return []
        undoing = [self._row(node, 0, now) for node in self.undoing()]
        return [*self._children(root, 0, now, brief), *undoing]

    def _children(self, node: Node, depth: int, now: float, brief: bool) -> Iterator[Row]:
        for child in self._below(node):
            if brief and node.role is Role.EACH and child.phase in (Phase.DONE, Phase.SKIPPED):
                continue
            if brief and node.role is Role.LOOP and child.index != node.started:
                continue
            yield self._row(child, depth, now)
            if brief and child.phase in (Phase.DONE, Phase.SKIPPED):
                continue
            yield from self._children(child, depth + 1, now, brief)

    def _below(self, node: Node) -> Iterator[Node]:
        nodes = self.run.nodes
        match node.role:
            case Role.TASK:
                return
            case Role.BLOCK:
                names = node.scope.specs if node.scope is not None else ()
                found = (nodes.get(child_path(node, name)) for name in names)
            case Role.EACH:
                found = (nodes.get(f"{node.path}[{index}]") for index in range(node.started))
            case Role.LOOP:
                found = (nodes.get(f"{node.path}[{index}]") for index in range(1, node.started + 1))
        yield from (child for child in found if child is not None)

    def _row(self, node: Node, depth: int, now: float) -> Row:
        traces = self.traces.get(node.path, Traces())
        seconds = None
        if traces.began is not None:
            end = traces.ended if traces.ended is not None else self.ended
            seconds = (now if end is None else end) - traces.began
        return Row(
            node.path,
            _label(node),
            depth,
            node.phase,
            node.agent if node.role is Role.TASK else "",
            node.attempts,
            seconds,
            self._text(node, traces, now),
            node.usage,
        )

    def _text(self, node: Node, traces: Traces, now: float) -> str:
        match node.phase:
            case Phase.PENDING:
                return self._needs(node) or self._when_resumed()
            case Phase.WAITING:
                return self._awaits(self.run.waiting.get(node.path, "?"))
            case Phase.ASKING:
                return self._asks(node)
            case Phase.STOPPING:
                return f"is called off; {node.agent} has yet to say that it has stopped"
            case Phase.HELD:
                source = next((path for path, held in self.run.held.items() if node.path in held), "another")
                return f"waits for {source}, which has the same key"
            case Phase.BACKOFF:
                due = self.run.due.get(node.path, now)
                when = self._when_resumed() or f"again in {span(max(due - now, 0))}"
                return f"{when} after {one_line(node.trouble)}" if node.trouble else when
            case Phase.GRANTED:
                if pause := self._paused_agent(node.agent):
                    return pause
                if traces.said_for == node.task and traces.said:
                    return traces.said
                return f"attempt {node.attempts} after {one_line(node.trouble)}" if node.trouble else ""
            case Phase.OPEN:
                return self._inside(node)
            case Phase.DONE:
                counted_inside = self._inside(node) if node.role in (Role.EACH, Role.LOOP) else ""
                return one_line(node.why) or counted_inside
            case _:
                return one_line(node.why)

    def _awaits(self, skill: str) -> str:
        agent = self.held_back.get(skill)
        if agent is not None and (pause := self._paused_agent(agent)):
            return f"waits for {skill}: {pause}"
        return f"waits for an agent that offers {skill}"

    def _asks(self, node: Node) -> str:
        """What a person has to answer, and how."""
        keys = self.standing.doubts.get(node.path, {})
        where = f"consort effects resolve {self.run.id[:12]} {node.path}"
        asked = [f"did {key} happen? {where} {key} --done or --redo" for key in keys]
        return "; ".join(asked) or "waits for a person"

    def _when_resumed(self) -> str:
        paused = self.standing.paused
        return f"starts when the run is resumed: consort resume {self.run.id[:12]}" if paused else ""

    def _paused_agent(self, agent: str) -> str:
        by = self.paused_agents.get(agent, self.paused_agents.get(None))
        if by is None:
            return ""
        command = f"--agent {agent}" if agent in self.paused_agents else "--all"
        return f"{agent} is paused by {by}: consort resume {command}"

    def _needs(self, node: Node) -> str:
        if node.spec is None or not node.spec.step.needs:
            return ""
        scope = self.run.scope_parent(node)
        open_needs = [
            name for name in node.spec.step.needs if not self.run.nodes[child_path(scope, name)].phase.ended
        ]
        return f"needs {', '.join(open_needs)}" if open_needs else ""

    def _inside(self, node: Node) -> str:
        if node.spec is None:
            return ""
        if node.role is Role.LOOP and node.spec.step.repeat is not None:
            return f"iteration {node.started} of at most {node.spec.step.repeat.max}"
        if node.role is Role.EACH:
            done = sum(child.phase is Phase.DONE for child in self._below(node))
            told = f"{done} of {counted(len(node.items), 'item')} done"
            told += f", {node.live} at work" if node.live else ""
            return told + (f", {node.lost} failed" if node.lost else "")
        return ""

    def absent(self, live: set[str]) -> list[tuple[str, str]]:
        """Steps given to agents of which no process is there: path and agent."""
        return [
            (node.path, node.agent)
            for node in self.run.nodes.values()
            if node.phase is Phase.GRANTED and node.agent not in live
        ]


def _label(node: Node) -> str:
    if node.path.endswith(UNDO):
        return f"undo {node.path.removesuffix(UNDO)}"
    if node.index < 0:
        return node.path.rpartition(".")[2]
    return f"[{node.index}]"
