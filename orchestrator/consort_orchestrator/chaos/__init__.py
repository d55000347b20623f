"""A fault-injection kit: faults on a schedule, a workload under them, and a check of what came of it.

report = await run_chaos(Options(seed=7, runs=50, faults=("kill-agent", "partition")))
assert report.clean, report.as_text()
"""

from consort_orchestrator.chaos.invariants import Violation
from consort_orchestrator.chaos.options import Options, OwnAgent, OwnSystem, faults_named, shapes_named
from consort_orchestrator.chaos.report import Report
from consort_orchestrator.chaos.season import run_chaos

__all__ = [
    "Options",
    "OwnAgent",
    "OwnSystem",
    "Report",
    "Violation",
    "faults_named",
    "run_chaos",
    "shapes_named",
]
