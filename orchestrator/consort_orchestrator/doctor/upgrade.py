"""What a deploy of the version at hand would break: runs it cannot fold, skills that it takes away.

Run by the new version against the live bus, before anything is replaced. Pure but for
what it is given.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from consort_bus.recorded import Recording
from consort_orchestrator.cli.wording import counted, listed
from consort_orchestrator.core import Run
from consort_orchestrator.doctor.commands import Commands
from consort_orchestrator.doctor.findings import Finding, Level
from consort_orchestrator.doctor.folding import REASONS, CannotFold, Reason, folding
from consort_shared.card import AgentCard, SkillCard
from consort_shared.plan.model import Step

SHOWN = 20
SHORT = 12


@dataclass(frozen=True, slots=True)
class Checked:
    """A run under way, folded with the version at hand: the skills it still needs, or why it cannot be folded."""

    run: str
    needs: frozenset[str] = frozenset()
    ended: bool = False
    reason: Reason | None = None
    at: int = 0
    why: str = ""


def checked(recording: Recording) -> Checked:
    """Fold a run's entries and see what it still needs."""
    run = Run(recording.run)
    try:
        for _ in folding(run, recording.entries):
            pass
    except CannotFold as exc:
        return Checked(recording.run, reason=exc.reason, at=exc.at + 1, why=exc.why)
    return Checked(recording.run, frozenset(needed(run)), run.finished is not None)


def needed(run: Run) -> set[str]:
    """The skills of everything that may still be done in a run, what undoes its steps among them."""
    found: set[str] = set()
    for node in run.nodes.values():
        if node.spec is None:
            continue
        if not node.phase.ended:
            found |= set(_skills({node.spec.name: node.spec.step}))
        elif node.spec.step.undo is not None and run.finished is None:
            found.add(node.spec.step.undo.skill)
    return found if run.finished is None else set()


def _skills(steps: Mapping[str, Step]) -> Iterator[str]:
    for step in steps.values():
        if step.skill is not None:
            yield step.skill
        if step.undo is not None:
            yield step.undo.skill
        yield from _skills(step.steps or {})


def judged(
    runs: Sequence[Checked],
    live: Iterable[AgentCard],
    new: Sequence[AgentCard],
    at: Commands,
    version: str,
    left: int,
) -> list[Finding]:
    """What would break. `live` are the cards at work, `new` those that replace the ones of the same name."""
    findings = [*_unreadable(runs, version), *_skills_lost(runs, list(live), new, at)]
    if left > 0:
        what = f"{counted(left, 'run')} under way not looked at"
        findings.append(
            Finding("upgrade", Level.NOTE, what, at.operator("doctor upgrade --all"), {"left": left})
        )
    if all(finding.level < Level.WARNING for finding in findings):
        what = f"version {version} can go on with all of {counted(len(runs), 'run')} that it was tried on"
        findings.insert(0, Finding("upgrade", Level.OK, what, about={"runs": len(runs)}))
    return findings


def _unreadable(runs: Sequence[Checked], version: str) -> Iterator[Finding]:
    together: dict[tuple[Reason, str], list[Checked]] = defaultdict(list)
    for run in runs:
        if run.reason is not None:
            together[run.reason, run.why].append(run)
    for (reason, why), group in together.items():
        what = f"{counted(len(group), 'run')} cannot go on under version {version}: {REASONS[reason]} ({why})"
        mend = "let these runs end before the upgrade, or keep the version that wrote them"
        about = {
            "reason": reason,
            "count": len(group),
            "runs": [{"run": one.run, "entry": one.at} for one in group[:SHOWN]],
        }
        yield Finding("upgrade", Level.ERROR, what, mend, about)


def _skills_lost(
    runs: Sequence[Checked], live: Sequence[AgentCard], new: Sequence[AgentCard], at: Commands
) -> Iterator[Finding]:
    replaced = {card.name for card in new}
    before = _by_skill(live)
    after = _by_skill([*(card for card in live if card.name not in replaced), *new])
    users: dict[str, list[str]] = defaultdict(list)
    for run in runs:
        for skill in run.needs:
            users[skill].append(run.run)
    for skill, ids in sorted(users.items()):
        about = {"skill": skill, "count": len(ids), "runs": ids[:SHOWN]}
        using = f"{counted(len(ids), 'run')} under way still {'needs' if len(ids) == 1 else 'need'} {skill}"
        look = at.operator(f"show {ids[0][:SHORT]}")
        if skill in before and skill not in after:
            names = sorted({name for name, _ in before[skill]})
            what = f"{using}, which {listed(names)} would offer no longer"
            mend = f"keep {skill} in {listed(names)}, or let these runs end first: {look}"
            yield Finding("upgrade", Level.ERROR, what, mend, {**about, "agents": names})
        elif skill not in after:
            yield Finding(
                "upgrade", Level.NOTE, f"{using}, which nobody offers now", at.agent_for(skill, None), about
            )
        elif skill in before and _schemas(before[skill]) != _schemas(after[skill]):
            what = f"{using}, which takes or gives something else than before"
            yield Finding("upgrade", Level.NOTE, what, look, about)


def _by_skill(cards: Iterable[AgentCard]) -> dict[str, list[tuple[str, SkillCard]]]:
    found: dict[str, list[tuple[str, SkillCard]]] = defaultdict(list)
    for card in cards:
        for skill in card.skills:
            found[skill.name].append((card.name, skill))
    return found


def _schemas(offers: Sequence[tuple[str, SkillCard]]) -> list[str]:
    return sorted({skill.model_dump_json(include={"input_schema", "output_schema"}) for _, skill in offers})
