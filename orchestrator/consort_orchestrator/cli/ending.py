"""What an error becomes: one message on standard error, and an exit code."""

from __future__ import annotations

import asyncio
import traceback

import click

from consort_bus.errors import BusError
from consort_shared.errors import ConsortError, UnknownRun

DONE, FAILED, BAD_INPUT, NO_BUS, TIMED_OUT, INTERRUPTED = 0, 1, 2, 3, 4, 130


class TimedOut(ConsortError):
    """It was not done within the time given; it may still be done later."""

    exit_code = TIMED_OUT


def told(error: BaseException, *, debug: bool) -> int:
    """Say what went wrong, in one message; the exit code that belongs to it."""
    cause = first_of(error)
    if isinstance(cause, SystemExit):
        return cause.code if isinstance(cause.code, int) else int(cause.code is not None)
    if debug:
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    match cause:
        case KeyboardInterrupt() | asyncio.CancelledError():
            click.echo("interrupted", err=True)
        case UnknownRun():
            click.echo(
                f"consort: {cause}; one that was handed in is there once it has been taken up", err=True
            )
        case ConsortError():
            click.echo(f"consort: {cause}", err=True)
        case TimeoutError():
            click.echo("consort: not done in time", err=True)
        case OSError() if cause.filename is not None:
            click.echo(f"consort: {cause.filename}: {cause.strerror}", err=True)
        case _:
            what = f"{type(cause).__name__}: {cause}".rstrip(": ")
            hint = "" if debug else "; --debug shows where it comes from"
            click.echo(f"consort: unexpected: {what}{hint}", err=True)
    return code_of(cause)


def code_of(error: BaseException) -> int:
    """The exit code of an error. Whatever the bus could not do counts as its refusal."""
    match error:
        case KeyboardInterrupt() | asyncio.CancelledError():
            return INTERRUPTED
        case BusError():
            return NO_BUS
        case ConsortError():
            return error.exit_code
        case TimeoutError():
            return TIMED_OUT
        case OSError() if error.filename is not None:
            return BAD_INPUT
        case _:
            return FAILED


def first_of(error: BaseException) -> BaseException:
    """What a group of errors that went wrong together comes down to: one said on purpose, if there is any."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = [first_of(inner) for inner in error.exceptions]
    return next((leaf for leaf in leaves if isinstance(leaf, ConsortError)), leaves[0])
