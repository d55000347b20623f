"""What a chaos run did and found, for a person and as JSON.

Only sums up and words; what counts as a violation is decided elsewhere.
"""

from __future__ import annotations

import shlex
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from consort_orchestrator.chaos.invariants import Violation
from consort_orchestrator.chaos.options import Options
from consort_orchestrator.chaos.progress import Recovery
from consort_orchestrator.chaos.schedule import KINDS

SHOWN = 20
"""Violations that the text tells of; all are in the JSON."""


@dataclass(frozen=True, slots=True)
class SeedReport:
    """One seed. `lost` counts acknowledged runs that are not on the log; times are in seconds."""

    seed: int
    runs: int
    states: Counter[str]
    entries: int
    effects: int
    doubts: int
    lost: int
    duplicated_effects: int
    violations: tuple[Violation, ...]
    faults: Counter[str]
    longest_pause: float
    recoveries: tuple[Recovery, ...]
    seconds: float


@dataclass(slots=True)
class Report:
    """Everything over all seeds."""

    options: Options
    started: float
    """seconds since 1970"""
    folder: Path
    seconds: float = 0.0
    seeds: list[SeedReport] = field(default_factory=list)
    left_out: tuple[str, ...] = ()
    surprises: tuple[str, ...] = ()
    kept: bool = False

    @property
    def violations(self) -> list[Violation]:
        return [violation for seed in self.seeds for violation in seed.violations]

    @property
    def lost(self) -> int:
        return sum(seed.lost for seed in self.seeds)

    @property
    def duplicated_effects(self) -> int:
        return sum(seed.duplicated_effects for seed in self.seeds)

    @property
    def runs(self) -> int:
        return sum(seed.runs for seed in self.seeds)

    @property
    def clean(self) -> bool:
        """Whether runs were done, and nothing was violated or lost."""
        return self.runs > 0 and not (self.violations or self.lost or self.duplicated_effects)

    @property
    def faults(self) -> Counter[str]:
        return sum((seed.faults for seed in self.seeds), Counter())

    @property
    def states(self) -> Counter[str]:
        return sum((seed.states for seed in self.seeds), Counter())

    @property
    def longest_pause(self) -> float:
        return max((seed.longest_pause for seed in self.seeds), default=0.0)

    def recoveries(self) -> dict[str, list[float]]:
        """The times of all seeds, by kind of fault."""
        times: dict[str, list[float]] = defaultdict(list)
        for seed in self.seeds:
            for recovery in seed.recoveries:
                times[recovery.kind] += recovery.times
        return dict(sorted(times.items()))

    def as_data(self) -> dict[str, Any]:
        """The report as plain values. `violations` is their number, `violation_list` what they are."""
        options = self.options
        return {
            "runs": self.runs,
            "lost": self.lost,
            "duplicated_effects": self.duplicated_effects,
            "violations": len(self.violations),
            "violation_list": [_plain(violation) for violation in self.violations],
            "faults": dict(sorted(self.faults.items())),
            "longest_pause_s": round(self.longest_pause, 3),
            "recovery": {
                kind: {
                    "faults": len(times),
                    "median_s": round(median(times), 3),
                    "worst_s": round(max(times), 3),
                }
                for kind, times in self.recoveries().items()
            },
            "states": dict(sorted(self.states.items())),
            "entries": sum(seed.entries for seed in self.seeds),
            "effects": sum(seed.effects for seed in self.seeds),
            "doubts_answered": sum(seed.doubts for seed in self.seeds),
            "ended_by_themselves": list(self.surprises),
            "left_out": list(self.left_out),
            "seed": options.seed,
            "seeds": [seed.seed for seed in self.seeds],
            "options": {
                "nodes": options.nodes,
                "orchestrators": options.orchestrators,
                "agents": options.agents,
                "runs": options.runs,
                "in_flight": options.in_flight,
                "faults": list(options.faults),
                "workload": options.own.plan.name if options.own else list(options.shapes),
                "every_s": options.every,
                "heal_s": options.heal,
                "compare": options.compare,
            },
            "started": self.started,
            "seconds": round(self.seconds, 1),
            "kept": str(self.folder) if self.kept else None,
            "reproduce": reproduce(self),
        }

    def as_text(self) -> str:
        """The report for a person."""
        return "\n".join(_lines(self))


def reproduce(report: Report) -> str:
    """The command that does the same again; for the first seed in which something was found, if there is one."""
    options = report.options
    seed = next((one.seed for one in report.seeds if one.violations), options.seed)
    words = ["consort", "chaos", "--seed", str(seed), "--runs", str(options.runs)]
    words += ["--nodes", str(options.nodes), "--orchestrators", str(options.orchestrators)]
    words += [
        "--agents",
        str(options.agents),
        "--every",
        f"{options.every:g}",
        "--storm",
        f"{options.storm:g}",
    ]
    words += ["--in-flight", str(options.in_flight), *(["--compare"] if options.compare else [])]
    faults = "all" if options.faults == tuple(KINDS) else ",".join(options.faults) or "none"
    words += ["--faults", faults]
    if options.own is None:
        words += ["--workload", ",".join(options.shapes)]
    else:
        words += [word for agent in options.own.agents for word in ("--agents-module", agent.reference)]
        words += ["--plan", "PLAN"]
    return shlex.join(words)


def _lines(report: Report) -> Sequence[str]:
    options, violations = report.options, report.violations
    states = ", ".join(f"{count} {state}" for state, count in sorted(report.states.items()))
    faults = ", ".join(f"{count} {kind}" for kind, count in sorted(report.faults.items()))
    seeds = [seed.seed for seed in report.seeds]
    which = f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds from {options.seed} on"
    lines = [
        f"chaos over {which}, {options.nodes} bus node{'s' if options.nodes > 1 else ''}, "
        f"{options.orchestrators} orchestrators, {options.agents} processes of each agent, {report.seconds:.0f} s",
        f"  runs       {report.runs}: {states}",
        f"  faults     {sum(report.faults.values())}: {faults or 'none'}",
        f"  effects    {sum(seed.effects for seed in report.seeds)}, "
        f"{sum(seed.doubts for seed in report.seeds)} of them after a person was asked",
        f"  longest pause without any result {report.longest_pause:.2f} s",
    ]
    for kind, times in report.recoveries().items():
        lines.append(f"  went on after {kind:<20} median {median(times):.2f} s, worst {max(times):.2f} s")
    lines += [f"  left out   {why}" for why in report.left_out]
    lines += [f"  note       {surprise}" for surprise in report.surprises[:SHOWN]]
    lines.append(
        f"  found      {report.lost} lost, {report.duplicated_effects} duplicated effects, "
        f"{len(violations)} violations"
    )
    lines += [f"    seed {violation.seed}  {violation}" for violation in violations[:SHOWN]]
    if len(violations) > SHOWN:
        lines.append(f"    and {len(violations) - SHOWN} more")
    if not report.clean:
        lines.append(f"  again with {reproduce(report)}")
    if report.kept:
        lines.append(f"  kept in    {report.folder}; `consort log RUN --folder {report.folder}` shows a run")
    return lines


def _plain(violation: Violation) -> dict[str, Any]:
    return {
        "seed": violation.seed,
        "invariant": violation.invariant,
        "run": violation.run,
        "step": violation.step,
        "entries": list(violation.entries),
        "what": violation.what,
    }
