"""Who may publish and subscribe where: one table for the server, the errors and the tests.

The server's signing keys are made from it (`keys`), a refusal names the roles it
would take (`who_may`), and the tests try every cell. `{{name()}}` is filled in by
the server with the name in the credentials, which is why a name is checked before
it is issued. What is not listed is refused.

A verb of `api` belongs to one role: the subject of a request names who asks, not as
what, and an agent and a client may bear the same name.

Nobody but the provisioner, which is a job and never a service, may change or
delete a stream, and no agent or client may create a consumer: whoever creates
one can make the server deliver to any subject. Orchestrators may, on the log
only, because they make the agents' consumers.

The `$JS.ACK` rights are for acknowledgement subjects of the first form. If the
server is run with `js_ack_fc_v2`, these subjects start with domain and account, and
the rights must be extended before that is switched on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from consort_bus.subjects import (
    AGENTS,
    ARTEFACTS,
    CONTEXT,
    CONTROL,
    DEAD,
    JOURNAL,
    LOG,
    PROFILES,
    RATES,
    TOOLBOX,
    TOOLS,
    WAITING,
)

NAME = "{{name()}}"
PROVISIONER = "provisioner"


@dataclass(frozen=True, slots=True)
class Rights:
    """What a role may do; `replies` lets it answer requests on the subject they name, one message each."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    replies: bool = False


def _direct(*streams: str) -> tuple[str, ...]:
    """Reading by the request's body, and the last message of a subject."""
    return tuple(f"$JS.API.DIRECT.GET.{stream}{tail}" for stream in streams for tail in ("", ".>"))


def _whole(*streams: str) -> tuple[str, ...]:
    """The same, and asking the stream's leader, which shows no more than reading from any replica does."""
    return (*_direct(*streams), *(f"$JS.API.STREAM.MSG.GET.{stream}" for stream in streams))


_READER_PUBLISH = (
    *_whole(LOG, CONTEXT, ARTEFACTS),
    *_direct(AGENTS, CONTROL, PROFILES, RATES, TOOLBOX),
    "$JS.API.STREAM.INFO.LOG",
)
_READER_SUBSCRIBE = ("log.*.entry.*.*", "live.>")

