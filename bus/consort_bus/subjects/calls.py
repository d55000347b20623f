"""Subjects of what tasks ask models and tools: their journals, and calls of shared tools."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from consort_bus.subjects.parts import NUMBER, number_of, run_part, shaped, split, token_part


@dataclass(frozen=True, slots=True)
class JournalSubject:
    """The nth record, from 1, of what a task asked models, tools and others. Each is stored once."""

    agent: str
    run: str
    task: str
    n: int

    def __post_init__(self) -> None:
        token_part(self.agent)
        run_part(self.run)
        token_part(self.task)
        shaped(str(self.n), NUMBER, "number")

    def __str__(self) -> str:
        return f"journal.{self.agent}.{self.run}.{self.task}.{self.n}"

    @classmethod
    def parse(cls, subject: str) -> JournalSubject | None:
        tokens = split(subject, "journal", 4)
        try:
            return cls(tokens[0], tokens[1], tokens[2], number_of(tokens[3])) if tokens else None
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class ToolSubject:
    """A call of a tool on a host, or its answer to the agent that called; `id` tells one call from another."""

    what: Literal["call", "answer"]
    host: str
    agent: str
    run: str
    id: str

    def __post_init__(self) -> None:
        token_part(self.host)
        token_part(self.agent)
        run_part(self.run)
        token_part(self.id)

    def __str__(self) -> str:
        return f"tool.{self.what}.{self.host}.{self.agent}.{self.run}.{self.id}"

    @classmethod
    def parse(cls, subject: str) -> ToolSubject | None:
        tokens = split(subject, "tool", 5)
        if tokens is None or tokens[0] not in ("call", "answer"):
            return None
        try:
            what: Literal["call", "answer"] = "call" if tokens[0] == "call" else "answer"
            return cls(what, tokens[1], tokens[2], tokens[3], tokens[4])
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class ToolDoneSubject:
    """A host's own record of one piece of work within a run, whoever asks for it."""

    host: str
    run: str
    id: str

    def __post_init__(self) -> None:
        token_part(self.host)
        run_part(self.run)
        token_part(self.id)

    def __str__(self) -> str:
        return f"tool.done.{self.host}.{self.run}.{self.id}"

    @classmethod
    def parse(cls, subject: str) -> ToolDoneSubject | None:
        tokens = split(subject, "tool.done", 3)
        try:
            return cls(tokens[0], tokens[1], tokens[2]) if tokens else None
        except ValueError:
            return None
