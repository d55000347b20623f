"""Limits that all processes share: looking at them, setting them, forgetting what was learned."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel, ConfigDict, ValidationError

from consort_bus.limiting import UnknownKey
from consort_orchestrator.cli.ending import DONE
from consort_orchestrator.cli.groups import WithUsual
from consort_orchestrator.cli.limits_words import data_of, limits_text, lines_of, short_line
from consort_orchestrator.cli.opening import run_to_end
from consort_orchestrator.cli.options import Place, Printer, on_the_bus, printing
from consort_orchestrator.cli.orders import operator_of
from consort_orchestrator.cli.wording import counted
from consort_shared.errors import Fault, InvalidInput
from consort_shared.plan.reader import Document, read_yaml
from consort_shared.rates import Limits


class _File(BaseModel):
    """A file of limits, by key."""

    model_config = ConfigDict(extra="forbid")
    limits: dict[str, Limits]


@click.group(cls=WithUsual)
def limits() -> None:
    """Limits that all processes share: by key, what is set and learned, what is used, who waits.

    A key stands for an account of a provider and is never its secret.

    \b
    Examples:
      consort limits
      consort limits show anthropic-1a2b3c4d
      consort limits set anthropic-1a2b3c4d --requests-per-minute 60
    """


@limits.command("list")
@on_the_bus
@printing
def limits_list(place: Place, printer: Printer) -> int:
    """All keys, a line each.

    \b
    Example:
      consort limits list
    """
    return run_to_end(_list(place, printer))


async def _list(place: Place, printer: Printer) -> int:
    async with operator_of(place) as operator:
        found = await operator.limits()
    now = time.time()
    printer.data([data_of(key, rate, now) for key, rate in found.items()])
    if not found:
        printer.note("no limits are set, and none was ever met; `consort limits set KEY` sets some")
    for key, rate in found.items():
        printer.say(short_line(key, rate, now))
    return DONE


@limits.command("show")
@click.argument("key")
@on_the_bus
@printing
def limits_show(key: str, place: Place, printer: Printer) -> int:
    """What is known of KEY.

    \b
    Examples:
      consort limits show anthropic-1a2b3c4d
      consort limits show anthropic-1a2b3c4d --json
    """
    return run_to_end(_show(key, place, printer))


async def _show(key: str, place: Place, printer: Printer) -> int:
    async with operator_of(place) as operator:
        found = await operator.limits()
    if key not in found:
        raise UnknownKey(key, list(found))
    now = time.time()
    printer.data(data_of(key, found[key], now))
    for line in lines_of(key, found[key], now):
        printer.say(line)
    return DONE


@limits.command("set")
@click.argument("key", required=False)
@click.option("--requests-per-minute", type=click.IntRange(1), metavar="N", help="Calls a minute.")
@click.option("--tokens-per-minute", type=click.IntRange(1), metavar="N", help="Tokens a minute, in and out.")
@click.option("--concurrent", type=click.IntRange(1), metavar="N", help="Calls at the same time.")
@click.option(
    "--file",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A YAML file with `limits:` by key, instead.",
)
@on_the_bus
@printing
def limits_set(
    key: str | None,
    requests_per_minute: int | None,
    tokens_per_minute: int | None,
    concurrent: int | None,
    file: Path | None,
    place: Place,
    printer: Printer,
) -> int:
    """Set the limits of KEY, or of all keys in a file. They hold at once, for every process.

    What is not named is not limited. A provider that tells lower limits is believed.

    \b
    Examples:
      consort limits set anthropic-1a2b3c4d --requests-per-minute 60 --tokens-per-minute 100000
      consort limits set search-api --concurrent 4
      consort limits set --file limits.yaml
    """
    told = Limits(
        requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute, concurrent=concurrent
    )
    if (key is None) == (file is None):
        raise click.UsageError("say either KEY with its limits, or --file")
    if file is not None and told != Limits():
        raise click.UsageError("limits stand in the file, or on the command line")
    if key is not None and told == Limits():
        raise click.UsageError(
            "say at least one of --requests-per-minute, --tokens-per-minute, --concurrent; "
            "`consort limits reset KEY --limits` takes them off"
        )
    wanted = {key: told} if key is not None else _read(file) if file is not None else {}
    return run_to_end(_set(wanted, place, printer))


def _read(file: Path) -> dict[str, Limits]:
    """The limits in a file. Raises InvalidInput with every fault and its line."""
    try:
        document = read_yaml(file.read_text(encoding="utf-8-sig"), str(file))
    except (UnicodeDecodeError, OSError) as exc:
        raise InvalidInput(f"{file} cannot be read: {exc}") from exc
    faults = list(document.faults)
    if not faults:
        try:
            return _File.model_validate(document.value).limits
        except ValidationError as exc:
            faults = [_fault(error["loc"], error["msg"], document) for error in exc.errors()]
    told = "\n".join(f"  {fault}" for fault in faults)
    right = "right would be `limits: {KEY: {requests_per_minute: 60}}`"
    raise InvalidInput(f"{file}: {counted(len(faults), 'fault')}; {right}\n{told}")


def _fault(place: tuple[str | int, ...], what: str, document: Document) -> Fault:
    lines = document.lines
    line = next((lines[place[:end]] for end in range(len(place), -1, -1) if place[:end] in lines), None)
    return Fault(".".join(map(str, place)), re.sub(r"dictionary or instance of \w+", "mapping", what), line)


async def _set(wanted: dict[str, Limits], place: Place, printer: Printer) -> int:
    told: list[dict[str, Any]] = []
    async with operator_of(place) as operator:
        for key, limits in wanted.items():
            rate = await operator.set_limits(key, limits)
            told.append(data_of(key, rate, time.time()))
            printer.say(f"{key}: {limits_text(limits)}")
    printer.data(told)
    return DONE


@limits.command("reset")
@click.argument("key")
@click.option("--limits", "limits_too", is_flag=True, help="Take the limits off that were set, too.")
@on_the_bus
@printing
def limits_reset(key: str, limits_too: bool, place: Place, printer: Printer) -> int:
    """Forget what was learned of KEY: refusals, learned limits, the breaker. Calls that wait go on.

    \b
    Examples:
      consort limits reset anthropic-1a2b3c4d
      consort limits reset anthropic-1a2b3c4d --limits
    """
    return run_to_end(_reset(key, limits_too, place, printer))


async def _reset(key: str, limits_too: bool, place: Place, printer: Printer) -> int:
    async with operator_of(place) as operator:
        await operator.reset_limits(key, limits_too=limits_too)
    printer.say(f"{key}: forgotten{' with its limits' if limits_too else ''}")
    printer.data({"key": key, "reset": True, "limits": limits_too})
    return DONE
