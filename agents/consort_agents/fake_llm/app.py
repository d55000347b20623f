"""The fake as a web application: the Messages API over a script.

    POST /v1/messages               JSON, or events with `stream: true`
    POST /v1/messages/count_tokens
    GET  /v1/models, /v1/models/ID
    GET  /_fake/requests            what was asked, for tests in other processes

Decides nothing about answers: `playing` does. Here is what belongs to the wire: status,
headers, the order of events, and connections that stall or break off.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from consort_agents.fake_llm.events import error_event, events_of
from consort_agents.fake_llm.record import Asking, Record
from consort_agents.fake_llm.requests import fault_of
from consort_agents.models.anthropic import AGENT_HEADER
from consort_agents.models.asked import Asked, asked_of, tokens_of
from consort_agents.models.playing import ERROR_TYPES, Failing, Played, Playing, play
from consort_agents.models.script import Script


class BrokenOff(Exception):
    """The connection is to end here, in the midst of the answer."""


class _Streamed(Response):
    """Plays a message as events, with its stall, its cut and the error that interrupts it."""

    def __init__(self, playing: Playing, request_id: str, headers: Mapping[str, str]) -> None:
        super().__init__(headers={**headers, "content-type": "text/event-stream; charset=utf-8"})
        del self.headers["content-length"]
        self.playing = playing
        self.request_id = request_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        playing = self.playing
        assert playing.message is not None  # whoever has none gets no stream
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        within = playing.failing.within if playing.failing is not None else None
        ends = [end for end in (playing.cut, within) if end is not None]
        text = sum(len(block["text"]) for block in playing.message["content"] if block["type"] == "text")
        shown, stalled = 0, not playing.stall
        for event in events_of(playing.message, min(ends, default=None)):
            await send({"type": "http.response.body", "body": event.wire, "more_body": True})
            shown += event.text
            if not stalled and (shown > text // 2 or event.data["type"] == "content_block_stop"):
                stalled = True
                await asyncio.sleep(playing.stall)
        if within is not None and playing.failing is not None:
            failed = error_event(playing.failing.type, playing.failing.message, self.request_id)
            await send({"type": "http.response.body", "body": failed.wire, "more_body": True})
        elif playing.cut is not None:
            raise BrokenOff
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Cut(Response):
    """A JSON answer of which so many bytes come."""

    def __init__(self, body: Mapping[str, Any], cut: int, headers: Mapping[str, str]) -> None:
        super().__init__(json.dumps(body), headers=dict(headers), media_type="application/json")
        self.cut = cut

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        part = bytes(self.body)[: self.cut]
        await send({"type": "http.response.body", "body": part, "more_body": True})
        raise BrokenOff


class FakeApi:
    """One fake: a script, what it has played, and the record of what was asked."""

    def __init__(self, script: Script, record: Record) -> None:
        self.script = script
        self.record = record
        self._played = Played()
        self._count = 0
        self.app = Starlette(
            routes=[
                Route("/v1/messages", self._messages, methods=["POST"]),
                Route("/v1/messages/count_tokens", self._count_tokens, methods=["POST"]),
                Route("/v1/models", self._models),
                Route("/v1/models/{model:path}", self._model),
                Route("/_fake/requests", self._requests),
            ]
        )

    async def _messages(self, request: HttpRequest) -> Response:
        self._count += 1
        headers = {"request-id": f"req_{self._count:024d}"}
        body = await _body(request)
        if told := fault_of(body):
            agent = request.headers.get(AGENT_HEADER, "")
            failing = Failing(400, ERROR_TYPES[400], told)
            self._take_down(agent, "", body, failing, Playing(failing=failing, rule="invalid"))
            return _failed(failing, headers)
        asked = asked_of(body, agent=_agent(request, body), key=_key(request))
        self._played, playing = play(self.script, self._played, asked, time.time())
        stream = bool(body.get("stream"))
        failing_at_once = playing.failing if not (stream and playing.message) else None
        self._take_down(asked.agent, asked.digest, body, failing_at_once, playing)
        await asyncio.sleep(playing.latency)
        return await self._answer(playing, {**headers, **playing.headers}, asked, stream=stream)

    async def _answer(
        self, playing: Playing, headers: Mapping[str, str], asked: Asked, *, stream: bool
    ) -> Response:
        if playing.message is None or (playing.failing is not None and not stream):
            assert playing.failing is not None  # a playing has a message or fails
            return _failed(playing.failing, headers)
        if stream:
            return _Streamed(playing, headers["request-id"], headers)
        await asyncio.sleep(playing.stall)
        if playing.cut is not None:
            return _Cut(playing.message, playing.cut, headers)
        return JSONResponse(dict(playing.message), headers=dict(headers))

    async def _count_tokens(self, request: HttpRequest) -> Response:
        body = await _body(request)
        if told := fault_of(body, counting=True):
            return _failed(Failing(400, ERROR_TYPES[400], told), {})
        return JSONResponse({"input_tokens": tokens_of(body)})

    async def _models(self, request: HttpRequest) -> Response:
        data = [_described(model) for model in self.script.models]
        first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
        return JSONResponse({"data": data, "has_more": False, "first_id": first, "last_id": last})

    async def _model(self, request: HttpRequest) -> Response:
        model = request.path_params["model"]
        if model not in self.script.models:
            return _failed(Failing(404, ERROR_TYPES[404], f"model: {model}"), {})
        return JSONResponse(_described(model))

    async def _requests(self, request: HttpRequest) -> Response:
        asked = [asdict(asking) for asking in self.record.requests]
        return JSONResponse({"distinct": self.record.distinct(), "requests": asked})

    def _take_down(
        self, agent: str, digest: str, body: Any, failing: Failing | None, playing: Playing
    ) -> None:
        answer = playing.message if failing is None else _error_body(failing, "")
        self.record.add(
            Asking(
                time=time.time(),
                agent=agent,
                digest=digest,
                status=failing.status if failing is not None else 200,
                rule=playing.rule,
                stream=isinstance(body, dict) and bool(body.get("stream")),
                body=body if isinstance(body, dict) else {},
                answer=answer or {},
            )
        )


async def _body(request: HttpRequest) -> Any:
    try:
        return json.loads(await request.body())
    except ValueError:
        return None


def _agent(request: HttpRequest, body: Mapping[str, Any]) -> str:
    return request.headers.get(AGENT_HEADER) or str((body.get("metadata") or {}).get("user_id") or "")


def _key(request: HttpRequest) -> str:
    bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
    return request.headers.get("x-api-key") or bearer


def _described(model: str) -> dict[str, Any]:
    return {"type": "model", "id": model, "display_name": model, "created_at": "2026-01-01T00:00:00Z"}


def _error_body(failing: Failing, request_id: str) -> dict[str, Any]:
    error = {"type": failing.type, "message": failing.message}
    return {"type": "error", "error": error, "request_id": request_id}


def _failed(failing: Failing, headers: Mapping[str, str]) -> Response:
    merged = {**headers, **{name.lower(): value for name, value in failing.headers.items()}}
    return JSONResponse(
        _error_body(failing, merged.get("request-id", "")), status_code=failing.status, headers=merged
    )
