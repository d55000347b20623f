"""How calls of models and tools read in a trace."""

from __future__ import annotations

from consort_orchestrator.cli.tracing_words import _label
from consort_shared.telemetry import names
from consort_shared.telemetry.records import Attribute, SpanRecord


def label(name: str, error: str | None = None, **attributes: Attribute) -> str:
    about = {key.replace("__", "."): value for key, value in attributes.items()}
    about[names.AGENT_NAME] = "critic"
    return _label(SpanRecord("0" * 32, "1" * 16, "2" * 16, name, "client", 0, 1, about, (), error))


def test_a_call_of_a_model_says_what_it_took() -> None:
    tokens = {names.CALL: 3, "gen_ai.usage.input_tokens": 1200, "gen_ai.usage.output_tokens": 80}
    assert label("chat claude-x", **tokens) == "chat claude-x, 1200 + 80 tokens"
    paid = {**tokens, names.COST: 0.0123, names.REPLAYED: True}
    assert label("chat claude-x", **paid) == "chat claude-x, 1200 + 80 tokens, $0.0123, replayed"


def test_a_call_of_a_tool_says_how_it_ended() -> None:
    assert label("execute_tool search", **{names.CALL: 4}) == "execute_tool search"
    assert label("execute_tool search", "tool-error", **{names.CALL: 4}) == "execute_tool search [tool-error]"


def test_a_call_at_a_tool_host_says_where_it_was_made() -> None:
    at_host = {names.HOST: "web", names.SAVED: True, names.QUEUE_WAIT: 0.25}
    assert label("execute_tool search", **at_host) == (
        "tool host web: execute_tool search, waited 250.0 ms, saved"
    )
