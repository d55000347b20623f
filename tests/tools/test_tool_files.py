"""`tools.yaml`: what it may say, what is wrong with it and where, and the tools that come of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tool_serving import Response, serving

from consort_agents.tools.definition import Caller
from consort_agents.tools.errors import ToolError, ToolsFileError
from consort_agents.tools.files import build, load_tools

HERE = Path(__file__).parent
ANYBODY = Caller(agent="researcher")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    before = list(sys.path)
    (tmp_path / "petstore.yaml").write_bytes((HERE / "petstore.yaml").read_bytes())
    (tmp_path / "counting_tools.py").write_text(
        "from consort_agents import tool\n\n\n@tool\ndef letters(text: str) -> int:\n    return len(text)\n\n\n"
        "def words(text: str) -> int:\n    '''Counts words.'''\n    return len(text.split())\n"
    )
    yield tmp_path
    sys.path[:] = before
    sys.modules.pop("counting_tools", None)


def written(folder: Path, text: str) -> Path:
    file = folder / "tools.yaml"
    file.write_text(text)
    return file


@pytest.mark.slow
async def test_tools_of_every_kind_from_a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F7, F11, S75: a tool of each kind in one line of a file, with rules, limits and promises."""
    monkeypatch.setenv("PETSTORE_TOKEN", "secret-0123456789")
    with serving(lambda asked: Response(body=b'"pets"')) as service:
        file = load_tools(
            written(
                folder,
                f"""
tools:
  - function: counting_tools
  - function: counting_tools:words
    cost: 5
    owner: me
  - openapi:
      file: petstore.yaml
      base_url: {service.url}
      headers: {{Authorization: {{secret: PETSTORE_TOKEN, form: "Bearer {{}}"}}}}
      only: [listPets, removePet]
    data_class: internal
    each: {{removePet: {{risk: write}}}}
  - shell: {{name: lines, command: "wc -l {{text:file}}", limits: {{cpu: 5}}}}
    timeout: 5
  - mcp: {{command: ["{sys.executable}", "{HERE / "mcp_server.py"}", "{folder}"], name: pets, only: [add]}}
allow:
  - agents: [research*]
    risks: [read]
limits:
  - calls_per_minute: 60
  - {{tool: list*, calls_per_minute: 30, concurrent: 2}}
""",
            )
        )
        (folder / "description").write_text("Greets.")
        async with build(file) as box:
            told = {definition.name: definition for definition in box.definitions}
            assert list(told) == ["letters", "words", "listPets", "removePet", "lines", "pets__add"]
            assert (told["words"].cost, told["words"].owner, told["words"].description) == (
                5,
                "me",
                "Counts words.",
            )
            assert (told["removePet"].risk, told["removePet"].data_class) == ("write", "internal")
            assert told["lines"].timeout == 5.0
            assert (await box.call("letters", {"text": "abc"}, ANYBODY)).value == 3
            assert (await box.call("words", {"text": "a b"}, ANYBODY)).value == 2
            assert (await box.call("listPets", {}, ANYBODY)).value == "pets"
            assert (await box.call("lines", {"text": "a\n"}, ANYBODY)).content == "1 text"
            assert (await box.call("pets__add", {"a": 1, "b": 2}, ANYBODY)).content == "3"
            assert "not allowed" in (await box.call("removePet", {"petId": "1"}, ANYBODY)).content
            assert "not allowed" in (await box.call("letters", {"text": ""}, Caller(agent="writer"))).content
        assert service.asked[0].headers["Authorization"] == "Bearer secret-0123456789"
    assert file.limits("listPets").calls_per_minute == 30
    assert file.limits("words").model_dump(exclude_none=True) == {"tool": "words", "calls_per_minute": 60}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1: has no tools; it begins with `tools:`"),
        ("tools: 3", "line 1, tools: a list is wanted"),
        ("tools: [", "not YAML"),
        ("tools: []", "line 1, tools: there are no tools"),
        ("tols: []\ntools:\n  - function: a", "line 1, tols: `tols` is not known here"),
        ("tools:\n  - {}", "line 2, tools[0]: a tool is one of `function`, `openapi`, `shell`, `mcp`"),
        ("tools:\n  - {function: a, shell: {}}", "line 2, tools[0]: a tool is one of"),
        (
            "tools:\n  - function: a\n    risk: high",
            "line 3, tools[0].risk: Input should be 'read', 'write' or 'danger'",
        ),
        ("tools:\n  - function: a\n    rsk: read", "line 3, tools[0].rsk: `rsk` is not known here"),
        ("tools:\n  - shell:\n      name: a", "1 fault\n  line 2, tools[0].shell: `command` is missing"),
        ("tools:\n  - mcp: {name: a}", "an MCP server has a `command` or a `url`"),
        (
            "tools:\n  - function: a\nallow:\n  - tool: x\n    arguments: {a: {regex: '('}}",
            "is no regular expression",
        ),
        (
            "tools:\n  - function: a\nlimits:\n  - concurrent: 0",
            "line 4, limits[0].concurrent: Input should be greater",
        ),
        (
            "tools:\n  - function: a\n    function: b",
            "line 3, tools[0].function: the key `function` is given twice",
        ),
        (
            "tools:\n  - mcp: {url: 'https://x.example', headers: {A: {secret: 'sk-123'}}}",
            "takes the name of an environment variable",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_line(folder: Path, text: str, told: str) -> None:
    with pytest.raises(ToolsFileError) as caught:
        load_tools(written(folder, text))
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("tools:\n  - function: no_such_module:x", "line 2, tools[0]: there is no module 'no_such_module'"),
        ("tools:\n  - function: counting_tools:x", "has no function 'x'; its tools are: letters"),
        ("tools:\n  - openapi: none.yaml", "cannot be read"),
        (
            "tools:\n  - openapi: petstore.yaml\n    each: {x: {risk: read}}",
            "`each` names x, but the tools are: listPets",
        ),
        ("tools:\n  - shell: {name: a, command: no-such-program}", "there is no program 'no-such-program'"),
        ("tools:\n  - mcp: no-such-program", "No such file or directory"),
        (
            "tools:\n  - function: counting_tools\napproved:\n  x: " + "a" * 64,
            "line 4, approved.x: there is no tool 'x'; there are: letters",
        ),
        (
            "tools:\n  - function: counting_tools\nlimits:\n  - {tool: leters, calls_per_run: 1}",
            "line 4, limits[0].tool: there is no tool 'leters'; there are: letters",
        ),
        (
            "tools:\n  - function: counting_tools\nallow:\n  - {tool: leters}",
            "line 4, allow[0].tool: there is no",
        ),
        (
            "tools:\n  - function: counting_tools\n  - function: counting_tools",
            "two tools are named 'letters'",
        ),
    ],
)
async def test_what_cannot_be_made_is_told_with_its_line(folder: Path, text: str, told: str) -> None:
    with pytest.raises(ToolError) as caught:
        async with build(load_tools(written(folder, text))):
            pass
    assert told in str(caught.value)


