"""What an attempt thinks with, as the worker plugs it in. Data and defaults only.

The defaults are those of a context without a bus: no tools, no shared limits, the model that
the environment names.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from consort_agents.models.port import Provider
from consort_agents.pacing import Pacing, Unpaced
from consort_shared.profile import Profile

if TYPE_CHECKING:
    from consort_agents.tools.definition import Tool

SETTING = "CONSORT_MODEL"
"""The environment variable that names the model of a process whose agent names none."""


@dataclass(slots=True)
class Means:
    """What one attempt thinks with."""

    agent: str = ""
    model: str = ""
    """the model of the agent's code, where its profile names none"""
    providers: dict[str, Provider] = field(default_factory=dict)
    """those given by hand, by the reference that names a model of theirs"""
    tools: tuple[Tool, ...] = ()
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
