"""`python -m consort_agents.models`: which providers of models there are, and whether they can be used."""

from __future__ import annotations

import json
import os

import click

from consort_agents.models.finding import listed
from consort_agents.thinking.means import SETTING
from consort_agents.thinking.opening import trouble_with


@click.command(name="consort dev models")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(as_json: bool) -> None:
    """List the providers of models."""
    found = listed()
    if as_json:
        click.echo(json.dumps([{"name": p.name, "takes": p.takes, "trouble": p.trouble} for p in found]))
        return
    wide = max((len(provider.name) for provider in found), default=0)
    for provider in found:
        click.echo(f"{provider.name:<{wide}}  {'usable' if not provider.trouble else 'not usable'}")
        if provider.takes:
            click.echo(f"{'':<{wide}}  {provider.name}:NAME, where NAME is {provider.takes}")
        if provider.trouble:
            click.echo(f"{'':<{wide}}  {provider.trouble}")
    if chosen := os.environ.get(SETTING, ""):
        trouble = trouble_with(chosen, {})
        click.echo(f"{SETTING} is {chosen}: {trouble or 'usable'}")


if __name__ == "__main__":
    main()