TABLE: dict[str, Rights] = {
    "orchestrator": Rights(
        publish=(
            "log.*.entry.*.*",
            "log.*.copy.*.*",
            "timer.set.*",
            "timer.fire.*",
            "dead.*.*",
            "ctl.*",
            "in.client.*.*",  # what a client asked for by `api.submit`, in that client's name
            "$KV.CONTEXT.*.*",
            "$KV.WAITING.*.*",
            f"$KV.CONTROL.orchestrator.{NAME}.*",
            "$KV.CONTROL.submit.*.*",
            f"artefact.orchestrator.{NAME}.*.*",
            "$JS.API.CONSUMER.CREATE.LOG.*",
            "$JS.API.CONSUMER.INFO.LOG.*",
            "$JS.API.CONSUMER.LIST.LOG",
            "$JS.API.CONSUMER.PAUSE.LOG.*",
            "$JS.API.CONSUMER.DELETE.LOG.*",
            "$JS.API.CONSUMER.INFO.INBOX.*",
            "$JS.API.CONSUMER.MSG.NEXT.INBOX.*",
            "$JS.API.CONSUMER.UNPIN.INBOX.*",
            "$JS.ACK.INBOX.>",
            "$JS.API.STREAM.INFO.*",
            "$JS.API.STREAM.PURGE.TIMERS",
            "$JS.API.STREAM.PURGE.KV_CONTEXT",
            "$JS.API.STREAM.PURGE.KV_WAITING",
            "$JS.API.INFO",
            *_whole(LOG, ARTEFACTS),
            *_direct(CONTEXT, AGENTS, WAITING, CONTROL, DEAD, PROFILES),
        ),
        subscribe=(
            f"_INBOX.orchestrator.{NAME}.>",
            "$KV.AGENTS.>",
            "$KV.CONTROL.>",
            "$KV.PROFILES.*",
            "api.>",
        ),
        replies=True,
    ),
    "agent": Rights(
        publish=(
            f"in.agent.{NAME}.*",
            f"live.*.{NAME}.*",
            f"api.announce.{NAME}",
            f"api.wanted.{NAME}",
            f"$KV.AGENTS.{NAME}.*",
            f"artefact.agent.{NAME}.*.*",
            f"$JS.API.CONSUMER.MSG.NEXT.LOG.agent_{NAME}",
            f"$JS.ACK.LOG.agent_{NAME}.>",
            "$JS.API.DIRECT.GET.KV_CONTEXT.$KV.CONTEXT.>",
            # Only the newest message of a subject, so that no agent reads what another asked its models.
            f"journal.{NAME}.*.*.*",
            f"$JS.API.DIRECT.GET.JOURNAL.journal.{NAME}.>",
            f"tool.call.*.{NAME}.*.*",
            f"$JS.API.DIRECT.GET.TOOLS.tool.answer.*.{NAME}.*.*",
            "$KV.RATES.*",
            *_whole(ARTEFACTS),
            *_direct(PROFILES, TOOLBOX, RATES),
        ),
        subscribe=(
            f"_INBOX.agent.{NAME}.>",
            f"ctl.{NAME}",
            f"tool.answer.*.{NAME}.*.*",
            "$KV.RATES.*",
        ),
        replies=True,  # orders are acknowledged
    ),
    "toolhost": Rights(
        publish=(
            f"tool.done.{NAME}.*.*",
            f"tool.answer.{NAME}.*.*.*",
            f"$KV.TOOLBOX.alive.{NAME}.*",
            "$KV.RATES.*",
            f"artefact.toolhost.{NAME}.*.*",
            f"$JS.API.CONSUMER.MSG.NEXT.TOOLS.tools_{NAME}",
            f"$JS.ACK.TOOLS.tools_{NAME}.>",
            f"$JS.API.DIRECT.GET.TOOLS.tool.done.{NAME}.*.*",
            f"$JS.API.DIRECT.GET.TOOLS.tool.answer.{NAME}.*.*.*",
            f"$JS.API.DIRECT.GET.TOOLS.tool.call.{NAME}.*.*.*",
            *_whole(ARTEFACTS),
            *_direct(TOOLBOX, RATES),
        ),
        subscribe=(f"_INBOX.toolhost.{NAME}.>", "$KV.RATES.*"),
    ),
    "client": Rights(
        publish=(
            f"in.client.{NAME}.*",
            f"api.submit.{NAME}",
            f"api.status.{NAME}",
            f"artefact.client.{NAME}.*.*",
            *_READER_PUBLISH,
        ),
        subscribe=(f"_INBOX.client.{NAME}.>", *_READER_SUBSCRIBE),
    ),
    "reviewer": Rights(
        publish=(f"in.person.{NAME}.*", *_READER_PUBLISH),
        subscribe=(f"_INBOX.reviewer.{NAME}.>", *_READER_SUBSCRIBE),
    ),
    "operator": Rights(
        publish=(
            f"in.person.{NAME}.*",
            f"api.control.{NAME}",
            "$KV.CONTROL.pause.*.*",
            "dead.settled.*",
            "$KV.PROFILES.*",
            "$KV.RATES.*",
            *_READER_PUBLISH,
            *_whole(DEAD, JOURNAL, TOOLS, PROFILES),
            *_direct(WAITING),
            "$JS.API.STREAM.INFO.*",
            "$JS.API.CONSUMER.INFO.*.*",
            "$JS.API.CONSUMER.LIST.*",
            "$JS.API.INFO",
        ),
        subscribe=(f"_INBOX.operator.{NAME}.>", *_READER_SUBSCRIBE),
    ),
    "auditor": Rights(
        publish=(
            *_whole(LOG, DEAD, JOURNAL, TOOLS, PROFILES),
            *(f"$JS.API.STREAM.INFO.{stream}" for stream in (LOG, DEAD)),
        ),
        subscribe=(f"_INBOX.auditor.{NAME}.>",),
    ),
    PROVISIONER: Rights(publish=(">",), subscribe=(">",)),
}
ROLES = tuple(TABLE)

SEALING_ROLES = frozenset({"orchestrator", "agent"})
"""Roles whose credentials carry a key to seal messages with."""


def filled(pattern: str, name: str) -> str:
    """A right as the server sees it for one name."""
    return pattern.replace(NAME, name)


def covers(pattern: str, subject: str) -> bool:
    """Whether a subject, or all that a narrower pattern matches, falls under a pattern."""
    wanted, given = pattern.split("."), subject.split(".")
    for at, part in enumerate(wanted):
        if part == ">":
            return len(given) > at
        if at >= len(given) or given[at] == ">" or part not in ("*", given[at]):
            return False
    return len(wanted) == len(given)


def may(role: str, name: str, action: Literal["publish", "subscribe"], subject: str) -> bool:
    """What the server will say, by the table alone."""
    rights = TABLE[role]
    patterns = rights.publish if action == "publish" else rights.subscribe
    return any(covers(filled(pattern, name), subject) for pattern in patterns)


def who_may(action: Literal["publish", "subscribe"], subject: str) -> tuple[str, ...]:
    """The roles with a right to a subject under some name; case is ignored."""
    return tuple(_matching(action, subject.lower()))


def _matching(action: Literal["publish", "subscribe"], subject: str) -> Iterable[str]:
    for role, rights in TABLE.items():
        for pattern in rights.publish if action == "publish" else rights.subscribe:
            shape = re.escape(pattern.lower()).replace(re.escape(NAME), "[^.]+").replace(r"\*", "[^.]+")
            if re.fullmatch(shape.replace(">", ".+"), subject):
                yield role
                break
