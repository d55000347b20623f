"""The command line itself: help, inputs, names of runs, errors and their exit codes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import click
import pytest
from cli_kit import WORDS, clean_environment
from click.testing import CliRunner

from consort_bus.errors import BusUnreachable, NoAnswer
from consort_orchestrator.cli import SECTIONS, cli, invoke
from consort_orchestrator.cli.ending import TimedOut, code_of, first_of, told
from consort_orchestrator.cli.household import is_up, only_one, slots_of
from consort_orchestrator.cli.inputs import check_new_id, check_reference, inputs_of
from consort_orchestrator.cli.options import Place, on_the_bus
from consort_shared.errors import InvalidInput, PlanError, RunCancelled, RunFailed, UnknownRun
from consort_shared.plan.model import Plan

PLAN = Plan.model_validate(
    {
        "name": "p",
        "inputs": {
            "text": {"type": "string"},
            "n": {"type": "integer", "default": 1},
            "x": {"default": None},
        },
        "steps": {"a": {"skill": "x.y"}},
    }
)


def every_command(
    group: click.Group, trail: tuple[str, ...] = ()
) -> list[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    found: list[tuple[tuple[str, ...], click.Command]] = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            found += every_command(command, (*trail, name))
        else:
            found.append(((*trail, name), command))
    return found


def test_every_command_has_help_with_an_example() -> None:
    for trail, command in every_command(cli):
        assert command.help, trail
        assert "Example" in command.help, trail
        assert f"consort {' '.join(trail)}" in command.help, trail


def test_the_list_of_commands_says_what_they_say() -> None:
    for section in SECTIONS.values():
        for name, (_, line) in section.items():
            assert CliRunner().invoke(cli, [name, "--help"]).exit_code == 0
            assert len(f"  {name:<14}{line}") <= 80


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from consort_orchestrator.cli import invoke; invoke(['--help']);"
        "print([m for m in sys.modules if m.split('.')[0] in ('nats', 'pydantic', 'rich', 'asyncio', 'yaml')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=clean_environment()
    )
    assert done.stdout.rstrip().endswith("[]"), done.stdout
    assert "Exit codes:" in done.stdout


def test_a_command_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["wach", "last"]) == 2
    assert "Did you mean `watch`?" in capsys.readouterr().err


def test_inputs_are_read_by_their_types(tmp_path: Path) -> None:
    assert inputs_of(PLAN, ["text=5", "n=5", 'x={"a": [1]}'], None) == {"text": "5", "n": 5, "x": {"a": [1]}}
    assert inputs_of(PLAN, ["text=a=b", "x=plain words"], None)["x"] == "plain words"
    file = tmp_path / "in.yaml"
    file.write_text("text: from the file\nn: 7\n")
    assert inputs_of(PLAN, ["n=8"], file) == {"text": "from the file", "n": 8, "x": None}


@pytest.mark.parametrize("pairs", [["text"], ["=5"], ["nope=1", "text=a"], [], ["text=a", "n=many"]])
def test_bad_inputs_are_refused(pairs: list[str]) -> None:
    with pytest.raises(InvalidInput):
        inputs_of(PLAN, pairs, None)


@pytest.mark.parametrize("text", ["- 1\n", "a: [", "text: 2024-01-01\n", "1: 2\n", "{}: 1", "text: .nan\n"])
def test_bad_input_files_are_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "in.yaml"
    file.write_text(text)
    with pytest.raises(InvalidInput):
        inputs_of(PLAN, ["text=a"], file)


def test_runs_as_people_name_them() -> None:
    for good in ("last", "0", "0123456789abcdef" * 2):
        assert check_reference(good) == good
    for bad in ("", "LAST", "xyz", "0" * 33, "01 02", "../x", "*", "0.>"):
        with pytest.raises(InvalidInput):
            check_reference(bad)
    with pytest.raises(InvalidInput):
        check_new_id("0123")


def test_slots_by_name() -> None:
    assert slots_of(["a=4", "b=1"]) == {"a": 4, "b": 1}
    for bad in ("a", "a=", "a=0", "a=-1", "a=many"):
        with pytest.raises(InvalidInput):
            slots_of([bad])


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RunFailed("r", "x"), 1),
        (RunCancelled("r", "x"), 1),
        (InvalidInput("x"), 2),
        (PlanError([]), 2),
        (UnknownRun("x"), 2),
        (BusUnreachable("a", "b"), 3),
        (NoAnswer("s", "timeout"), 3),
        (TimedOut("x"), 4),
        (TimeoutError(), 4),
        (KeyboardInterrupt(), 130),
        (asyncio.CancelledError(), 130),
        (FileNotFoundError(2, "none", "f"), 2),
        (ZeroDivisionError("x"), 1),
    ],
)
def test_exit_codes(error: BaseException, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(error) == code
    assert told(error, debug=False) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.strip()
    assert "Traceback" not in err


def test_errors_that_went_wrong_together_come_down_to_one() -> None:
    inner = BusUnreachable("a", "b")
    assert first_of(ExceptionGroup("g", [ValueError(), ExceptionGroup("h", [inner])])) is inner
    assert isinstance(first_of(ExceptionGroup("g", [ValueError(), OSError()])), ValueError)


def test_debug_shows_where_it_comes_from(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_reference("none")
    assert told(caught.value, debug=True) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "environment", "server"),
    [
        ([], {}, None),
        (["--server", "nats://a"], {}, "nats://a"),
        ([], {"CONSORT_SERVER": "nats://b"}, "nats://b"),
        ([], {"NATS_URL": "nats://c"}, "nats://c"),
        (["--folder", "here"], {"CONSORT_SERVER": "nats://b", "CONSORT_CREDS": "f"}, None),
        (["--folder", "here", "--server", "nats://a"], {}, "nats://a"),
    ],
)
def test_what_is_typed_wins_over_the_environment(
    arguments: list[str], environment: dict[str, str], server: str | None
) -> None:
    found: list[Place] = []

    @click.command()
    @on_the_bus
    def probe(place: Place) -> None:
        found.append(place)

    env = {
        "CONSORT_SERVER": None,
        "NATS_URL": None,
        "CONSORT_CREDS": None,
        "CONSORT_FOLDER": None,
        **environment,
    }
    assert CliRunner().invoke(probe, arguments, env=env).exit_code == 0
    assert found[0].server == server
    if server is None:
        assert found[0].creds is None


def test_only_one_up_in_a_folder(tmp_path: Path) -> None:
    assert not is_up(tmp_path)
    with only_one(tmp_path):
        assert is_up(tmp_path)
        with pytest.raises(InvalidInput, match="at work in"), only_one(tmp_path):
            pass
    assert not is_up(tmp_path)


def test_plans_are_checked_and_drawn(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert invoke(["plan", "check", WORDS]) == 0
    assert invoke(["plan", "show", WORDS]) == 0
    assert invoke(["plan", "schema", "--json"]) == 0
    bad = tmp_path / "bad.yaml"
    bad.write_text("name: x\nsteps:\n  a: {skill: s.t, needs: [b]}\n  c: {skil: s.t}\n")
    capsys.readouterr()
    assert invoke(["plan", "check", str(bad), "--json"]) == 2
    assert '"ok": false' in capsys.readouterr().out
    assert invoke(["plan", "check", str(tmp_path / "none.yaml")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "no such file" in err


def test_looking_makes_no_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "none"
    assert invoke(["runs", "--folder", str(folder)]) == 3
    assert not folder.exists()
    assert "nothing was ever started" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_can_be_printed(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["completion", shell]) == 0
    assert "_CONSORT_COMPLETE" in capsys.readouterr().out
