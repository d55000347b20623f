"""Finding an agent by its name: importing the module it is defined in.

Knows nothing of the bus, so that the child process of an isolated slot can use it.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from pathlib import Path

from consort_agents.errors import AgentError
from consort_agents.kit import Agent

GROUP = "consort.agents"


def find_agent(name: str) -> Agent:
    """An agent by `module:attribute`, `file.py:attribute`, or the name of an installed one. Raises AgentError."""
    if ":" in name:
        return _load(name)
    installed = {entry.name: entry for entry in importlib.metadata.entry_points(group=GROUP)}
    if name not in installed:
        raise AgentError(
            f"no installed agent is named {name!r}; there are {', '.join(sorted(installed)) or 'none'}. "
            "One of your own is named by module:attribute"
        )
    return _load(installed[name].value)


def _load(reference: str) -> Agent:
    module_name, _, attribute = reference.rpartition(":")
    if module_name.endswith(".py"):
        path = Path(module_name)
        if not path.is_file():
            raise AgentError(f"there is no file {module_name}")
        sys.path.insert(0, str(path.resolve().parent))
        module_name = path.stem
    elif "" not in sys.path:
        sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        if exc.name is not None and not module_name.startswith(exc.name):
            raise AgentError(f"{module_name} needs the package {exc.name!r}, which is not installed") from exc
        raise AgentError(f"there is no module {module_name!r}") from exc
    found = getattr(module, attribute, None)
    if not isinstance(found, Agent):
        agents = [key for key, value in vars(module).items() if isinstance(value, Agent)]
        hint = f"; it has {', '.join(agents)}" if agents else "; it has no agent at all"
        raise AgentError(f"{module_name} has no agent named {attribute!r}{hint}")
    return found
