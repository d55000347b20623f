"""From what was measured to figures, and figures to text.

A ratio is taken between the two sides of one repeat, which ran within seconds of each
other; given are the median of the ratios and the lowest and highest.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.driver import Measured
from benchmarks.session import SIDES, Results
from benchmarks.workloads import RESULT_BYTES, SLOTS, Workload
from consort_bus.embedded import find_binary

_PACKAGES = ("consort-agents", "nats-py", "pydantic", "msgpack", "uvloop")
_ROLES = ("orchestrator", "agent", "server", "client")


def figures(workloads: Sequence[Workload], results: Results) -> dict[str, Any]:
    """Everything that was found, as it goes into the file."""
    found: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _machine(),
        "versions": _versions(),
        "result_bytes": RESULT_BYTES,
        "agent_slots": SLOTS,
    }
    for workload in workloads:
        sides = results.measured[workload.name]
        told = {name: [_one(workload, measured) for measured in repeats] for name, repeats in sides.items()}
        measure = "handoff_ms" if workload.name == "chain" else "rate"
        ratios = [
            ours[measure] / theirs[measure]
            for ours, theirs in zip(told["consort"], told["bare"], strict=True)
        ]
        found[workload.name] = {
            "ratio": round(median(ratios), 3),
            "ratio_min": round(min(ratios), 3),
            "ratio_max": round(max(ratios), 3),
            "ratios": [round(ratio, 3) for ratio in ratios],
            "unit": "latency over bare" if measure == "handoff_ms" else "rate over bare",
            "runs": workload.runs,
            "steps_per_run": workload.steps,
            "in_flight": workload.in_flight,
            **{name: _middle(repeats) for name, repeats in told.items()},
            "repeats": told,
        }
    found["peak_memory_mib"] = {
        name: {role: round(peak, 1) for role, peak in peaks.items()} for name, peaks in results.peaks.items()
    }
    found["message_bytes"] = {name: asdict(shape) for name, shape in results.shapes.items()}
    return found


def _one(workload: Workload, measured: Measured) -> dict[str, Any]:
    """One repeat of one side."""
    handoffs = sorted(duration / workload.steps * 1e3 for duration in measured.durations)
    gaps = sorted(gap * 1e3 for gap in measured.gaps)
    per_run = 1 if workload.name == "many" else workload.steps
    return {
        "seconds": round(measured.seconds, 3),
        "rate": round(workload.runs * per_run / measured.seconds, 1),
        "rate_unit": "runs/s" if per_run == 1 else "steps/s",
        "handoff_ms": round(median(handoffs), 3),
        "handoff_p99_ms": round(_percentile(handoffs, 0.99), 3),
        "gap_ms": round(median(gaps), 3),
        "gap_p99_ms": round(_percentile(gaps, 0.99), 3),
        "entries_per_run": round(measured.entries, 2),
        "cpu_us_per_step": {role: round(spent * 1e6, 1) for role, spent in measured.cpu.items()},
    }


def _percentile(ordered: Sequence[float], part: float) -> float:
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)]


def _middle(repeats: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The medians over the repeats."""
    middle: dict[str, Any] = {}
    for key, value in repeats[0].items():
        if isinstance(value, dict):
            middle[key] = {part: round(median(told[key][part] for told in repeats), 1) for part in value}
        elif isinstance(value, str):
            middle[key] = value
        else:
            middle[key] = round(median(told[key] for told in repeats), 3)
    return middle


def _machine() -> dict[str, Any]:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.partition(":")[2].strip()
            for line in cpuinfo.read_text().splitlines()
            if "model name" in line
        ]
        model = names[0] if names else model
    return {"cpu": model, "cores": os.cpu_count(), "system": f"{platform.system()} {platform.release()}"}


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    versions |= {name: importlib.metadata.version(name) for name in _PACKAGES}
    told = subprocess.run([find_binary(), "--version"], capture_output=True, text=True, check=False).stdout
    return versions | {"nats-server": told.strip().rpartition(" ")[2]}


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown, which reads well in a terminal too."""
    lines = [
        f"Measured {found['date']} on {found['machine']['cpu']}, {found['machine']['cores']} cores; "
        + ", ".join(f"{name} {version}" for name, version in found["versions"].items())
        + f". Medians of {len(found['chain']['ratios'])} repeats.",
        "",
        "| workload | figure | bare loop | Consort | ratio | lowest to highest ratio |",
        "|---|---|--:|--:|--:|--:|",
        _row(found, "chain", "hand-off, median", "handoff_ms", "ms"),
        _row(found, "chain", "hand-off, p99", "handoff_p99_ms", "ms", ratio=False),
        _row(found, "chain", "entry to entry, median", "gap_ms", "ms", ratio=False),
        _row(found, "chain", "entry to entry, p99", "gap_p99_ms", "ms", ratio=False),
        _row(found, "fan", "throughput", "rate", "steps/s"),
        _row(found, "many", "throughput", "rate", "runs/s"),
        "",
        "| processor time per step, µs | "
        + " | ".join(f"{role}, bare | {role}, Consort" for role in _ROLES)
        + " |",
        "|---|" + "--:|" * (2 * len(_ROLES)),
    ]
    for name in ("chain", "fan", "many"):
        cells = [f"{found[name][side]['cpu_us_per_step'][role]:.0f}" for role in _ROLES for side in SIDES]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    peaks = found["peak_memory_mib"]
    lines += ["", "| peak memory, MiB | bare loop | Consort |", "|---|--:|--:|"]
    lines += [
        f"| {role} | {peaks['bare'][role]:.0f} | {peaks['consort'][role]:.0f} |"
        for role in ("orchestrator", "agent")
    ]
    lines.append(f"| server (one for both) | {peaks['both']['server']:.0f} | |")
    return "\n".join(lines)


def _row(found: dict[str, Any], workload: str, label: str, key: str, unit: str, *, ratio: bool = True) -> str:
    told = found[workload]
    bare, ours = told["bare"][key], told["consort"][key]
    shown = (
        f"{bare:,.2f} {unit} | {ours:,.2f} {unit}"
        if unit == "ms"
        else f"{bare:,.0f} {unit} | {ours:,.0f} {unit}"
    )
    spread = f"{told['ratio']:.2f} | {told['ratio_min']:.2f} to {told['ratio_max']:.2f}"
    return f"| {workload} | {label} | {shown} | " + (spread if ratio else f"{ours / bare:.2f} | ") + " |"
