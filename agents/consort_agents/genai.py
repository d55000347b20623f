"""Spans and metrics of what a skill does with models and tools, by the GenAI conventions.

    from consort_agents.genai import telemetry

    with telemetry().tool("search", tool_type="function") as call:
        ...
    with telemetry().inference("anthropic", request_model=model) as call:
        ...

The handler is that of `opentelemetry-util-genai`, which is in development as the
conventions are: only this module and whoever uses it know it. In an agent's process it
exports where the process does; in a program of somebody else where that does.
"""

from __future__ import annotations

from functools import lru_cache

from opentelemetry.util.genai.handler import TelemetryHandler

from consort_shared.telemetry import names

__all__ = ["TelemetryHandler", "telemetry"]


@lru_cache(maxsize=1)
def telemetry() -> TelemetryHandler:
    """The handler of this process. Call it within a skill: providers are set up by then."""
    return TelemetryHandler(instrumentation_scope_name=names.SCOPE)
