"""A call is made once, however many processes work on its task; another way is found and named."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from journal_kit import Desk, Worker, asking, stray

from consort_agents import Context, SkillError
from consort_agents.errors import JournalLost
from consort_agents.journal.calls import Calls, offline_book
from consort_agents.journal.store import MemoryJournal
from consort_agents.performing import Returned
from consort_shared.journal import Answered, Began, Raised, Restarted, Resumed
from consort_shared.messages import Failed

THREE = asking("one", "two", "three")


async def test_every_call_is_on_record_before_its_answer_is_returned(desk: Desk) -> None:
    """One write is waited for: the call's beginning is sent on the way."""
    worker = desk.worker()
    ended = await worker.run(THREE)
    assert ended == Returned(["one: by a", "two: by a", "three: by a"])
    assert [type(slot) for slot in await desk.slots()] == [Began, Answered] * 3
    assert desk.made == ["a one", "a two", "a three"]
    assert worker.book.writes == 6


async def test_another_process_goes_on_at_the_first_unanswered_call(desk: Desk) -> None:
    """S6, design: a redelivered task replays what was answered."""
    first = desk.worker()
    first.pause["three"] = asyncio.Event()
    work = asyncio.create_task(first.run(THREE))
    await first.reached.wait()
    second = desk.worker("b", delivered=2)
    ended = await second.run(THREE)
    assert ended == Returned(["one: by a", "two: by a", "three: by b"])
    assert desk.made == ["a one", "a two", "a three", "b three"]
    first.pause["three"].set()
    with pytest.raises(JournalLost):
        await work
    memory = await desk.remembered()
    assert [past.n for past in memory.calls.values()] == [1, 2, 3]
    assert all(past.answered for past in memory.calls.values())


async def test_a_call_in_doubt_keeps_its_idempotency_key(desk: Desk) -> None:
    seen: list[tuple[int, str, bool]] = []
    gate, reached = asyncio.Event(), asyncio.Event()

    async def skill(worker: Worker) -> Any:
        async def perform(call: Any) -> str:
            seen.append((call.n, call.id, call.again))
            if worker.name == "a":
                reached.set()
                await gate.wait()
            return "charged"

        return (await worker.calls.call("tool", "charge", {"amount": 7}, perform, wait=True)).value

    work = asyncio.create_task(desk.worker().run(skill))
    await reached.wait()
    assert await desk.worker("b", delivered=2).run(skill) == Returned("charged")
    gate.set()
    with pytest.raises(JournalLost):
        await work
    [(n, id, again), (m, other, other_again)] = seen
    assert (n, id, again, other_again) == (m, other, False, True)
    assert len(id) == 32


async def test_who_finds_its_first_position_taken_goes_on_from_what_is_there(desk: Desk) -> None:
    """Also when the bus says that the task is delivered for the first time."""
    await desk.worker().run(THREE)
    assert await desk.worker("b").run(THREE) == Returned(["one: by a", "two: by a", "three: by a"])
    assert desk.made == ["a one", "a two", "a three"]
    assert isinstance((await desk.slots())[-1], Resumed)


async def test_a_call_in_hand_is_cancelled_when_the_task_is_lost(desk: Desk) -> None:
    """Where it begins is sent without waiting, so that it is refused is learned while the call is made."""
    first = desk.worker()
    await first.book.open()
    await first.ask("one")
    second = desk.worker("b", delivered=2)
    await second.book.open()
    first.pause["two"] = asyncio.Event()
    with pytest.raises(JournalLost):
        await first.ask("two")
    assert await second.ask("one") == "one: by a"
    assert await second.ask("two") == "two: by b"
    with pytest.raises(JournalLost):
        await first.ask("three")
    assert "a three" not in desk.made


async def test_with_wait_no_call_is_made_that_is_not_on_record(desk: Desk) -> None:
    first = desk.worker()
    await first.book.open()
    await first.ask("one")
    await desk.worker("b", delivered=2).book.open()
    with pytest.raises(JournalLost):
        await first.ask("two", wait=True)
    assert desk.made == ["a one"]


async def test_after_a_while_without_a_record_no_call_is_made_on_the_chance(desk: Desk) -> None:
    """The process may have been frozen between two calls, and somebody else have the task."""
    first = desk.worker(fresh=0.0)
    await first.book.open()
    await first.ask("one")
    await desk.worker("b", delivered=2).book.open()
    with pytest.raises(JournalLost):
        await first.ask("two")
    assert desk.made == ["a one"]


