"""A run as somebody looks at it: what the log and the live progress tell of each step.

The state comes from the core's own fold, so the view cannot differ from what the
orchestrator thinks; here are only times, texts and the order of rows. Pure: no
I/O and no clock, `now` is an argument.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from consort_bus.client import LiveProgress, Logged
from consort_orchestrator.cli.wording import counted, one_line, share, span
from consort_orchestrator.core import Node, Phase, Role, Run, fold
from consort_orchestrator.core.state import child_path
from consort_shared.entries import (
    Accepted,
    Closed,
    Fact,
    Failure,
    Finished,
    Granted,
    Noted,
    Opened,
    Shared,
    Skipped,
    Waiting,
)


@dataclass(slots=True)
class Traces:
    """What the state does not keep of one instance of a step: when, and what was said last."""

    began: float | None = None
    ended: float | None = None
    said: str = ""
    said_for: str = ""
    """the task that said it"""


@dataclass(slots=True)
class Share:
    """What one agent did in a run."""

    steps: int = 0
    failures: int = 0
    seconds: float = 0.0
    """working time, as the agent reported it"""


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


@dataclass(slots=True)
class Picture:
    """Everything that is shown of one run. `take` each entry in order, `hear` what comes in between."""

    run: Run
    traces: dict[str, Traces] = field(default_factory=dict)
    shares: dict[str, Share] = field(default_factory=dict)
    ended: float | None = None
    last: float = 0.0

    @classmethod
    def of(cls, run_id: str) -> Picture:
        return cls(Run(run_id))

    def take(self, logged: Logged) -> None:
        """The next entry. Raises IllegalMove and ValueError for a log that makes no sense."""
        fold(self.run, [(logged.entry, logged.digest)])
        self.last = logged.entry.at
        for fact in logged.entry.facts:
            self._trace(fact, logged.entry.at)

    def hear(self, told: LiveProgress) -> None:
        """What a task says of itself meanwhile; of no effect if it is over."""
        if self.run.tasks.get(told.task) == told.step:
            traces = self._of(told.step)
            traces.said = one_line(told.text) + share(told.done, told.total)
            traces.said_for = told.task

    def _of(self, path: str) -> Traces:
        return self.traces.setdefault(path, Traces())

    def _trace(self, fact: Fact, at: float) -> None:
        match fact:
            case Granted() | Opened() | Waiting():
                traces = self._of(fact.path)
                traces.began = at if traces.began is None else traces.began
            case Accepted():
                self._of(fact.path).ended = at
                done = self.shares.setdefault(fact.agent, Share())
                done.steps += 1
                done.seconds += fact.seconds
            case Failure():
                self.shares.setdefault(fact.agent, Share()).failures += 1
                if fact.retry_at is None:
                    self._of(fact.path).ended = at
            case Skipped() | Closed() | Shared():
                self._of(fact.path).ended = at
            case Noted():
                traces = self._of(fact.path)
                traces.said = one_line(fact.text) + share(fact.done, fact.total)
                traces.said_for = fact.task
            case Finished():
                self.ended = at
            case _:
                pass  # says nothing about one step's times or texts

    # --- the whole run

    @property
    def state(self) -> str:
        """`unknown`, `running`, `waiting`, `completed`, `failed` or `cancelled`."""
        if self.run.finished is not None:
            return self.run.finished.state
        if self.run.n == 0:
            return "unknown"
        at_work = any(node.phase in (Phase.GRANTED, Phase.BACKOFF) for node in self.run.nodes.values())
        return "waiting" if self.run.waiting and not at_work else "running"

    @property
    def name(self) -> str:
        return self.run.plan.name if self.run.plan is not None else ""

    def seconds(self, now: float) -> float:
        """From the submission to the end, or to now."""
        return (now if self.ended is None else self.ended) - self.run.submitted_at

    def tally(self) -> dict[Phase, int]:
        """How many tasks stand where; blocks and loops are not counted, only what agents do."""
        found: dict[Phase, int] = {}
        for node in self.run.nodes.values():
            if node.role is Role.TASK and node.path:
                found[node.phase] = found.get(node.phase, 0) + 1
        return found

    def missing(self) -> list[str]:
        """The skills that the run waits for."""
        return sorted(set(self.run.waiting.values()))

    # --- rows

    def rows(self, now: float, *, brief: bool = False) -> list[Row]:
        """A row for each instance of a step, in plan order.

        When brief, what is over inside blocks and loops is left out: blocks that are done are one row,
        a loop shows its current iteration, a `for_each` the items at work and those that failed.
        """
        root = self.run.nodes.get("")
        return [] if root is None else list(self._children(root, 0, now, brief))

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
        )

    def _text(self, node: Node, traces: Traces, now: float) -> str:
        match node.phase:
            case Phase.PENDING:
                return self._needs(node)
            case Phase.WAITING:
                return f"waits for an agent that offers {self.run.waiting.get(node.path, '?')}"
            case Phase.HELD:
                source = next((path for path, held in self.run.held.items() if node.path in held), "another")
                return f"waits for {source}, which has the same key"
            case Phase.BACKOFF:
                due = self.run.due.get(node.path, now)
                return f"again in {span(max(due - now, 0))} after {one_line(node.trouble)}"
            case Phase.GRANTED:
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
    if node.index < 0:
        return node.path.rpartition(".")[2]
    return f"[{node.index}]"
