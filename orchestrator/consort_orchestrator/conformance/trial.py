"""The rules of the wire contract that an agent is tried against, one after the other.

A rule is kept, broken, or not tried, with the reason. What can be seen is judged, and
nothing that the contract leaves open. Tasks that came again are prepared before the
agent is welcomed: only then is it certain that nobody else had them in hand.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable

from jsonschema import Draft202012Validator, SchemaError

from consort_orchestrator.conformance.record import Given, Noticed
from consort_orchestrator.conformance.stage import Damage, Stage
from consort_orchestrator.conformance.verdicts import (
    KEPT,
    Verdict,
    Work,
    in_words,
    verdict,
    wrong_acknowledgement,
    wrong_lives,
    wrong_output,
    wrong_words,
)
from consort_shared.card import SkillCard
from consort_shared.messages import POISON, Declined, Done, Failed, Heed, Hold, Report, Stop

MOST_DELIVERIES = 20
"""A card that allows more deliveries is not tried for poison: it takes too long."""
HEED_WITHIN = 5.0
"""Seconds in which an order is to be acknowledged: the contract says one, and after five an orchestrator gives up."""
_LIVES_WITHIN = 8.0
_NO_SKILL = "no.such-skill"


class Trial:
    """Tries one agent."""

    def __init__(self, stage: Stage, work: Work, gone: Callable[[], str]) -> None:
        self._stage = stage
        self._work = work
        self._gone = gone
        """why the agent's process is not there any more, empty while it is"""
        self._again: dict[str, Given] = {}
        stage.before_welcome = self._prepare

    async def run(self) -> AsyncIterator[Verdict]:
        """The verdicts as they are found. Raises BusError."""
        joined = await self._announces()
        yield joined
        if joined.state != KEPT:
            return
        card = self._card()
        yield card
        if card.state != KEPT:
            return
        for rules in (self._comes_again, self._does, self._refuses, self._orders, self._long):
            async for found in rules():
                yield found
        yield await self._shows_life()
        yield verdict("says everything readable, sealed and for a receipt", wrong_words(self._stage))

    # --- joining

    async def _announces(self) -> Verdict:
        stage, limit = self._stage, 4 * self._work.patience
        rule = "announces itself, and waits for the welcome"
        await stage.until(lambda: stage.welcomed or stage.record.strange or self._gone(), limit)
        if stage.welcomed:
            return Verdict(rule, "kept")
        strange = stage.record.strange
        return Verdict(
            rule, "broken", strange[-1] if strange else self._gone() or f"nothing within {limit:g} s"
        )

    def _card(self) -> Verdict:
        stage, rule = self._stage, "shows a card that says what it takes and gives"
        assert stage.card is not None
        for skill in stage.card.skills:
            for what, schema in (("takes", skill.input_schema), ("gives", skill.output_schema)):
                try:
                    Draft202012Validator.check_schema(schema or {})
                except SchemaError as exc:
                    return Verdict(
                        rule, "broken", f"what {skill.name} {what} is no JSON Schema: {exc.message}"
                    )
        offered = [skill.name for skill in stage.card.skills]
        for wanted in filter(None, (self._work.skill, self._work.long_skill)):
            if wanted not in offered:
                return Verdict(rule, "broken", f"it offers no {wanted}, but {', '.join(offered)}")
        faults = [fault for fault in self._inputs_faults() if fault]
        return verdict(rule, faults[0] if faults else "")

    def _inputs_faults(self) -> list[str]:
        work = self._work
        tried = [(self._skill, work.inputs)]
        if work.long_skill:
            tried.append((self._skill_named(work.long_skill), work.long_inputs))
        return [
            f"the inputs given for {skill.name} do not fit its schema: {exc.message}"
            for skill, inputs in tried
            for exc in Draft202012Validator(skill.input_schema or {}).iter_errors(inputs)
        ]

    @property
    def _skill(self) -> SkillCard:
        return self._skill_named(self._work.skill)

    def _skill_named(self, name: str) -> SkillCard:
        assert self._stage.card is not None
        skills = self._stage.card.skills
        return next((skill for skill in skills if skill.name == name), skills[0])

    async def _prepare(self) -> None:
        """Tasks that were delivered before, to somebody who died with them."""
        stage = self._stage
        assert stage.card is not None
        names = ["unwanted", "wanted"]
        if stage.card.poison_after < MOST_DELIVERIES:
            names.append(POISON)
        for name in names:
            self._again[name] = await stage.give(self._skill.name, self._work.inputs)
        stage.wanted[self._again["unwanted"].run] = "no"
        replies = await stage.take(len(names))
        for _ in range(stage.card.poison_after - 1 if POISON in names else 0):
            await stage.give_back(replies[-1])
            replies[-1:] = await stage.take(1)
        for reply in replies:
            await stage.give_back(reply)

    # --- tasks

    async def _comes_again(self) -> AsyncIterator[Verdict]:
        stage = self._stage
        unwanted, wanted, poison = (self._again.get(name) for name in ("unwanted", "wanted", POISON))
        assert unwanted is not None
        assert wanted is not None
        limit = self._work.patience
        yield verdict("does a task that came again and is wanted", await self._undone(wanted))
        rule = "asks about a task that comes again, and lets go of it when it is not wanted"
        await stage.until(lambda: stage.acked(unwanted) or stage.reports_of(unwanted), limit)
        asked = (unwanted.run, unwanted.task) in stage.record.asked
        fault = "" if asked else "it did not ask"
        if not fault and stage.reports_of(unwanted):
            fault = "it was told `no` and did it all the same"
        elif not fault and stage.acked(unwanted) != b"+ACK":
            fault = f"it was told `no` and {in_words(stage.acked(unwanted))}"
        yield verdict(rule, fault)
        rule = "does not begin a task that was delivered more often than its card allows"
        if poison is None:
            yield Verdict(rule, "not tried", f"its card allows {MOST_DELIVERIES} deliveries or more")
            return
        report = await self._report(poison)
        outcome = report.outcome if report is not None else None
        right = isinstance(outcome, Failed) and outcome.kind == POISON
        told = f"it reports {outcome.outcome}" if outcome is not None else "it reports nothing"
        yield verdict(rule, "" if right else f"{told}; wanted is `failed` of kind `{POISON}`")

    async def _does(self) -> AsyncIterator[Verdict]:
        stage, work = self._stage, self._work
        given = await stage.give(self._skill.name, work.inputs)
        fault = await self._undone(given)
        yield verdict("does a task and reports that it is done", fault)
        if fault:
            return
        done = stage.reports_of(given)[0].outcome
        assert isinstance(done, Done)
        fault = await wrong_output(stage, done.output, self._skill.output_schema)
        yield verdict("gives what its card promises", fault)
        await stage.until(lambda: stage.acked(given), work.patience)
        yield verdict("acknowledges a task after its report is stored", wrong_acknowledgement(stage, given))
        rule = "puts an earlier result where an input is to come from one"
        if work.inputs:
            fault = await self._undone(
                await stage.give(self._skill.name, work.inputs, hole=next(iter(work.inputs)))
            )
            yield verdict(rule, fault)
        else:
            yield Verdict(rule, "not tried", "the task has no inputs")
        fault = await self._undone(await stage.give(self._skill.name, work.inputs, stored=True))
        yield verdict("reads a task that is stored for its size", fault)

    async def _refuses(self) -> AsyncIterator[Verdict]:
        stage, work = self._stage, self._work
        yield verdict("refuses a task whose code is wrong", await self._takes_bad("code"))
        yield verdict("refuses a task that the server forwarded", await self._takes_bad("forwarded"))
        given = await stage.give(_NO_SKILL, {})
        await stage.until(lambda: stage.acked(given) or stage.reports_of(given), work.patience)
        report = next(iter(stage.reports_of(given)), None)
        fault = "" if report is not None or stage.acked(given) == b"-NAK" else "it says nothing"
        if report is not None and isinstance(report.outcome, Done):
            fault = "it reports that it is done"
        yield verdict("reports a task that it has no skill for as failed, or gives it back", fault)
        yield await self._bad_input()

    async def _takes_bad(self, damage: Damage) -> str:
        """What is wrong about what it does with a task that no orchestrator gave it."""
        stage, work = self._stage, self._work
        bad = await stage.give(self._skill.name, work.inputs, damage=damage)
        await self._report(await stage.give(self._skill.name, work.inputs))
        await stage.until(lambda: stage.acked(bad) or stage.said_of(bad), work.patience)
        if stage.said_of(bad):
            return "it did the task"
        acked = stage.acked(bad)
        if acked in (b"+TERM", b"+ACK"):
            return ""
        return f"it {in_words(acked)}, so the task comes again and again; wanted is +TERM"

    async def _bad_input(self) -> Verdict:
        rule = "reports inputs that do not fit its schema as failed for good"
        schema = self._skill.input_schema
        if schema is None or Draft202012Validator(schema).is_valid({}):
            return Verdict(rule, "not tried", f"{self._skill.name} takes no inputs at all, too")
        report = await self._report(await self._stage.give(self._skill.name, {}))
        if report is None:
            return Verdict(rule, "broken", "it reports nothing")
        outcome = report.outcome
        right = isinstance(outcome, Failed) and not outcome.retry
        return verdict(rule, "" if right else f"it reports {outcome.outcome}, and that it may be tried again")

    # --- orders

    async def _orders(self) -> AsyncIterator[Verdict]:
        stage, work = self._stage, self._work
        other = await stage.give(self._skill.name, work.inputs)
        await self._report(other)
        await stage.order(Hold(run=other.run, on=True))
        stage.wanted[other.run] = "later"
        held = await stage.give(self._skill.name, work.inputs, run=other.run)
        fence = await stage.give(self._skill.name, work.inputs)
        await self._report(fence)
        early = bool([one for one in stage.reports_of(held) if one.task == held.task])
        del stage.wanted[other.run]
        await stage.order(Hold(run=other.run, on=False))
        rule = "begins no task of a paused run, and does it when the run goes on"
        late = await stage.until(
            lambda: [one for one in stage.reports_of(held) if one.task == held.task], 2 * work.patience
        )
        fault = "it did a task of a paused run" if early else ""
        yield verdict(rule, fault or ("" if late else "the run went on, and it did not do the task"))

    async def _long(self) -> AsyncIterator[Verdict]:
        names = (
            "keeps the lease of a task that takes longer",
            "takes no order whose code is wrong",
            "stops when it is told to, and says so",
        )
        stage, work = self._stage, self._work
        if not work.long_skill:
            for name in names:
                yield Verdict(
                    name, "not tried", "name a task that takes longer than a lease with --long-skill"
                )
            return
        assert stage.card is not None
        given = await stage.give(work.long_skill, work.long_inputs)
        await stage.until(lambda: any(stage.acks_of(given)), work.patience)
        await stage.order(Stop(run=given.run, task=given.task), forged=True)
        began = time.monotonic()
        limit = work.patience + 4 * stage.card.lease
        fault = await self._undone(given, limit)
        took = time.monotonic() - began
        await stage.until(lambda: stage.acked(given), work.patience)
        again = any(ack.delivered > 1 for _, ack, _, _ in stage.acks_of(given))
        if fault or again or took > stage.card.lease:
            yield verdict(names[0], fault or ("its lease ran out: it was delivered again" if again else ""))
        else:
            told = f"it took {took:.1f} s, the lease is {stage.card.lease:g} s"
            yield Verdict(names[0], "not tried", told)
        heeded = [one for one in stage.said_of(given) if isinstance(one.message, Heed)]
        if fault and not heeded:
            yield Verdict(names[1], "not tried", "the task was not done")
        else:
            yield verdict(names[1], "it heeded an order that no orchestrator gave" if heeded else "")
        yield await self._stops(names[2])

    async def _stops(self, rule: str) -> Verdict:
        stage, work = self._stage, self._work
        given = await stage.give(work.long_skill, work.long_inputs)
        await stage.until(lambda: any(stage.acks_of(given)), work.patience)
        await stage.order(Stop(run=given.run, task=given.task))

        def heeds() -> list[Noticed]:
            return [one for one in stage.said_of(given) if isinstance(one.message, Heed)]

        if not await stage.until(heeds, HEED_WITHIN):
            done = " and reports it" if stage.reports_of(given) else ""
            return Verdict(rule, "broken", f"no word of it within {HEED_WITHIN:g} s{done}")
        heed = heeds()[0].message
        assert isinstance(heed, Heed)
        if heed.order != "stop" or heed.how not in ("stopped", "dropped", "cannot"):
            return Verdict(rule, "broken", f"it says `{heed.order}`: `{heed.how}`")
        await stage.until(lambda: stage.acked(given), work.patience)
        if stage.acked(given) != b"+ACK":
            return Verdict(rule, "broken", f"it {in_words(stage.acked(given))}; wanted is +ACK")
        return verdict(rule, "it reports the task all the same" if stage.reports_of(given) else "")

    # --- all the time

    async def _shows_life(self) -> Verdict:
        lives = self._stage.record.lives
        await self._stage.until(lambda: len(lives) > 1, _LIVES_WITHIN)
        fault = wrong_lives(self._stage, _LIVES_WITHIN)
        return verdict("shows signs of life that end by themselves", fault)

    async def _report(self, given: Given, limit: float | None = None) -> Report | None:
        stage = self._stage

        def mine() -> list[Report]:
            return [one for one in stage.reports_of(given) if one.task == given.task]

        await stage.until(lambda: mine() or self._gone(), limit or self._work.patience)
        return next(iter(mine()), None)

    async def _undone(self, given: Given, limit: float | None = None) -> str:
        """Why a task does not count as done, empty if it does."""
        report = await self._report(given, limit)
        if report is None:
            faults = [one.fault for one in self._stage.said_of(given) if one.fault]
            return (faults or [self._gone() or "it reports nothing in time"])[0]
        match report.outcome:
            case Done():
                return next(one.fault for one in self._stage.said_of(given) if one.message is report)
            case Failed() as failed:
                return f"it reports {failed.kind}: {failed.message}"
            case Declined() as declined:
                return f"it declines: {declined.why}"
