"""An agent that thinks as its author writes it: profile, model and tools given to `Agent`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from consort_agents import Agent, AgentError, tool
from consort_agents.thinking.equipment import Equipment
from consort_agents.tools.definition import Caller
from consort_shared.errors import InvalidInput
from consort_shared.profile import Profile


@tool
def search(text: str) -> str:
    """Search."""
    return text


def plain(text: str) -> str:
    """A plain function."""
    return text


async def test_tools_are_tools_functions_and_names_of_shared_ones() -> None:
    agent = Agent("a", tools=[search, plain, "web.search"], model="scripted:x.yaml")
    assert [one.definition.name for one in agent.own_tools] == ["search", "plain"]
    assert agent.shared_tools == ("web.search",)
    alone = Agent("a", tools=[search, plain], model="scripted:x.yaml")
    means = await Equipment(alone).means()
    assert (means.agent, means.model, means.tools) == ("a", "scripted:x.yaml", alone.own_tools)
    with pytest.raises(AgentError, match="two tools named 'search'"):
        Agent("a", tools=[search, search])


def test_a_tool_that_takes_the_caller_takes_its_key() -> None:
    @tool(risk="write")
    def book(seat: int, caller: Caller) -> str:
        return f"{seat} {caller.call_id}"

    assert book.takes_key
    assert not search.takes_key


def test_a_profile_is_given_or_lies_beside_the_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S80, J9: a profile in a file beside the code, whatever the working folder is."""
    (tmp_path / "clerk.toml").write_text('role = "a clerk"\n')
    (tmp_path / "clerks.py").write_text(
        'from consort_agents import Agent\nclerk = Agent("clerk", profile="clerk.toml")\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import clerks  # type: ignore[import-not-found]

    assert clerks.clerk.own_profile == Profile(role="a clerk")
    assert Agent("a", profile={"role": "x"}).own_profile == Profile(role="x")
    assert Agent("a", profile=Profile(role="y")).own_profile == Profile(role="y")
    assert Agent("a").own_profile is None


def test_a_profile_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"nowhere\.toml: there is no such file"):
        Agent("a", profile="nowhere.toml")
    (tmp_path / "bad.toml").write_text('role = "x"\nrole_ = 1\n')
    with pytest.raises(InvalidInput, match=r"line 2"):
        Agent("a", profile=tmp_path / "bad.toml")
    with pytest.raises(InvalidInput, match="profile=…"):
        Agent("a", profile={"goals": "x"})


@pytest.mark.slow
def test_importing_the_kit_loads_no_model_and_no_server() -> None:
    heavy = ["anthropic", "mcp", "starlette", "uvicorn", "httpx2", "genai_prices", "opentelemetry.util.genai"]
    heavy += ["consort_agents.tools.collection", "consort_agents.thinking.loop", "jsonschema"]
    code = (
        f"import sys, consort_agents, consort_agents.process; print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
