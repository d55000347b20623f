"""`consort protocol`: what goes over the wire, for whoever writes a client or an agent in another language."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from consort_orchestrator.cli.ending import DONE, FAILED
from consort_orchestrator.cli.inputs import values_of
from consort_orchestrator.cli.opening import run_to_end
from consort_orchestrator.cli.options import Printer, as_json, printing
from consort_orchestrator.conformance.private import private_bus, running
from consort_orchestrator.conformance.trial import Trial
from consort_orchestrator.conformance.verdicts import BROKEN, KEPT, NOT_TRIED, Verdict, Work
from consort_shared.errors import InvalidInput

VECTORS = "vectors"
_WIDE = len(NOT_TRIED)


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


@protocol.command("check")
@click.option("--skill", default="", help="The skill to try it with. [default: the first of its card]")
@click.option("--input", "-i", "pairs", multiple=True, metavar="NAME=VALUE", help="An input of that task.")
@click.option(
    "--inputs",
    "inputs_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A YAML or JSON file with inputs of that task.",
)
@click.option("--long-skill", default="", help="A skill that takes longer than the lease of the card.")
@click.option("--long-input", "long_pairs", multiple=True, metavar="NAME=VALUE", help="An input of that.")
@click.option(
    "--timeout", type=click.FloatRange(1), default=15.0, show_default=True, help="Seconds for one task."
)
@click.argument("agent", metavar="NAME")
@click.argument("command", metavar="[-- COMMAND...]", nargs=-1)
@printing
def protocol_check(
    skill: str,
    pairs: tuple[str, ...],
    inputs_file: Path | None,
    long_skill: str,
    long_pairs: tuple[str, ...],
    timeout: float,
    agent: str,
    command: tuple[str, ...],
    printer: Printer,
) -> int:
    """Try the agent NAME, in any language, against the wire contract; ends with 1 if it breaks a rule.

    It is tried on a bus of its own, which is gone afterwards; nothing at work is touched.
    COMMAND starts the agent, with CONSORT_SERVER and CONSORT_CREDS in its environment;
    without one it is waited for, and started by you.

    \b
    Examples:
      consort protocol check plain --input text=tea -- python plain_agent.py
      consort protocol check mine --inputs task.json --long-skill a.slow -- ./agent
    """
    work = Work(
        skill,
        values_of(pairs, inputs_file),
        long_skill,
        values_of(long_pairs, None),
        timeout,
    )
    return run_to_end(_check(agent, command, work, printer))


async def _check(agent: str, command: tuple[str, ...], work: Work, printer: Printer) -> int:
    found: list[Verdict] = []
    async with private_bus(agent) as private, running(command, private) as process:
        if not command:
            printer.note(f"CONSORT_SERVER={private.server} CONSORT_CREDS={private.creds}")
            printer.note(f"start the agent {agent!r} with these now")
        async for verdict in Trial(private.stage, work, process.gone).run():
            found.append(verdict)
            printer.say(
                f"{verdict.state:<{_WIDE}}  {verdict.rule}" + (f": {verdict.note}" if verdict.note else "")
            )
        last = process.last_words()
    counts = {state: sum(one.state == state for one in found) for state in (KEPT, BROKEN, NOT_TRIED)}
    printer.say(", ".join(f"{number} {state}" for state, number in counts.items()))
    printer.data({"agent": agent, "counts": counts, "rules": found})
    if counts[BROKEN] and last:
        printer.note(f"the agent's last words: {last}")
    return FAILED if counts[BROKEN] else DONE


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
