"""The commands that mend what is found, as they are to be typed for the bus that was examined."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

DEFAULT_FOLDER = ".consort"


@dataclass(frozen=True, slots=True)
class Commands:
    """Which bus: the one of a folder, or one elsewhere with the operator's credentials."""

    folder: str = DEFAULT_FOLDER
    server: str = ""
    creds: str = ""
    installed: frozenset[str] = frozenset()
    """agents that can be started by their name"""

    @property
    def own(self) -> bool:
        """Whether it is the bus of a folder on this machine."""
        return not self.server

    def operator(self, words: str) -> str:
        """A command that is given with the credentials in use."""
        return self._with(words, self.creds)

    def provisioner(self, words: str) -> str:
        """A command that changes how the bus is set up."""
        return self._with(words, "provisioner.creds")

    def orchestrator(self) -> str:
        """What starts an orchestrator."""
        return self._with("orchestrator start", "orchestrator.creds")

    def agent(self, name: str) -> str:
        """What starts a process of an agent."""
        if name in self.installed:
            return self._with(f"agent start {name}", f"{name}.creds")
        return self._with("agent start FILE.py:NAME", f"{name}.creds") + f"   # where agent {name} is defined"

    def agent_for(self, skill: str, agent: str | None) -> str:
        """What starts a process of an agent that offers a skill, if one is known."""
        if agent is not None:
            return self.agent(agent)
        return self._with("agent start NAME", "NAME.creds") + f"   # NAME: an agent that offers {skill}"

    def any_agent(self) -> str:
        """What starts an agent, whichever is wanted."""
        name = min(self.installed, default="NAME")
        return self._with(f"agent start {name}", f"{name}.creds")

    def local(self, words: str) -> str:
        """A command about this machine's folder."""
        more = "" if self.folder == DEFAULT_FOLDER else f" --folder {shlex.quote(self.folder)}"
        return f"consort {words}{more}"

    def _with(self, words: str, creds: str) -> str:
        if self.own:
            return self.local(words)
        return f"consort {words} --server {shlex.quote(self.server)} --creds {shlex.quote(creds)}"
