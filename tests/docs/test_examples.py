"""What the documentation shows is what there is: plans, agents and commands.

Nothing is started. Code blocks that name a file in their first line are written out
and imported, plans are checked against the skills of the agents beside them, and
command lines are parsed by the command itself without running it.
"""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import click
import pytest
import yaml

from consort_agents import Agent
from consort_agents.fake_llm import load_script
from consort_agents.process import find_agent
from consort_agents.tools.files import load_tools
from consort_orchestrator.cli import cli
from consort_orchestrator.cli.groups import WithUsual
from consort_orchestrator.cli.offers import installed, skills_of
from consort_shared.plan.source import load_checked

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted(ROOT.glob("examples/*/README.md")),
]
SCRIPTS = sorted({*ROOT.glob("examples/**/model.yaml"), *ROOT.glob("examples/**/rules.yaml")})
TOOLS = sorted(ROOT.glob("examples/**/tools.yaml"))
PLANS = sorted({*ROOT.glob("examples/**/*.yaml"), *ROOT.glob("examples/**/*plan*.json")} - {*SCRIPTS, *TOOLS})

_fence = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_named = re.compile(r"# ([\w-]+\.(?:py|yaml))\n")
_inline = re.compile(r"(?<!`)`(consort [a-z][^`]*)`(?!`)")
_start = re.compile(r"(?:^\s*|\$\(|[|;&]\s*)(?:env -u \w+ |\w+=\S+ )*(?=consort [a-z-])")


@dataclass(frozen=True)
class Block:
    """A block of code that says which file it is."""

    page: Path
    name: str
    text: str


def blocks() -> list[Block]:
    found = []
    for page in PAGES:
        for _, text in _fence.findall(page.read_text(encoding="utf-8")):
            if (name := _named.match(text)) is not None:
                found.append(Block(page, name.group(1), text))
    return found


def commands(page: Path) -> list[tuple[str, bool]]:
    """Every command line of Consort that a page shows; and whether it stands in a block, so must be whole."""
    text = page.read_text(encoding="utf-8")
    shown = [block for language, block in _fence.findall(text) if language in {"sh", "bash", "console"}]
    prose = _fence.sub("", text)
    shown.append("\n".join(line for line in prose.splitlines() if line.startswith("    ")))
    lines = [line for block in shown for line in block.replace("\\\n", " ").splitlines()]
    found = [(line[at.end() :], True) for line in lines for at in _start.finditer(line)]
    return found + [(" ".join(inline.split()), False) for inline in _inline.findall(prose)]


def words_of(line: str) -> list[str]:
    """The words of one simple command: what follows a pipe, a redirection or a comment is not its own."""
    line = re.sub(r"\$\([^()]*\)", "X", line).replace("…", "X")
    lexer = shlex.shlex(line.split(")", 1)[0], posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if set(word) <= set("|&;<>"):
            break
        words.append(word)
    return words[1:]


def parse(words: list[str], *, whole: bool) -> None:
    """Parse a command line down to its last command. Raises click.UsageError, AssertionError."""
    command: click.Command = cli
    context = click.Context(cli, info_name="consort")
    while isinstance(command, click.Group):
        if isinstance(command, WithUsual) and not {"--help", *command.commands}.intersection(words[:1]):
            words = [command.usual, *words]
        options, rest, _ = command.make_parser(context).parse_args(list(words))
        del options
        if not rest:
            alone = command.invoke_without_command or "--help" in words
            assert alone or not whole, f"{context.command_path} wants a command"
            return
        found = command.get_command(context, rest[0])
        assert found is not None, f"there is no command {context.command_path} {rest[0]}"
        context = click.Context(found, info_name=rest[0], parent=context)
        command, words = found, list(rest[1:])
    given, rest, _ = command.make_parser(context).parse_args(list(words))
    assert not rest, f"{context.command_path} does not take {rest}"
    if whole and "--help" not in words:
        for parameter in command.params:
            value = given.get(parameter.name or "")
            missing = parameter.required and not isinstance(value, str | tuple)
            assert not missing, f"{context.command_path} wants {parameter.name}"


def modules_in(folder: Path, names: Iterable[str]) -> list[ModuleType]:
    """Modules of a folder, imported as a process started there would; they are forgotten again."""
    mine = {file.stem for file in folder.glob("*.py")}
    hidden = {name: sys.modules.pop(name) for name in mine if name in sys.modules}
    sys.path.insert(0, str(folder))
    try:
        return [importlib.import_module(name) for name in names]
    finally:
        sys.path.remove(str(folder))
        for name in mine:
            sys.modules.pop(name, None)
        sys.modules.update(hidden)


def agents_in(module: ModuleType) -> list[Agent]:
    return [value for value in vars(module).values() if isinstance(value, Agent)]


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: str(plan.relative_to(ROOT)))
def test_every_plan_fits_the_agents_that_are_installed_or_lie_beside_it(plan: Path) -> None:
    agents = [find_agent(name) for name in installed()]
    beside = sorted(file.stem for file in plan.parent.glob("*.py"))
    agents += [agent for module in modules_in(plan.parent, beside) for agent in agents_in(module)]
    load_checked(plan, skills_of([agent.card for agent in agents]))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: str(script.relative_to(ROOT)))
