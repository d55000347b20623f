"""Every subject, stream name and consumer name, and nothing else.

The only place with subject strings: whoever needs one builds it here from parts
that have been checked, and whoever receives one parses it here. A part is refused
with ValueError before it can become a subject, because a dot or a star in it
would change whom the subject addresses. `parse` gives None for anything that is
not exactly of its kind.

    LOG        log.<run>.entry.<agent or ->.<kind>     log.<run>.copy.<agent>.<task>
    INBOX      in.<agent|client|person>.<who>.<run>, stored as inbox.<shard>.<kind>.<who>.<run>;
               a timer that fired is stored as inbox.<shard>.timer.-.<run>
    TIMERS     timer.set.<run>                         timer.fire.<run>
    DEAD       dead.<stream>.<run or ->, and what became of each: dead.settled.<sequence>
    CONTEXT    $KV.CONTEXT.<run>.<key>
    AGENTS     $KV.AGENTS.<agent>.<instance>
    WAITING    $KV.WAITING.<skill, its dots as slashes>.<run>
    CONTROL    $KV.CONTROL.orchestrator.<name>.<instance>   $KV.CONTROL.pause.<agent|all>.<name or ->
               $KV.CONTROL.submit.<client>.<digest of the client's key>
    ARTEFACTS  artefact.<role>.<name>.<digest>.<chunk>
    JOURNAL    journal.<agent>.<run>.<task>.<n>
    TOOLS      tool.call.<host>.<agent>.<run>.<id>   tool.done.<host>.<run>.<id>   tool.answer.<host>.<agent>.<run>.<id>
    TOOLBOX    $KV.TOOLBOX.approved.<host>.-   $KV.TOOLBOX.alive.<host>.<instance>
    PROFILES   $KV.PROFILES.<agent>
    RATES      $KV.RATES.<key>
    unstored   live.<run>.<agent>.<task>   ctl.<agent>   api.<verb>.<who>   _INBOX.<role>.<name>.…
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

from consort_shared.ids import NAME_PATTERN, SKILL_PATTERN, is_run_id, is_token

LOG, INBOX, TIMERS, DEAD, ARTEFACTS = "LOG", "INBOX", "TIMERS", "DEAD", "ARTEFACTS"
JOURNAL, TOOLS = "JOURNAL", "TOOLS"
CONTEXT, AGENTS, WAITING, CONTROL = "KV_CONTEXT", "KV_AGENTS", "KV_WAITING", "KV_CONTROL"
TOOLBOX, PROFILES, RATES = "KV_TOOLBOX", "KV_PROFILES", "KV_RATES"
STREAMS = (
    LOG,
    INBOX,
    TIMERS,
    DEAD,
    CONTEXT,
    AGENTS,
    WAITING,
    CONTROL,
    ARTEFACTS,
    JOURNAL,
    TOOLS,
    TOOLBOX,
    PROFILES,
    RATES,
)

SHARDS = 32
"""Parts of the inbox; a run belongs to exactly one, chosen by the server."""
NOBODY = "-"
"""Stands where an agent, a sender or a run would, when there is none."""

ENTRIES_FILTER, COPIES_FILTER = "log.*.entry.*.*", "log.*.copy.*.*"
INCOMING_FILTERS = ("in.agent.*.*", "in.client.*.*", "in.person.*.*")
TIMER_SET_FILTER, TIMER_FIRE_FILTER = "timer.set.*", "timer.fire.*"
DEAD_FILTER, SETTLED_FILTER = "dead.*.*", "dead.settled.*"
CONTROL_FILTER = "$KV.CONTROL.*.*.*"
ORCHESTRATORS_FILTER, PAUSES_FILTER = "$KV.CONTROL.orchestrator.*.*", "$KV.CONTROL.pause.*.*"
CONTEXT_FILTER, AGENTS_FILTER, WAITING_FILTER = "$KV.CONTEXT.*.*", "$KV.AGENTS.*.*", "$KV.WAITING.*.*"
ARTEFACTS_FILTER = "artefact.*.*.*.*"
JOURNAL_FILTER = "journal.*.*.*.*"
TOOL_CALLS_FILTER, TOOL_DONE_FILTER = "tool.call.*.*.*.*", "tool.done.*.*.*"
TOOL_ANSWERS_FILTER = "tool.answer.*.*.*.*"
TOOLBOX_FILTER, PROFILES_FILTER, RATES_FILTER = "$KV.TOOLBOX.*.*.*", "$KV.PROFILES.*", "$KV.RATES.*"
LIVE_FILTER, API_FILTER = "live.*.*.*", "api.*.*"
WHATEVER_IS_SAID = ">"

INCOMING_TRANSFORM = {
    "src": "in.*.*.*",
    "dest": f"inbox.{{{{partition({SHARDS},3)}}}}.{{{{wildcard(1)}}}}.{{{{wildcard(2)}}}}"
    ".{{wildcard(3)}}",
}
"""How the inbox stores what it is sent: under the shard of the run, which is the third wildcard."""
TIMER_TRANSFORM = {
    "src": TIMER_FIRE_FILTER,
    "dest": f"inbox.{{{{partition({SHARDS},1)}}}}.timer.{NOBODY}.{{{{wildcard(1)}}}}",
}
"""How the inbox stores a timer that fired: partitioned over the run alone, so under the same shard."""

SenderKind = Literal["agent", "client", "person"]
InboxKind = Literal["agent", "client", "person", "timer"]

_digest = re.compile(r"[0-9a-f]{64}")
_key = re.compile(NAME_PATTERN.strip("^$"))
_skill = re.compile(SKILL_PATTERN.strip("^$"))
_stream = re.compile(r"[A-Z][A-Z_]{0,31}")
_number = re.compile(r"0|[1-9][0-9]{0,8}")
_long_number = re.compile(r"[1-9][0-9]{0,18}")


@lru_cache(maxsize=8192)
def _run(text: str) -> str:
    if not is_run_id(text) or len(text) != 32:
        raise ValueError(f"{text!r} is no run id")
    return text


@lru_cache(maxsize=8192)
def _token(text: str) -> str:
    if not is_token(text) or text.endswith("\n"):
        raise ValueError(f"{text!r} cannot be part of a subject: lower-case letters, digits, _ and - only")
    return text


def _shaped(text: str, shape: re.Pattern[str], what: str) -> str:
    if shape.fullmatch(text) is None:
        raise ValueError(f"{text!r} is no {what}")
    return text


def _number_of(text: str) -> int:
    return int(_shaped(text, _number, "number"))


def _split(subject: str, head: str, count: int) -> list[str] | None:
    """The tokens after `head`, if the subject starts with it and `count` tokens follow."""
    if not subject.startswith(head + "."):
        return None
    tokens = subject[len(head) + 1 :].split(".")
    return tokens if len(tokens) == count else None


@dataclass(frozen=True, slots=True)
class EntrySubject:
    """An entry of a run; `agent` is the addressee of the one task it grants, or None."""

    run: str
    agent: str | None
    kind: str

    def __post_init__(self) -> None:
        _run(self.run)
        _token(self.kind)
        if self.agent is not None:
            _token(self.agent)

    def __str__(self) -> str:
        return f"log.{self.run}.entry.{self.agent or NOBODY}.{self.kind}"

    @classmethod
    def parse(cls, subject: str) -> EntrySubject | None:
        tokens = _split(subject, "log", 4)
        if tokens is None or tokens[1] != "entry":
            return None
        try:
            return cls(tokens[0], None if tokens[2] == NOBODY else tokens[2], tokens[3])
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class CopySubject:
    """The delivery to one agent of an entry that grants several tasks."""

    run: str
    agent: str
    task: str

    def __post_init__(self) -> None:
        _run(self.run)
        _token(self.agent)
        _token(self.task)

    def __str__(self) -> str:
        return f"log.{self.run}.copy.{self.agent}.{self.task}"

    @classmethod
    def parse(cls, subject: str) -> CopySubject | None:
        tokens = _split(subject, "log", 4)
        if tokens is None or tokens[1] != "copy":
            return None
        try:
            return cls(tokens[0], tokens[2], tokens[3])
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class IncomingSubject:
    """Where an agent, a client or a person tells a run something; the server checks `who`."""

    kind: SenderKind
    who: str
    run: str

    def __post_init__(self) -> None:
        if self.kind not in get_args(SenderKind):
            raise ValueError(f"{self.kind!r} sends nothing to the inbox")
        _token(self.who)
        _run(self.run)

    def __str__(self) -> str:
        return f"in.{self.kind}.{self.who}.{self.run}"

    @classmethod
    def parse(cls, subject: str) -> IncomingSubject | None:
        tokens = _split(subject, "in", 3)
        try:
            return cls(tokens[0], tokens[1], tokens[2]) if tokens else None  # type: ignore[arg-type] # checked
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class InboxSubject:
    """How the inbox stores a message; `who` is None for a timer. Only the server writes these."""

    shard: int
    kind: InboxKind
    who: str | None
    run: str

    def __post_init__(self) -> None:
        if not 0 <= self.shard < SHARDS:
            raise ValueError(f"{self.shard} is no shard")
        if self.kind not in get_args(InboxKind) or (self.kind == "timer") != (self.who is None):
            raise ValueError(f"{self.kind!r} of {self.who!r} cannot be in the inbox")
        if self.who is not None:
            _token(self.who)
        _run(self.run)

    def __str__(self) -> str:
        return f"inbox.{self.shard}.{self.kind}.{self.who or NOBODY}.{self.run}"

    @classmethod
    def parse(cls, subject: str) -> InboxSubject | None:
        tokens = _split(subject, "inbox", 4)
        if tokens is None:
            return None
        shard, kind, who, run = tokens
        try:
            return cls(_number_of(shard), kind, None if who == NOBODY else who, run)  # type: ignore[arg-type] # checked
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class TimerSubject:
    """A run's one timer: where it is set, or where the server writes it when it is due."""

    phase: Literal["set", "fire"]
    run: str

    def __post_init__(self) -> None:
        if self.phase not in ("set", "fire"):
            raise ValueError(f"a timer is set or fires, not {self.phase!r}")
        _run(self.run)

    def __str__(self) -> str:
        return f"timer.{self.phase}.{self.run}"

    @classmethod
    def parse(cls, subject: str) -> TimerSubject | None:
        tokens = _split(subject, "timer", 2)
        try:
            return cls(tokens[0], tokens[1]) if tokens else None  # type: ignore[arg-type] # checked
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class DeadSubject:
    """A message of `stream` that was set aside; `run` is None when not even that could be read."""

    stream: str
    run: str | None

    def __post_init__(self) -> None:
        _shaped(self.stream, _stream, "stream")
        if self.run is not None:
            _run(self.run)

    def __str__(self) -> str:
        return f"dead.{self.stream}.{self.run or NOBODY}"

    @classmethod
    def parse(cls, subject: str) -> DeadSubject | None:
        tokens = _split(subject, "dead", 2)
        try:
            return cls(tokens[0], None if tokens[1] == NOBODY else tokens[1]) if tokens else None
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class SettledSubject:
    """What became of a dead letter; `letter` is its sequence in the stream."""

    letter: int

    def __post_init__(self) -> None:
        _shaped(str(self.letter), _long_number, "sequence")

    def __str__(self) -> str:
        return f"dead.settled.{self.letter}"

    @classmethod
    def parse(cls, subject: str) -> SettledSubject | None:
        tokens = _split(subject, "dead", 2)
        try:
            return cls(int(tokens[1])) if tokens and tokens[0] == "settled" else None
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class OrchestratorSubject:
    """The sign of life of one orchestrator process."""

    name: str
    instance: str

    def __post_init__(self) -> None:
        _token(self.name)
        _token(self.instance)

    def __str__(self) -> str:
        return f"$KV.CONTROL.orchestrator.{self.name}.{self.instance}"

    @classmethod
    def parse(cls, subject: str) -> OrchestratorSubject | None:
        tokens = _split(subject, "$KV.CONTROL", 3)
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
            _token(self.agent)

    def __str__(self) -> str:
        kind, name = ("all", NOBODY) if self.agent is None else ("agent", self.agent)
        return f"$KV.CONTROL.pause.{kind}.{name}"

    @classmethod
    def parse(cls, subject: str) -> PauseSubject | None:
        tokens = _split(subject, "$KV.CONTROL", 3)
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
        _token(self.client)
        _token(self.digest)

    def __str__(self) -> str:
        return f"$KV.CONTROL.submit.{self.client}.{self.digest}"

    @classmethod
    def of(cls, client: str, key: str) -> KeySubject:
        return cls(client, hashlib.sha256(key.encode()).hexdigest()[:32])

    @classmethod
    def parse(cls, subject: str) -> KeySubject | None:
        tokens = _split(subject, "$KV.CONTROL", 3)
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
        _run(self.run)
        _shaped(self.key, _key, "context key")

    def __str__(self) -> str:
        return f"$KV.CONTEXT.{self.run}.{self.key}"

    @classmethod
    def parse(cls, subject: str) -> ContextSubject | None:
        tokens = _split(subject, "$KV.CONTEXT", 2)
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
        _token(self.agent)
        _token(self.instance)

    def __str__(self) -> str:
        return f"$KV.AGENTS.{self.agent}.{self.instance}"

    @classmethod
    def parse(cls, subject: str) -> AgentSubject | None:
        tokens = _split(subject, "$KV.AGENTS", 2)
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
        _shaped(self.skill, _skill, "skill")
        _run(self.run)

    def __str__(self) -> str:
        return f"$KV.WAITING.{self.skill.replace('.', '/')}.{self.run}"

    @classmethod
    def parse(cls, subject: str) -> WaitingSubject | None:
        tokens = _split(subject, "$KV.WAITING", 2)
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
        _token(self.role)
        _token(self.name)
        _shaped(self.digest, _digest, "digest")
        _shaped(str(self.chunk), _number, "number")

    def __str__(self) -> str:
        return f"artefact.{self.role}.{self.name}.{self.digest}.{self.chunk}"

    @classmethod
    def parse(cls, subject: str) -> ChunkSubject | None:
        tokens = _split(subject, "artefact", 4)
        try:
            return cls(tokens[0], tokens[1], tokens[2], _number_of(tokens[3])) if tokens else None
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class JournalSubject:
    """The nth record, from 1, of what a task asked models, tools and others. Each is stored once."""

    agent: str
    run: str
    task: str
    n: int

    def __post_init__(self) -> None:
        _token(self.agent)
        _run(self.run)
        _token(self.task)
        _shaped(str(self.n), _number, "number")

    def __str__(self) -> str:
        return f"journal.{self.agent}.{self.run}.{self.task}.{self.n}"

    @classmethod
    def parse(cls, subject: str) -> JournalSubject | None:
        tokens = _split(subject, "journal", 4)
        try:
            return cls(tokens[0], tokens[1], tokens[2], _number_of(tokens[3])) if tokens else None
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
        _token(self.host)
        _token(self.agent)
        _run(self.run)
        _token(self.id)

    def __str__(self) -> str:
        return f"tool.{self.what}.{self.host}.{self.agent}.{self.run}.{self.id}"

    @classmethod
    def parse(cls, subject: str) -> ToolSubject | None:
        tokens = _split(subject, "tool", 5)
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
        _token(self.host)
        _run(self.run)
        _token(self.id)

    def __str__(self) -> str:
        return f"tool.done.{self.host}.{self.run}.{self.id}"

    @classmethod
    def parse(cls, subject: str) -> ToolDoneSubject | None:
        tokens = _split(subject, "tool.done", 3)
        try:
            return cls(tokens[0], tokens[1], tokens[2]) if tokens else None
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class ToolboxSubject:
    """Which tools a host may serve, or that one of its processes lives (`instance`)."""

    host: str
    instance: str | None = None

    def __post_init__(self) -> None:
        _token(self.host)
        if self.instance is not None:
            _token(self.instance)

    def __str__(self) -> str:
        if self.instance is None:
            return f"$KV.TOOLBOX.approved.{self.host}.{NOBODY}"
        return f"$KV.TOOLBOX.alive.{self.host}.{self.instance}"

    @classmethod
    def parse(cls, subject: str) -> ToolboxSubject | None:
        tokens = _split(subject, "$KV.TOOLBOX", 3)
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
        _token(self.agent)

    def __str__(self) -> str:
        return f"$KV.PROFILES.{self.agent}"

    @classmethod
    def parse(cls, subject: str) -> ProfileSubject | None:
        tokens = _split(subject, "$KV.PROFILES", 1)
        try:
            return cls(tokens[0]) if tokens else None
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class RateSubject:
    """How much of a shared limit is used, such as that of one key of a provider."""

    key: str

    def __post_init__(self) -> None:
        _token(self.key)

    def __str__(self) -> str:
        return f"$KV.RATES.{self.key}"

    @classmethod
    def parse(cls, subject: str) -> RateSubject | None:
        tokens = _split(subject, "$KV.RATES", 1)
        try:
            return cls(tokens[0]) if tokens else None
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class LiveSubject:
    """What a task says while it goes on; not stored."""

    run: str
    agent: str
    task: str

    def __post_init__(self) -> None:
        _run(self.run)
        _token(self.agent)
        _token(self.task)

    def __str__(self) -> str:
        return f"live.{self.run}.{self.agent}.{self.task}"

    @classmethod
    def parse(cls, subject: str) -> LiveSubject | None:
        tokens = _split(subject, "live", 3)
        try:
            return cls(tokens[0], tokens[1], tokens[2]) if tokens else None
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class ControlSubject:
    """Orders to an agent: cancel, pause, drain."""

    agent: str

    def __post_init__(self) -> None:
        _token(self.agent)

    def __str__(self) -> str:
        return f"ctl.{self.agent}"

    @classmethod
    def parse(cls, subject: str) -> ControlSubject | None:
        tokens = _split(subject, "ctl", 1)
        try:
            return cls(tokens[0]) if tokens else None
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class ApiSubject:
    """A request to whichever orchestrator is free; the server checks `who`."""

    verb: str
    who: str

    def __post_init__(self) -> None:
        _token(self.verb)
        _token(self.who)

    def __str__(self) -> str:
        return f"api.{self.verb}.{self.who}"

    @classmethod
    def parse(cls, subject: str) -> ApiSubject | None:
        tokens = _split(subject, "api", 2)
        try:
            return cls(tokens[0], tokens[1]) if tokens else None
        except ValueError:
            return None


