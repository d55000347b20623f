"""A call of an HTTP service, as an operation describes it.

Builds the request, sends it to a checked address, and reads no more of the answer than is
wanted. Follows redirects only within the service. What was secret in the request is taken
out of what comes back. The HTTP client is imported when the first call is made.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from consort_agents.tools.addresses import Refused, addresses, is_private, same_origin
from consort_agents.tools.answers import LONGEST, answer, cut, failed, unfit
from consort_agents.tools.definition import Caller, Definition, ToolAnswer
from consort_agents.tools.errors import SecretMissing
from consort_agents.tools.http_requests import Outgoing, Unsendable, outgoing
from consort_agents.tools.openapi_operations import Operation
from consort_agents.tools.secret import Secret, without
from consort_shared.values import Json

if TYPE_CHECKING:
    import httpx2

MOST_BYTES = 1_000_000
"""Bytes of an answer that are read."""
_REDIRECTS = 3
_EXCERPT = 600
_TEXTUAL = ("text/", "application/json", "application/xml", "application/yaml", "application/javascript")


@dataclass(frozen=True)
class Service:
    """A service, and what every call of it carries."""

    base_url: str
    headers: Mapping[str, str | Secret] = field(default_factory=dict)
    query: Mapping[str, str | Secret] = field(default_factory=dict)
    private: bool | None = None
    """whether it may be on the own network; None for what its address looks like"""
    limit: int = LONGEST

    @property
    def fixed(self) -> frozenset[str]:
        """What models have no say in: names of headers in lower case, and of query parameters after `?`."""
        return frozenset({name.lower() for name in self.headers} | {f"?{name}" for name in self.query})

    @property
    def on_own_network(self) -> bool:
        return is_private(urlsplit(self.base_url).hostname or "") if self.private is None else self.private

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """Made once: it reads every certificate of the system."""
        return ssl.create_default_context()

    def secrets(self) -> list[str]:
        """Every secret that a call carries, alone and as it is sent. Raises SecretMissing."""
        named = [
            value for value in (*self.headers.values(), *self.query.values()) if isinstance(value, Secret)
        ]
        return [text for value in named for text in (value.sent(), value.read())]


@dataclass(frozen=True, slots=True)
class _Came:
    """What came back, as far as it was read."""

    status: int
    reason: str
    headers: Mapping[str, str]
    raw: bytes
    more: bool


class HttpTool:
    """An operation of a service, as a tool."""

    def __init__(self, definition: Definition, operation: Operation, service: Service) -> None:
        self.definition = definition
        self.operation = operation
        self._service = service

    def __repr__(self) -> str:
        return f"<tool {self.definition.name}: {self.operation.method} {self.operation.path}>"

    async def call(self, arguments: Mapping[str, Json], caller: Caller) -> ToolAnswer:
        name = self.definition.name
        if (why := unfit(self.definition.input_schema, arguments)) is not None:
            return failed(f"{name} was not called, its arguments do not fit: {why}")
        try:
            secrets = self._service.secrets()
            request = outgoing(self.operation, self._service.base_url, arguments)
        except (SecretMissing, Unsendable) as exc:
            return failed(f"{name} was not called: {exc}")
        try:
            async with asyncio.timeout(self.definition.timeout):
                came = await self._exchange(self._complete(request, caller))
        except TimeoutError:
            told = "" if self.definition.risk == "read" else "; whether it was done is not known"
            return failed(f"{name}: no answer within {self.definition.timeout:g} s{told}")
        except Refused as exc:
            return failed(without(f"{name}: {exc}", secrets))
        return self._answer(came, secrets)

    def _complete(self, request: Outgoing, caller: Caller) -> Outgoing:
        """With what every call carries, and a key by which the service may know a call made twice."""
        sent = {
            name: value.sent() if isinstance(value, Secret) else value
            for name, value in self._service.headers.items()
        }
        asked = [(name, v.sent() if isinstance(v, Secret) else v) for name, v in self._service.query.items()]
        headers = {"Accept-Encoding": "identity", "User-Agent": "consort", **request.headers, **sent}
        if caller.call_id and not self.definition.idempotent:
            headers.setdefault("Idempotency-Key", caller.call_id)
        return Outgoing(request.method, request.url, [*request.query, *asked], headers, request.body)

    async def _exchange(self, request: Outgoing) -> _Came:
        """Send, and follow where the service itself says. Raises Refused, TimeoutError."""
        import httpx2

        logging.getLogger("httpx2").setLevel(logging.WARNING)  # it would log URLs, and some hold a secret
        url = str(httpx2.URL(request.url, params=request.query) if request.query else httpx2.URL(request.url))
        async with httpx2.AsyncClient(
            verify=self._service.tls, trust_env=False, timeout=self.definition.timeout
        ) as client:
            for _ in range(_REDIRECTS + 1):
                came = await self._send(client, request, url)
                target = came.headers.get("location", "")
                if came.status not in {301, 302, 303, 307, 308} or not target:
                    return came
                target = urljoin(url, target)
                if not same_origin(url, target):
                    host = urlsplit(target).hostname
                    raise Refused(f"the service sends on to another host ({host}), which is not followed")
                if came.status not in {307, 308} and request.method not in {"GET", "HEAD"}:
                    raise Refused(
                        f"the service answered {came.status} and wants another request, which is not made"
                    )
                url = target
        raise Refused(f"the service sent on more than {_REDIRECTS} times")

    async def _send(self, client: httpx2.AsyncClient, request: Outgoing, url: str) -> _Came:
        import httpx2

        whole = httpx2.URL(url)
        port = whole.port or (443 if whole.scheme == "https" else 80)
        trouble = "has no address"
        for address in await addresses(whole.host, port, private=self._service.on_own_network):
            sent = client.build_request(
                request.method,
                whole.copy_with(host=address),
                headers={**request.headers, "Host": whole.netloc.decode("ascii")},
                content=request.body,
                extensions={"sni_hostname": whole.host},
            )
            try:
                response = await client.send(sent, stream=True)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as exc:
                trouble = f"cannot be reached: {exc or type(exc).__name__}"
                continue
            except httpx2.TimeoutException as exc:
                raise TimeoutError from exc
            except (httpx2.HTTPError, httpx2.InvalidURL) as exc:
                raise Refused(f"the service broke off: {type(exc).__name__}: {exc}") from exc
            return await _read(response)
        raise Refused(f"the host {whole.host} {trouble}")

    def _answer(self, came: _Came, secrets: list[str]) -> ToolAnswer:
        kind = came.headers.get("content-type", "").split(";", 1)[0].strip().lower()
        said = f"{came.status} {came.reason}".strip()
        text = without(_text(came, kind), secrets)
        if came.status >= 400:
            wait = (
                f" (try again after {came.headers['retry-after']} s)" if "retry-after" in came.headers else ""
            )
            return failed(f"{self.definition.name}: the service answered {said}{wait}: {text[:_EXCERPT]}")
        if not came.raw:
            return answer(f"{said}, without content", limit=self._service.limit)
        if came.more:
            shown, missing = cut(text, self._service.limit, gone=1)
            return ToolAnswer(content=shown, truncated=missing)
        if kind == "application/json" or kind.endswith("+json"):
            try:
                value = json.loads(text, parse_constant=_refuse)
            except (ValueError, RecursionError):
                return failed(
                    f"{self.definition.name}: the service answered what is not JSON: {text[:_EXCERPT]}"
                )
            return answer(value, limit=self._service.limit)
        return answer(text, limit=self._service.limit)


async def _read(response: httpx2.Response) -> _Came:
    """The answer, no more of it than is wanted. Raises Refused, TimeoutError."""
    import httpx2

    raw = bytearray()
    try:
        packed = response.headers.get("content-encoding", "identity").lower()
        if packed != "identity":
            raise Refused(f"the service answered packed ({packed}), which was not asked for")
        async for chunk in response.aiter_raw():
            raw += chunk
            if len(raw) > MOST_BYTES:
                break
    except httpx2.TimeoutException as exc:
        raise TimeoutError from exc
    except httpx2.HTTPError as exc:
        raise Refused(f"the answer broke off: {type(exc).__name__}") from exc
    finally:
        await response.aclose()
    more = len(raw) > MOST_BYTES
    headers = {name.lower(): value for name, value in response.headers.items()}
    return _Came(response.status_code, response.reason_phrase, headers, bytes(raw[:MOST_BYTES]), more)


def _text(came: _Came, kind: str) -> str:
    """The content as text, or what it is instead."""
    textual = not kind or kind.startswith(_TEXTUAL) or kind.endswith(("+json", "+xml", "csv", "urlencoded"))
    if textual and b"\0" not in came.raw:
        try:
            return came.raw.decode("utf-8", "ignore" if came.more else "strict")
        except UnicodeDecodeError:
            if kind:
                return came.raw.decode("latin-1")
    size = f"more than {len(came.raw)}" if came.more else f"{len(came.raw)}"
    return f"[binary content, {kind or 'of unknown type'}, {size} bytes, is not shown]"


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no number")