def test_every_script_of_a_model_can_be_played(script: Path) -> None:
    assert load_script(script).rules


@pytest.mark.parametrize("file", TOOLS, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_file_of_tools_can_be_read(file: Path) -> None:
    assert load_tools(file).allow


def test_code_blocks_are_what_they_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    found = blocks()
    assert {"greeter.py", "hello.yaml", "letters.yaml"} <= {block.name for block in found}
    same = sorted(found, key=lambda block: block.name)
    for one, other in pairwise(same):
        assert one.name != other.name or one.text == other.text, f"{one.page} and {other.page}: {one.name}"
    for block in found:
        (tmp_path / block.name).write_text(block.text, encoding="utf-8")
    code = sorted({Path(block.name).stem for block in found if block.name.endswith(".py")})
    agents = [agent for module in modules_in(tmp_path, code) for agent in agents_in(module)]
    skills = skills_of([agent.card for agent in agents])
    assert len(agents) >= 3
    for name in sorted({block.name for block in found if block.name.endswith(".yaml")}):
        load_checked(tmp_path / name, skills)


@pytest.mark.parametrize(
    ("page", "folder", "code", "plan"),
    [
        ("README.md", "hello", "greeter.py", "hello.yaml"),
        ("docs/thinking.md", "thinker", "hello_thinker.py", "thinker.yaml"),
    ],
)
def test_the_first_examples_are_those_of_the_pages(page: str, folder: str, code: str, plan: str) -> None:
    shown = {block.name: block.text for block in blocks() if block.page == ROOT / page}
    beside = ROOT / "examples" / folder
    wanted = ast.dump(ast.parse((beside / code).read_text(encoding="utf-8")))
    assert ast.dump(ast.parse(shown[code])) == wanted
    assert yaml.safe_load(shown[plan]) == yaml.safe_load((beside / plan).read_text(encoding="utf-8"))


def test_hello_agent_with_a_model_and_a_tool_has_fifteen_lines() -> None:
    """S75"""
    code = (ROOT / "examples" / "thinker" / "hello_thinker.py").read_text(encoding="utf-8")
    assert len(code.splitlines()) <= 15
    assert "@tool" in code
    assert "ctx.model.work" in code


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_shown_exists_with_its_options(page: Path) -> None:
    for line, whole in commands(page):
        try:
            parse(words_of(line), whole=whole)
        except (click.UsageError, AssertionError) as exc:
            raise AssertionError(f"{page.relative_to(ROOT)}: `{line}`: {exc}") from exc


def test_a_command_that_is_not_there_is_noticed() -> None:
    for line in ("consort rum x.yaml", "consort submit", "consort submit a.yaml --imput x=1", "consort bus"):
        with pytest.raises((click.UsageError, AssertionError)):
            parse(words_of(line), whole=True)
    parse(words_of("consort submit a.yaml --input x=1 | jq .  # and more"), whole=True)