def api_requests(verb: str) -> str:
    """Requests of one kind, whoever asks.

    A connection must not subscribe to one request twice: the server then counts its right to answer as used up.
    """
    return f"api.{_token(verb)}.*"


def run_and_kind(subject: str) -> tuple[str, str]:
    """The run and the kind in an entry's subject as the server lists them: quick, for looking through very many."""
    return subject.split(".", 2)[1], subject.rpartition(".")[2]


def run_entries(run: str) -> str:
    """All entries of a run: what the fence is taken over, and what a fold reads."""
    return f"log.{_run(run)}.entry.>"


def run_hints(run: str) -> str:
    """The same messages as they come by, in the form that readers may subscribe to."""
    return f"log.{_run(run)}.entry.*.*"


def run_copies(run: str) -> str:
    return f"log.{_run(run)}.copy.>"


def run_live(run: str) -> str:
    return f"live.{_run(run)}.>"


def run_context(run: str) -> str:
    return f"$KV.CONTEXT.{_run(run)}.*"


def dead_of(stream: str, run: str | None) -> str:
    """The letters of a stream that are about one run."""
    return str(DeadSubject(stream, run))


def agent_instances(agent: str) -> str:
    return f"$KV.AGENTS.{_token(agent)}.*"


def waiting_for(skill: str) -> str:
    return f"$KV.WAITING.{_shaped(skill, _skill, 'skill').replace('.', '/')}.*"


