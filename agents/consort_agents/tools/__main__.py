"""Shows what a file of tools makes, and what a sandbox of this system protects.

    python -m consort_agents.tools list tools.yaml [--json | --approved]
    python -m consort_agents.tools protections

`--approved` prints the part of the file that approves the tools as they are now.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence

from consort_agents.tools.collection import ToolBox
from consort_agents.tools.errors import ToolError
from consort_agents.tools.files import build, load_tools
from consort_agents.tools.sandbox import sandbox_protections

_USAGE = (__doc__ or "").split("\n\n")[1]


def main(words: Sequence[str]) -> int:
    """The exit code: 0, or 2 with what is wrong on the error output."""
    match list(words):
        case ["protections"]:
            print(sandbox_protections())
        case ["list", path, *options] if set(options) <= {"--json", "--approved"} and len(options) < 2:
            try:
                print(asyncio.run(_listed(path, options)))
            except ToolError as exc:
                print(exc, file=sys.stderr)
                return exc.exit_code
        case _:
            print(_USAGE, file=sys.stderr)
            return 2
    return 0


async def _listed(path: str, options: Sequence[str]) -> str:
    async with build(load_tools(path)) as box:
        if "--json" in options:
            told = [{**tool.model_dump(mode="json"), "digest": tool.digest} for tool in box.definitions]
            return json.dumps(told, ensure_ascii=False, indent=1)
        if "--approved" in options:
            return "\n".join(
                ["approved:", *(f'  {name}: "{digest}"' for name, digest in box.digests.items())]
            )
        return _table(box)


def _table(box: ToolBox) -> str:
    rows = [("tool", "kind", "risk", "idempotent", "data", "digest")]
    for told in box.definitions:
        mark = " (not the approved one)" if box.changed(told.name) is not None else ""
        twice = "yes" if told.idempotent else "no"
        rows.append((told.name, told.kind, told.risk, twice, told.data_class, f"{told.digest[:12]}{mark}"))
    wide = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(wide[at]) for at, cell in enumerate(row)).rstrip() for row in rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
