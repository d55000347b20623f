"""What is not about runs, plans or processes."""

from __future__ import annotations

import importlib.metadata
import platform

import click

from consort_orchestrator.cli.options import Printer, printing


@click.command()
@printing
def version(printer: Printer) -> None:
    """The version of Consort.

    \b
    Example:
      consort version --json
    """
    own = importlib.metadata.version("consort-agents")
    printer.say(f"consort {own}, Python {platform.python_version()}")
    printer.data({"consort": own, "python": platform.python_version()})


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion of this command for a shell.

    \b
    Examples:
      consort completion bash > ~/.local/share/bash-completion/completions/consort
      consort completion zsh > ~/.zfunc/_consort
      consort completion fish > ~/.config/fish/completions/consort.fish
    """
    from click.shell_completion import get_completion_class

    from consort_orchestrator.cli import cli

    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(cli, {}, "consort", "_CONSORT_COMPLETE").source())