def artefact_chunks(role: str, name: str, digest: str) -> str:
    return f"artefact.{_token(role)}.{_token(name)}.{_shaped(digest, _digest, 'digest')}.*"


def tool_calls_to(host: str) -> str:
    """What a host's consumer takes."""
    return f"tool.call.{_token(host)}.*.*.*"


def tool_answers_for(agent: str) -> str:
    """Answers to an agent as they come by, in the form that it may subscribe to."""
    return f"tool.answer.*.{_token(agent)}.*.*"


def journal_of_run(run: str) -> str:
    return f"journal.*.{_run(run)}.*.*"


def tools_of_run(run: str) -> str:
    """What hosts have on record of one run."""
    return f"tool.done.*.{_run(run)}.*"


def tool_calls_of_run(run: str) -> str:
    return f"tool.call.*.*.{_run(run)}.*"


def tool_answers_of_run(run: str) -> str:
    return f"tool.answer.*.*.{_run(run)}.*"


def host_consumer_name(host: str) -> str:
    return f"tools_{_token(host)}"


def agent_task_filters(agent: str) -> tuple[str, str]:
    """What an agent's consumer of the log takes: entries addressed to it, and copies."""
    return f"log.*.entry.{_token(agent)}.>", f"log.*.copy.{agent}.>"


def shard_filter(shard: int) -> str:
    return f"inbox.{shard}.>"


def agent_consumer_name(agent: str) -> str:
    return f"agent_{_token(agent)}"


def agent_of_consumer(consumer: str) -> str | None:
    """The agent whose consumer bears this name, None for a consumer of another kind."""
    name = consumer.removeprefix("agent_")
    return name if name != consumer and is_token(name) else None


def shard_consumer_name(shard: int) -> str:
    return f"shard_{shard}"


def inbox_prefix(role: str, name: str) -> str:
    """Below which an identity receives replies; nobody else may subscribe there."""
    return f"_INBOX.{_token(role)}.{_token(name)}"


def stream_of(subject: str) -> str | None:
    """The stream that stores what is published to a subject."""
    head, _, rest = subject.partition(".")
    if head == "$KV":
        return f"KV_{rest.partition('.')[0]}"
    homes = {"log": LOG, "in": INBOX, "timer": TIMERS, "dead": DEAD, "artefact": ARTEFACTS}
    homes |= {"journal": JOURNAL, "tool": TOOLS}
    return homes.get(head)
