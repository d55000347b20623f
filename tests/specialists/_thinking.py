"""Specialists with a model: a script in this process, and what it was asked."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from _markets import EXAMPLES

from consort_agents import Context
from consort_agents.fake_llm import load_script, read_script
from consort_agents.models.port import Deliver, Reply, Request
from consort_agents.models.scripted import Scripted
from consort_shared.values import canonical

MODEL = EXAMPLES / "market-analysis" / "model.yaml"


class Overheard(Scripted):
    """A scripted model that remembers what it was asked."""

    def __init__(self, script: Any) -> None:
        super().__init__(script)
        self.asked: list[Request] = []

    async def ask(self, request: Request, deliver: Deliver | None = None, *, timeout: float = 600.0) -> Reply:
        self.asked.append(request)
        return await super().ask(request, deliver, timeout=timeout)

    def told(self, at: int = -1) -> Any:
        """The last thing the user said in a request."""
        return json.loads(self.asked[at].messages[-1].text)


@dataclass
class Desk:
    """Contexts of one agent after another, all before one model."""

    model: Overheard
    values: dict[str, Any] = field(default_factory=dict)

    def context(self, module: ModuleType, **more: Any) -> Context:
        context = Context.offline(
            values=self.values, model=self.model, profile=module.agent.own_profile, **more
        )
        context.means.agent = module.agent.name
        return context


def desk(script: str | None = None) -> Desk:
    """Before a script, or before that of the example."""
    return Desk(Overheard(load_script(MODEL) if script is None else read_script(script)))


def perform(module: ModuleType, inputs: dict[str, Any], context: Context) -> Any:
    """What the worker does with a task: inputs and result pass through the schemas as JSON."""
    [skill] = module.agent.skills.values()
    result = skill.result(skill.function(**skill.arguments(inputs, context)))
    return json.loads(canonical(result))
