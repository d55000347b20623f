"""Twenty processes behind one key that allows 60 requests a minute, for two minutes: how much of it is used.

    python -m benchmarks.limits [--seconds 120] [--limit 60] [--processes 20] [--repeats 1]
                                [--configured | --silent] [--out FILE]

All call without pause. The limit is learned from the headers of the provider unless --configured sets
it beforehand; with --silent nobody listens to headers, so a refusal has to teach it. Run A has
all processes but one, run B the last.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.limits_fleet import Fleet, fleet, in_windows

SCRIPT = "{{limit: {{requests_per_minute: {limit}}}, latency: 0.3, otherwise: {{answer: 'yes'}}}}"


async def measure(seconds: float, limit: int, processes: int, configured: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        async with fleet(Path(folder) / "bus", SCRIPT.format(limit=limit)) as there:
            if configured:
                await _configure(there, limit)
            there.start({f"p{n}": "a" if n < processes - 1 else "b" for n in range(processes)}, seconds)
            await there.go()
            told = await there.done(seconds + 60)
            return _figures(there, told, seconds, limit)


async def _configure(there: Fleet, limit: int) -> None:
    from benchmarks.limits_fleet import KEY
    from consort_agents.models.anthropic import Anthropic
    from consort_bus.operator import operating
    from consort_shared.rates import Limits

    key = Anthropic(api_key=KEY, base_url=there.fake.url).key
    async with operating(folder=there.folder) as operator:
        await operator.set_limits(key, Limits(requests_per_minute=limit))


def _figures(there: Fleet, told: list[dict[str, Any]], seconds: float, limit: int) -> dict[str, Any]:
    served, refused = there.times(200), there.times(429)
    late = [at for at in served if at >= min(60.0, seconds / 2)]
    span = seconds - min(60.0, seconds / 2)
    return {
        "answered": len(served),
        "of_what_is_allowed": round(len(served) / (limit * seconds / 60), 3),
        "of_what_is_allowed_after_the_first_minute": round(len(late) / (limit * span / 60), 3),
        "refused": len(refused),
        "refused_at": [round(at, 2) for at in refused],
        "most_in_a_minute": in_windows(served, 60.0),
        "most_in_a_minute_after_the_first": in_windows(late, 60.0),
        "ended": len(told),
        "answers_of_run_b": sum(one["answered"] for one in told if one["run"] == "b"),
        "fewest_and_most_answers_of_a_process": [
            min(one["answered"] for one in told),
            max(one["answered"] for one in told),
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--limit", type=int, default=60)
    parser.add_argument("--processes", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--configured", action="store_true", help="set the limit beforehand")
    parser.add_argument("--silent", action="store_true", help="do not listen to what the provider tells")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.silent:
        os.environ["SILENT"] = "1"
    found = []
    for _ in range(given.repeats):
        found.append(asyncio.run(measure(given.seconds, given.limit, given.processes, given.configured)))
        print(json.dumps(found[-1]), flush=True)
    parts = [one["of_what_is_allowed_after_the_first_minute"] for one in found]
    print(f"used of what is allowed: {median(parts):.3f} ({min(parts):.3f} to {max(parts):.3f})")
    if given.out is not None:
        given.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