async def test_ten_calls_at_once_and_the_process_dies_in_their_midst(desk: Desk) -> None:
    """Each that was answered is not made again, whatever the order."""
    names = [f"c{n}" for n in range(10)]

    async def skill(worker: Worker) -> Any:
        return await asyncio.gather(*(worker.ask(name) for name in names))

    first = desk.worker()
    first.pause = {name: asyncio.Event() for name in names[::2]}
    work = asyncio.create_task(first.run(skill))
    async with asyncio.timeout(10):
        while sum(isinstance(slot, Answered) for slot in await desk.slots()) < 5:
            await asyncio.sleep(0.005)
    random.shuffle(names)
    ended = await desk.worker("b", delivered=2).run(skill)
    assert isinstance(ended, Returned)
    assert sorted(ended.value) == sorted(
        f"{name}: by {'b' if name in first.pause else 'a'}" for name in names
    )
    assert sorted(one for one in desk.made if one[0] == "b") == sorted(f"b {name}" for name in first.pause)
    for gate in first.pause.values():
        gate.set()
    with pytest.raises(JournalLost):
        await work


async def test_equal_requests_are_answered_in_their_order(desk: Desk) -> None:
    numbers = iter(range(100))

    async def skill(worker: Worker) -> Any:
        return [await worker.calls.value("number", lambda: next(numbers)) for _ in range(3)]

    assert await desk.worker().run(skill) == Returned([0, 1, 2])
    assert await desk.worker("b", delivered=2).run(skill) == Returned([0, 1, 2])
    assert next(numbers) == 3


# --- divergence


async def diverged(desk: Desk, then: Any, now: Any) -> str:
    await desk.worker().run(then)
    ended = await desk.worker("b", delivered=2).run(now)
    assert isinstance(ended, Failed)
    assert (ended.kind, ended.retry) == ("journal-diverged", False)
    return ended.message


async def test_another_request_is_named_with_the_part_that_differs(desk: Desk) -> None:
    told = await diverged(desk, THREE, asking("one", "zwei", "three"))
    assert "call 2, model m, now differs in messages[0]" in told
    assert "zwei" in told
    assert desk.made == ["a one", "a two", "a three"]


async def test_a_part_more_and_a_part_less_are_named(desk: Desk) -> None:
    async def more(worker: Worker) -> Any:
        return await worker.ask("one", system="be brief", tools=["search"])

    async def less(worker: Worker) -> Any:
        return await worker.ask("one", system="be long")

    told = await diverged(desk, more, less)
    assert "differs in system, tools[0]; now" in told


async def test_another_kind_of_call_is_named(desk: Desk) -> None:
    async def tool(worker: Worker) -> Any:
        return await worker.ask("one", kind="tool")

    assert "call 1 was model m and now is tool m" in await diverged(desk, THREE, tool)


async def test_a_call_that_is_not_asked_for_again_is_named(desk: Desk) -> None:
    told = await diverged(desk, THREE, asking("one"))
    assert "call 2 was model m, and the skill returned without it" in told


async def test_more_calls_than_before_are_no_divergence(desk: Desk) -> None:
    await desk.worker().run(asking("one"))
    assert await desk.worker("b", delivered=2).run(THREE) == Returned(
        ["one: by a", "two: by b", "three: by b"]
    )


@pytest.mark.parametrize("kind", ["model", "tool"])
async def test_a_call_in_hand_that_is_another_now(desk: Desk, kind: str) -> None:
    """A model that gave no answer binds nobody: another may be asked. What a tool may have done does."""

    def then(what: str) -> Any:
        async def skill(worker: Worker) -> list[str]:
            return [await worker.ask("one"), await worker.ask(what, kind=kind, wait=True)]

        return skill

    gone = desk.worker()
    gone.pause["two"] = asyncio.Event()
    first = asyncio.create_task(gone.run(then("two")))
    await gone.reached.wait()
    ended = await desk.worker("b", delivered=2).run(then("zwei"))
    first.cancel()
    await asyncio.wait({first})
    if kind == "model":
        assert ended == Returned(["one: by a", "zwei: by b"])
    else:
        assert isinstance(ended, Failed)
        assert "call 2, tool m, now differs" in ended.message


async def test_a_skill_that_swallows_it_fails_all_the_same(desk: Desk) -> None:
    async def swallowing(worker: Worker) -> Any:
        try:
            return await worker.ask("zwei")
        except BaseException:  # noqa: BLE001 - as badly as it can be written
            return "never mind"

    assert "differs in" in await diverged(desk, asking("eins"), swallowing)


async def test_with_restart_the_task_starts_over_and_what_was_is_void(desk: Desk) -> None:
    await desk.worker().run(THREE)
    other = asking("one", "zwei")
    second = desk.worker("b", delivered=2)
    assert await second.run(other, "restart") == Returned(["one: by b", "zwei: by b"])
    third = desk.worker("c", delivered=3)
    assert await third.run(other, "restart") == Returned(["one: by b", "zwei: by b"])
    assert desk.made == ["a one", "a two", "a three", "b one", "b zwei"]
    [restarted] = [slot for slot in await desk.slots() if isinstance(slot, Restarted)]
    assert "messages[0]" in restarted.why
    assert [past.n for past in (await desk.remembered()).calls.values()] == [4, 5]


