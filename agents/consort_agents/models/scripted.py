"""A model that answers from a script: no network, no key, no cost, the same every time.

Carries out in this process what `playing` decides. `consort dev fake-llm` plays the same
scripts behind the Messages API, where the way over the wire is to be part of it.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from consort_agents.models.asked import Asked, asked_of, tokens_of
from consort_agents.models.caching import marked
from consort_agents.models.errors import ModelUnusable, TookTooLong, Unreachable
from consort_agents.models.finding import Opened, Source
from consort_agents.models.playing import Failing, Played, Playing, play
from consort_agents.models.port import Deliver, Reply, Request, SeenLimits
from consort_agents.models.refusals import refusal, seen_limits
from consort_agents.models.script import Script
from consort_agents.models.script_files import load_script
from consort_agents.models.wire import body_of, reply_of
from consort_shared.errors import InvalidInput

MODEL = "scripted"
"""The name of the model, where the script names none."""
_PIECE = 24
"""Characters that are delivered at a time."""


class Scripted:
    """A script as a provider. What it remembers (rules that were used up, limits) ends with the process."""

    name = "scripted"
    key = ""
    needs_network = False

    def __init__(self, script: Script) -> None:
        self.script = script
        self._played = Played()
        self._limits: SeenLimits | None = None

    async def ask(self, request: Request, deliver: Deliver | None = None, *, timeout: float = 600.0) -> Reply:
        asked = self._asked(request)
        self._played, playing = play(self.script, self._played, asked, time.time())
        self._limits = seen_limits(playing.headers) or self._limits
        try:
            async with asyncio.timeout(timeout):
                return await self._carried_out(playing, deliver, asked)
        except TimeoutError as exc:
            raise TookTooLong(f"no answer within {timeout:g} s") from exc

    async def count(self, request: Request) -> int:
        return tokens_of(body_of(request))

    def limits(self) -> SeenLimits | None:
        return self._limits

    async def close(self) -> None:
        return None

    def _asked(self, request: Request) -> Asked:
        key = self.script.keys[0] if self.script.keys else ""
        return asked_of(marked(body_of(request)), agent=request.agent, key=key)

    async def _carried_out(self, playing: Playing, deliver: Deliver | None, asked: Asked) -> Reply:
        await asyncio.sleep(playing.latency)
        failing, message = playing.failing, playing.message
        if failing is not None and (message is None or deliver is None):
            raise _error(failing, playing)
        assert message is not None  # a playing has a message or fails
        reply = reply_of(message, f"req_{asked.digest[:24]}")
        text = reply.text
        ends = (playing.cut, failing.within if failing is not None else None)
        end = min((n for n in ends if n is not None), default=len(text))
        if playing.stall:
            self._say(text[: min(end, len(text) // 2)], deliver)
            await asyncio.sleep(playing.stall)
            self._say(text[min(end, len(text) // 2) : end], deliver)
        else:
            self._say(text[:end], deliver)
        if failing is not None:
            raise _error(failing, playing)
        if playing.cut is not None:
            raise Unreachable(f"the answer broke off after {playing.cut} characters, as the script says")
        return reply

    @staticmethod
    def _say(text: str, deliver: Deliver | None) -> None:
        if deliver is not None:
            for at in range(0, len(text), _PIECE):
                deliver(text[at : at + _PIECE])


def _error(failing: Failing, playing: Playing) -> Exception:
    status = failing.status if failing.within is None or playing.message is None else 200
    headers: dict[str, Any] = {**playing.headers, **{k.lower(): v for k, v in failing.headers.items()}}
    return refusal(status, failing.type, failing.message, headers)


def _open(name: str) -> Opened:
    """`FILE`, or `FILE#MODEL` to be one of the models that the script names."""
    path, _, model = name.partition("#")
    try:
        script = load_script(path)
    except InvalidInput as exc:
        raise ModelUnusable(str(exc)) from exc
    if model and script.models and model not in script.models:
        raise ModelUnusable(f"{path} has no model {model!r}; it has {', '.join(script.models)}")
    return Scripted(script), model or (script.models[0] if script.models else MODEL)


def _trouble() -> str:
    chosen = os.environ.get("CONSORT_MODEL", "")
    return _why_not(chosen.removeprefix("scripted:")) if chosen.startswith("scripted:") else ""


def _why_not(name: str) -> str:
    try:
        _open(name)
    except ModelUnusable as exc:
        return str(exc)
    return ""


SOURCE = Source(_open, _trouble, takes="a file of rules, such as rules.yaml")
