"""One run in a simulated world in which everything that can go wrong does, all of it from one seed.

The bus delivers late, twice and out of order. Two orchestrators hold caches that
may be stale and crash between any two effects; the log refuses an append whose
tail has moved. Agents die, freeze, fail, decline, answer twice, go away and come
back, and do things outside that must not happen twice. People pause, resume and
cancel, force the end, try failed steps again, say what happened, have dead letters
judged again. After `HEALED` nothing goes wrong any more and the run has to end; where
nobody takes anything back (`lost`), it has to end once somebody forces it to.

What the agents answer depends on their inputs alone.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace

from plans import INPUTS, seeded_plan
from workers import HEALED, LOOK_AFTER, START, Workers

from consort_orchestrator.core import (
    Candidate,
    Decision,
    NeedArtefacts,
    Node,
    Phase,
    Run,
    Said,
    World,
    apply,
    decide,
    fold,
    outstanding,
)
from consort_orchestrator.core.handoff import delivered
from consort_shared.card import AgentCard, SkillCard
from consort_shared.codec import MSGPACK, decode, encode
from consort_shared.entries import (
    Accepted,
    Doubted,
    Entry,
    Fact,
    Failure,
    Finished,
    Granted,
    Refused,
    body_digest,
    entry_adapter,
)
from consort_shared.messages import (
    Cancel,
    Done,
    EffectAnswer,
    Pause,
    Report,
    Resume,
    Retry,
    Submit,
    Wake,
)
from consort_shared.plan.model import Plan
from consort_shared.usage import NOTHING
from consort_shared.values import STORED, Json

RUN = "0" * 32
PATIENCE = 3.0
"""Seconds after which the bus brings a message again that nobody acknowledged."""
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


class Simulation(Workers):
    """One seed, one course of events. `bug` switches a defect on, to see that it would be found."""

    def __init__(
        self,
        seed: int,
        *,
        plan: Plan | None = None,
        calm: bool = False,
        faults: bool = True,
        bug: str = "",
        lost: str = "",
    ) -> None:
        super().__init__(seed, calm=calm, faults=faults)
        self.plan = plan or seeded_plan(random.Random(seed), calm=calm)
        self.bug = bug
        self.lost = lost
        """a skill that nobody offers"""
        self.events = 0
        self.log: list[tuple[Entry, str]] = []
        self.folded = Run(RUN)
        self.desks = [Desk(), Desk()]
        self.direct: set[str] = set()
        self.copies: set[str] = set()
        self.marks: set[str] = set()
        self.alarm = 0
        self.crashes = 0
        self.letters = 0
        self.asked = 0.0

    def crash(self, probability: float = 0.04) -> None:
        if self.chance(probability):
            self.crashes += 1
            raise Crash

    # --- the course of events

    def go(self) -> Simulation:
        self.send(Said("client.me", Submit(plan=self.plan, inputs=INPUTS)))
        if self.chance(0.2):
            self.send(Said("client.me", Submit(plan=self.plan, inputs=INPUTS)))
        if not self.calm and self.chance(0.15):
            self.at(self.soon(8), "steer", Said("person.pat", Cancel()))
        if not self.calm and self.chance(0.05):
            self.at(self.soon(12), "steer", Said("client.me", Cancel(why="now", force=True)))
        if self.lost:
            self.at(self.soon(10), "steer", Said("person.pat", Cancel()))
            self.at(HEALED - START + 60.0, "steer", Said("person.pat", Cancel(why="for good", force=True)))
        while self.chance(0.25):
            self.at(self.soon(10), "steer", Said("client.me", Pause()))
        if self.faults:
            for agent in self.agents:
                self.at(self.soon(15), "leave", agent)
                self.at(self.soon(40), "hush", agent)
        while self.heap and self.events < MOST_EVENTS:
            self.events += 1
            self.now, _, kind, what = heapq.heappop(self.heap)
            getattr(self, f"on_{kind}")(what)
        assert not self.heap, "no end of events"
        assert self.folded.finished is not None, "nothing happens any more, and the run has not ended"
        of_steps = sum((node.usage for node in self.folded.nodes.values()), NOTHING)
        assert of_steps == self.folded.usage, "the steps' costs are not the run's"
        self.check_outside()
        return self

    def on_steer(self, said: Said) -> None:
        """Somebody wants something of the run; whoever pauses it lets it go on some time later."""
        self.send(said)
        if isinstance(said.message, Pause):
            self.at(self.soon(8), "steer", Said("person.pat", Resume()))

    def on_alarm(self, number: int) -> None:
        if number == self.alarm:
            self.send(Said("timer", Wake()))

    # --- the inbox

    def send(self, said: Said) -> None:
        """Put a message into the inbox; now and then it comes to the dead letters first, or is said twice."""
        if isinstance(said.message, (Pause, Resume)):
            self.asked += 1e-6  # no two are stored at the same moment
            said = replace(said, at=self.now + self.asked)
        elif self.chance(0.02):
            self.letters += 1
            said = replace(said, letter=self.letters, by="person.anna")
            self.at(self.soon(5), "deliver", Letter(said))
            return
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
            batch = [letter for letter in batch if not self.too_early(run, letter, batch)]
            batch.sort(key=lambda letter: not isinstance(letter.said.message, Submit))
            said = [self.twisted(run, letter.said) for letter in batch]
            hushed = frozenset(agent.name for agent in self.agents if agent.paused)
            nonce = f"{self.rng.getrandbits(48):012x}"
            world = World(self.now, nonce, self.candidates, desk.blobs, hushed, self.cards)
            try:
                decision = decide(run, said, world)
            except NeedArtefacts as need:
                desk.blobs.update({ref.artefact: self.blobs[ref.artefact] for ref in need.refs})
                continue
            self.twist_orders(decision)
            facts = (*decision.facts, *self.repeated(run, decision, batch))
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
            self.tell(run, decision.orders)
            self.crash()
            for letter in batch:
                letter.acked = not self.chance(0.05)
            desk.run = run
            return
        raise AssertionError("no entry in 20 attempts")

    def too_early(self, run: Run, letter: Letter, batch: list[Letter]) -> bool:
        """Whether something is wanted of a run whose submission is still on its way: the shell puts that off."""
        submitted = any(isinstance(other.said.message, Submit) for other in batch)
        early = run.plan is None and run.finished is None and letter.said.at > 0 and not submitted
        return early and self.now - letter.said.at < 10.0

    def say_again(self, said: list[Said], world: World) -> None:
        """Judging the same messages again has to change nothing. The log is read from its first entry."""
        run = fold(Run(RUN), self.log)
        same(run, self.folded)
        steered = [message for message in said if isinstance(message.message, Pause | Resume | Retry)]
        if steered and len(said) > 1:
            return  # pause, go on, pause: what came last counts, and that is something else the second time
        facts = [fact for fact in decide(run, said, world).facts if not is_told_once_more(fact)]
        assert self.bug or not facts, "said again, decided again"

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
        entry = Entry(run=RUN, n=run.n + 1, at=self.now, writer="o", prev=run.chain, facts=facts)
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
        assert self.folded.usage == self.auditor.used, "what the run has cost does not add up"
        self.log.append((stored, run.chain))
        desk.tail = len(self.log)
        grants = [fact for fact in stored.facts if isinstance(fact, Granted)]
        if len(grants) == 1:  # the entry itself is the delivery
            self.direct.add(grants[0].task)
            self.at(self.soon(), "task", delivered(run, grants[0]))
        self.people(stored.facts)

    def people(self, facts: tuple[Fact, ...]) -> None:
        """What people do about what they read."""
        for fact in facts:
            if isinstance(fact, Doubted):
                self.at(LOOK_AFTER + self.soon(2), "look", fact)
            elif self.calm:
                continue
            elif isinstance(fact, Finished) and fact.state == "failed" and self.chance(0.5):
                self.at(self.soon(2), "steer", Said("client.me", Retry()))
            elif isinstance(fact, Failure) and fact.retry_at is None and self.chance(0.15):
                inputs: dict[str, Json] | None = {"n": self.count} if self.chance(0.5) else None
                self.at(self.soon(2), "steer", Said("person.pat", Retry(path=fact.path, inputs=inputs)))

    def on_look(self, doubt: Doubted) -> None:
        """A person looks whether an effect happened, unless that is known by now, and says so."""
        node = self.folded.nodes[doubt.path]
        if node.phase is Phase.ASKING and node.task == doubt.task:
            self.send(Said("person.pat", self.looked(doubt.path, doubt.key)))

    def follow(self, desk: Desk, run: Run, facts: tuple[Fact, ...]) -> None:
        self.copy(run, [f for f in facts if isinstance(f, Granted) and f.task not in self.direct])
        self.crash()
        self.marks = set(run.waiting.values())
        self.crash()
        due = run.next_due
        if run.paused is not None:
            assert due is None
        elif run.stopping:
            assert due is not None
            assert due <= min(run.due.values())
        else:
            assert due == min(run.due.values(), default=None)
        assert run.granted.keys() == {path for path, n in run.nodes.items() if n.phase is Phase.GRANTED}
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
        there = [a for a in self.agents if a.present and not a.paused and skill != self.lost]
        return [Candidate(a.name, 4) for a in there if skill in a.skills]

    def cards(self) -> list[AgentCard]:
        there = (a for a in self.agents if a.present and not a.paused)
        return [
            AgentCard(
                name=a.name, skills=tuple(SkillCard(name=skill) for skill in a.skills if skill != self.lost)
            )
            for a in there
        ]

    # --- seeded defects

    def twisted(self, run: Run, said: Said) -> Said:
        """With the defect `no attempt check`, any report for a step counts as one of the attempt under way."""
        report = said.message
        if self.bug == "no attempt check" and isinstance(report, Report) and report.task in run.tasks:
            node = run.nodes[run.tasks[report.task]]
            return Said(said.sender, report.model_copy(update={"task": node.task}))
        return said

    def twist_orders(self, decision: Decision) -> None:
        """With the defect `no ledger`, whoever asks may do it."""
        if self.bug == "no ledger":
            decision.orders = [
                (
                    agent,
                    order.model_copy(update={"verdict": "do"}) if isinstance(order, EffectAnswer) else order,
                )
                for agent, order in decision.orders
            ]

    def repeated(self, run: Run, decision: Decision, batch: list[Letter]) -> Iterator[Fact]:
        """With the defect `no dedupe`, a result is accepted again when it comes again; with `undo twice`, what is
        undone is undone again.
        """
        for fact in decision.facts if self.bug == "undo twice" else ():
            if isinstance(fact, Accepted) and fact.path.endswith("!undo") and run.finished is None:
                before = (f for e, _ in self.log for f in e.facts if isinstance(f, Granted))
                granted = next(f for f in before if f.path == fact.path)
                yield granted.model_copy(update={"task": f"{run.n + 1}-99", "attempt": granted.attempt + 1})
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

    def result(self) -> tuple[str, Json]:
        """How the run ended, stored values put in."""
        finished = self.folded.finished
        assert finished is not None
        return finished.state, self._whole(finished.output)

    def effects(self) -> set[tuple[str, str]] | None:
        """What was really done outside. Of a run that failed it depends on what had begun by then."""
        return set(self.outside.done) if self.result()[0] == "completed" else None

    def _whole(self, value: Json) -> Json:
        if isinstance(value, dict):
            if STORED in value:
                return self.blobs[value[STORED]["artefact"]]
            return {key: self._whole(part) for key, part in value.items()}
        return [self._whole(part) for part in value] if isinstance(value, list) else value


def is_told_once_more(fact: Fact) -> bool:
    """A dead letter that comes again is refused, on record once: nobody can tell whether it was wanted twice."""
    return isinstance(fact, Refused) and fact.what == "redrive"


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