async def test_without_rules_nothing_is_allowed_and_the_approved_are_held_to(folder: Path) -> None:
    """F11: deny by default; a changed definition is refused until approved."""
    async with build(load_tools(written(folder, "tools:\n  - function: counting_tools"))) as box:
        assert "not allowed" in (await box.call("letters", {"text": "a"}, ANYBODY)).content
        digest = box.digests["letters"]
    text = "tools:\n  - function: counting_tools\n    risk: {risk}\nallow: [{{}}]\napproved: {{letters: {digest}}}\n"
    for risk, refused in (("read", False), ("danger", True)):
        file = load_tools(written(folder, text.format(risk=risk, digest=digest)))
        async with build(file) as box:
            answer = await box.call("letters", {"text": "a"}, ANYBODY)
            assert answer.is_error is refused
            assert ("not the one that was approved" in answer.content) is refused


@pytest.mark.slow
def test_a_file_can_be_looked_at_and_approved(folder: Path) -> None:
    """F11: the digests of definitions, to be approved."""

    def shown(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "consort_agents.tools", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)

    file = written(folder, "tools:\n  - function: counting_tools\n  - shell: {name: now, command: date}\n")
    told = shown("list", "tools.yaml").stdout.splitlines()
    assert told[0].split() == ["tool", "kind", "risk", "idempotent", "data", "digest"]
    assert [line.split()[:3] for line in told[1:]] == [
        ["letters", "function", "read"],
        ["now", "shell", "read"],
    ]
    assert len(json.loads(shown("list", "tools.yaml", "--json").stdout)) == 2
    approved = shown("list", "tools.yaml", "--approved").stdout
    written(folder, file.read_text().replace("  - shell", "    risk: danger\n  - shell") + approved)
    assert shown("list", "tools.yaml").stdout.count("(not the approved one)") == 1
    bad = shown("list", "none.yaml")
    assert (bad.returncode, "cannot be read" in bad.stderr) == (2, True)
    assert shown("nonsense").returncode == 2
    assert "limits" in shown("protections").stdout
