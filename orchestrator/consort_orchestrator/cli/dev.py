"""`consort dev`: what helps to write agents that think, without a key.

The work is done by programs of the agents' side; this only hands over to them, because
the orchestrator and its commands know no model.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click


@click.group()
def dev() -> None:
    """A fake of the Messages API, and the providers of models."""


@dev.command("fake-llm")
@click.argument("script", type=click.Path())
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8181, show_default=True, help="0 takes a free one."
)
@click.option("--record", type=click.Path(dir_okay=False), help="Append each request to a file, as JSON.")
@click.option("--log", "shown", is_flag=True, help="Say of each request which rule answered it.")
@click.option("--check", is_flag=True, help="Only say whether the script can be played.")
def fake_llm(script: str, host: str, port: int, record: str | None, shown: bool, check: bool) -> None:
    """Serve SCRIPT as the Messages API, so that programs written for Claude run without a key.

    \b
    Examples:
      consort dev fake-llm rules.yaml
      consort dev fake-llm rules.yaml --port 0 --record asked.jsonl --log
      consort dev fake-llm rules.yaml --check
    """
    options = ["--host", host, "--port", str(port)]
    options += ["--record", record] if record else []
    options += [name for name, given in (("--log", shown), ("--check", check)) if given]
    _become("consort_agents.fake_llm", [*options, "--", script])


@dev.command("models")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def models(as_json: bool) -> None:
    """List the providers of models that are installed, and whether they can be used as things are configured.

    \b
    Examples:
      consort dev models
      consort dev models --json
    """
    _become("consort_agents.models", ["--json"] if as_json else [])


def _become(module: str, arguments: list[str]) -> NoReturn:
    """Go on as another program: signals, output and exit code are its own."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606 - no shell is wanted
