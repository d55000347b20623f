"""The wire contract in a form that other languages can use: JSON Schemas of all messages, and test vectors.

Made from the models and functions that Consort itself uses, so the two cannot differ.
What is committed under `docs/protocol` is what this gives; a test compares them.
Says nothing of subjects and headers: those are in words in `docs/protocol.md`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import BaseModel, TypeAdapter

from consort_shared import seal
from consort_shared.asking import AskStatus, AskSubmit, status_answer, submit_answer
from consort_shared.card import AgentCard, Announce, AskWanted, Presence, Wanted, Welcome
from consort_shared.codec import JSON, encode, pack_as, plain
from consort_shared.entries import (
    SCHEMA,
    Delivery,
    Entry,
    Granted,
    HandOff,
    Hole,
    Noted,
    Prior,
    body_digest,
)
from consort_shared.ids import root_span_id, traceparent
from consort_shared.messages import (
    Done,
    Output,
    Report,
    agent_message,
    client_message,
    order_message,
    person_message,
)
from consort_shared.plan import schema as plans
from consort_shared.values import ArtefactRef, canonical, digest

__all__ = ["SCHEMAS", "schema", "vectors"]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ADAPTERS: dict[str, tuple[str, TypeAdapter[Any]]] = {
    "client-message": ("what a client says of a run of its own", client_message),
    "person-message": ("what a person says of any run", person_message),
    "agent-message": ("what an agent says of a task", agent_message),
    "delivery": ("a task on its way to an agent", TypeAdapter(Delivery)),
    "entry": ("an entry of a run's log", TypeAdapter(Entry)),
    "order": ("what an agent is told outside the log", order_message),
    "announce": ("an agent's process asks to take part", TypeAdapter(Announce)),
    "welcome": ("the answer to an announcement", TypeAdapter(Welcome)),
    "ask-wanted": ("an agent's process asks whether a task is still wanted", TypeAdapter(AskWanted)),
    "wanted": ("the answer to whether a task is wanted", TypeAdapter(Wanted)),
    "presence": ("an agent's sign of life", TypeAdapter(Presence)),
    "card": ("what an agent says of itself", TypeAdapter(AgentCard)),
    "ask-submit": ("a client asks for a run", TypeAdapter(AskSubmit)),
    "submit-answer": ("the answer to who asked for a run", submit_answer),
    "ask-status": ("a client asks where a run stands", TypeAdapter(AskStatus)),
    "status-answer": ("the answer to where a run stands", status_answer),
    "output": ("a result: inline or stored", TypeAdapter(Output)),
    "artefact-ref": ("the reference to stored bytes", TypeAdapter(ArtefactRef)),
}
_SHORT = {"consort_shared__messages__Retry": "Retry", "consort_shared__plan__model__Retry": "StepRetry"}
"""Two models have one name, so the schema calls them by their modules, which are nobody's business."""
SCHEMAS: dict[str, str] = {"plan": "a plan", **{name: told for name, (told, _) in _ADAPTERS.items()}}
"""By name: what it is the schema of."""


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema (2020-12) of one kind of message. Raises KeyError."""
    if name == "plan":
        return plans.schema()
    told, adapter = _ADAPTERS[name]
    made = adapter.json_schema(by_alias=True, mode="validation")
    parts = made.get("$defs", {})
    if name == "ask-submit":
        made["properties"]["plan"] = {
            "$ref": plans.ID
        }  # read by another than the model, who tells every fault
    if "Plan" in parts:
        plans.loosen(parts["Plan"], parts)
    for part in _parts(made):
        _require_tags(part, parts)
        for field in part.get("properties", {}).values():
            field.pop("title", None)
    made.pop("title", None)
    whole = {"$schema": _DIALECT, "$id": f"urn:consort:schema:{name}:{SCHEMA}", "title": told, **made}
    text = json.dumps(whole)
    for long, short in _SHORT.items():
        text = text.replace(long, short)
    renamed: dict[str, Any] = json.loads(text)
    return renamed


def _parts(made: Any) -> Iterator[dict[str, Any]]:
    """Every object within a schema, itself included."""
    if isinstance(made, dict):
        yield made
        for inner in list(made.values()):
            yield from _parts(inner)
    elif isinstance(made, list):
        for inner in made:
            yield from _parts(inner)


def _require_tags(part: dict[str, Any], parts: dict[str, Any]) -> None:
    """The field that tells the members of a union apart is never left out on the wire."""
    tells = part.get("discriminator")
    if not isinstance(tells, dict):
        return
    for reference in tells["mapping"].values():
        member = parts[reference.rpartition("/")[2]]
        member["required"] = sorted({*member.get("required", ()), tells["propertyName"]})


# --- test vectors

_KEY = bytes(range(32))
_RUN, _TASK, _NONCE = "0194f2c3a4b50123456789abcdef0123", "3-0", "a1b2c3d4e5f6"
_TOKEN = bytes.fromhex("000102030405060708090a0b0c0d0e0f")
_AT = 1_735_689_600.0


def vectors() -> dict[str, Any]:
    """Inputs and what they must give, for whoever writes a client or an agent; bytes are hex unless said."""
    makers: dict[str, Callable[[], Any]] = {
        "mac_key": _mac_key,
        "code": _codes,
        "mask": _masks,
        "report_key": lambda: {
            "key": _KEY.hex(),
            "token": _TOKEN.hex(),
            "report_key": seal.report_key(_KEY, _TOKEN).hex(),
        },
        "digest": _digests,
        "run_id": lambda: {"milliseconds": int(_RUN[:12], 16), "random": _RUN[12:], "run": _RUN},
        "trace": lambda: {"run": _RUN, "root_span": root_span_id(_RUN), "traceparent": traceparent(_RUN)},
        "chain": _chain,
        "delivery": _delivery,
        "report": _report,
    }
    return {"schema": SCHEMA, **{name: make() for name, make in makers.items()}}


def _mac_key() -> dict[str, Any]:
    text = base64.b64encode(_KEY).decode()
    block = f"-----BEGIN CONSORT MAC KEY-----\n{text}\n------END CONSORT MAC KEY------\n"
    return {"block": block, "key": _KEY.hex()}


def _codes() -> list[dict[str, str]]:
    bodies = ("", "{}", '{"say":"heed"}', "schön ✓")
    subject = f"in.agent.scribe.{_RUN}"
    return [
        {"key": _KEY.hex(), "subject": subject, "body": body, "code": seal.code(_KEY, subject, body.encode())}
        for body in bodies
    ]


def _masks() -> list[dict[str, str]]:
    return [
        {
            "key": _KEY.hex(),
            "run": _RUN,
            "task": task,
            "nonce": _NONCE,
            "header": seal.mask(_KEY, _RUN, task, _NONCE, _TOKEN).hex(),
            "token": _TOKEN.hex(),
        }
        for task in (_TASK, "17-4")
    ]


def _digests() -> list[dict[str, Any]]:
    values: list[Any] = [
        None,
        True,
        7,
        "text",
        'ü\n"\\/\u2028',
        [],
        {},
        {"b": [1, 2, {"z": None, "a": False}], "a": "x"},
        1.5,
        -0.25,
    ]
    return [
        {"value": value, "canonical": canonical(value).decode(), "digest": digest(value)} for value in values
    ]


def _chain() -> list[dict[str, Any]]:
    """Entries as they stand in the log, in msgpack and base64."""
    made: list[dict[str, Any]] = []
    prev = ""
    for n in (1, 2):
        noted = Noted(path="gather", task=_TASK, agent="scribe", text=f"part {n}")
        body = encode(Entry(v=SCHEMA, run=_RUN, n=n, at=_AT, writer="main-0", prev=prev, facts=(noted,)))
        made.append({"n": n, "prev": prev, "body_base64": base64.b64encode(body).decode()})
        prev = made[-1]["digest"] = body_digest(body)
    return made


def _delivery() -> dict[str, Any]:
    """A task whose one input is filled from an earlier result."""
    result = {"parts": ["one", "two"], "count": 2}
    granted = Granted(
        path="write",
        task=_TASK,
        attempt=1,
        agent="scribe",
        skill="text.write",
        inputs={"style": "plain", "first": None},
        holes=(Hole(at=("first",), prior="gather", path=("parts", 0)),),
        handoff=HandOff(
            after=2,
            chain="0" * 64,
            priors=(
                Prior(
                    path="gather",
                    skill="text.gather",
                    agent="finder",
                    task="1-0",
                    digest=digest(result),
                    output=Output(value=result, digest=digest(result)),
                ),
            ),
        ),
        deadline=_AT + 60,
        nonce=_NONCE,
    )
    subject = f"log.{_RUN}.copy.scribe.{_TASK}"
    body = pack_as(JSON, plain(Delivery(v=SCHEMA, run=_RUN, n=3, entry=_NONCE, granted=granted)))
    return {
        "key": _KEY.hex(),
        "subject": subject,
        "headers": {
            "Content-Type": JSON,
            "Consort-Schema": str(SCHEMA),
            "Consort-Token": seal.mask(_KEY, _RUN, _TASK, _NONCE, _TOKEN).hex(),
            "Consort-Agent-Mac": seal.code(_KEY, subject, body),
            "traceparent": traceparent(_RUN),
        },
        "body": body.decode(),
        "token": _TOKEN.hex(),
        "inputs": {"style": "plain", "first": "one"},
    }


def _report() -> dict[str, Any]:
    """What may be said of that task; any other JSON of the same message, with its own code, is as good."""
    value = {"text": "one"}
    report: BaseModel = Report(
        task=_TASK, instance="i1", outcome=Done(output=Output(value=value, digest=digest(value))), seconds=0.5
    )
    subject = f"in.agent.scribe.{_RUN}"
    body = pack_as(JSON, plain(report))
    return {
        "key": _KEY.hex(),
        "token": _TOKEN.hex(),
        "subject": subject,
        "headers": {
            "Content-Type": JSON,
            "Consort-Mac": seal.code(seal.report_key(_KEY, _TOKEN), subject, body),
        },
        "body": body.decode(),
    }
