"""What is imported only where it is used: the SDK alone takes over a second."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"anthropic", "mcp", "starlette", "uvicorn", "httpx2", "genai_prices"}
IMPORTS = {
    "the kit": "import consort_agents, consort_agents.process, consort_agents.worker",
    "the orchestrator": "import consort_orchestrator.shell.service, consort_orchestrator.core",
    "the commands": (
        "import consort_orchestrator.cli as c, importlib\n"
        "[importlib.import_module(f'consort_orchestrator.cli.{m.split(\":\")[0]}')\n"
        "    for s in c.SECTIONS.values() for m, _ in s.values()]"
    ),
    "help": "import consort_orchestrator.cli as c\nassert c.invoke(['--help']) == 0",
    "models": (
        "import consort_agents.fake_llm, consort_agents.models.pricing\n"
        "from consort_agents.models.finding import listed, open_provider\n"
        "import os; os.environ['ANTHROPIC_API_KEY'] = 'sk-ant-x'\n"
        "open_provider('claude-sonnet-5-5'); listed()"
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", IMPORTS)
def test_importing_does_not_load(what: str) -> None:
    """S36: no model SDK where no model is asked."""
    code = f"{IMPORTS[what]}\nimport sys\nprint('LOADED', *sorted(set(sys.modules) & {HEAVY!r}))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "LOADED"


@pytest.mark.slow
def test_the_orchestrator_and_the_commands_know_no_agent_code() -> None:
    """S36: whoever decides cannot ask a model."""
    code = f"{IMPORTS['the commands']}\nimport sys\nprint(*[m for m in sys.modules if m.startswith('consort_agents')])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == ""
