"""Names of streams and consumers, the filters that they take, and how the inbox stores what it is sent."""

from __future__ import annotations

from typing import Literal

from consort_bus.subjects.parts import token_part
from consort_shared.ids import is_token

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


def agent_consumer_name(agent: str) -> str:
    return f"agent_{token_part(agent)}"


def agent_of_consumer(consumer: str) -> str | None:
    """The agent whose consumer bears this name, None for a consumer of another kind."""
    name = consumer.removeprefix("agent_")
    return name if name != consumer and is_token(name) else None


def shard_consumer_name(shard: int) -> str:
    return f"shard_{shard}"


def host_consumer_name(host: str) -> str:
    return f"tools_{token_part(host)}"


def inbox_prefix(role: str, name: str) -> str:
    """Below which an identity receives replies; nobody else may subscribe there."""
    return f"_INBOX.{token_part(role)}.{token_part(name)}"


def stream_of(subject: str) -> str | None:
    """The stream that stores what is published to a subject."""
    head, _, rest = subject.partition(".")
    if head == "$KV":
        return f"KV_{rest.partition('.')[0]}"
    homes = {"log": LOG, "in": INBOX, "timer": TIMERS, "dead": DEAD, "artefact": ARTEFACTS}
    homes |= {"journal": JOURNAL, "tool": TOOLS}
    return homes.get(head)
