"""Defects planted into Consort's processes are found by the chaos check."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from consort_orchestrator.chaos import Options, Report, run_chaos

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
TURNS = 4
DEFECTIVE = Path(__file__).with_name("defective.py")


async def _found(defect: str, invariant: str, options: Options) -> Report:
    """What is found of a defect. Whether a fault hits the moment that matters is chance, so there are several seeds,
    and more where those did not."""
    for turn in range(TURNS):
        tried = replace(options, seed=options.seed + turn * options.seeds)
        report = await run_chaos(tried, launcher=(sys.executable, str(DEFECTIVE), defect))
        shutil.rmtree(report.folder, ignore_errors=True)
        if invariant in {violation.invariant for violation in report.violations}:
            return report
    raise AssertionError(f"{defect} was not found\n{report.as_text()}")


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
    await _found("no-token-check", "I2", options)


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
    await _found("no-fence", "I7", options)


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
    report = await _found("acknowledge-first", "I5", options)
    assert not report.clean
