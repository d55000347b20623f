"""What an operator does to dead letters and agents, and what owners say to runs, on a bus without orchestrators."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from operator_kit import OpenAs, Stage, answering
from pydantic import TypeAdapter

from consort_bus import embedded, jetstream, subjects, topology
from consort_bus import letters as kept
from consort_bus.client import Unconfirmed, connect
from consort_bus.connection import open_bus
from consort_bus.dead_letters import check_body
from consort_bus.envelope import CONTENT_TYPE
from consort_bus.errors import AccessDenied
from consort_bus.letters import Letter
from consort_bus.listen import Heard, listening
from consort_bus.operator import (
    LetterSettled,
    NotAllowed,
    NotPaused,
    NotRedrivable,
    Operator,
    UnknownAgent,
    UnknownLetter,
)
from consort_bus.subjects import AgentSubject, ApiSubject, PauseSubject
from consort_shared.card import AgentCard, Presence, SkillCard
from consort_shared.codec import JSON, MSGPACK, decode, encode
from consort_shared.control import PauseMark
from consort_shared.entries import Finished, Granted, Redriven, Refused, Reopened, Submitted
from consort_shared.errors import InvalidInput
from consort_shared.ids import new_run_id, traceparent
from consort_shared.messages import (
    Cancel,
    Pause,
    Redrive,
    Resolve,
    Resume,
    Retry,
    Submit,
    client_message,
    person_message,
)
from consort_shared.plan.model import Plan

PLAN = Plan.model_validate({"name": "p", "steps": {"a": {"skill": "x.y"}}})
SUBMISSION = json.dumps({"say": "submit", "plan": {"name": "p", "steps": {"a": {"skill": "x.y"}}}}).encode()
_mark: TypeAdapter[PauseMark] = TypeAdapter(PauseMark)


async def ids(operator: Operator, run: str, **more: Any) -> list[int]:
    return [letter.id for letter in await operator.letters(run=run, **more)]


# --- letters


async def test_a_letter_tells_everything_that_is_known_of_a_message(open_as: OpenAs) -> None:
    async with Stage(open_as) as stage:
        operator, run = await stage.operator(), new_run_id()
        task = Granted(
            path="a",
            task="1-0",
            attempt=1,
            agent="crew",
            skill="x.y",
            deadline=9e9,
            nonce="n",
            inputs={"n": 1},
        )
        id = await stage.letter(
            run, encode(task), kind=kept.POISON, why="it died five times", headers={CONTENT_TYPE: MSGPACK},
            **{kept.TASK: "1-0", kept.STEP: "a", kept.DELIVERIES: "6", "traceparent": traceparent(run)},
        )  # fmt: skip
        letter = await operator.letter(id)
        assert (letter.id, letter.run, letter.kind, letter.stream) == (id, run, "poison", "LOG")
        assert (letter.reason, letter.task, letter.step, letter.deliveries) == (
            "it died five times",
            "1-0",
            "a",
            6,
        )
        assert letter.trace == run
        assert letter.settled is None
        assert letter.redrivable
        assert (await operator.readable(letter))["inputs"] == {"n": 1}


async def test_bodies_are_read_by_their_type_or_not_at_all(open_as: OpenAs) -> None:
    async with Stage(open_as) as stage:
        operator, run = await stage.operator(), new_run_id()
        for body, headers, value in (
            (b'{"a": 1}', {}, {"a": 1}),
            (b'{"a": 1}', {CONTENT_TYPE: JSON}, {"a": 1}),
            (b"\x81\xa1a\x01", {CONTENT_TYPE: MSGPACK}, {"a": 1}),
            (b"\x81\xa1a\xc4\x01\x00", {CONTENT_TYPE: MSGPACK}, None),
            (b"\xff\x00nonsense", {}, None),
            (b"", {CONTENT_TYPE: "image/png"}, None),
        ):
            letter = await operator.letter(await stage.letter(run, body, headers=headers))
            assert await operator.readable(letter) == value
            assert await operator.body(letter) == body


async def test_a_message_of_an_earlier_version_is_a_letter_too(open_as: OpenAs) -> None:
    async with Stage(open_as) as stage:
        operator, run = await stage.operator(), new_run_id()
        for stream in (subjects.LOG, subjects.INBOX):
            await stage.publish(
                f"dead.{stream}.{run}",
                b"x",
                {"Consort-Reason": "old", "Consort-Seq": "4", "Consort-Headers": "{cut"},
            )
        foreign, refused = sorted(
            await operator.letters(run=run), key=lambda letter: letter.stream, reverse=True
        )
        assert (foreign.kind, refused.kind) == (kept.FOREIGN, kept.REFUSED)
        assert (foreign.redrivable, refused.redrivable) == (False, True)
        assert dict(refused.headers) == {}


async def test_letters_of_a_run_and_what_is_done_with_them(open_as: OpenAs) -> None:
    async with Stage(open_as) as stage:
        operator, run, other = await stage.operator(), new_run_id(), new_run_id()
        first, second = await stage.letter(run, b"1"), await stage.letter(run, b"2", kind=kept.FOREIGN)
        third = await stage.letter(other, b"3")
        assert await ids(operator, run) == [first, second]
        mark = await operator.drop(second)
        assert (mark.how, mark.by) == ("dropped", "person.olga")
        assert await ids(operator, run) == [first]
        assert await ids(operator, run, settled=True) == [first, second]
        assert (await operator.letter(second)).settled == mark
        everything = [letter.id for letter in await operator.letters()]
        assert {first, third} <= set(everything)
        assert everything == sorted(everything)


async def test_a_letter_is_settled_once(open_as: OpenAs) -> None:
    async with Stage(open_as) as stage:
        olga, anna, run = await stage.operator(), await stage.operator("anna"), new_run_id()
        id = await stage.letter(run, b"1")
        results = await asyncio.gather(*(one.drop(id) for one in (olga, anna) * 3), return_exceptions=True)
        done = [result for result in results if not isinstance(result, BaseException)]
        late = [result for result in results if isinstance(result, LetterSettled)]
        assert (len(done), len(late)) == (1, 5)
        assert all(error.mark == done[0] for error in late)
        assert done[0].by in str(late[0])
        for settle in (olga.drop(id), olga.redrive(id)):
            with pytest.raises(LetterSettled, match="was dropped by"):
                await settle


async def test_what_is_no_letter_is_refused(open_as: OpenAs) -> None:
    async with Stage(open_as) as stage:
        operator, run = await stage.operator(), new_run_id()
        id = await stage.letter(run, b"1")
        await operator.drop(id)
        for unknown in (0, -1, id + 1, 10**15):  # the one after the letter is its mark
            for ask in (operator.letter(unknown), operator.drop(unknown), operator.redrive(unknown)):
                with pytest.raises(UnknownLetter, match="there is no dead letter"):
                    await ask


async def test_letters_that_can_only_be_dropped(open_as: OpenAs) -> None:
    async with Stage(open_as) as stage:
        operator = await stage.operator()
        for id in (await stage.letter(new_run_id(), b"1", kind=kept.FOREIGN), await stage.letter(None, b"2")):
            with pytest.raises(NotRedrivable, match=f"consort dead drop {id}"):
                await operator.redrive(id)
            await operator.drop(id)


async def test_only_operators_settle_letters(open_as: OpenAs) -> None:
    async with Stage(open_as) as stage:
        id = await stage.letter(new_run_id(), b"1")
        for role in ("client", "reviewer"):
            outsider = Operator.of(await stage.client(role=role))
            with pytest.raises(AccessDenied, match="operator"):
                await outsider.letter(id)
        with pytest.raises(AccessDenied):
            await Operator.of(await stage.client(role="auditor")).drop(id)


async def test_redriving_waits_for_the_run_to_say_so(open_as: OpenAs) -> None:
    async with Stage(open_as) as stage:
        operator, run = await stage.operator(), new_run_id()
        await stage.entry(run, Submitted(client="client.carl", plan=PLAN))
        id = await stage.letter(run, SUBMISSION)
        redriving = asyncio.create_task(operator.redrive(id, SUBMISSION.decode()))
        async with asyncio.timeout(10):
            while (asked := await stage.in_inbox("person", "olga", run)) is None:
                await asyncio.sleep(0.02)
        message = decode(person_message, asked.data, asked.headers[CONTENT_TYPE])
        assert message == Redrive(letter=id, body=SUBMISSION.decode())
        await stage.entry(run, Redriven(letter=id + 1, by="person.olga"))
        assert not redriving.done()
        await stage.entry(run, Redriven(letter=id, by="person.olga"), Finished(state="completed"))
        done = await redriving
        assert (done.letter, done.run, done.entry, done.again) == (id, run, 3, 0)


@pytest.mark.slow
async def test_redriving_tells_what_was_refused(open_as: OpenAs) -> None:
    async with Stage(open_as) as stage:
        operator = await stage.operator()

        async def redriven(*facts: Any, letter: str = "") -> Any:
            run = new_run_id()
            id = await stage.letter(run, SUBMISSION)
            redriving = asyncio.create_task(operator.redrive(id))
            async with asyncio.timeout(10):
                while (asked := await stage.in_inbox("person", "olga", run)) is None:
                    await asyncio.sleep(0.02)
            if letter:
                await stage.letter(run, b"", why=letter.format(id=id), seq=asked.seq)
            if facts:
                await stage.entry(run, *(fact(id) for fact in facts))
            return await redriving

        with pytest.raises(NotAllowed, match="redriven already"):
            await redriven(
                lambda id: Refused(
                    what="redrive", sender="person.olga", why="redriven already", stream="DEAD", seq=id
                )
            )
        with pytest.raises(NotAllowed, match="there is no such run"):
            await redriven(letter="there is no such run")
        again = await redriven(
            lambda id: Redriven(letter=id, by="person.olga"),
            letter="redriven as letter {id}, refused again: no",
        )
        assert again.again > again.letter
        assert again.why == "no"


@pytest.mark.slow
async def test_redriving_without_an_orchestrator_says_that_it_will_be_done(open_as: OpenAs) -> None:
    async with Stage(open_as) as stage:
        operator = await stage.operator()
        operator.judged_within = 0.5
        id = await stage.letter(new_run_id(), SUBMISSION)
        with pytest.raises(Exception, match="no orchestrator has judged it") as caught:
            await operator.redrive(id)
        assert getattr(caught.value, "exit_code", 0) == 4


@pytest.mark.parametrize(
    ("sender", "kind", "body", "fault"),
    [
        ("client", "refused", "{", "not application/json"),
        ("client", "refused", '{"say": "submit"}', "plan: Field required"),
        ("client", "refused", '{"say": "report"}', "say"),
        ("person", "refused", '{"say": "cancel", "who": 1}', "who: Extra inputs"),
        ("agent", "unreadable", '{"say": "report", "task": "1-0"}', "instance: Field required"),
        ("agent", "poison", "[1]", "an object with `inputs`"),
        ("agent", "poison", '{"inputs": 5}', "an object with `inputs`"),
    ],
)
def test_another_body_has_to_be_such_a_message(sender: str, kind: str, body: str, fault: str) -> None:
    from datetime import UTC, datetime

    letter = Letter(
        1, datetime.now(UTC), "INBOX", "0" * 32, kind, "", f"inbox.1.{sender}.x.{'0' * 32}", 1, b"", {}
    )
    with pytest.raises(InvalidInput, match="does not fit") as caught:
        check_body(letter, body)
    assert fault in str(caught.value)


# --- pauses


async def presence(stage: Stage, name: str) -> None:
    card = AgentCard(name=name, skills=(SkillCard(name="x.y"),))
    sign = encode(Presence(instance="i1", card=card))
    wire = await stage.wire("agent", name)
    await wire.request(
        str(AgentSubject(name, "i1")), sign, headers={"Nats-TTL": "30s", CONTENT_TYPE: MSGPACK}
    )


async def test_pausing_an_agent_is_a_mark(open_as: OpenAs) -> None:
    async with Stage(open_as) as stage:
        operator = await stage.operator()
        with pytest.raises(UnknownAgent, match="there is no agent 'nobody'"):
            await operator.pause_agent("nobody")
        with pytest.raises(UnknownAgent):
            await operator.pause_agent("no.token.*")
        await presence(stage, "painter")
        with pytest.raises(UnknownAgent, match="painter"):
            await operator.resume_agent("nobody")
        with pytest.raises(NotPaused, match="painter is not paused"):
            await operator.resume_agent("painter")
        applied = await operator.pause_agent("painter", "out of paint")
        assert (applied.orchestrators, applied.expected) == ((), 0)
        [pause] = await operator.paused()
        assert (pause.agent, pause.mark.by, pause.mark.why) == ("painter", "person.olga", "out of paint")
        await operator.pause_all()
        assert {one.agent for one in await operator.paused()} == {None, "painter"}
        await operator.resume_all()
        with pytest.raises(NotPaused, match="not everything is paused"):
            await operator.resume_all()
        await operator.resume_agent("painter")
        assert await operator.paused() == []


async def test_whoever_paused_first_stands(open_as: OpenAs) -> None:
    async with Stage(open_as) as stage:
        olga, anna = await stage.operator(), await stage.operator("anna")
        await presence(stage, "glazier")
        key = str(PauseSubject("glazier"))
        assert (await olga.pause_agent("glazier", "no glass")).already is None
        [first] = await olga.paused()
        for one, why in ((anna, "spring"), (anna, ""), (olga, "again")):
            assert (await one.pause_agent("glazier", why)).already == first.mark
        assert await anna.paused() == [first]
        await anna.resume_agent("glazier")  # what was taken off may be paused anew
        assert (await anna.pause_agent("glazier", "spring")).already is None
        assert [(one.mark.by, one.mark.why) for one in await olga.paused()] == [("person.anna", "spring")]
        await olga.resume_agent("glazier")
        both = await asyncio.gather(*(one.pause_agent("glazier", "now") for one in (olga, anna) * 3))
        [stands] = await olga.paused()
        assert sorted(applied.already == stands.mark for applied in both) == [False, *[True] * 5]
        await olga.resume_agent("glazier")
        await stage.publish_as("operator", "olga", key, b"no mark", {CONTENT_TYPE: MSGPACK})
        assert (await anna.pause_agent("glazier", "mine")).already is None
        await anna.resume_agent("glazier")


async def test_orchestrators_are_asked_to_look_at_once(open_as: OpenAs) -> None:
    async with Stage(open_as) as stage:
        operator, otto = await stage.operator(), await stage.bus("orchestrator", "otto")
        await presence(stage, "writer")
        marks: list[PauseMark | None] = []
        answer = answering(
            [
                {"orchestrator": "otto-1", "paused": ["writer"], "resumed": []},
                {"orchestrator": "otto-2", "paused": [], "resumed": ["old"]},
                {"nonsense": True},
            ]
        )
        looked = Operator.of(await stage.client(role="client"))

        async def heard(message: Heard) -> None:
            assert ApiSubject.parse(message.subject) == ApiSubject("control", "olga")
            value = await looked._control.get(str(PauseSubject("writer")))
            marks.append(None if value is None else decode(_mark, value.data, MSGPACK))
            await answer(otto, message.reply)

        async with listening(otto, subjects.API_FILTER, heard):
            began = time.monotonic()
            applied = await operator.pause_agent("writer")
            assert time.monotonic() - began < 5
            assert applied.orchestrators[0] == "otto-1"
            assert applied.paused == ("writer",)
            await operator.resume_agent("writer")
        assert marks[0] is not None
        assert marks[0].by == "person.olga"
        assert marks[1] is None


# --- what owners say


@pytest.mark.parametrize(
    ("role", "kind"), [("client", "client"), ("operator", "person"), ("reviewer", "person")]
)
async def test_what_is_said_lies_in_the_inbox(open_as: OpenAs, role: str, kind: str) -> None:
    async with Stage(open_as) as stage:
        client, run = await stage.client("olga", role), new_run_id()
        adapter: TypeAdapter[Any] = client_message if kind == "client" else person_message
        assert client.speaks_as == f"{kind}.olga"
        for say, expected in (
            (lambda: client.cancel(run, "no"), Cancel(why="no")),
            (lambda: client.cancel(run, "no", force=True), Cancel(why="no", force=True)),
            (lambda: client.pause(run, "wait"), Pause(why="wait")),
            (lambda: client.resume(run), Resume()),
            (lambda: client.retry(run), Retry()),
            (lambda: client.retry(run, "a[3].b", {"x": 1}), Retry(path="a[3].b", inputs={"x": 1})),
            (lambda: client.resolve(run, "a", "pay", "redo"), Resolve(path="a", key="pay", verdict="redo")),
            (
                lambda: client.resolve(run, "a", "pay", "done", {"n": 2}),
                Resolve(path="a", key="pay", verdict="done", value={"n": 2}),
            ),
        ):
            seq = await say()
            stored = await stage.in_inbox(kind, "olga", run)
            assert stored is not None
            assert stored.seq == seq
            assert decode(adapter, stored.data, stored.headers[CONTENT_TYPE]) == expected


async def test_an_auditor_says_nothing_and_an_operator_hands_in_nothing(open_as: OpenAs) -> None:
    async with Stage(open_as) as stage:
        with pytest.raises(AccessDenied):
            await (await stage.client(role="auditor")).cancel(new_run_id())
        with pytest.raises(AccessDenied, match="client"):
            await (await stage.client(role="operator")).submit(PLAN)


@pytest.mark.slow
async def test_a_submission_waits_for_a_bus_that_is_away(tmp_path: Path) -> None:
    server = await asyncio.to_thread(embedded.start, tmp_path)
    try:
        async with open_bus(server.url, embedded.credentials_for(tmp_path, "provisioner", "p")) as bus:
            await topology.ensure(bus)
        credentials = embedded.credentials_for(tmp_path, "client", "me")
        async with connect(server.url, credentials) as client:
            await client.submit(PLAN)
            await asyncio.to_thread(embedded.stop, tmp_path)
            client.patience = 0.5
            with pytest.raises(Unconfirmed, match="say it again") as caught:
                await client.submit(PLAN, run=new_run_id())
            assert caught.value.exit_code == 3
            client.patience, run = 30.0, new_run_id()
            handing_in = asyncio.create_task(client.submit(PLAN, run=run))
            await asyncio.to_thread(embedded.start, tmp_path)
            assert await handing_in == run
        async with open_bus(server.url, embedded.credentials_for(tmp_path, "provisioner", "p")) as bus:
            answer = await bus.request(
                jetstream.message_get(subjects.INBOX),
                json.dumps({"last_by_subj": f"inbox.*.client.me.{run}"}).encode(),
            )
            assert "error" not in json.loads(answer.data)
    finally:
        await asyncio.to_thread(embedded.stop, tmp_path)


# --- watching


async def test_watching_goes_on_over_an_end_that_was_none(open_as: OpenAs) -> None:
    async with Stage(open_as) as stage:
        client, run = await stage.client(), new_run_id()
        await stage.entry(run, Submitted(client="client.carl", plan=PLAN))
        await stage.entry(run, Finished(state="failed", why="first"))
        assert [logged.entry.n async for logged in client.watch(run)] == [1, 2]
        await stage.entry(run, Reopened(path="a", by="client.carl"))
        seen: list[int] = []

        async def watch() -> None:
            async for logged in client.watch(run, after=1):
                seen.append(logged.entry.n)

        watching = asyncio.create_task(watch())
        async with asyncio.timeout(10):
            while seen != [2, 3]:
                await asyncio.sleep(0.02)
        await stage.entry(run, Finished(state="completed", output=5))
        await watching
        assert seen == [2, 3, 4]
        assert await client.result(run, timeout=10) == 5
        await stage.entry(run, Refused(what="report", sender="agent.x", why="late"))
        assert [logged.entry.n async for logged in client.watch(run, after=3)] == [4, 5]
        assert await client.result(run, timeout=10) == 5


async def test_watching_beyond_the_end(open_as: OpenAs) -> None:
    async with Stage(open_as) as stage:
        client, run = await stage.client(), new_run_id()
        await stage.entry(run, Submitted(client="client.carl", plan=PLAN), Finished(state="failed"))
        watching = client.watch(run, beyond=True)
        assert (await anext(watching)).entry.n == 1
        later = asyncio.create_task(anext(watching))  # type: ignore[arg-type] # an iterator's next is a coroutine
        await stage.entry(run, Redriven(letter=1, by="person.olga"))
        async with asyncio.timeout(10):
            assert (await later).entry.n == 2
        await watching.aclose()  # type: ignore[attr-defined]


async def test_a_submission_is_the_message_it_was(open_as: OpenAs) -> None:
    async with Stage(open_as) as stage:
        client = await stage.client()
        run = await client.submit(PLAN, {"n": 1}, goal="g")
        stored = await stage.in_inbox("client", "carl", run)
        assert stored is not None
        assert decode(client_message, stored.data, MSGPACK) == Submit(plan=PLAN, inputs={"n": 1}, goal="g")


async def test_a_run_of_a_later_version_is_listed_as_unreadable(open_as: OpenAs) -> None:
    async with Stage(open_as) as stage:
        client, run = await stage.client(), new_run_id()
        body = {"v": 99, "run": run, "n": 1, "at": 1.0, "writer": "o", "facts": [{"fact": "unheard-of"}]}
        await stage.publish(f"log.{run}.entry.-.noted", json.dumps(body).encode(), {CONTENT_TYPE: JSON})
        [found] = [one for one in await client.runs(1000) if one.run == run]
        assert found.state == "unreadable"
        assert "upgrade" in found.why
        with pytest.raises(InvalidInput, match="written under schema 99"):
            await client.entries(run)
