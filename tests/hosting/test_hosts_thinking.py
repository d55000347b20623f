"""A whole run: an orchestrator, agents whose model calls shared tools, and a host; one command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hosting_kit import HERE, Site, replies, tools_file
from test_hosts_command import consort

pytestmark = pytest.mark.slow

RULES = {
    "rules": [
        {"when": {"result": {"of": "shop__look"}}, "answer": "It says: {{ result }}"},
        {
            "when": {"offers": "shop__look"},
            "answer": {"use": [{"tool": "shop__look", "input": {"query": "tea"}}]},
        },
    ]
}
PLAN = {
    "name": "asking",
    "steps": {
        "first": {"skill": "ask", "with": {"question": "What of tea?"}},
        "second": {"skill": "ask", "needs": ["first"], "with": {"question": "And again?"}},
    },
    "output": ["${{ steps.first.output }}", "${{ steps.second.output }}"],
}


async def test_one_command_runs_agents_that_think_with_shared_tools(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F7, S86, S6: the model chooses a tool of a host; the second step's equal call is saved, and counted. The trace
    shows the host as a process of its own, and is whole."""
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(RULES))
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(PLAN))
    monkeypatch.setenv("CONSORT_MODEL", f"scripted:{tmp_path / 'rules.yaml'}")
    file = tools_file(tmp_path)
    code, out, err = await consort(
        site, "run", str(tmp_path / "plan.yaml"), "--agents", f"{HERE / 'crew.py'}:agent",
        "--tools", str(file), "--json",
    )  # fmt: skip
    assert code == 0, err
    told = json.loads(out)
    first, second = told["output"]
    assert "found tea" in first["text"]
    assert (first["calls"], first["saved"]) == (1, 0)
    assert (second["calls"], second["saved"]) == (1, 1)
    assert site.marked("looked") == ["tea"]
    assert [reply.saved for reply in await replies(site, told["run"])] == [False, True]
    code, out, _ = await consort(site, "trace", told["run"], "--json")
    assert code == 0
    spans = json.loads(out)["spans"]
    served = [span for span in spans if span["service"] == "consort-tools-shop"]
    assert [(one["name"], one["kind"], one["attributes"]["consort.tool.saved"]) for one in served] == [
        ("execute_tool look", "server", False),
        ("execute_tool look", "server", True),
    ]
    calls = {span["span"] for span in spans if span["name"] == "execute_tool shop__look"}
    assert {link["span"] for one in served for link in one["links"]} == calls
    assert (await consort(site, "trace", "check", told["run"]))[0] == 0


async def test_an_agent_that_names_unknown_tools_says_so(site: Site, tmp_path: Path) -> None:
    """The task fails with the names there are; the process goes on."""
    plan = {"name": "lost", "steps": {"one": {"skill": "wander", "retry": {"attempts": 1}}}}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    code, out, _ = await consort(
        site, "run", str(tmp_path / "plan.yaml"), "--agents", f"{HERE / 'crew.py'}:lost",
        "--tools", str(tools_file(tmp_path)), "--json",
    )  # fmt: skip
    assert code == 1
    assert "there is no shared tool 'shop.nothing'" in out
