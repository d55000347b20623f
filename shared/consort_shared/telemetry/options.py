"""The options of every process of ours about what it tells of itself, and the variables that stand for them.

Decides nothing else: what is asked for is carried out by `logs`, `metering` and `health`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import click

from consort_shared.telemetry.health import PORT_VARIABLE, Address

Function = TypeVar("Function", bound=Callable[..., Any])
LOCAL = "127.0.0.1"
LEVELS, FORMATS = ("debug", "info", "warning", "error"), ("human", "json")


@dataclass(frozen=True, slots=True)
class Telling:
    """What a process is to tell of itself, and how."""

    log_level: str = "info"
    log_format: Literal["human", "json"] = "human"
    health: Address | None = None

    @property
    def arguments(self) -> list[str]:
        """The same as arguments of another process."""
        told = ["--log-level", self.log_level, "--log-format", self.log_format]
        if self.health is not None:
            told += ["--health-port", str(self.health.port), "--health-host", self.health.host]
        return told


def telling_options(function: Function) -> Function:
    """Adds --health-port, --health-host, --log-level and --log-format, and gives the command its `telling`."""

    @click.option(
        "--health-port",
        envvar=PORT_VARIABLE,
        type=click.IntRange(0, 65535),
        metavar="PORT",
        help="Answer /livez, /readyz and /metrics by HTTP at this port; 0 takes a free one. [default: none]",
    )
    @click.option(
        "--health-host",
        envvar="CONSORT_HEALTH_HOST",
        default=LOCAL,
        show_default=True,
        help="The address to answer at; 0.0.0.0 for all of this machine's.",
    )
    @click.option(
        "--log-level",
        envvar="CONSORT_LOG_LEVEL",
        type=click.Choice(LEVELS, case_sensitive=False),
        default="info",
        show_default=True,
        help="What to log, to standard error.",
    )
    @click.option(
        "--log-format",
        envvar="CONSORT_LOG_FORMAT",
        type=click.Choice(FORMATS, case_sensitive=False),
        default="human",
        show_default=True,
        help="Lines to read, or a JSON object a line.",
    )
    @functools.wraps(function)
    def wrapper(
        *args: Any,
        health_port: int | None,
        health_host: str,
        log_level: str,
        log_format: Literal["human", "json"],
        **kwargs: Any,
    ) -> Any:
        health = None if health_port is None else Address(health_host or LOCAL, health_port)
        return function(*args, telling=Telling(log_level, log_format, health), **kwargs)

    return wrapper  # type: ignore[return-value] # the options replace `telling`
