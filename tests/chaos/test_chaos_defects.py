"""Defects planted into Consort's processes are found by the chaos check."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from consort_orchestrator.chaos import Options, Report, run_chaos

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
DEFECTIVE = Path(__file__).with_name("defective.py")


async def _report(defect: str, options: Options) -> Report:
    """What is found of a defect; a fault may miss it in one seed, so there are several."""
    report = await run_chaos(options, launcher=(sys.executable, str(DEFECTIVE), defect))
    shutil.rmtree(report.folder, ignore_errors=True)
    return report


async def test_a_report_for_any_attempt_counts() -> None:
    options = Options(
        seeds=8,
        runs=12,
        heal=8.0,
        storm=2.5,
        every=0.3,
        faults=("delay", "duplicate", "reorder"),
        shapes=("hurry", "retry"),
    )
    report = await _report("no-token-check", options)
    assert "I2" in {violation.invariant for violation in report.violations}, report.as_text()


async def test_entries_without_a_fence() -> None:
    options = Options(
        seeds=8,
        runs=12,
        heal=6.0,
        storm=3.0,
        every=0.8,
        faults=("freeze-orchestrator", "partition", "one-way"),
        shapes=("chain", "fan", "loop"),
    )
    report = await _report("no-fence", options)
    assert "I7" in {violation.invariant for violation in report.violations}, report.as_text()


async def test_tasks_acknowledged_before_they_are_reported() -> None:
    options = Options(
        seeds=8,
        runs=12,
        heal=4.0,
        storm=1.5,
        every=0.3,
        faults=("kill-agent",),
        shapes=("chain", "fan", "loop"),
    )
    report = await _report("acknowledge-first", options)
    assert "I5" in {violation.invariant for violation in report.violations}, report.as_text()
    assert not report.clean
