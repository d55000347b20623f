"""Subjects of what is kept under a key: in buckets, and as parts of artefacts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from consort_bus.subjects.names import NOBODY
from consort_bus.subjects.parts import (
    DIGEST,
    KEY,
    NUMBER,
    SKILL,
    number_of,
    run_part,
    shaped,
    split,
    token_part,
)


@dataclass(frozen=True, slots=True)
class OrchestratorSubject:
    """The sign of life of one orchestrator process."""

    name: str
    instance: str

    def __post_init__(self) -> None:
        token_part(self.name)
        token_part(self.instance)

    def __str__(self) -> str:
        return f"$KV.CONTROL.orchestrator.{self.name}.{self.instance}"

    @classmethod
    def parse(cls, subject: str) -> OrchestratorSubject | None:
        tokens = split(subject, "$KV.CONTROL", 3)
        try:
            return cls(tokens[1], tokens[2]) if tokens and tokens[0] == "orchestrator" else None
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class PauseSubject:
    """The mark that an agent is paused, or with None that all are."""

    agent: str | None

    def __post_init__(self) -> None:
        if self.agent is not None:
            token_part(self.agent)

    def __str__(self) -> str:
        kind, name = ("all", NOBODY) if self.agent is None else ("agent", self.agent)
        return f"$KV.CONTROL.pause.{kind}.{name}"

    @classmethod
    def parse(cls, subject: str) -> PauseSubject | None:
        tokens = split(subject, "$KV.CONTROL", 3)
        if tokens is None or tokens[0] != "pause" or tokens[1] not in ("agent", "all"):
            return None
        if tokens[1] == "all":
            return cls(None) if tokens[2] == NOBODY else None
        try:
            return cls(tokens[2])
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class KeySubject:
    """Which run a client's idempotency key stands for; the key itself is anything, so its digest stands here."""

    client: str
    digest: str

    def __post_init__(self) -> None:
        token_part(self.client)
        token_part(self.digest)

    def __str__(self) -> str:
        return f"$KV.CONTROL.submit.{self.client}.{self.digest}"

    @classmethod
    def of(cls, client: str, key: str) -> KeySubject:
        return cls(client, hashlib.sha256(key.encode()).hexdigest()[:32])

    @classmethod
    def parse(cls, subject: str) -> KeySubject | None:
        tokens = split(subject, "$KV.CONTROL", 3)
        try:
            return cls(tokens[1], tokens[2]) if tokens and tokens[0] == "submit" else None
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class ContextSubject:
    """One key of a run's context."""

    run: str
    key: str

    def __post_init__(self) -> None:
        run_part(self.run)
        shaped(self.key, KEY, "context key")

    def __str__(self) -> str:
        return f"$KV.CONTEXT.{self.run}.{self.key}"

    @classmethod
    def parse(cls, subject: str) -> ContextSubject | None:
        tokens = split(subject, "$KV.CONTEXT", 2)
        try:
            return cls(tokens[0], tokens[1]) if tokens else None
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class AgentSubject:
    """The card of one running instance of an agent."""

    agent: str
    instance: str

    def __post_init__(self) -> None:
        token_part(self.agent)
        token_part(self.instance)

    def __str__(self) -> str:
        return f"$KV.AGENTS.{self.agent}.{self.instance}"

    @classmethod
    def parse(cls, subject: str) -> AgentSubject | None:
        tokens = split(subject, "$KV.AGENTS", 2)
        try:
            return cls(tokens[0], tokens[1]) if tokens else None
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class WaitingSubject:
    """A run that waits for an agent with a skill.

    The dots of the skill become slashes, which no skill contains and which the `nats` command
    accepts in a key: the skill must stay one token, or `research` would match `research.market`.
    """

    skill: str
    run: str

    def __post_init__(self) -> None:
        shaped(self.skill, SKILL, "skill")
        run_part(self.run)

    def __str__(self) -> str:
        return f"$KV.WAITING.{self.skill.replace('.', '/')}.{self.run}"

    @classmethod
    def parse(cls, subject: str) -> WaitingSubject | None:
        tokens = split(subject, "$KV.WAITING", 2)
        try:
            return cls(tokens[0].replace("/", "."), tokens[1]) if tokens else None
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class ChunkSubject:
    """One part of an artefact; the digest is that of the whole, parts count from 0."""

    role: str
    name: str
    digest: str
    chunk: int

    def __post_init__(self) -> None:
        token_part(self.role)
        token_part(self.name)
        shaped(self.digest, DIGEST, "digest")
        shaped(str(self.chunk), NUMBER, "number")

    def __str__(self) -> str:
        return f"artefact.{self.role}.{self.name}.{self.digest}.{self.chunk}"

    @classmethod
    def parse(cls, subject: str) -> ChunkSubject | None:
        tokens = split(subject, "artefact", 4)
        try:
            return cls(tokens[0], tokens[1], tokens[2], number_of(tokens[3])) if tokens else None
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class ToolboxSubject:
    """Which tools a host may serve, or that one of its processes lives (`instance`)."""

    host: str
    instance: str | None = None

    def __post_init__(self) -> None:
        token_part(self.host)
        if self.instance is not None:
            token_part(self.instance)

    def __str__(self) -> str:
        if self.instance is None:
            return f"$KV.TOOLBOX.approved.{self.host}.{NOBODY}"
        return f"$KV.TOOLBOX.alive.{self.host}.{self.instance}"

    @classmethod
    def parse(cls, subject: str) -> ToolboxSubject | None:
        tokens = split(subject, "$KV.TOOLBOX", 3)
        if tokens is None or tokens[0] not in ("approved", "alive"):
            return None
        if (tokens[0] == "approved") != (tokens[2] == NOBODY):
            return None
        try:
            return cls(tokens[1], None if tokens[0] == "approved" else tokens[2])
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class ProfileSubject:
    """The profile of an agent: who it is and how it works, in versions."""

    agent: str

    def __post_init__(self) -> None:
        token_part(self.agent)

    def __str__(self) -> str:
        return f"$KV.PROFILES.{self.agent}"

    @classmethod
    def parse(cls, subject: str) -> ProfileSubject | None:
        tokens = split(subject, "$KV.PROFILES", 1)
        try:
            return cls(tokens[0]) if tokens else None
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class RateSubject:
    """How much of a shared limit is used, such as that of one key of a provider."""

    key: str

    def __post_init__(self) -> None:
        token_part(self.key)

    def __str__(self) -> str:
        return f"$KV.RATES.{self.key}"

    @classmethod
    def parse(cls, subject: str) -> RateSubject | None:
        tokens = split(subject, "$KV.RATES", 1)
        try:
            return cls(tokens[0]) if tokens else None
        except ValueError:
            return None
