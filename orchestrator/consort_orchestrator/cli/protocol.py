"""`consort protocol`: what goes over the wire, for whoever writes a client or an agent in another language."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from consort_orchestrator.cli.options import Printer, as_json, printing
from consort_shared.errors import InvalidInput

VECTORS = "vectors"


@click.group()
def protocol() -> None:
    """Schemas and test vectors of the wire contract, and a check of agents against it."""


@protocol.command("schema")
@click.argument("name", metavar="[NAME]", required=False)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Write NAME.json there, or all of them."
)
@printing
def protocol_schema(name: str | None, out: Path | None, printer: Printer) -> None:
    """Print the JSON Schema of the message NAME; without a name, which there are.

    `vectors` is no schema but the test vectors: inputs, and what they must give.

    \b
    Examples:
      consort protocol schema
      consort protocol schema agent-message
      consort protocol schema --out schemas
    """
    from consort_shared.protocol import SCHEMAS

    known = {**SCHEMAS, VECTORS: "test vectors for codes, tokens, digests and the chain"}
    if name is not None and name not in known:
        near = get_close_matches(name, known, 1)
        hint = f"did you mean `{near[0]}`?" if near else "`consort protocol schema` lists them"
        raise InvalidInput(f"there is no message {name!r}; {hint}")
    if out is not None:
        _write(out, [name] if name is not None else list(known), printer)
    elif name is not None:
        click.echo(as_json(_made(name), indent=None if printer.json else 2))
    else:
        wide = max(map(len, known))
        for one, told in known.items():
            printer.say(f"{one:<{wide}}  {told}")
        printer.data(known)


def _made(name: str) -> dict[str, Any]:
    from consort_shared.protocol import schema, vectors

    return vectors() if name == VECTORS else schema(name)


def _write(folder: Path, names: list[str], printer: Printer) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{name}.json" for name in names]
    for name, file in zip(names, files, strict=True):
        file.write_text(as_json(_made(name), indent=2) + "\n", encoding="utf-8")
        printer.say(str(file))
    printer.data([str(file) for file in files])
