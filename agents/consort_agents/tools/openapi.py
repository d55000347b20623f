"""Tools from the description of an HTTP service: `openapi("petstore.yaml")`.

Reads a file (OpenAPI 3.0 or later, YAML or JSON) and gives a tool for each operation. What
is wrong with the file is said with its place, all of it at once; what is wrong with
operations that are not wanted is nobody's business. What a method may change gives the
risk: GET and HEAD read, DELETE is danger, the others write.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from consort_agents.signatures import sentences
from consort_agents.tools.answers import LONGEST
from consort_agents.tools.definition import Definition, Risk
from consort_agents.tools.errors import OpenApiError, ToolError
from consort_agents.tools.http_calls import HttpTool, Service
from consort_agents.tools.openapi_operations import Operation, Unsupported, operations, understood
from consort_agents.tools.openapi_schemas import Document
from consort_agents.tools.secret import Secret
from consort_shared.errors import InvalidInput
from consort_shared.plan.reader import read_json, read_yaml

_log = logging.getLogger("consort.tools")
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"})
_READS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


def openapi(
    file: str | Path,
    *,
    base_url: str = "",
    headers: Mapping[str, str | Secret] | None = None,
    query: Mapping[str, str | Secret] | None = None,
    only: Sequence[str] | None = None,
    prefix: str = "",
    owner: str = "",
    data_class: str = "public",
    timeout: float = 60.0,
    limit: int = LONGEST,
    private: bool | None = None,
) -> list[HttpTool]:
    """A tool for each operation of an OpenAPI file, or for those named in `only`.

    `base_url` instead of the first server of the file. `headers` and `query` go with every call; secrets are
    read when a call is made: `headers={"Authorization": secret("PETSTORE_TOKEN", "Bearer {}")}`. `timeout` is
    seconds, `limit` characters of an answer. Addresses of the own network are called only if `base_url`
    itself is one, or `private=True` says so. Raises OpenApiError.
    """
    source = str(file)
    document = _read(Path(file))
    service = Service(
        base_url=_address(document, source, base_url),
        headers=dict(headers or {}),
        query=dict(query or {}),
        private=private,
        limit=limit,
    )
    found = _selected(document, source, only, service.fixed)
    if document.faults:
        raise OpenApiError(source, document.faults)
    tools = []
    for operation in found:
        name = f"{prefix}{operation.name}"
        try:
            definition = _definition(operation, name, owner, data_class, timeout)
        except ValidationError as exc:
            raise OpenApiError(source, [(operation.place, f"tool {name!r}: {sentences(exc)}")]) from exc
        tools.append(HttpTool(definition, operation, service))
    return tools


def _read(file: Path) -> Document:
    source = str(file)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise OpenApiError(source, [("", f"cannot be read: {exc}")]) from exc
    if not text.strip():
        raise OpenApiError(source, [("", "is empty; it should be an OpenAPI document, version 3.0 or later")])
    try:
        read = read_json(text, source) if text.lstrip().startswith("{") else read_yaml(text, source)
    except InvalidInput as exc:
        raise OpenApiError(source, [("", str(exc))]) from exc
    if not isinstance(read.value, Mapping):
        raise OpenApiError(source, [("", "is no OpenAPI document: that is an object with `openapi: 3.…`")])
    # Keys such as 200 are numbers in YAML; they mean the same as in JSON, where they are text.
    named_by_number = [fault for fault in read.faults if "given twice" in fault.what]
    document = Document(read.value)
    for fault in named_by_number:
        document.fault(f"line {fault.line}", fault.what)
    version = str(read.value.get("openapi", ""))
    if not version.startswith("3."):
        told = (
            "is Swagger 2.0, which differs; convert it to OpenAPI 3 first" if "swagger" in read.value else ""
        )
        told = told or "is no OpenAPI document: it should say `openapi: 3.0.…` or later"
        raise OpenApiError(source, [("#/openapi", told)])
    return document


def _address(document: Document, source: str, given: str) -> str:
    if not given:
        servers = document.value.get("servers")
        first = servers[0] if isinstance(servers, list) and servers else {}
        given = _filled(first) if isinstance(first, Mapping) else ""
    parts = urlsplit(given)
    if parts.scheme not in {"http", "https"} or not parts.hostname or "{" in given:
        told = f"names the server {given!r}" if given else "names no server"
        raise OpenApiError(source, [("#/servers", f'{told}; say which one: base_url="https://…"')])
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ToolError("base_url is an address alone; what proves who you are goes into headers or query")
    return given.rstrip("/")


def _filled(server: Mapping[str, Any]) -> str:
    """A server's address with the defaults of its variables."""
    address = str(server.get("url", ""))
    variables = server.get("variables")
    for name, variable in variables.items() if isinstance(variables, Mapping) else ():
        if isinstance(variable, Mapping) and "default" in variable:
            address = address.replace(f"{{{name}}}", str(variable["default"]))
    return address


def _selected(
    document: Document, source: str, only: Sequence[str] | None, fixed: frozenset[str]
) -> list[Operation]:
    """The operations that are wanted. Raises OpenApiError for wanted ones that are not there, or cannot be called."""
    places: dict[str, str] = {}
    made = []
    for written in operations(document):
        found = _named(document, dict(written), places)
        if only is not None and found["name"] not in only:
            continue
        try:
            made.append(understood(document, found, fixed))
        except Unsupported as exc:
            if only is not None:
                document.fault(found["place"], str(exc))
            else:
                _log.warning("%s: %s is left out: %s", source, found["name"], exc)
        except RecursionError:
            document.fault(found["place"], "refers on and on; its schemas are nested too deep")
    missing = [name for name in only or () if name not in places]
    if missing and not document.faults:
        offered = ", ".join(sorted(places)[:50]) or "none"
        raise OpenApiError(source, [("#/paths", f"has no {', '.join(missing)}; there are: {offered}")])
    return made


def _named(document: Document, found: dict[str, Any], places: dict[str, str]) -> dict[str, Any]:
    name = found["name"]
    if name in places and found["own"]:
        document.fault(found["place"], f"has the operationId {name!r}, as {places[name]} has")
    number = 1
    while found["name"] in places:
        number += 1
        found["name"] = f"{name[:60]}_{number}"
    places[found["name"]] = found["place"]
    return found


def _definition(operation: Operation, name: str, owner: str, data_class: str, timeout: float) -> Definition:
    method = operation.method
    risk: Risk = "read" if method in _READS else "danger" if method == "DELETE" else "write"
    return Definition(
        name=name,
        description=operation.description,
        input_schema=operation.input_schema,
        output_schema=operation.output_schema,
        kind="http",
        risk=risk,
        idempotent=method in _IDEMPOTENT,
        owner=owner,
        data_class=data_class,
        timeout=timeout,
        cache=risk == "read",
    )
