"""Claude, and every server that speaks the Messages API, through the official SDK.

Translates, calls, and says what went wrong; whether to try again is decided by whoever
asks, so the SDK's own retries and spans are off. The SDK takes over a second to import:
that happens in a thread, with the first call. The key stays in here: it is in no error,
no log and no `key`, which names the account by a digest.

Settings (environment): `ANTHROPIC_API_KEY` or `ANTHROPIC_AUTH_TOKEN`, `ANTHROPIC_BASE_URL`.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from consort_agents.models.caching import marked
from consort_agents.models.errors import (
    KeyRefused,
    ModelError,
    ModelUnusable,
    NoKey,
    RequestRefused,
    TookTooLong,
    Unreachable,
)
from consort_agents.models.finding import Opened, Source
from consort_agents.models.port import Deliver, Reply, Request, SeenLimits
from consort_agents.models.refusals import refusal, seen_limits, without
from consort_agents.models.wire import Body, body_of, reply_of
from consort_shared.telemetry.redacting import redacted_text

if TYPE_CHECKING:
    import httpx2
    from anthropic import AsyncAnthropic

PUBLIC = "https://api.anthropic.com"
AGENT_HEADER = "x-consort-agent"
"""Who asks, told to servers of one's own (such as `consort dev fake-llm`) and never to the public one."""
CONNECT_SECONDS = 10.0
_NO_KEY = (
    "there is no key for Claude: set ANTHROPIC_API_KEY (or ANTHROPIC_AUTH_TOKEN), or ANTHROPIC_BASE_URL for a "
    "compatible server of your own. Without a key, CONSORT_MODEL=scripted:FILE answers from a file of rules, "
    "and the specialists that ship compute without a model"
)
_WITHOUT = "none"
_NOT_UNDERSTOOD = (ValueError, RuntimeError, TypeError, AttributeError, AssertionError, LookupError)
"""What the SDK raises for what it did not expect."""
_ELSEWHERE = ("ANTHROPIC_PROFILE", "ANTHROPIC_FEDERATION_RULE_ID")
"""Settings of the SDK for credentials that are no key; it resolves them itself."""


