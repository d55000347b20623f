"""`python -m consort_agents.journal unseal FILE --creds CREDS`: open the sealed answers of a record.

Needs no bus: the key comes from the credentials of the agent that sealed them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from consort_bus.credentials import Credentials
from consort_bus.sealing import Box
from consort_shared.errors import ConsortError, DecodeError
from consort_shared.journal_export import lines, read_record


@click.group()
def main() -> None:
    """Records of calls, for whoever has an agent's credentials."""


@main.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--creds",
    "creds",
    required=True,
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Credentials of an agent; may be repeated.",
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Another file to write. [default: FILE]"
)
def unseal(file: Path, creds: tuple[Path, ...], out: Path | None) -> None:
    """Open the answers in FILE that only their agents can read. They may hold secrets: mind where FILE goes."""
    try:
        head, calls = read_record(file)
        boxes = {}
        for path in creds:
            known = Credentials.load(path)
            if known.identity.role != "agent" or known.mac_key is None:
                raise click.UsageError(
                    f"{path} is of {known.identity}; the credentials of an agent open answers"
                )
            boxes[known.identity.name] = Box(known.mac_key)
        opened = 0
        for at, call in enumerate(calls):
            if call.sealed is not None and call.agent in boxes:
                answer = json.loads(boxes[call.agent].open(call.sealed))
                calls[at] = call.model_copy(update={"answer": answer, "sealed": None})
                opened += 1
    except DecodeError as exc:
        raise click.ClickException(f"{file}: an answer cannot be opened: {exc.why}") from exc
    except ConsortError as exc:
        raise click.ClickException(str(exc)) from exc
    (out or file).write_text("".join(f"{line}\n" for line in lines(head, calls)), encoding="utf-8")
    left = sorted({call.agent for call in calls if call.sealed is not None})
    rest = f"; still sealed: those of {', '.join(left)}" if left else ""
    click.echo(f"{opened} answers opened: {out or file}{rest}")


if __name__ == "__main__":
    sys.exit(main())
