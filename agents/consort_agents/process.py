"""An agent's process from its command line to its exit code.

Finds the agent by name, connects with its credentials, works until SIGTERM or
SIGINT, then drains. Exit codes: 0 stopped, 2 the agent or the arguments are not
usable, 3 the bus cannot be reached or refuses.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import logging
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

import click

from consort_agents.errors import AgentError
from consort_agents.kit import Agent
from consort_agents.worker import Worker
from consort_bus.connection import open_bus
from consort_bus.credentials import Credentials
from consort_bus.wire import Wire
from consort_shared.errors import ConsortError
from consort_shared.logs import set_up_logging

GROUP = "consort.agents"


def find_agent(name: str) -> Agent:
    """An agent by `module:attribute`, `file.py:attribute`, or the name of an installed one. Raises AgentError."""
    if ":" in name:
        return _load(name)
    installed = {entry.name: entry for entry in importlib.metadata.entry_points(group=GROUP)}
    if name not in installed:
        raise AgentError(
            f"no installed agent is named {name!r}; there are {', '.join(sorted(installed)) or 'none'}. "
            "One of your own is named by module:attribute"
        )
    return _load(installed[name].value)


def _load(reference: str) -> Agent:
    module_name, _, attribute = reference.rpartition(":")
    if module_name.endswith(".py"):
        path = Path(module_name)
        if not path.is_file():
            raise AgentError(f"there is no file {module_name}")
        sys.path.insert(0, str(path.resolve().parent))
        module_name = path.stem
    elif "" not in sys.path:
        sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        if exc.name is not None and not module_name.startswith(exc.name):
            raise AgentError(f"{module_name} needs the package {exc.name!r}, which is not installed") from exc
        raise AgentError(f"there is no module {module_name!r}") from exc
    found = getattr(module, attribute, None)
    if not isinstance(found, Agent):
        agents = [key for key, value in vars(module).items() if isinstance(value, Agent)]
        hint = f"; it has {', '.join(agents)}" if agents else "; it has no agent at all"
        raise AgentError(f"{module_name} has no agent named {attribute!r}{hint}")
    return found


async def serve(
    agent: Agent, server: str, credentials: Credentials, *, slots: int | None, grace: timedelta
) -> None:
    """Run an agent until SIGTERM or SIGINT. Raises ConsortError."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with (
        open_bus(server, credentials, client_name=f"agent {agent.name}", patience=30) as bus,
        Wire(bus.nc, bus) as wire,
    ):
        closed = asyncio.create_task(bus.wait_closed())
        work = asyncio.create_task(Worker(agent, bus, wire, slots=slots).run(stop, grace=grace))
        await asyncio.wait({closed, work}, return_when=asyncio.FIRST_COMPLETED)
        if closed.done():
            work.cancel()
            raise closed.result()
        closed.cancel()
        work.result()


@click.command(name="agent start")
@click.argument("agent")
@click.option("--server", envvar=["CONSORT_SERVER", "NATS_URL"], required=True, help="Address of the bus.")
@click.option(
    "--creds",
    envvar="CONSORT_CREDS",
    required=True,
    type=click.Path(exists=True, dir_okay=False),
    help="Its credentials.",
)
@click.option(
    "--slots", type=click.IntRange(1, 10_000), help="Tasks at a time; by default what the agent says."
)
@click.option(
    "--grace", type=click.FloatRange(0), default=30.0, show_default=True, help="Seconds to finish in."
)
@click.option("--log-level", default=os.environ.get("CONSORT_LOG_LEVEL", "info"), show_default=True)
def main(agent: str, server: str, creds: str, slots: int | None, grace: float, log_level: str) -> None:
    """Run AGENT (module:attribute, or the name of an installed one) until told to stop."""
    set_up_logging(log_level)
    try:
        found = find_agent(agent)
        credentials = Credentials.load(creds)
        _run(serve(found, server, credentials, slots=slots, grace=timedelta(seconds=grace)))
    except* ConsortError as group:
        first = group.exceptions[0]
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        logging.getLogger("consort.agent").error("%s", first)
        sys.exit(getattr(first, "exit_code", 1))


def _run(coroutine: object) -> None:
    try:
        import uvloop
    except ImportError:  # not available on every platform
        asyncio.run(coroutine)  # type: ignore[arg-type]
    else:
        uvloop.run(coroutine)  # type: ignore[arg-type]