async def test_what_runs_beside_the_skill_may_come_in_another_order(desk: Desk) -> None:
    """A flow that is ahead now asks for something new while another has not come to what it asked before."""
    hold = asyncio.Event()

    async def skill(worker: Worker) -> Any:
        async def left() -> list[str]:
            found = [await worker.ask("l1"), await worker.ask("l2")]
            if worker.name == "b":
                found.append(await worker.ask("l3"))
                hold.set()
            return found

        async def right() -> list[str]:
            if worker.name == "b":
                await hold.wait()
            return [await worker.ask("r1")]

        return await asyncio.gather(left(), right())

    await desk.worker().run(skill)
    ended = await desk.worker("b", delivered=2).run(skill)
    assert ended == Returned([["l1: by a", "l2: by a", "l3: by b"], ["r1: by a"]])


async def test_a_call_that_raised_may_succeed_later_and_change_the_way(desk: Desk) -> None:
    """What the code did because of the error is not missed when there is none."""

    async def skill(worker: Worker) -> Any:
        try:
            found = await worker.ask("best")
        except RuntimeError:
            found = await worker.ask("second best")
        return found

    first = desk.worker()
    first.broken.add("best")
    assert await first.run(skill) == Returned("second best: by a")
    assert [type(slot) for slot in await desk.slots()] == [Began, Raised, Began, Answered]
    again = desk.worker("b", delivered=2)
    again.broken.add("best")
    assert await again.run(skill) == Returned("second best: by a")
    assert await desk.worker("c", delivered=3).run(skill) == Returned("best: by c")


async def test_what_is_raised_is_raised_and_not_kept(desk: Desk) -> None:
    worker = desk.worker()
    worker.broken.add("one")
    await worker.book.open()
    with pytest.raises(RuntimeError, match="one is broken"):
        await worker.ask("one")
    assert not any("broken" in str(slot) for slot in await desk.slots())


# --- strays


async def test_a_stray_of_who_lost_the_task_is_stepped_over(desk: Desk) -> None:
    """It was under way when the task was taken over, and stands where the new one wants to write."""
    await desk.worker().run(asking("one"))
    second = desk.worker("b", delivered=2)
    await second.book.open()
    [_, answered, _] = await desk.slots()
    assert isinstance(answered, Answered)
    assert await desk.store.append(4, stray(answered)) is None
    assert [await second.ask(what) for what in ("one", "two")] == ["one: by a", "two: by b"]
    third = desk.worker("c", delivered=3)
    assert await third.run(asking("one", "two")) == Returned(["one: by a", "two: by b"])
    assert (await desk.remembered()).void == 1


class Stale(MemoryJournal):
    """A replica that is behind at first."""

    def __init__(self, behind: int) -> None:
        super().__init__()
        self.behind = behind

    async def read(self, start: int = 1) -> list[Any]:
        found = await super().read(start)
        behind, self.behind = self.behind, 0
        return found[: len(found) - behind] if behind else found


@pytest.mark.parametrize("behind", [1, 3, 6])
async def test_a_replica_that_is_behind_costs_no_answer(behind: int) -> None:
    store = Stale(0)
    desk = Desk(memory=store)
    await desk.worker().run(THREE)
    store.behind = behind
    assert await desk.worker("b", delivered=2).run(THREE) == Returned(
        ["one: by a", "two: by a", "three: by a"]
    )
    assert len(desk.made) == 3


# --- values, large and odd


@pytest.mark.parametrize(
    "value", [None, 0, "", "ü\0\n", 2**80, -1.5, [], {"b": 1, "a": [None, {"x": "y"}]}, "x" * 300_000]
)
async def test_a_value_comes_back_as_it_was(desk: Desk, value: Any) -> None:
    async def skill(worker: Worker) -> Any:
        return await worker.calls.value("it", lambda: value)

    assert await desk.worker().run(skill) == Returned(value)
    ended = await desk.worker("b", delivered=2).run(skill)
    assert isinstance(ended, Returned)
    assert ended.value == value
    if isinstance(value, dict):
        assert list(ended.value) == list(value)


async def test_what_is_no_json_is_refused_by_name(desk: Desk) -> None:
    worker = desk.worker()
    await worker.book.open()
    with pytest.raises(SkillError, match="what call 1 gave is not JSON"):
        await worker.calls.value("odd", object)
    with pytest.raises(SkillError, match="the request to tool t is not JSON"):
        await worker.calls.call("tool", "t", {"at": object()}, lambda _: asyncio.sleep(0))
    assert await worker.calls.value("after", lambda: 1) == 1


# --- offline, and plain functions


async def test_a_context_without_a_bus_has_a_journal_in_memory() -> None:
    ctx = Context.offline()
    assert 0 <= await ctx.journal.random() < 1
    assert await ctx.journal.value("now", lambda: 12.5) == 12.5
    assert not ctx.journal.replaying


def test_a_plain_function_has_it_too() -> None:
    store = MemoryJournal()
    first = Calls(offline_book(store))
    number = first.random_sync()
    assert first.value_sync("now", lambda: 1) == 1
    again = Calls(offline_book(store))
    assert again.random_sync() == number
    assert again.value_sync("now", lambda: 2) == 1