class Anthropic:
    """The Messages API behind the port. `http_client` is for tests: an in-process transport in place of a socket.

    Raises NoKey if there is no key, and the server is the public one.
    """

    name = "anthropic"
    needs_network = True

    def __init__(
        self,
        *,
        api_key: str | None = None,
        auth_token: str | None = None,
        base_url: str | None = None,
        http_client: httpx2.AsyncClient | None = None,
    ) -> None:
        if api_key is None and auth_token is None:
            api_key, auth_token = _setting("ANTHROPIC_API_KEY"), _setting("ANTHROPIC_AUTH_TOKEN")
        self.base_url = _address(base_url or _setting("ANTHROPIC_BASE_URL") or PUBLIC)
        self.public = self.base_url == PUBLIC
        if api_key is None and auth_token is None and not any(map(_setting, _ELSEWHERE)):
            if self.public:
                raise NoKey(_NO_KEY)
            api_key = _WITHOUT  # a server of one's own may want no key, but the SDK wants to send one
        self._api_key = _usable("ANTHROPIC_API_KEY", api_key)
        self._auth_token = _usable("ANTHROPIC_AUTH_TOKEN", auth_token if api_key is None else None)
        secret = self._api_key or self._auth_token or "".join(_setting(name) or "" for name in _ELSEWHERE)
        self.key = f"anthropic-{hashlib.sha256(f'{self.base_url}{secret}'.encode()).hexdigest()[:8]}"
        self._http = http_client
        self._client: AsyncAnthropic | None = None
        self._making = asyncio.Lock()
        self._limits: SeenLimits | None = None

    async def ask(self, request: Request, deliver: Deliver | None = None, *, timeout: float = 600.0) -> Reply:
        async with self._calling(timeout) as client:
            body = marked(_strict(body_of(request)))
            options = self._options(request, timeout)
            if deliver is None:
                raw = await client.messages.with_raw_response.create(**body, **options)
                self._heed(raw.headers)
                reply = reply_of(_json(await raw.text()), raw.headers.get("request-id", ""))
            else:
                reply = await self._stream(client, body, options, deliver)
        return reply

    async def count(self, request: Request) -> int:
        async with self._calling(60.0) as client:
            body = _strict(body_of(request))
            for name in ("max_tokens", "stop_sequences"):
                body.pop(name, None)
            counted = await client.messages.count_tokens(**body, **self._options(request, 60.0))
            return counted.input_tokens

    def limits(self) -> SeenLimits | None:
        return self._limits

    async def close(self) -> None:
        client, self._client, self._making = self._client, None, asyncio.Lock()
        if client is not None:
            await client.close()

    async def _stream(self, client: AsyncAnthropic, body: Body, options: Body, deliver: Deliver) -> Reply:
        whole = False
        async with client.messages.stream(**body, **options) as stream:
            self._heed(stream.response.headers)
            async for event in stream:
                if event.type == "content_block_delta" and event.delta.type == "text_delta":
                    deliver(event.delta.text)
                whole = whole or event.type == "message_stop"
            if not whole:
                raise Unreachable("the answer broke off: the stream ended before its last event")
            message = stream.current_message_snapshot.to_dict(mode="json")
            return reply_of(message, stream.response.headers.get("request-id", ""))

    @asynccontextmanager
    async def _calling(self, timeout: float) -> AsyncIterator[AsyncAnthropic]:
        """The client, for one call: what it raises becomes an error of ours, and it takes no longer than `timeout`.

        Causes are left out: their texts are the provider's, in which the prompt may be quoted.
        """
        client = await self._made()
        import anthropic
        import httpx2

        try:
            async with asyncio.timeout(timeout):
                yield client
        except anthropic.APIStatusError as exc:
            self._heed(exc.response.headers)
            raise self._refused(exc) from None
        except (anthropic.APITimeoutError, TimeoutError) as exc:
            if isinstance(exc.__cause__, httpx2.ConnectTimeout):
                raise Unreachable(f"no connection to {self.base_url} came about") from None
            raise TookTooLong(f"no answer within {timeout:g} s") from None
        except (anthropic.APIConnectionError, httpx2.TransportError) as exc:
            raise Unreachable(self._unreachable(exc)) from None
        except anthropic.CredentialsError as exc:
            raise KeyRefused(f"the credentials cannot be used: {self._clean(str(exc))}") from None
        except _NOT_UNDERSTOOD as exc:
            # Answers that are no JSON, events in an impossible order: servers that only nearly speak the API.
            told = self._clean(f"{type(exc).__name__}: {exc}")
            raise ModelError(f"the answer cannot be understood: {told}") from None
        except anthropic.AnthropicError as exc:
            raise ModelError(f"the answer did not come: {self._clean(str(exc))}") from None

    async def _made(self) -> AsyncAnthropic:
        async with self._making:
            if self._client is None:
                self._client = await asyncio.to_thread(self._make)
            return self._client

    def _make(self) -> AsyncAnthropic:
        import anthropic

        try:
            return anthropic.AsyncAnthropic(
                api_key=self._api_key,
                auth_token=self._auth_token,
                base_url=self.base_url,
                max_retries=0,
                open_telemetry={"traces": False},
                http_client=self._http,
            )
        except anthropic.AnthropicError as exc:
            raise ModelUnusable(f"the credentials cannot be used: {self._clean(str(exc))}") from None

    def _options(self, request: Request, timeout: float) -> Body:
        import httpx2

        options: Body = {"timeout": httpx2.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS))}
        if request.agent and not self.public:
            options["extra_headers"] = {AGENT_HEADER: request.agent}
        return options

    def _heed(self, headers: Mapping[str, str]) -> None:
        self._limits = seen_limits(headers) or self._limits

    def _refused(self, exc: Any) -> ModelError:
        return refusal(
            exc.response.status_code,
            exc.type or "",
            exc.api_message or exc.message,
            exc.response.headers,
            request_id=exc.request_id or "",
            secrets=self._secrets,
            asked=self._asked,
        )

    @property
    def _asked(self) -> str:
        if self._api_key and self._api_key != _WITHOUT:
            using = "the key is that in ANTHROPIC_API_KEY"
        elif self._auth_token:
            using = "the token is that in ANTHROPIC_AUTH_TOKEN"
        else:
            using = "ANTHROPIC_API_KEY is not set"
        return f"{self.base_url} was asked, {using}"

    def _unreachable(self, exc: Exception) -> str:
        cause = exc.__cause__ or exc
        return f"no connection to {self.base_url}, or it broke off: {self._clean(str(cause)) or type(cause).__name__}"

    def _clean(self, text: str) -> str:
        return redacted_text(without(text, self._secrets))

    @property
    def _secrets(self) -> tuple[str, ...]:
        return tuple(secret for secret in (self._api_key, self._auth_token) if secret and secret != _WITHOUT)


