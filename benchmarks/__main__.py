"""`python -m benchmarks`: measure, print the table, keep the figures."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import uvloop

from benchmarks.figures import figures, table
from benchmarks.session import measure
from benchmarks.workloads import workloads


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Consort beside a bare loop that does the same durable writes.",
    )
    parser.add_argument("--out", type=Path, help="write all figures to this file, as JSON")
    parser.add_argument("--repeats", type=int, default=5, help="how often each side has its turn")
    parser.add_argument("--quick", action="store_true", help="two repeats with fewer runs")
    parser.add_argument(
        "--table", type=Path, metavar="FILE", help="print the table of an earlier run's file, measure nothing"
    )
    asked = parser.parse_args()
    if asked.table is not None:
        print(table(json.loads(asked.table.read_text(encoding="utf-8"))))
        return 0
    if asked.repeats < 1:
        parser.error("--repeats must be at least 1")
    chosen = workloads(asked.quick)
    found = figures(chosen, uvloop.run(measure(chosen, 2 if asked.quick else asked.repeats)))
    if asked.out is not None:
        asked.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
