"""One run in a simulated world in which everything that can go wrong does, all of it from one seed.

The bus delivers late, twice and out of order. Two orchestrators hold caches that
may be stale and crash between any two effects; the log refuses an append whose
tail has moved. Agents die, freeze, fail, decline, answer twice, go away and come
back. After `HEALED` nothing goes wrong any more and the run has to end.

What the agents answer depends on their inputs alone.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

from auditor import Auditor
from plans import INPUTS, seeded_plan

from consort_orchestrator.core import (
    Candidate,
    NeedArtefacts,
    Node,
    Run,
    Said,
    World,
    apply,
    decide,
    fold,
    outstanding,
)
from consort_orchestrator.core.handoff import delivered
from consort_orchestrator.core.resolve import filled
from consort_shared.codec import MSGPACK, decode, encode
from consort_shared.entries import Accepted, Entry, Fact, Granted, body_digest, entry_adapter
from consort_shared.messages import (
    Cancel,
    Declined,
    Done,
    Failed,
    Output,
    Progress,
    Put,
    Report,
    Submit,
    Wake,
    Write,
)
from consort_shared.plan.model import Plan
from consort_shared.values import STORED, ArtefactRef, Json, canonical, pick

RUN = "0" * 32
START = 1_000.0
HEALED = START + 120.0
PATIENCE = 3.0
"""Seconds after which the bus brings a message again that nobody acknowledged."""
SKILLS = ("work.a", "work.b", "frail.c", "keyed.k0", "keyed.k1", "writer.w")
MOST_EVENTS = 20_000


class Crash(Exception):
    """An orchestrator died here."""


@dataclass(eq=False)
class Letter:
    """A message in the inbox."""

    said: Said
    acked: bool = False


@dataclass
class Desk:
    """An orchestrator: what it believes about the run, and what it has been handed."""

    run: Run | None = None
    tail: int = 0
    timer: float | None = None
    blobs: dict[str, Json] = field(default_factory=dict)
    queue: list[Letter] = field(default_factory=list)

    def forget(self) -> None:
        self.run = None
        self.timer = None


@dataclass
class Agent:
    name: str
    skills: tuple[str, ...]
    present: bool = True


def answer(skill: str, inputs: dict[str, Json], context: dict[str, Json]) -> Json | None:
    """What the skill gives for these inputs; None when it cannot do them, however often it is asked."""
    throw = hashlib.sha256(canonical([skill, inputs, context])).digest()
    if skill == "frail.c" and throw[3] % 8 == 0:
        return None
    return {"n": throw[0] % 10, "items": [throw[4] % 5] * (throw[1] % 4), "by": throw.hex()[:6]}


def is_stored(value: Json) -> bool:
    return isinstance(value, dict) and value.get("n", 0) % 5 == 3


class Simulation:
    """One seed, one course of events. `bug` switches a defect on, to see that it would be found."""

    def __init__(
        self,
        seed: int,
        *,
        plan: Plan | None = None,
        calm: bool = False,
        faults: bool = True,
        bug: str = "",
    ) -> None:
        self.rng = random.Random(seed)
        self.plan = plan or seeded_plan(random.Random(seed), calm=calm)
        self.calm = calm
        self.faults = faults
        self.bug = bug
        self.now = START
        self.heap: list[tuple[float, int, str, Any]] = []
        self.count = 0
        self.events = 0
        self.log: list[tuple[Entry, str]] = []
        self.folded = Run(RUN)
        self.auditor = Auditor()
        self.desks = [Desk(), Desk()]
        self.agents = [Agent("ann", SKILLS), Agent("bob", SKILLS[:3]), Agent("cy", SKILLS[1:])]
        self.blobs: dict[str, Json] = {}
        self.direct: set[str] = set()
        self.copies: set[str] = set()
        self.marks: set[str] = set()
        self.alarm = 0
        self.crashes = 0

    # --- chance and time

    def chance(self, probability: float) -> bool:
        return self.faults and self.now < HEALED and self.rng.random() < probability

    def at(self, delay: float, kind: str, what: Any = None) -> None:
        self.count += 1
        heapq.heappush(self.heap, (self.now + delay, self.count, kind, what))

    def soon(self, mean: float = 0.3) -> float:
        return self.rng.expovariate(1 / mean)

    def crash(self, probability: float = 0.04) -> None:
        if self.chance(probability):
            self.crashes += 1
            raise Crash

    # --- the course of events

    def go(self) -> Simulation:
        self.send(Said("client.me", Submit(plan=self.plan, inputs=INPUTS)))
        if self.chance(0.2):
            self.send(Said("client.me", Submit(plan=self.plan, inputs=INPUTS)))
        if not self.calm and self.chance(0.05):
            self.at(self.soon(20), "cancel")
        if self.faults:
            for agent in self.agents:
                self.at(self.soon(15), "leave", agent)
        while self.heap and self.events < MOST_EVENTS:
            self.events += 1
            self.now, _, kind, what = heapq.heappop(self.heap)
            getattr(self, f"on_{kind}")(what)
        assert not self.heap, "no end of events"
        assert self.folded.finished is not None, "nothing happens any more, and the run has not ended"
        return self

    def on_cancel(self, _: None) -> None:
        self.send(Said("person.pat", Cancel()))

    def on_leave(self, agent: Agent) -> None:
        if self.now < HEALED:
            agent.present = False
            self.at(min(self.soon(10), HEALED - self.now), "come", agent)

    def on_come(self, agent: Agent) -> None:
        agent.present = True
        if self.marks & set(agent.skills):
            self.send(Said("timer", Wake()))
        if self.now < HEALED:
            self.at(self.soon(30), "leave", agent)

    def on_alarm(self, number: int) -> None:
        if number == self.alarm:
            self.send(Said("timer", Wake()))

    # --- the inbox

    def send(self, said: Said) -> None:
        for _ in range(2 if self.chance(0.1) else 1):
            self.at(self.soon(), "deliver", Letter(said))

    def on_deliver(self, letter: Letter) -> None:
        if letter.acked:
            return
        desk = self.desks[0 if self.rng.random() < 0.75 else 1] if self.faults else self.desks[0]
        desk.queue.append(letter)
        self.at(self.soon(0.1), "work", desk)
        self.at(PATIENCE, "deliver", letter)

    def on_work(self, desk: Desk) -> None:
        if not desk.queue:
            return
        batch, desk.queue = desk.queue, []
        try:
            self.judge(desk, batch)
        except Crash:
            desk.forget()
            desk.queue = []

    # --- an orchestrator

    def judge(self, desk: Desk, batch: list[Letter]) -> None:
        for _ in range(20):
            run = desk.run if desk.run is not None else self.load(desk)
            desk.run = None
            said = [self.twisted(run, letter.said) for letter in batch]
            world = World(self.now, f"{self.rng.getrandbits(48):012x}", self.candidates, desk.blobs)
            try:
                decision = decide(run, said, world)
            except NeedArtefacts as need:
                desk.blobs.update({ref.artefact: self.blobs[ref.artefact] for ref in need.refs})
                continue
            facts = (*decision.facts, *self.repeated(run, batch))
            if facts:
                self.crash()
            # Nothing to write is a decision too: it counts only if made on all that there is.
            checked = self.bug != "no fence" and (facts or self.bug != "stale")
            if checked and desk.tail != len(self.log):
                desk.forget()
                continue
            if facts:
                self.append(desk, run, facts)
                self.crash()
            if self.rng.random() < 0.1:
                self.say_again(said, world)
            self.follow(desk, run, facts)
            self.crash()
            for letter in batch:
                letter.acked = not self.chance(0.05)
            desk.run = run
            return
        raise AssertionError("no entry in 20 attempts")

    def say_again(self, said: list[Said], world: World) -> None:
        """Judging the same messages again has to change nothing. The log is read from its first entry."""
        run = fold(Run(RUN), self.log)
        same(run, self.folded)
        assert self.bug or not decide(run, said, world).facts, "said again, decided again"

    def load(self, desk: Desk) -> Run:
        run = fold(Run(RUN), self.log)
        desk.tail = len(self.log)
        desk.timer = None
        tasks = outstanding(run)
        again = [fact for entry, _ in self.log for fact in entry.facts if isinstance(fact, Granted)]
        self.copy(run, [fact for fact in again if fact.task in tasks and fact.task not in self.direct])
        self.marks.update(run.waiting.values())
        return run

    def append(self, desk: Desk, run: Run, facts: tuple[Fact, ...]) -> None:
        entry = Entry(v=1, run=RUN, n=run.n + 1, at=self.now, writer="o", prev=run.chain, facts=facts)
        body = encode(entry)
        stored = decode(entry_adapter, body, MSGPACK)
        assert stored == entry
        assert encode(stored) == body
        self.auditor.take(stored)
        run.n, run.chain = entry.n, body_digest(body)
        assert stored.n == self.folded.n + 1, "two entries in one place"
        assert stored.prev == self.folded.chain
        for fact in stored.facts:
            apply(self.folded, fact, stored.at)
        self.folded.n, self.folded.chain = stored.n, run.chain
        same(run, self.folded)
        self.log.append((stored, run.chain))
        desk.tail = len(self.log)
        grants = [fact for fact in stored.facts if isinstance(fact, Granted)]
        if len(grants) == 1:  # the entry itself is the delivery
            self.direct.add(grants[0].task)
            self.at(self.soon(), "task", delivered(run, grants[0]))

    def follow(self, desk: Desk, run: Run, facts: tuple[Fact, ...]) -> None:
        self.copy(run, [f for f in facts if isinstance(f, Granted) and f.task not in self.direct])
        self.crash()
        self.marks = set(run.waiting.values())
        self.crash()
        due = run.next_due
        assert due == min(run.due.values(), default=None)
        if due is not None and (desk.timer is None or due < desk.timer or desk.timer <= self.now):
            self.alarm += 1
            self.at(max(0.0, due - self.now), "alarm", self.alarm)
            desk.timer = due

    def copy(self, run: Run, grants: list[Granted]) -> None:
        for fact in grants:
            self.crash(0.02)
            if fact.task not in self.copies:
                self.copies.add(fact.task)
                self.at(self.soon(), "task", delivered(run, fact))

    def candidates(self, skill: str) -> list[Candidate]:
        return [Candidate(a.name, 4) for a in self.agents if a.present and skill in a.skills]

    # --- seeded defects

    def twisted(self, run: Run, said: Said) -> Said:
        """With the defect `no attempt check`, any report for a step counts as one of the attempt under way."""
        report = said.message
        if self.bug == "no attempt check" and isinstance(report, Report) and report.task in run.tasks:
            node = run.nodes[run.tasks[report.task]]
            return Said(said.sender, report.model_copy(update={"task": node.task}))
        return said

    def repeated(self, run: Run, batch: list[Letter]) -> Iterator[Fact]:
        """With the defect `no dedupe`, a result is accepted again when it comes again."""
        for letter in batch if self.bug == "no dedupe" else ():
            report = letter.said.message
            if not isinstance(report, Report) or not isinstance(report.outcome, Done) or run.finished:
                continue
            path = run.tasks.get(report.task)
            done = {f.task for e, _ in self.log for f in e.facts if isinstance(f, Accepted)}
            if path is not None and report.task in done:
                yield Accepted(
                    path=path,
                    task=report.task,
                    agent=letter.said.sender.partition(".")[2],
                    instance=report.instance,
                    output=report.outcome.output,
                )

    # --- agents

    def on_task(self, granted: Granted) -> None:
        agent = next(agent for agent in self.agents if agent.name == granted.agent)
        if not agent.present:
            self.at(2.0, "task", granted)
            return
        if self.chance(0.08):  # its process died: the task comes again, or never does
            if self.chance(0.5):
                self.at(self.soon(5), "task", granted)
            return
        if self.chance(0.05):
            self.at(self.soon(2), "task", granted)
        self.at(self.soon(60) if self.chance(0.08) else self.soon(1), "finish", granted)

    def on_finish(self, granted: Granted) -> None:
        self.count += 1
        instance = f"i{self.count}"
        sender = f"agent.{granted.agent}"
        if self.chance(0.1):
            self.send(
                Said(sender, Progress(task=granted.task, instance=instance, text="half", done=1, total=2))
            )
        if self.chance(0.05):
            self.report(granted, instance, Declined(why="busy"))
            return
        if self.chance(0.08):
            self.report(granted, instance, Failed(kind="skill-error", message=f"by {instance}"))
            return
        inputs = self.filled_inputs(granted)
        context = {item.key: self.value_of(item.output) for item in granted.handoff.context}
        value = answer(granted.skill, inputs, context)
        if value is None:
            self.report(granted, instance, Failed(kind="bad-input", message="cannot", retry=False))
            return
        output = self.output(value)
        writes = self.writes(granted, inputs, instance, output)
        self.auditor.reported[granted.task].add((instance, output.digest))
        self.report(granted, instance, Done(output=output, writes=writes))

    def report(self, granted: Granted, instance: str, outcome: Done | Failed | Declined) -> None:
        report = Report(task=granted.task, instance=instance, outcome=outcome, seconds=0.5)
        self.send(Said(f"agent.{granted.agent}", report))

    def writes(
        self, granted: Granted, inputs: dict[str, Json], instance: str, output: Output
    ) -> tuple[Write, ...]:
        key = inputs.get("key")
        if key is None:
            return ()
        seen = None if self.calm or self.rng.random() < 0.7 else self.rng.randrange(2)
        write = Write(key=key, output=output, seen=seen)
        if self.chance(0.3):
            put = Put(task=granted.task, instance=instance, id=f"p{instance}", write=write)
            self.send(Said(f"agent.{granted.agent}", put))
        return (write,)

    def filled_inputs(self, granted: Granted) -> dict[str, Json]:
        """As an agent does it: from the hand-off alone."""
        inputs: dict[str, Json] = decode_json(granted.inputs)
        outputs = {prior.path: prior.output for prior in granted.handoff.priors}
        for hole in granted.holes:
            output = outputs[hole.prior]
            assert output is not None, f"{granted.path} lacks the result of {hole.prior}"
            filled(inputs, hole.at, pick(self.value_of(output), hole.path))
        return inputs

    def output(self, value: Json) -> Output:
        raw = canonical(value)
        digest = hashlib.sha256(raw).hexdigest()
        if not is_stored(value):
            return Output(value=value, digest=digest)
        self.blobs[digest] = value
        return Output(ref=ArtefactRef(artefact=digest, writer="agent.x", size=len(raw)), digest=digest)

    def value_of(self, output: Output) -> Json:
        return output.value if output.ref is None else self.blobs[output.ref.artefact]

    def result(self) -> tuple[str, Json]:
        """How the run ended, stored values put in."""
        finished = self.folded.finished
        assert finished is not None
        return finished.state, self._whole(finished.output)

    def _whole(self, value: Json) -> Json:
        if isinstance(value, dict):
            if STORED in value:
                return self.blobs[value[STORED]["artefact"]]
            return {key: self._whole(part) for key, part in value.items()}
        return [self._whole(part) for part in value] if isinstance(value, list) else value


def decode_json(value: Json) -> Json:
    """A copy that shares nothing with the original."""
    if isinstance(value, dict):
        return {key: decode_json(part) for key, part in value.items()}
    return [decode_json(part) for part in value] if isinstance(value, list) else value


NODE_FIELDS = tuple(part.name for part in fields(Node) if part.compare and part.name not in ("spec", "scope"))


def same(one: Run, other: Run) -> None:
    """Two runs agree in every field; the compiled plan they share need not be the same object."""
    for part in fields(Run):
        if part.compare and part.name != "nodes":
            mine, theirs = getattr(one, part.name), getattr(other, part.name)
            assert mine == theirs, f"{part.name}: {mine} is not {theirs}"
    assert list(one.nodes) == list(other.nodes)
    for path, node in one.nodes.items():
        twin = other.nodes[path]
        for name in NODE_FIELDS:
            mine, theirs = getattr(node, name), getattr(twin, name)
            assert mine == theirs, f"{path}.{name}: {mine} is not {theirs}"