def _strict(body: Body) -> Body:
    """The body with its schema in the form that the API takes. What it cannot say is asked for in words instead."""
    output = body.get("output_config", {})
    if "format" not in output:
        return body
    from anthropic import transform_schema

    schema = output["format"]["schema"]
    if _has_free_keys(schema):
        left = {key: value for key, value in output.items() if key != "format"}
        words = (
            f"Answer with one JSON value, and nothing else, that fits this JSON Schema:\n{_written(schema)}"
        )
        made = {**body, "system": "\n\n".join(part for part in (body.get("system", ""), words) if part)}
        del made["output_config"]
        return {**made, "output_config": left} if left else made
    try:
        strict = transform_schema(schema)
    except (ValueError, TypeError, AttributeError, AssertionError) as exc:
        raise RequestRefused(f"the schema of the answer cannot be used: {exc}") from exc
    return {**body, "output_config": {**output, "format": {"type": "json_schema", "schema": strict}}}


def _has_free_keys(schema: Any) -> bool:
    """Whether a schema has objects whose keys are not listed, which the API's strict form cannot say."""
    if isinstance(schema, list):
        return any(map(_has_free_keys, schema))
    if not isinstance(schema, dict):
        return False
    mapping = schema.get("type") == "object" and not schema.get("properties")
    if mapping and schema.get("additionalProperties") is not False:
        return True
    if isinstance(schema.get("additionalProperties"), dict):
        return True
    if not schema or set(schema) <= {"title", "description", "default"}:
        return True  # anything at all
    parts = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()]
    parts += [schema[key] for key in ("items", "anyOf", "oneOf", "allOf") if key in schema]
    return any(map(_has_free_keys, parts))


def _written(schema: Any) -> str:
    import json

    return json.dumps(schema, ensure_ascii=False)


def _json(text: str) -> Any:
    import json

    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    return value


def _setting(name: str) -> str | None:
    return os.environ.get(name, "").strip() or None


def _usable(name: str, secret: str | None) -> str | None:
    # Sent in a header, such a key would be quoted by the HTTP library's complaint about it.
    if secret is not None and not (secret.isascii() and secret.isprintable() and " " not in secret):
        raise NoKey(f"{name} is no key: it has spaces, line breaks or letters that no key has")
    return secret


def _address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ModelUnusable(
            f"ANTHROPIC_BASE_URL must be the address of a server, such as http://127.0.0.1:8080, is {url!r}"
        )
    if parts.username or parts.password:
        raise ModelUnusable("ANTHROPIC_BASE_URL must hold no password; the key has a setting of its own")
    return url.rstrip("/").removesuffix("/v1")


_instances: dict[str, Anthropic] = {}


def _open(model: str) -> Opened:
    """One instance, so one set of connections, for all models of an account."""
    made = Anthropic()
    return _instances.setdefault(made.key, made), model


def _trouble() -> str:
    try:
        Anthropic()
    except ModelUnusable as exc:
        return str(exc)
    return ""


SOURCE = Source(_open, _trouble, takes="the name of a model, such as claude-sonnet-5-5")
