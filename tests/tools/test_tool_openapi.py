"""Tools from an OpenAPI file: what is read from it, what is wrong with it, and calls of a real service."""

from __future__ import annotations

import itertools
import json
import logging
import threading
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tool_serving import Asked, Response, serving

from consort_agents.tools.addresses import Refused, addresses, is_private
from consort_agents.tools.answers import fits, unfit
from consort_agents.tools.definition import Caller
from consort_agents.tools.errors import OpenApiError, ToolError
from consort_agents.tools.http_calls import HttpTool
from consort_agents.tools.http_requests import Unsendable, outgoing
from consort_agents.tools.openapi import openapi
from consort_agents.tools.secret import secret

PETS = Path(__file__).with_name("petstore.yaml")
ANYBODY = Caller(run="r", agent="tester", call_id="call-7")


def by_name(tools: list[HttpTool]) -> dict[str, HttpTool]:
    return {tool.definition.name: tool for tool in tools}


def written(folder: Path, document: Any) -> Path:
    file = folder / "service.yaml"
    file.write_text(document if isinstance(document, str) else yaml.safe_dump(document), encoding="utf-8")
    return file


def minimal(**operation: Any) -> dict[str, Any]:
    return {
        "openapi": "3.1.0",
        "servers": [{"url": "https://x.example"}],
        "paths": {"/thing": {"get": {"operationId": "thing", "responses": {}, **operation}}},
    }


def test_one_line_makes_a_tool_of_each_operation(caplog: pytest.LogCaptureFixture) -> None:
    """F11, S75: an OpenAPI file in one line; risk and idempotency from the method."""
    with caplog.at_level(logging.WARNING):
        tools = by_name(openapi(PETS))
    assert set(tools) == {"listPets", "addPet", "get_pets_petId", "replacePet", "removePet"}
    assert "setPhoto is left out" in caplog.text, "a body of PNG cannot be said in JSON"
    promised = {
        name: (tool.definition.risk, tool.definition.idempotent, tool.definition.cache)
        for name, tool in tools.items()
    }
    assert promised == {
        "listPets": ("read", True, True),
        "addPet": ("write", False, False),
        "get_pets_petId": ("read", True, True),
        "replacePet": ("write", True, False),
        "removePet": ("danger", True, False),
    }
    assert {tool.definition.kind for tool in tools.values()} == {"http"}


def test_parameters_and_body_become_one_schema() -> None:
    """F11: path, query, header, cookie and body merged; references kept finite; 3.0 said as JSON Schema does."""
    tools = by_name(openapi(PETS))
    listing = tools["listPets"].definition.input_schema
    assert set(listing["properties"]) == {"X-Tenant", "limit", "tags", "filter_kind_", "session"}
    assert listing["properties"]["limit"] == {"type": "integer", "exclusiveMinimum": 0}
    assert listing["properties"]["filter_kind_"] == {"type": ["string", "null"]}
    adding = tools["addPet"].definition.input_schema
    assert set(adding["properties"]) == {"X-Tenant", "name", "parent"}, "readOnly is not for callers"
    assert adding["required"] == ["name"]
    assert adding["properties"]["parent"] == {"$ref": "#/$defs/Pet"}
    assert adding["$defs"]["Pet"]["properties"]["parent"] == {"$ref": "#/$defs/Pet"}
    replacing = tools["replacePet"].definition.input_schema
    assert replacing["required"] == ["petId", "name"]
    assert replacing["properties"]["petId"]["description"] == "Which pet."
    assert tools["listPets"].definition.output_schema is not None
    assert set(tools["listPets"].definition.output_schema["$defs"]["Pet"]["properties"]) == {
        "id",
        "name",
        "parent",
    }
    for tool in tools.values():
        jsonschema.Draft202012Validator.check_schema(tool.definition.input_schema)


