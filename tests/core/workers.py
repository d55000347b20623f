"""The agents of a simulated world, the people, and what lies outside: what was really done there is counted.

Agents die before they have done something and after, before they have said so and
after; they hear orders late, or never. An agent acts on an answer only if it is
fresh: `FRESH` seconds after the last time it asked. Before a person says whether
an effect happened, whoever was at it has had that time: `LOOK_AFTER`.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from auditor import Auditor

from consort_orchestrator.core import Run, Said
from consort_orchestrator.core.resolve import filled
from consort_shared.entries import Granted
from consort_shared.messages import (
    POISON,
    Answer,
    Declined,
    Done,
    Effect,
    EffectAnswer,
    Failed,
    Heed,
    Hold,
    Output,
    Progress,
    Put,
    Report,
    Resolve,
    Stop,
    Wake,
    Write,
)
from consort_shared.usage import Usage
from consort_shared.values import ArtefactRef, Json, canonical, pick

START = 1_000.0
HEALED = START + 120.0
FRESH = 2.0
LOOK_AFTER = 2 * FRESH + 1.0
ASKS = 8
"""How often an agent asks before it gives up on its task."""
SKILLS = ("work.a", "work.b", "frail.c", "keyed.k0", "keyed.k1", "writer.w", "pay.p", "back.u", "plan.p")
KEY = "pay"


def answer(skill: str, inputs: dict[str, Json], context: dict[str, Json]) -> Json | None:
    """What the skill gives for these inputs; None when it cannot do them, however often it is asked."""
    throw = hashlib.sha256(canonical([skill, inputs, context])).digest()
    if skill == "plan.p":
        return good_plan(inputs, throw)
    if skill in ("frail.c", "back.u") and throw[3] % 8 == 0:
        return None
    return {"n": throw[0] % 10, "items": [throw[4] % 5] * (throw[1] % 4), "by": throw.hex()[:6]}


def good_plan(inputs: dict[str, Json], throw: bytes) -> Json:
    """A plan that can be carried out, now and then with one inside that has yet to be made."""
    retry = {"attempts": 100, "wait": 0.5, "longest": 2}
    level = inputs.get("level", 0)
    steps: dict[str, Any] = {
        "p1": {"skill": "work.a", "with": {"x": "${{ inputs.x }}", "seed": throw[0]}, "retry": retry},
        "p2": {
            "skill": "pay.p",
            "needs": ["p1"],
            "with": {"whole": "${{ steps.p1.output }}"},
            "retry": retry,
        },
    }
    if throw[1] % 3 == 0:
        steps["p2"]["undo"] = {"skill": "back.u", "with": {"it": "${{ output }}", "x": "${{ inputs.x }}"}}
    if throw[2] % 3 == 0 and level < 2:
        again = {"seed": throw[3], "level": level + 1}
        steps["p3"] = {"skill": "plan.p", "returns": "plan", "max_steps": 9, "with": again, "retry": retry}
        part = "${{ steps.p1.output.n }}"
        steps["p4"] = {"plan": "${{ steps.p3.output }}", "needs": ["p1", "p3"], "with": {"x": part}}
    made: dict[str, Any] = {
        "name": f"made {throw.hex()[:4]}",
        "inputs": {"x": {"default": None}},
        "steps": steps,
    }
    if throw[4] % 2:
        made["output"] = "${{ steps.p2.output }}"
    return made


def bad_plan(throw: bytes, calm: bool) -> Json | None:
    """What a planner may answer that is no plan, or none that can be carried out; None for once it is."""
    one: dict[str, Any] = {"skill": "work.a"}
    bad: list[Json] = [
        "first do this, then that",
        {"name": "cycle", "steps": {"a": {**one, "needs": ["b"]}, "b": {**one, "needs": ["a"]}}},
        {"name": "unknown", "steps": {"a": {"skill": "work.z"}}},
        {"name": "large", "steps": {f"s{n}": one for n in range(10)}},
        {"name": "blind", "steps": {"a": {**one, "with": {"x": "${{ steps.b.output }}"}}}},
    ]
    if not calm:  # where nobody carries it out, nobody can tell
        bad.append({"name": "needy", "inputs": {"far": {}}, "steps": {"a": one}})
    return bad[throw[5] % len(bad)] if throw[6] % 2 else None


def is_stored(value: Json) -> bool:
    if isinstance(value, dict) and "steps" in value:
        return len(value["steps"]) == 4
    return isinstance(value, dict) and value.get("n", 0) % 5 == 3


def copied(value: Json) -> Json:
    """A copy that shares nothing with the original."""
    if isinstance(value, dict):
        return {key: copied(part) for key, part in value.items()}
    return [copied(part) for part in value] if isinstance(value, list) else value


@dataclass
class Agent:
    name: str
    skills: tuple[str, ...]
    present: bool = True
    paused: bool = False


@dataclass(eq=False)
class Work:
    """A process of an agent at work on a task."""

    granted: Granted
    instance: str
    alive: bool = True
    asked: float = 0.0
    asks: int = 0
    answered: bool = False


@dataclass
class Outside:
    """What really happened, and how often."""

    done: Counter[tuple[str, str]] = field(default_factory=Counter)
    redone: set[tuple[str, str]] = field(default_factory=set)
    """what its author wanted done again when nothing was known"""


class Workers:
    """Everybody but the orchestrators; `Simulation` adds those, the bus and the log."""

    def __init__(self, seed: int, *, calm: bool, faults: bool) -> None:
        self.rng = random.Random(seed)
        self.calm = calm
        self.faults = faults
        self.now = START
        self.heap: list[tuple[float, int, str, Any]] = []
        self.count = 0
        self.auditor = Auditor()
        self.agents = [Agent("ann", SKILLS), Agent("bob", SKILLS[:3]), Agent("cy", SKILLS[1:])]
        self.blobs: dict[str, Json] = {}
        self.outside = Outside()
        self.working: dict[str, list[Work]] = {}
        """by task: the processes that have it"""
        self.asking: dict[str, Work] = {}
        """by id of the try: who waits for an answer"""

    def send(self, said: Said) -> None:
        raise NotImplementedError

    # --- chance and time

    def chance(self, probability: float) -> bool:
        return self.faults and self.now < HEALED and self.rng.random() < probability

    def at(self, delay: float, kind: str, what: Any = None) -> None:
        self.count += 1
        heapq.heappush(self.heap, (self.now + delay, self.count, kind, what))

    def soon(self, mean: float = 0.3) -> float:
        return self.rng.expovariate(1 / mean)

    # --- coming and going

    def on_leave(self, agent: Agent) -> None:
        if self.now < HEALED:
            agent.present = False
            self.at(min(self.soon(10), HEALED - self.now), "come", agent)

    def on_come(self, agent: Agent) -> None:
        agent.present = True
        self.send(Said("timer", Wake()))
        if self.now < HEALED:
            self.at(self.soon(30), "leave", agent)

    def on_hush(self, agent: Agent) -> None:
        """The agent is paused by an operator."""
        if self.now < HEALED:
            agent.paused = True
            self.at(min(self.soon(8), HEALED - self.now), "unhush", agent)

    def on_unhush(self, agent: Agent) -> None:
        agent.paused = False
        self.send(Said("timer", Wake()))

    # --- tasks

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
        self.count += 1
        work = Work(granted, f"i{self.count}")
        self.working.setdefault(granted.task, []).append(work)
        self.at(self.soon(60) if self.chance(0.08) else self.soon(1), "finish", work)

    def dies(self, work: Work, probability: float) -> bool:
        if self.chance(probability):
            work.alive = False
            if self.chance(0.7):
                self.at(self.soon(3), "task", work.granted)
        return not work.alive

    def on_finish(self, work: Work) -> None:
        granted = work.granted
        if not work.alive:
            return
        if self.chance(0.1):
            told = Progress(task=granted.task, instance=work.instance, text="half", done=1, total=2)
            self.send(Said(f"agent.{granted.agent}", told))
        if self.chance(0.05):
            self.report(work, Declined(why="busy"))
        elif self.chance(0.02):
            self.report(work, Failed(kind=POISON, message="delivered 5 times"))
        elif self.chance(0.08):
            self.report(work, Failed(kind="skill-error", message=f"by {work.instance}"))
        elif granted.skill in ("pay.p", "back.u"):
            self.on_ask(work)
        else:
            self.conclude(work)

    def conclude(self, work: Work) -> None:
        granted = work.granted
        inputs = self.filled_inputs(granted)
        context = {item.key: self.value_of(item.output) for item in granted.handoff.context}
        offers = inputs.pop("offers", None)
        value = answer(granted.skill, inputs, context)
        if granted.skill == "plan.p" and not granted.trouble.startswith("bad-plan"):
            seen = hashlib.sha256(canonical([inputs, offers, granted.attempt])).digest()
            value = bad_plan(seen, self.calm) or value
        if value is None:
            self.report(work, Failed(kind="bad-input", message="cannot", retry=False))
            return
        output = self.output(value)
        writes = self.writes(granted, inputs, work.instance, output)
        self.auditor.reported[granted.task].add((work.instance, output.digest))
        self.report(work, Done(output=output, writes=writes))

    def report(self, work: Work, outcome: Done | Failed | Declined) -> None:
        told = Report(task=work.granted.task, instance=work.instance, outcome=outcome, seconds=0.5)
        if work.granted.skill.startswith("work."):
            used = Usage(calls=1, cost=int(work.instance[1:]), output_tokens=len(work.granted.task))
            told = told.model_copy(update={"usage": used})
            self.auditor.paid[work.granted.task].add(used.cost)
        self.send(Said(f"agent.{work.granted.agent}", told))

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
        inputs: dict[str, Json] = copied(granted.inputs)
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

    # --- effects

    def on_ask(self, work: Work) -> None:
        """Ask whether the effect may be done, until there is an answer."""
        if not work.alive or work.answered or work.asks >= ASKS:
            return
        work.asked = self.now
        work.asks += 1
        self.asking[work.instance] = work
        self.speak(work, "begin")
        self.at(FRESH, "ask", work)

    def speak(self, work: Work, phase: Any, output: Output | None = None) -> None:
        granted = work.granted
        said = Effect(
            task=granted.task,
            instance=work.instance,
            id=work.instance,
            key=KEY,
            phase=phase,
            output=output,
            unknown=granted.inputs.get("unknown", "ask"),
        )
        self.send(Said(f"agent.{granted.agent}", said))

    def on_answer(self, heard: EffectAnswer) -> None:
        work = self.asking.get(heard.id)
        if work is None or work.answered or not work.alive or self.now - work.asked > FRESH:
            return
        work.answered = True
        if heard.verdict in ("stop", "ask"):
            return
        if heard.verdict == "do":
            if self.dies(work, 0.15):
                return
            if self.chance(0.1):
                self.speak(work, "undone")
                self.report(work, Failed(kind="skill-error", message=f"by {work.instance}"))
                return
            place = (work.granted.path, KEY)
            self.outside.done[place] += 1
            if work.granted.inputs.get("unknown") == "redo":
                self.outside.redone.add(place)
            if self.dies(work, 0.15):
                return
            self.speak(work, "done", self.output({"n": 1}))
            if self.dies(work, 0.05):
                return
        self.conclude(work)

    def looked(self, path: str, key: str) -> Resolve:
        """What a person finds who looks whether an effect happened."""
        verdict: Literal["done", "redo"] = "done" if self.outside.done[path, key] else "redo"
        return Resolve(path=path, key=key, verdict=verdict, id=self.folded.effects[path, key].id)

    # --- orders

    def tell(self, run: Run, orders: list[tuple[str, Stop | Answer | EffectAnswer | Hold]]) -> None:
        """Orders are heard late, or never; one that is too late is not heard."""
        for agent, order in orders:
            late = self.soon()
            if late < FRESH and not self.chance(0.15):
                self.at(late, "order", (agent, order))

    def on_order(self, heard: tuple[str, Any]) -> None:
        agent, order = heard
        match order:
            case EffectAnswer():
                self.on_answer(order)
            case Stop():
                for work in self.working.get(order.task, []):
                    self.heed(work, agent, "stop", self.rng.choice(["stopped", "dropped", "cannot"]))
            case Hold():
                for works in list(self.working.values()):
                    if works[0].granted.agent == agent and self.rng.random() < 0.3:
                        self.heed(works[0], agent, "pause" if order.on else "resume", "goes-on")
            case _:
                pass

    def heed(self, work: Work, agent: str, order: Any, how: Any) -> None:
        if how in ("stopped", "dropped"):
            work.alive = False
        said = Heed(task=work.granted.task, instance=work.instance, order=order, how=how)
        self.send(Said(f"agent.{agent}", said))

    # --- what must be so

    def check_outside(self) -> None:
        for place, times in self.outside.done.items():
            assert times == 1 or place in self.outside.redone, f"{place} was done {times} times"
