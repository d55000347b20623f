"""The command `consort`: what can be typed, and how errors come out.

Commands are listed here with one line each and imported only when they are used,
so that help and completion are there at once. Nothing else is decided here.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import NoReturn

import click

__all__ = ["cli", "main"]

_EPILOG = """\b
Exit codes:
  0    done
  1    the run failed or was cancelled
  2    usage or bad input: a faulty plan, an unknown run or skill
  3    the bus cannot be reached, or refuses
  4    not done within the time given
  130  interrupted

\b
Examples:
  consort run plan.yaml --input topic=tea       all in one, on this machine
  consort up                                    bus, orchestrator, agents; Ctrl-C ends them
  consort submit plan.yaml --input topic=tea    hand in a run, from another terminal
  consort watch last                            look at it while it goes on

`consort COMMAND --help` tells more, each with examples. The bus is that of the folder
.consort unless --server and --creds, or CONSORT_SERVER and CONSORT_CREDS, name another.
"""

SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "Runs": {
        "run": ("running:run", "Carry out a plan with everything it needs, then stop it all."),
        "submit": ("submitting:submit", "Hand in a run; it is safe once this returns."),
        "watch": ("watching:watch", "Look at a run while it goes on."),
        "result": ("submitting:result", "The result of a run, and the files that belong to it."),
        "cancel": ("stopping:cancel", "Stop a run for good."),
        "pause": ("pausing:pause", "Hold back a run, an agent or everything."),
        "resume": ("pausing:resume", "Let go on what is paused."),
        "retry": ("repairing:retry", "Try the failed steps of a run again."),
    },
    "Looking": {
        "runs": ("reading:runs", "The newest runs."),
        "show": ("reading:show", "A run step by step, and what each waits for."),
        "log": ("history:log", "The entries of a run, one by one, or as a file."),
        "trace": ("trace:trace", "The trace of a run as a tree, and whether it is whole."),
        "context": ("telling:context", "What a run's steps have put down for each other."),
        "replay": ("history:replay", "Fold a history that was kept as a file again."),
        "agents": ("reading:agents", "Which agents are there, and what they offer."),
        "effects": ("effects:effects", "What a run did outside, and what is in doubt."),
        "journal": ("journal:journal", "What a run's tasks asked models and tools, and a record of it."),
        "dead": ("dead:dead", "Messages that were set aside, and why."),
    },
    "Health": {
        "limits": ("limits:limits", "Limits that all processes share: set, learned, who waits."),
        "doctor": ("doctor:doctor", "How everything is, and the commands that mend what is not."),
        "chaos": ("chaos:chaos", "Try a system of its own under faults."),
    },
    "Plans": {"plan": ("plans:plan", "Make, check and draw plans, and print their schema.")},
    "Processes": {
        "up": ("starting:up", "Start bus, orchestrator and agents, and keep them running."),
        "agent": ("serving:agent", "One agent as a process."),
        "profile": ("profiles:profile", "Who agents are and how they work, in versions."),
        "orchestrator": ("serving:orchestrator", "One orchestrator as a process."),
        "bus": ("bus:bus", "Start, stop, check, back up and set up the bus."),
        "access": ("serving:access", "Credentials for agents, clients and others."),
    },
    "Other": {
        "dev": ("dev:dev", "A fake of the Messages API, and which models can be used."),
        "protocol": ("protocol:protocol", "The wire contract: schemas, test vectors, a check of agents."),
        "version": ("other:version", "The version of Consort."),
        "completion": ("other:completion", "The shell's completion of this command."),
    },
}


class Commands(click.Group):
    """The commands by section, each imported when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for section in SECTIONS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for section in SECTIONS.values():
            if cmd_name in section:
                module, _, attribute = section[cmd_name][0].partition(":")
                command = getattr(import_module(f"{__name__}.{module}"), attribute)
                assert isinstance(command, click.Command)
                return command
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, section in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, line) for name, (_, line) in section.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0] if args else ""
        if name and self.get_command(ctx, name) is None and not name.startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(name, self.list_commands(ctx), 1)
            hint = f" Did you mean `{near[0]}`?" if near else " See `consort --help`."
            raise click.UsageError(f"There is no command `{name}`.{hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, envvar="CONSORT_DEBUG", help="Show where an error comes from.")
@click.version_option(package_name="consort-agents", prog_name="consort")
def cli(debug: bool) -> None:
    """Runs teams of specialist agents, each its own process, as one durable system."""
    if debug:
        click.get_current_context().find_root().meta["consort.debug"] = True


def main() -> NoReturn:
    """The entry point: runs a command and ends the process with its exit code."""
    sys.exit(invoke(sys.argv[1:]))


def invoke(arguments: list[str]) -> int:
    """Run a command line; its exit code. Errors are told on standard error, without a traceback."""
    try:
        ended = cli.main(arguments, prog_name="consort", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as exc:
        click.echo(exc.ctx.get_help() if exc.ctx is not None else exc.message)
        return 2
    except click.ClickException as exc:
        exc.show()
        return 2
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return 130
    except (BrokenPipeError, SystemExit):
        # Whoever reads has left, as `head` does, for which the libraries end the process;
        # closing what is buffered must not complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except BaseException as exc:  # noqa: BLE001 - the process's edge: everything becomes a message and a code
        from consort_orchestrator.cli.ending import told

        return told(exc, debug="--debug" in arguments or bool(os.environ.get("CONSORT_DEBUG")))
    return ended if isinstance(ended, int) else 0
