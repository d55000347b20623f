"""`python -m consort_agents.fake_llm SCRIPT`: the fake as a process, until it is told to stop."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import click

from consort_agents.fake_llm import Asking, Script, load_script, serving
from consort_shared.errors import ConsortError
from consort_shared.lifeline import hold_on


@click.command(name="consort dev fake-llm")
@click.argument("script", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8181, show_default=True, help="0 takes a free one."
)
@click.option(
    "--record", type=click.Path(dir_okay=False, path_type=Path), help="Append each request, as JSON."
)
@click.option("--log", "shown", is_flag=True, help="Say of each request which rule answered it.")
@click.option("--check", is_flag=True, help="Only say whether the script can be played.")
def main(script: Path, host: str, port: int, record: Path | None, shown: bool, check: bool) -> None:
    """Serve SCRIPT as the Messages API."""
    try:
        played = load_script(script)
        if check:
            told = f"{len(played.rules)} rules, {len(played.conversations)} conversations"
            click.echo(f"{script} can be played: {told}")
            return
        asyncio.run(_serve(played, host, port, record, shown=shown))
    except ConsortError as exc:
        click.echo(str(exc), err=True)
        sys.exit(exc.exit_code)


def _show(asking: Asking) -> None:
    told = "" if asking.status < 400 else f" {asking.answer['error']['message']}"
    click.echo(f"{asking.agent or '-'} {asking.digest[:8]} {asking.status} {asking.rule}{told}", err=True)


async def _serve(script: Script, host: str, port: int, record: Path | None, *, shown: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    hold_on(lambda: loop.call_soon_threadsafe(stop.set), patience=5)
    async with serving(script, host=host, port=port, record=record, heard=_show if shown else None) as fake:
        key = script.keys[0] if script.keys else "none"
        click.echo(f"export ANTHROPIC_BASE_URL={fake.url} ANTHROPIC_API_KEY={key}")
        click.echo("Ctrl-C ends it", err=True)
        await stop.wait()
    click.echo(f"{len(fake.requests)} requests, {fake.distinct()} different ones answered", err=True)


if __name__ == "__main__":
    main()
