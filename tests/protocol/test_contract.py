"""What is committed under docs/protocol is what the models give, and another's reading of it comes to the same."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import msgpack
import plain_agent
import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator, ValidationError
from referencing import Registry, Resource

from consort_orchestrator.cli import cli
from consort_orchestrator.shell.effects import packed
from consort_shared.codec import JSON, MSGPACK
from consort_shared.ids import root_span_id
from consort_shared.protocol import SCHEMAS, schema, vectors

DOCS = Path(__file__).parents[2] / "docs"
VECTORS: dict[str, Any] = json.loads((DOCS / "protocol" / "vectors.json").read_text(encoding="utf-8"))
REGISTRY: Registry[Any] = Registry().with_resources(
    [(made["$id"], Resource.from_contents(made)) for made in map(schema, SCHEMAS)]
)


def fits(name: str, value: Any) -> None:
    Draft202012Validator(schema(name), registry=REGISTRY).validate(value)


def test_what_is_committed_is_what_is_generated() -> None:
    """F9: made anew by `consort protocol schema --out docs/protocol`."""
    committed = {
        file.stem: json.loads(file.read_text("utf-8")) for file in (DOCS / "protocol").glob("*.json")
    }
    assert committed == {**{name: schema(name) for name in SCHEMAS}, "vectors": vectors()}


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_schema_is_one_and_names_no_module(name: str) -> None:
    made = schema(name)
    Draft202012Validator.check_schema(made)
    assert "consort_" not in json.dumps(made)


def test_schemas_tell_messages_apart() -> None:
    fits("client-message", {"say": "cancel"})
    fits(
        "client-message",
        {"say": "submit", "plan": {"name": "p", "timeout": "5m", "steps": {"a": {"skill": "x"}}}},
    )
    fits("ask-submit", {"plan": {"name": "p", "steps": {"a": {"skill": "x", "timeout": "30s"}}}, "key": "k"})
    fits("agent-message", json.loads(VECTORS["report"]["body"]))
    fits("delivery", json.loads(VECTORS["delivery"]["body"]))
    fits("card", plain_agent.CARD)
    for name, wrong in (
        ("client-message", {"why": "no word for what it is"}),
        ("agent-message", {"say": "report", "task": "1-0", "instance": "i", "outcome": {"output": {}}}),
        ("ask-submit", {"plan": {"name": "p"}}),
        ("order", {"order": "stop", "run": "x", "task": "1-0"}),
    ):
        with pytest.raises(ValidationError):
            fits(name, wrong)


# --- the vectors, by the plain agent's own functions


def test_codes_and_tokens() -> None:
    assert plain_agent.mac_key(VECTORS["mac_key"]["block"]).hex() == VECTORS["mac_key"]["key"]
    for one in VECTORS["code"]:
        assert (
            plain_agent.code(bytes.fromhex(one["key"]), one["subject"], one["body"].encode()) == one["code"]
        )
    for one in VECTORS["mask"]:
        key, masked = bytes.fromhex(one["key"]), bytes.fromhex(one["header"])
        assert plain_agent.unmask(key, one["run"], one["task"], one["nonce"], masked).hex() == one["token"]
    one = VECTORS["report_key"]
    key, token = bytes.fromhex(one["key"]), bytes.fromhex(one["token"])
    assert plain_agent.report_key(key, token).hex() == one["report_key"]


def test_digests_and_the_chain() -> None:
    for one in VECTORS["digest"]:
        text = json.dumps(one["value"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert (text, hashlib.sha256(text.encode()).hexdigest()) == (one["canonical"], one["digest"])
    prev = ""
    for entry in VECTORS["chain"]:
        body = base64.b64decode(entry["body_base64"])
        assert msgpack.unpackb(body)["prev"] == entry["prev"] == prev
        prev = hashlib.sha256(body).hexdigest()
        assert prev == entry["digest"]


def test_a_delivery_and_its_report() -> None:
    one = VECTORS["delivery"]
    key, headers, body = bytes.fromhex(one["key"]), one["headers"], one["body"].encode()
    assert plain_agent.code(key, one["subject"], body) == headers["Consort-Agent-Mac"]
    delivery = json.loads(body)
    granted = delivery["granted"]
    masked = bytes.fromhex(headers["Consort-Token"])
    token = plain_agent.unmask(key, delivery["run"], granted["task"], granted["nonce"], masked)
    assert token.hex() == one["token"]
    results = {prior["path"]: prior["output"]["value"] for prior in granted["handoff"]["priors"]}
    assert plain_agent.filled(granted, results) == one["inputs"]
    report = VECTORS["report"]
    sealed = plain_agent.code(plain_agent.report_key(key, token), report["subject"], report["body"].encode())
    assert sealed == report["headers"]["Consort-Mac"]


def test_run_ids_and_trace_context() -> None:
    one = VECTORS["run_id"]
    assert f"{one['milliseconds']:012x}{one['random']}" == one["run"]
    trace = VECTORS["trace"]
    span = hashlib.sha256(f"consort root span {trace['run']}".encode()).hexdigest()[:16]
    assert span == root_span_id(trace["run"]) == trace["root_span"]
    assert trace["traceparent"] == f"00-{trace['run']}-{span}-01"


def test_what_json_cannot_hold_goes_out_as_it_stands_in_the_log() -> None:
    """One agent's odd result must not keep an orchestrator from going on."""
    assert packed({"value": "ü"}, JSON) == ('{"value":"ü"}'.encode(), JSON)
    for odd in (b"bytes", float("nan")):
        body, content_type = packed({"value": odd}, JSON)
        assert content_type == MSGPACK
        assert body == msgpack.packb({"value": odd})


# --- the command


def test_the_command_prints_and_writes_them(tmp_path: Path) -> None:
    run = CliRunner().invoke
    listed = run(cli, ["protocol", "schema"])
    assert [line.split()[0] for line in listed.output.splitlines()] == [*SCHEMAS, "vectors"]
    assert json.loads(run(cli, ["protocol", "schema", "order"]).output) == schema("order")
    written = run(cli, ["protocol", "schema", "--out", str(tmp_path / "made")])
    assert {file.stem for file in (tmp_path / "made").iterdir()} == {*SCHEMAS, "vectors"}, written.output
    wrong = run(cli, ["protocol", "schema", "ordr"])
    assert "did you mean `order`?" in str(wrong.exception)


def test_the_document_tells_of_every_schema_header_and_subject() -> None:
    """F9: what the code knows and the document does not is a hole in the contract."""
    from consort_bus import access, envelope

    text = (DOCS / "protocol.md").read_text(encoding="utf-8")
    assert all(f"protocol/{name}.json" in text for name in (*SCHEMAS, "vectors"))
    headers = [envelope.CODE, envelope.AGENT_CODE, envelope.TOKEN, envelope.STORED_BODY, envelope.SCHEMA]
    assert all(f"`{header}`" in text for header in [*headers, envelope.TRACE, envelope.TRACE_STATE])
    for role in ("client", "agent"):
        for pattern in access.TABLE[role].publish:
            verb = access.filled(pattern, "NAME").split(".")
            if verb[0] == "api":
                assert f"`api.{verb[1]}.NAME`" in text, pattern
