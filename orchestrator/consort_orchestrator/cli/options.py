"""Options that many commands share, and how they reach the commands.

A command that talks to the bus is given a `Place`, one that prints a `Printer`.
An option on the command line wins over any environment variable, also over one
that belongs to another option: `--folder` means that folder's bus even where
`CONSORT_SERVER` is set.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

Function = TypeVar("Function", bound=Callable[..., Any])
DEFAULT_FOLDER = ".consort"


@dataclass(frozen=True, slots=True)
class Place:
    """Which bus: one elsewhere, with credentials, or the one of a folder."""

    server: str | None
    creds: Path | None
    folder: Path


@dataclass(frozen=True, slots=True)
class Printer:
    """Where a command's words go: results to standard output, everything else to standard error."""

    json: bool = False
    quiet: bool = False

    def say(self, text: str = "") -> None:
        """What the user asked for, in words. Nothing when JSON was asked for."""
        if not self.json:
            click.echo(text)

    def data(self, value: Any) -> None:
        """What the user asked for, as one line of JSON; only when that was asked for."""
        if self.json:
            click.echo(as_json(value))

    def note(self, text: str) -> None:
        """Something worth knowing that was not asked for."""
        if not self.quiet:
            click.echo(text, err=True)


def as_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, default=_plain, indent=indent)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", by_alias=True)
    return str(value)


def on_the_bus(function: Function) -> Function:
    """Adds --server, --creds and --folder, and gives the command its `place`."""

    @click.option(
        "--folder",
        envvar="CONSORT_FOLDER",
        default=DEFAULT_FOLDER,
        show_default=True,
        type=click.Path(file_okay=False, path_type=Path),
        help="Where the bus of this machine lives.",
    )
    @click.option(
        "--creds",
        envvar="CONSORT_CREDS",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Credentials for a bus elsewhere.",
    )
    @click.option(
        "--server", envvar=["CONSORT_SERVER", "NATS_URL"], metavar="URL", help="Address of a bus elsewhere."
    )
    @functools.wraps(function)
    def wrapper(*args: Any, server: str | None, creds: Path | None, folder: Path, **kwargs: Any) -> Any:
        source = click.get_current_context().get_parameter_source
        if (
            source("folder") is ParameterSource.COMMANDLINE
            and source("server") is ParameterSource.ENVIRONMENT
        ):
            server = creds = None
        return function(*args, place=Place(server or None, creds, folder), **kwargs)

    return wrapper  # type: ignore[return-value] # the options replace `place`


def in_folder(function: Function) -> Function:
    """Adds --folder alone, for commands about this machine."""
    return click.option(
        "--folder",
        envvar="CONSORT_FOLDER",
        default=DEFAULT_FOLDER,
        show_default=True,
        type=click.Path(file_okay=False, path_type=Path),
        help="Where the bus of this machine lives.",
    )(function)


def printing(function: Function) -> Function:
    """Adds --json, --quiet and --debug, and gives the command its `printer`."""

    @click.option("--debug", is_flag=True, expose_value=False, help="Show where an error comes from.")
    @click.option("--quiet", "-q", is_flag=True, help="Only what was asked for.")
    @click.option("--json", "json_", is_flag=True, help="JSON on standard output.")
    @functools.wraps(function)
    def wrapper(*args: Any, json_: bool, quiet: bool, **kwargs: Any) -> Any:
        return function(*args, printer=Printer(json_, quiet), **kwargs)

    return wrapper  # type: ignore[return-value] # the options replace `printer`


def agents_option(help: str) -> Callable[[Function], Function]:
    """Adds --agents: repeatable, and several in one, separated by commas."""
    return click.option(
        "--agents", "--agent", "agents", multiple=True, metavar="NAME|module:attr", help=help, callback=_split
    )


tools_option = click.option(
    "--tools",
    "tool_files",
    multiple=True,
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Serve the tools of this file too, by a host; may be repeated.",
)


def _split(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for value in values for part in value.split(",") if part.strip()))


def inputs_options(function: Function) -> Function:
    """Adds --input and --inputs, the inputs of a run."""
    function = click.option(
        "--inputs",
        "inputs_file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="A YAML or JSON file with inputs.",
    )(function)
    return click.option(
        "--input", "-i", "pairs", multiple=True, metavar="NAME=VALUE", help="One input; may be repeated."
    )(function)


def terminal(stream: Any = None) -> bool:
    """Whether somebody looks at standard output, or another stream."""
    return bool((sys.stdout if stream is None else stream).isatty())
