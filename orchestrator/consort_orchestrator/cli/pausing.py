"""`consort pause` and `consort resume`: a run, an agent, or everything. What waits is kept."""

from __future__ import annotations

from typing import Any, Literal

import click

from consort_bus.client import Client, RunSummary
from consort_bus.operator import Applied, Operator, PausedAgent
from consort_orchestrator.cli.ending import DONE, TimedOut
from consort_orchestrator.cli.follow import Picture
from consort_orchestrator.cli.inputs import check_reference
from consort_orchestrator.cli.opening import client_of, resolved, run_to_end
from consort_orchestrator.cli.options import Place, Printer, on_the_bus, printing
from consort_orchestrator.cli.orders import PATIENCE, ROLE, heard, operator_of, picture_of, require_open
from consort_orchestrator.cli.wording import answer_data, in_words, listed, moment, one_line
from consort_shared.control import PauseMark
from consort_shared.entries import Fact, Heeded, Paused, Resumed
from consort_shared.errors import InvalidInput

ANSWERS_WITHIN = 2.0
"""Seconds that processes with a task of the run are given to acknowledge."""
RUNS_LOOKED_AT = 100
Verb = Literal["pause", "resume"]


@click.command()
@click.argument("run", metavar="[RUN]", required=False)
@click.option("--agent", metavar="NAME", help="Give this agent no tasks, and deliver none it was given.")
@click.option("--all", "everything", is_flag=True, help="The same for every agent, also those to come.")
@click.option("--why", default="", help="The reason, for whoever wonders.")
@on_the_bus
@printing
def pause(
    run: str | None, agent: str | None, everything: bool, why: str, place: Place, printer: Printer
) -> int:
    """Stop what would start next, of RUN, of an agent or of everything.

    Tasks that agents have begun they finish, and their results count; all else waits,
    and nothing is lost. What is paused already stays so, by whoever paused it first.
    Without an argument: what is paused now.

    \b
    Examples:
      consort pause last --why "checking the inputs"
      consort pause --agent writer
      consort pause --all
      consort pause
    """
    chosen = _chosen(run, agent, everything)
    if chosen == 0:
        return run_to_end(_list(place, printer))
    if run is not None:
        check_reference(run)
        return run_to_end(_of_run("pause", run, why, place, printer))
    return run_to_end(_of_agents("pause", agent, why, place, printer))


@click.command()
@click.argument("run", metavar="[RUN]", required=False)
@click.option("--agent", metavar="NAME", help="Take the pause of this agent off.")
@click.option("--all", "everything", is_flag=True, help="Take the pause of everything off.")
@on_the_bus
@printing
def resume(run: str | None, agent: str | None, everything: bool, place: Place, printer: Printer) -> int:
    """Let RUN, an agent or everything that is paused go on.

    An agent that was paused by itself stays so when everything goes on, and a run too.

    \b
    Examples:
      consort resume last
      consort resume --agent writer
      consort resume --all
    """
    if _chosen(run, agent, everything) == 0:
        raise click.UsageError("say what is to go on: RUN, --agent NAME or --all; `consort pause` lists it")
    if run is not None:
        check_reference(run)
        return run_to_end(_of_run("resume", run, "", place, printer))
    return run_to_end(_of_agents("resume", agent, "", place, printer))


def _chosen(run: str | None, agent: str | None, everything: bool) -> int:
    count = (run is not None) + (agent is not None) + everything
    if count > 1:
        raise click.UsageError("RUN, --agent and --all exclude each other")
    return count


# --- a run


class Answers:
    """What the processes that have a task of the run in hand say to an order."""

    def __init__(self, picture: Picture, verb: Verb, printer: Printer) -> None:
        run = picture.run
        self._picture = picture
        self._verb = verb
        self._printer = printer
        self._asked = {run.nodes[path].task for path in run.granted}
        self.facts: list[Heeded] = []

    def ordered(self, fact: Fact) -> bool:
        """Take a fact; whether the order stands."""
        if isinstance(fact, Heeded) and fact.order == self._verb:
            self.facts.append(fact)
            self._printer.say(in_words(fact))
        if isinstance(fact, (Paused, Resumed)):
            self._printer.say(in_words(fact))
            return True
        return False

    def complete(self, fact: Fact) -> bool:
        """Take a fact; whether nobody is left to answer."""
        self.ordered(fact)
        return not self.silent

    @property
    def silent(self) -> list[tuple[str, str]]:
        """Path and agent of the tasks that were in hand then and still are, without an answer."""
        run, answered = self._picture.run, {fact.task for fact in self.facts}
        nodes = (run.nodes[path] for path in run.granted)
        return [
            (node.path, node.agent)
            for node in nodes
            if node.task in self._asked and node.task not in answered
        ]


