"""The examples that think, as their pages show them: one command each, real processes, a script for a model."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from cli_kit import consort

from consort_agents import Context
from consort_agents.fake_llm import load_script
from consort_agents.models.scripted import Scripted
from consort_agents.tools.files import load_tools

EXAMPLES = Path(__file__).parents[2] / "examples"
DESK = EXAMPLES / "support-answer"
THINKER = EXAMPLES / "thinker"
WHERE = "Where is my grinder? I ordered it as 1042.\nAda Berg"
RETURN = "Can I return the cups of order 1055?\nBen"


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A copy of the example whose shop has a port of its own."""
    folder = tmp_path / "support-answer"
    shutil.copytree(DESK, folder, ignore=shutil.ignore_patterns("__pycache__"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    text = (folder / "tools.yaml").read_text(encoding="utf-8")
    assert text.count("8417") == 2
    (folder / "tools.yaml").write_text(text.replace("8417", port), encoding="utf-8")
    return folder


def module(file: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of an example, forgotten after the test."""
    spec = importlib.util.spec_from_file_location(f"example_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, made.__name__, made)
    spec.loader.exec_module(made)
    return made


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("message", "chosen", "verdict", "told", "saved"),
    [
        (WHERE, ["newest_first", "shop__search_handbook"], "masked", "held at customs in Basel", 1),
        pytest.param(
            *(RETURN, ["shop__search_handbook", "days_between"], "pass", "came 19 days ago", 0),
            marks=pytest.mark.long,
        ),
    ],
    ids=["where", "return"],
)
def test_steps_and_tools_of_every_kind_in_one_plan(
    tmp_path: Path, desk: Path, message: str, chosen: list[str], verdict: str, told: str, saved: int
) -> None:
    """S9: a function, HTTP, MCP, a command and a model are steps, and the model's tools too.

    S7: by the message, the model takes other steps; nobody wrote their order down. S37: what comes of it is
    screened, and told in a message that says no more. S86: an equal call of the same run is not made again.
    """
    done = consort(
        tmp_path, "run", str(desk / "plan.yaml"), "--tools", str(desk / "tools.yaml"), "--json",
        "--agents", f"{desk / 'desk.py'}:desk,{desk / 'desk.py'}:clerk,compliance,correspondent",
        "--input", f"message={message}", CONSORT_MODEL=f"scripted:{desk / 'model.yaml'}",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert set(done.json["agents"]) == {"desk", "clerk", "compliance", "correspondent"}
    output = done.json["output"]
    assert output["tools"] == [f"tools__{name}" for name in chosen]
    assert (output["verdict"], output["answered_by"]) == (verdict, "scripted")
    assert told in output["message"]
    assert "Friday" not in output["message"]  # a day that nobody had named
    assert "@" not in output["message"]
    calls = consort(tmp_path, "tools", "calls", "last", "--json").json
    steps = [(call["step"], call["tool"]) for call in calls]
    assert {
        ("order", "getOrder"),
        ("parcel", "newest_first"),
        ("handbook", "shop__search_handbook"),
        *(("answer", name) for name in chosen),
    } == set(steps)
    assert sum(bool(call["saved"]) for call in calls) == saved


def test_each_kind_of_tool_takes_one_line() -> None:
    """S75"""
    lines = (DESK / "tools.yaml").read_text(encoding="utf-8").splitlines()
    declared = lines[lines.index("tools:") + 1 : lines.index("allow:")]
    assert len(declared) == len(load_tools(DESK / "tools.yaml").contents.tools) == 4
    kinds = {kind for line in declared for kind in yaml.safe_load(line)[0]}
    assert kinds == {"openapi", "shell", "mcp", "function"}


async def test_without_a_model_the_answer_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """S9: what the steps before found is told as it is."""
    monkeypatch.delenv("CONSORT_MODEL", raising=False)
    made = module(DESK / "desk.py", monkeypatch)
    said: Any = await made.answer(
        WHERE,
        "2026-11-24",
        {"number": "1042"},
        ["yesterday, in Basel"],
        ["It takes a while."],
        Context.offline(),
    )
    assert said.by == "computed"
    assert said.text == "The carrier's last word on order 1042: yesterday, in Basel. It takes a while."


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_hello_agent_asks_its_tool_and_tells(tmp_path: Path) -> None:
    """S75, S6: an agent with a model and a tool in fifteen lines, in one command."""
    done = consort(
        tmp_path, "run", str(THINKER / "thinker.yaml"), "--json",
        "--agents", f"{THINKER / 'hello_thinker.py'}:agent", CONSORT_MODEL=f"scripted:{THINKER / 'rules.yaml'}",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.json["output"] == "Rome is larger, with 2,750,000 people."


async def test_a_chain_of_prompts_in_one_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    """S75"""
    made = module(THINKER / "chain.py", monkeypatch)
    context = Context.offline(model=Scripted(load_script(THINKER / "rules.yaml")))
    context.means.agent = made.agent.name
    said = await made.praise("Oslo", context)
    assert said["draft"].startswith("Oslo is breathtaking")
    assert said["critique"] == "Both sentences would be true of any city."
    assert "fjord" in said["final"]
    assert context.usage.calls == 3
