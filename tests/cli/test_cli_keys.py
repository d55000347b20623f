"""Who is started with the keys that stand in the environment of whoever types."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_kit import HERE, consort

from consort_orchestrator.cli.household import Household
from consort_shared.inheriting import without_keys

KEYS = {
    "ANTHROPIC_API_KEY": "sk-ant-not-a-key",
    "ANTHROPIC_AUTH_TOKEN": "not-a-token",
    "CONSORT_MODEL": "claude-sonnet-5-5",
    "OPENAI_API_KEY": "sk-not-a-key",
    "PETSHOP": "a tool's key, under a name that only its owner knows",
}
PLAN = """
name: look
inputs: {folder: {type: string}}
steps:
  look: {skill: snoop.around, with: {folder: "${{ inputs.folder }}"}}
output: ${{ steps.look.output }}
"""


def test_what_an_orchestrator_is_started_with(tmp_path: Path) -> None:
    """S36: no name of a provider is needed to keep its key out."""
    needed = {
        "PATH": "/bin",
        "HOME": "/root",
        "LC_ALL": "C",
        "CONSORT_TLS_CA": "ca.pem",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://jaeger:4318",
        "https_proxy": "http://proxy:3128",
        "SSL_CERT_FILE": "ca.pem",
        "PYTHONPATH": "src",
    }
    assert without_keys({**needed, **KEYS}) == needed
    assert Household(tmp_path, "nats://127.0.0.1:4222").orchestrator("main").keyless


@pytest.mark.slow
def test_only_agents_are_started_with_keys(tmp_path: Path) -> None:
    """S36: at run time, by what the system says of each process."""
    (tmp_path / "look.yaml").write_text(PLAN)
    run = ("run", "look.yaml", "--agent", f"{HERE / 'snoop.py'}:agent", "--json")
    done = consort(tmp_path, *run, "--input", f"folder={tmp_path}", **KEYS)
    assert done.code == 0, done.err
    seen = done.json["output"]
    assert "CONSORT_TRACES" in seen["orchestrator"]
    assert not KEYS.keys() & {*seen["orchestrator"], *seen["bus"]}
    assert KEYS.keys() <= set(seen["self"])