async def _of_run(verb: Verb, text: str, why: str, place: Place, printer: Printer) -> int:
    async with client_of(place, role=ROLE) as client:
        picture = await picture_of(client, await resolved(client, place, text))
        require_open(client, picture, f"{verb}d")
        paused = picture.standing.paused
        if verb == "resume" and paused is None and picture.run.n:
            raise InvalidInput(f"run {picture.run.id} is not paused, it is {picture.state}")
        answers = Answers(picture, verb, printer)
        if verb == "pause" and paused is not None:
            printer.note(f"run {picture.run.id} is paused already, by {paused.by}")
            silent = []
        else:
            silent = await _ordered(client, picture, answers, verb, why)
    for path, agent in silent:
        printer.say(f"{agent} has {path} in hand and has not answered yet")
    printer.data(
        {
            "run": picture.run.id,
            "state": picture.state,
            "paused": picture.standing.paused,
            "acknowledged": [answer_data(fact) for fact in answers.facts],
            "silent": [{"path": path, "agent": agent} for path, agent in silent],
        }
    )
    return DONE


async def _ordered(
    client: Client, picture: Picture, answers: Answers, verb: Verb, why: str
) -> list[tuple[str, str]]:
    """Give the order, wait until it stands, and a little for the answers; who is silent. Raises TimedOut."""
    run = picture.run.id
    asked = await (client.pause(run, why) if verb == "pause" else client.resume(run))
    if not await heard(client, picture, asked, answers.ordered):
        raise TimedOut(
            f"run {run} is to {verb}, but no orchestrator has done it within {PATIENCE:g} s; "
            "the next that comes will"
        )
    if answers.silent:
        await heard(client, picture, asked, answers.complete, ANSWERS_WITHIN)
    return answers.silent


# --- agents


async def _of_agents(verb: Verb, agent: str | None, why: str, place: Place, printer: Printer) -> int:
    async with operator_of(place) as operator:
        if verb == "pause":
            applied = await (operator.pause_all(why) if agent is None else operator.pause_agent(agent, why))
        else:
            applied = await (operator.resume_all() if agent is None else operator.resume_agent(agent))
        still = [pause for pause in await operator.paused() if verb == "resume"]
    what = "everything" if agent is None else f"agent {agent}"
    if applied.already is not None:
        printer.say(f"{what} is already paused since {_since(applied.already)}; nothing was changed")
    else:
        printer.say(f"{what} {'is paused' if verb == 'pause' else 'goes on'}{_applied_text(applied)}")
    for pause in still:
        if pause.agent is None or agent is None:
            printer.note(f"{_whom(pause)} is still paused, by {pause.mark.by}")
    printer.data({"agent": agent, "paused": verb == "pause", "applied": applied})
    return DONE


def _applied_text(applied: Applied) -> str:
    if applied.orchestrators:
        return f", says {listed(applied.orchestrators)}"
    if applied.expected:
        return "; no orchestrator has said within a second that it has seen it, they look by themselves too"
    return "; no orchestrator is there now: it takes effect when one comes"


# --- what is paused


async def _list(place: Place, printer: Printer) -> int:
    async with client_of(place, role=ROLE) as client:
        agents = await Operator.of(client).paused()
        runs = [one for one in await client.runs(RUNS_LOOKED_AT) if one.state == "paused"]
    printer.data({"agents": [_pause_data(one) for one in agents], "runs": runs})
    if not agents and not runs:
        printer.note(f"nothing is paused, as far as the newest {RUNS_LOOKED_AT} runs go")
    for one in agents:
        printer.say(f"{_whom(one)}, since {_since(one.mark)}")
    for run in runs:
        printer.say(_run_line(run))
    return DONE


def _whom(pause: PausedAgent) -> str:
    return "everything" if pause.agent is None else f"agent {pause.agent}"


def _since(mark: PauseMark) -> str:
    return f"{moment(mark.at)} by {mark.by}" + (f": {one_line(mark.why)}" if mark.why else "")


def _run_line(run: RunSummary) -> str:
    return f"run {run.run[:12]}, plan {one_line(run.plan, 40)}, {one_line(run.why)}"


def _pause_data(pause: PausedAgent) -> dict[str, Any]:
    return {"agent": pause.agent, **pause.mark.model_dump()}