def test_only_and_prefix() -> None:
    assert list(by_name(openapi(PETS, only=["listPets"], prefix="pets_"))) == ["pets_listPets"]
    with pytest.raises(OpenApiError, match="has no listPet; there are: addPet"):
        openapi(PETS, only=["listPet"])
    with pytest.raises(OpenApiError, match=r"setPhoto|image/png"):
        openapi(PETS, only=["setPhoto"])


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ("", "is empty"),
        ("a: [", "not YAML"),
        ("- a", "is no OpenAPI document"),
        ("{}", "should say `openapi: 3.0"),
        ({"swagger": "2.0", "paths": {}}, "Swagger 2.0"),
        ({"openapi": "3.1.0", "servers": [{"url": "https://x.example"}]}, "#/paths: there are no paths"),
        (minimal() | {"servers": [{"url": "/v1"}]}, "names the server '/v1'; say which one: base_url"),
        (minimal() | {"paths": {"thing": {}}}, "a path starts with `/`"),
        (minimal(parameters=[{"name": "a"}]), "#/paths/~1thing/get/parameters/0: a parameter has a name"),
        (
            minimal(parameters=[{"$ref": "#/components/parameters/A"}]),
            "#/paths/~1thing/get/parameters/0: refers to #/components/parameters/A, which is not in the document",
        ),
        (
            minimal(parameters=[{"name": "a", "in": "query", "schema": {"$ref": "other.yaml#/A"}}]),
            "only references within the file",
        ),
        (
            minimal(parameters=[{"name": "a", "in": "query", "schema": {"items": {"$ref": "#/nowhere"}}}]),
            "schema/items: refers to #/nowhere",
        ),
        (minimal(requestBody={}), "a requestBody has content"),
        (
            minimal()
            | {
                "paths": {
                    "/a": {"get": {"operationId": "same"}},
                    "/b": {"get": {"operationId": "same"}},
                    "/c/{id}": {"get": {}},
                }
            },
            "has the operationId 'same', as #/paths/~1a/get has",
        ),
        (minimal() | {"paths": {"/c/{id}": {"get": {}}}}, "the path has {id}, but no parameter of this name"),
        (
            minimal(parameters=[{"$ref": "#/x"}]) | {"x": {"$ref": "#/y"}, "y": {"$ref": "#/x"}},
            "refers to itself by way of",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_place(tmp_path: Path, document: Any, told: str) -> None:
    """F11: an OpenAPI file with errors."""
    with pytest.raises(OpenApiError) as caught:
        openapi(written(tmp_path, document))
    assert told in str(caught.value)


def test_all_faults_are_said_at_once_and_those_of_others_not_at_all(tmp_path: Path) -> None:
    document = minimal() | {
        "paths": {
            "/good": {"get": {"operationId": "good"}},
            "/bad/{id}": {"get": {"operationId": "bad", "parameters": [{"in": "query"}]}},
        }
    }
    file = written(tmp_path, document)
    with pytest.raises(OpenApiError) as caught:
        openapi(file)
    assert len(caught.value.faults) == 2
    assert list(by_name(openapi(file, only=["good"]))) == ["good"]
    with pytest.raises(OpenApiError, match="cannot be read"):
        openapi(tmp_path / "none.yaml")
    with pytest.raises(ToolError, match="what proves who you are goes into headers"):
        openapi(file, only=["good"], base_url="https://me:pass@x.example")


async def test_arguments_go_where_they_belong() -> None:
    """F11: a tool over HTTP, called."""
    with serving(lambda asked: Response(body=b'[{"id": "1", "name": "Rex"}]')) as service:
        tools = by_name(openapi(PETS, base_url=service.url + "/v1/"))
        told = {"X-Tenant": "me", "limit": 3, "tags": ["a b", "c&d"], "filter_kind_": "dog", "session": "s;1"}
        answer = await tools["listPets"].call(told, ANYBODY)
        assert answer.value == [{"id": "1", "name": "Rex"}]
        [asked] = service.asked
        target = urlsplit(asked.target)
        assert (asked.method, target.path) == ("GET", "/v1/pets")
        assert parse_qsl(target.query) == [
            ("limit", "3"),
            ("tags", "a b"),
            ("tags", "c&d"),
            ("filter[kind]", "dog"),
        ]
        assert asked.headers["X-Tenant"] == "me"
        assert asked.headers["Cookie"] == "session=s%3B1"
        assert "Idempotency-Key" not in asked.headers
        await tools["addPet"].call({"name": "Ada", "X-Tenant": "me"}, ANYBODY)
        assert json.loads(service.asked[1].body) == {"name": "Ada"}
        assert service.asked[1].headers["Content-Type"] == "application/json"
        assert service.asked[1].headers["Idempotency-Key"] == "call-7", (
            "the same when it is made again after a crash"
        )
        await tools["get_pets_petId"].call({"petId": "a/../b"}, ANYBODY)
        assert service.asked[2].target == "/v1/pets/a%2F..%2Fb"


async def test_bad_arguments_are_not_sent() -> None:
    with serving(lambda asked: Response()) as service:
        tools = by_name(openapi(PETS, base_url=service.url))
        assert "'name' is a required property" in (await tools["addPet"].call({}, ANYBODY)).content
        many = await tools["listPets"].call({"limit": "many"}, ANYBODY)
        assert "limit: 'many' is not of type 'integer'" in many.content
        unknown = await tools["listPets"].call({"colour": "red"}, ANYBODY)
        assert "'colour' was unexpected" in unknown.content
        assert "The arguments are: X-Tenant" in unknown.content
        assert "cannot stand in a path" in (await tools["removePet"].call({"petId": ".."}, ANYBODY)).content
        assert "one line" in (await tools["listPets"].call({"X-Tenant": "a\r\nX-Evil: 1"}, ANYBODY)).content
        assert service.asked == []


async def test_a_schema_that_refers_elsewhere_is_not_followed() -> None:
    """J22: a schema from outside makes nobody fetch a URL."""
    with serving(lambda asked: Response(body=b'{"type": "string"}')) as service:
        told = unfit({"type": "object", "properties": {"a": {"$ref": f"{service.url}/secret"}}}, {"a": "b"})
        assert told is not None
        assert "the tool's own schema cannot be used" in told
        assert not fits({"$ref": f"{service.url}/secret"}, "b")
        assert service.asked == []


def test_a_pattern_from_outside_keeps_nobody_busy() -> None:
    """J22: an expression that takes years is not tried."""
    slow = "(a+)+$"
    schema = {
        "properties": {"a": {"pattern": slow}},
        "patternProperties": {slow: {"type": "string"}},
        "additionalProperties": False,
    }
    assert unfit(schema, {"a": "a" * 60 + "!", "a" * 60 + "!": 1}) is None


async def test_secrets_are_sent_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """F11: the key is read when it is used; it is in no definition, answer, repr or log."""
    caplog.set_level(logging.DEBUG)
    key = "Pet-Store-Key-0123456789"

    def echo(asked: Asked) -> Response:
        said = {"url": asked.target, "auth": asked.headers.get("Authorization", ""), "again": key}
        return Response(status=418 if "fail" in asked.target else 200, body=json.dumps(said).encode())

    with serving(echo) as service:
        tools = by_name(
            openapi(
                PETS,
                base_url=service.url,
                headers={"Authorization": secret("PETSTORE_TOKEN", "Bearer {}")},
                query={"api_key": secret("PETSTORE_TOKEN")},
            )
        )
        missing = await tools["listPets"].call({}, ANYBODY)
        assert "PETSTORE_TOKEN is not set" in missing.content
        monkeypatch.setenv("PETSTORE_TOKEN", key)
        good = await tools["listPets"].call({}, ANYBODY)
        bad = await tools["get_pets_petId"].call({"petId": "fail"}, ANYBODY)
        assert service.asked[0].headers["Authorization"] == f"Bearer {key}"
        assert f"api_key={key}" in service.asked[0].target
    assert not good.is_error
    assert good.value["again"] == "[redacted]"
    assert "418" in bad.content
    for shown in (
        good.model_dump_json(),
        bad.content,
        repr(tools),
        caplog.text,
        repr(vars(tools["listPets"])),
    ):
        assert key not in shown
    with pytest.raises(ToolError, match="name of an environment variable"):
        secret("sk-1234")


async def test_what_a_service_refuses_is_an_error_answer() -> None:
    body = b'{"error": "no such pet"}'
    headers = {"Content-Type": "application/json", "Retry-After": "7"}
    with serving(lambda asked: Response(status=429, body=body, headers=headers)) as service:
        [tool] = openapi(PETS, base_url=service.url, only=["listPets"])
        answer = await tool.call({}, ANYBODY)
    assert answer.is_error
    assert "429 Too Many Requests (try again after 7 s)" in answer.content
    assert "no such pet" in answer.content


async def test_a_service_that_hangs_or_is_not_there() -> None:
    """F11: hangs end at the tool's time limit."""
    free = threading.Event()
    with serving(lambda asked: Response(wait=free)) as service:
        tools = by_name(openapi(PETS, base_url=service.url, timeout=0.1))
        assert "no answer within 0.1 s" in (await tools["listPets"].call({}, ANYBODY)).content
        adding = await tools["addPet"].call({"name": "a"}, ANYBODY)
        assert "whether it was done is not known" in adding.content
        free.set()
    [gone] = openapi(PETS, base_url=service.url, only=["listPets"])
    assert "cannot be reached" in (await gone.call({}, ANYBODY)).content


async def test_no_more_is_read_than_is_wanted() -> None:
    """F11: an answer of 50 MB and more is never loaded."""
    endless = Response(
        body=b"[",
        headers={"Content-Type": "application/json"},
        chunks=itertools.repeat(b'"0123456789",' * 1000),
    )
    with serving(lambda asked: endless) as service:
        [tool] = openapi(PETS, base_url=service.url, only=["listPets"], limit=1000)
        answer = await tool.call({}, ANYBODY)
        assert service.gone_away.wait(10)
    assert answer.truncated > 900_000
    assert len(answer.content) < 1_100
    assert "[cut here" in answer.content


@pytest.mark.parametrize(
    ("response", "told"),
    [
        (
            Response(body=b"\x89PNG\x00", headers={"Content-Type": "image/png"}),
            "[binary content, image/png, 5 bytes",
        ),
        (Response(body=b"\xff\xfe", headers={}), "[binary content, of unknown type, 2 bytes"),
        (Response(body=b"plain", headers={"Content-Type": "text/plain"}), "plain"),
        (Response(body=b"gr\xfcn", headers={"Content-Type": "text/plain"}), "grün"),
        (Response(body=b"{nonsense"), "answered what is not JSON"),
        (Response(body=b"[NaN]"), "answered what is not JSON"),
        (Response(status=204, body=b""), "204 No Content, without content"),
        (Response(body=b"x", headers={"Content-Encoding": "gzip"}), "packed (gzip)"),
        (
            Response(status=302, headers={"Location": "http://127.0.0.2:1/"}),
            "sends on to another host (127.0.0.2)",
        ),
        (Response(status=302, headers={"Location": "/pets"}), "sent on more than 3 times"),
    ],
)
async def test_whatever_comes_back(response: Response, told: str) -> None:
    with serving(lambda asked: response) as service:
        [tool] = openapi(PETS, base_url=service.url, only=["listPets"])
        assert told in (await tool.call({}, ANYBODY)).content


async def test_a_redirect_within_the_service_is_followed_where_it_changes_nothing() -> None:
    def answer(asked: Asked) -> Response:
        if asked.target.startswith("/new"):
            return Response(body=b'"here"')
        return Response(status=307 if asked.method == "PUT" else 302, headers={"Location": "/new"})

    with serving(answer) as service:
        tools = by_name(openapi(PETS, base_url=service.url))
        assert (await tools["listPets"].call({}, ANYBODY)).value == "here"
        assert (await tools["replacePet"].call({"petId": "1", "name": "a"}, ANYBODY)).value == "here"
        assert "wants another request" in (await tools["addPet"].call({"name": "a"}, ANYBODY)).content


async def test_the_own_network_is_not_called_by_mistake() -> None:
    """J22: a name that leads to the machine itself, or its network, is refused."""
    with serving(lambda asked: Response()) as service:
        port = urlsplit(service.url).port
        [tool] = openapi(PETS, base_url=service.url, only=["listPets"], private=False)
        assert "on this machine or its own network" in (await tool.call({}, ANYBODY)).content
        assert service.asked == []
        [named] = openapi(PETS, base_url=f"http://localhost:{port}", only=["listPets"])
        assert not (await named.call({}, ANYBODY)).is_error
    for host in (
        "127.0.0.1",
        "10.1.2.3",
        "169.254.169.254",
        "::1",
        "fd00::1",
        "localhost",
        "db",
        "a.internal",
    ):
        assert is_private(host), host
    for host in ("8.8.8.8", "pets.example", "2606:4700::1111"):
        assert not is_private(host), host
    for address in ("169.254.169.254", "::ffff:10.0.0.1", "0.0.0.0", "100.64.0.1", "224.0.0.1"):
        with pytest.raises(Refused):
            await addresses(address, 80, private=False)


_names = st.text(st.characters(codec="utf-8", exclude_characters="/{}?#"), min_size=1, max_size=8)


@pytest.mark.slow
@given(value=st.text(min_size=1, max_size=30))
def test_a_value_in_a_path_never_leaves_its_segment(value: str) -> None:
    [tool] = openapi(PETS, base_url="https://x.example/v1", only=["removePet"])
    try:
        made = outgoing(tool.operation, "https://x.example/v1", {"petId": value})
    except (Unsendable, UnicodeEncodeError):
        return
    parts = urlsplit(made.url)
    assert (parts.netloc, parts.query, parts.fragment) == ("x.example", "", "")
    head, _, last = parts.path.rpartition("/")
    assert head == "/v1/pets"
    assert unquote(last) == value


@pytest.mark.slow
@given(
    parameters=st.lists(
        st.tuples(_names, st.sampled_from(["query", "header", "cookie"])), max_size=6, unique=True
    ),
    fields=st.lists(_names, max_size=4, unique=True),
)
def test_no_argument_is_lost_where_names_meet(
    tmp_path_factory: pytest.TempPathFactory, parameters: list[tuple[str, str]], fields: list[str]
) -> None:
    """Every parameter and every field of the body has one argument of its own, whatever they are called."""
    document = minimal(
        parameters=[{"name": name, "in": place, "schema": {"type": "string"}} for name, place in parameters],
        requestBody={
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"type": "object", "properties": {name: {} for name in fields}}
                }
            },
        },
    )
    file = tmp_path_factory.mktemp("api") / "service.json"
    file.write_text(json.dumps(document), encoding="utf-8")
    [tool] = openapi(file)
    slots = tool.operation.slots
    assert len({slot.argument for slot in slots}) == len(slots)
    assert {slot.argument for slot in slots} == set(tool.definition.input_schema["properties"])
    ignored = {"accept", "content-type", "authorization"}
    sent = {(slot.name, slot.where) for slot in slots if slot.where not in {"body", "whole-body"}}
    assert sent == {
        (name, place) for name, place in parameters if place != "header" or name.lower() not in ignored
    }
    bodies = {slot.name for slot in slots if slot.where == "body"}
    assert bodies == set(fields) or any(slot.where == "whole-body" for slot in slots)
    jsonschema.Draft202012Validator.check_schema(tool.definition.input_schema)
