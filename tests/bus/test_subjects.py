"""Subjects: what is built parses back, and nothing else parses."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from consort_bus import subjects as s
from consort_bus.jetstream import AckSubject

RUN = "0123456789abcdef0123456789abcdef"
DIGEST = "ab" * 32

EXAMPLES: list[tuple[Any, str]] = [
    (s.EntrySubject(RUN, "a1", "granted"), f"log.{RUN}.entry.a1.granted"),
    (s.EntrySubject(RUN, None, "opened"), f"log.{RUN}.entry.-.opened"),
    (s.CopySubject(RUN, "a1", "t1"), f"log.{RUN}.copy.a1.t1"),
    (s.IncomingSubject("person", "p1", RUN), f"in.person.p1.{RUN}"),
    (s.InboxSubject(31, "agent", "a1", RUN), f"inbox.31.agent.a1.{RUN}"),
    (s.InboxSubject(0, "timer", None, RUN), f"inbox.0.timer.-.{RUN}"),
    (s.TimerSubject("set", RUN), f"timer.set.{RUN}"),
    (s.DeadSubject("INBOX", RUN), f"dead.INBOX.{RUN}"),
    (s.DeadSubject("KV_AGENTS", None), "dead.KV_AGENTS.-"),
    (s.KeySubject("c1", "d" * 32), f"$KV.CONTROL.submit.c1.{'d' * 32}"),
    (s.ContextSubject(RUN, "market_size"), f"$KV.CONTEXT.{RUN}.market_size"),
    (s.AgentSubject("a1", "i1"), "$KV.AGENTS.a1.i1"),
    (s.WaitingSubject("research.market", RUN), f"$KV.WAITING.research/market.{RUN}"),
    (s.ChunkSubject("agent", "a1", DIGEST, 0), f"artefact.agent.a1.{DIGEST}.0"),
    (s.LiveSubject(RUN, "a1", "t1"), f"live.{RUN}.a1.t1"),
    (s.JournalSubject("a1", RUN, "t1", 12), f"journal.a1.{RUN}.t1.12"),
    (s.ToolSubject("call", "h1", "a1", RUN, "i1"), f"tool.call.h1.a1.{RUN}.i1"),
    (s.ToolSubject("answer", "h1", "a1", RUN, "i1"), f"tool.answer.h1.a1.{RUN}.i1"),
    (s.ToolDoneSubject("h1", RUN, "i1"), f"tool.done.h1.{RUN}.i1"),
    (s.ToolboxSubject("h1"), "$KV.TOOLBOX.approved.h1.-"),
    (s.ToolboxSubject("h1", "i1"), "$KV.TOOLBOX.alive.h1.i1"),
    (s.ProfileSubject("a1"), "$KV.PROFILES.a1"),
    (s.RateSubject("anthropic-1a2b3c4d"), "$KV.RATES.anthropic-1a2b3c4d"),
    (s.ControlSubject("a1"), "ctl.a1"),
    (s.ApiSubject("submit", "c1"), "api.submit.c1"),
]
IDS = [text.split(".")[0] + "-" + type(subject).__name__ for subject, text in EXAMPLES]


@pytest.mark.parametrize(("subject", "text"), EXAMPLES, ids=IDS)
def test_there_and_back(subject: Any, text: str) -> None:
    assert str(subject) == text
    assert type(subject).parse(text) == subject


@pytest.mark.parametrize(("subject", "text"), EXAMPLES, ids=IDS)
def test_nothing_else_parses(subject: Any, text: str) -> None:
    parse = type(subject).parse
    tokens = text.split(".")
    wrong = ["", text + ".x", text + "\n", "x" + text, text.rpartition(".")[0], text + "."]
    for at in range(len(tokens)):
        for bad in ("*", ">", "", "A b", "x" * 70):
            wrong.append(".".join([*tokens[:at], bad, *tokens[at + 1 :]]))
    assert [given for given in wrong if parse(given) is not None] == []
    for other, spelled in EXAMPLES:
        assert (parse(spelled) is None) == (type(other) is not type(subject))


@pytest.mark.parametrize(("subject", "text"), EXAMPLES, ids=IDS)
@pytest.mark.parametrize("bad", ["*", ">", "a.b", "", "a b", "a\n", "Ä"])
def test_no_part_can_change_what_a_subject_names(subject: Any, text: str, bad: str) -> None:
    for field in dataclasses.fields(subject):
        if isinstance(getattr(subject, field.name), str):
            if (field.name == "skill" and bad == "a.b") or field.name == "what":
                continue
            with pytest.raises(ValueError):
                dataclasses.replace(subject, **{field.name: bad})


def test_numbers_are_spelled_one_way() -> None:
    assert s.ChunkSubject.parse(f"artefact.agent.a1.{DIGEST}.00") is None
    assert s.InboxSubject.parse(f"inbox.032.agent.a1.{RUN}") is None
    assert s.InboxSubject.parse(f"inbox.32.agent.a1.{RUN}") is None
    with pytest.raises(ValueError):
        s.ChunkSubject("agent", "a1", DIGEST, -1)


@pytest.mark.parametrize(
    "build",
    [
        lambda bad: s.run_entries(bad),
        lambda bad: s.run_copies(bad),
        lambda bad: s.run_live(bad),
        lambda bad: s.run_context(bad),
        lambda bad: s.agent_instances(bad),
        lambda bad: s.waiting_for(bad),
        lambda bad: s.artefact_chunks("agent", bad, DIGEST),
        lambda bad: s.artefact_chunks("agent", "a1", bad),
        lambda bad: s.agent_task_filters(bad),
        lambda bad: s.agent_consumer_name(bad),
        lambda bad: s.inbox_prefix("agent", bad),
    ],
)
@pytest.mark.parametrize("bad", ["*", ">", "a.>", "", "A"])
def test_filters_are_checked_too(build: Any, bad: str) -> None:
    with pytest.raises(ValueError):
        build(bad)


def test_a_clients_key_may_be_any_text() -> None:
    one, other = s.KeySubject.of("c1", "order 17 / *.>"), s.KeySubject.of("c1", "order 18")
    assert s.KeySubject.parse(str(one)) == one != other


def test_where_a_delivery_is_acknowledged_tells_which_it_was() -> None:
    """In both forms that servers have."""
    for text in (
        "$JS.ACK.LOG.agent_a1.3.17.5.1735689600000000000.0",
        "$JS.ACK.hub.ACCOUNT.LOG.agent_a1.3.17.5.1735689600000000000.0.token",
    ):
        assert AckSubject.parse(text) == AckSubject(3, 17)
    assert AckSubject.parse("$JS.ACK.LOG.agent_a1.x.17.5.1.0") is None
    assert AckSubject.parse("$JS.API.INFO") is None
