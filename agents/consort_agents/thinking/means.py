"""What an attempt thinks with, as the worker plugs it in. Data and defaults only.

The defaults are those of a context without a bus: no journal that outlives the process,
no shared limits, the model that the environment names.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from consort_agents.journal.port import Call, CallKind, Journal, Recorded
from consort_agents.models.port import Provider
from consort_agents.pacing import Pacing, Unpaced
from consort_agents.tools.definition import Tool
from consort_shared.profile import Profile
from consort_shared.values import Json

SETTING = "CONSORT_MODEL"
"""The environment variable that names the model of a process whose agent names none."""


class Unkept:
    """A journal that keeps nothing: every call is made."""

    replaying = False

    def __init__(self) -> None:
        self._made = 0

    async def call(
        self,
        kind: CallKind,
        name: str,
        request: Json,
        perform: Callable[[Call], Awaitable[Json]],
        *,
        wait: bool = False,
        shown: Mapping[str, Any] | None = None,
    ) -> Recorded:
        self._made += 1
        call = Call(self._made, secrets.token_hex(16), again=False)
        return Recorded(call.n, call.id, await perform(call), replayed=False)


@dataclass(slots=True)
class Means:
    """What one attempt thinks with."""

    agent: str = ""
    model: str = ""
    """the model of the agent's code, where its profile names none"""
    providers: dict[str, Provider] = field(default_factory=dict)
    """those given by hand, by the reference that names a model of theirs"""
    tools: tuple[Tool, ...] = ()
    journal: Journal = field(default_factory=Unkept)
    pacing: Pacing = field(default_factory=Unpaced)
    now: Callable[[], float] = time.time
    """seconds since 1970 by the clock that deadlines are kept by"""
    cannot: str = ""
    """why no model can be asked here at all, in one sentence; empty where it can"""

    def reference(self, profile: Profile, asked: str | None = None) -> str:
        """Which model is meant: that of the call, the profile, the agent, or the environment; empty for none."""
        return asked or profile.model or self.model or os.environ.get(SETTING, "").strip()

    def name_model(self, model: str | Provider) -> None:
        """Take a model by its name, or a provider itself."""
        if isinstance(model, str):
            self.model = model
        else:
            self.model = f"{model.name}:{model.name}"
            self.providers[self.model] = model
