"""What `once` promises within one attempt; the ledger is scripted or in memory."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Literal

import pytest

from consort_agents import Context, NotDone, SkillError
from consort_agents.effects import Begun, Effects, Unknown
from consort_agents.errors import CalledOff, EffectInDoubt


class Scripted:
    """Answers as it is told, and remembers what it was asked."""

    def __init__(self, *verdicts: Literal["do", "done", "ask", "stop"]) -> None:
        self.verdicts = list(verdicts)
        self.said: list[tuple[str, str, Any]] = []

    async def begin(self, key: str, unknown: Unknown) -> Begun:
        self.said.append(("begin", key, unknown))
        await asyncio.sleep(0)
        return Begun(key, str(len(self.said)), self.verdicts.pop(0), "recorded")

    async def settle(self, begun: Begun, phase: Literal["done", "undone"], value: Any = None) -> None:
        self.said.append((phase, begun.key, value))


def effects(*verdicts: Literal["do", "done", "ask", "stop"]) -> tuple[Effects, Scripted]:
    ledger = Scripted(*verdicts)
    return Effects(ledger, "r" * 32, "step"), ledger


async def test_an_effect_is_done_and_recorded() -> None:
    once, ledger = effects("do")
    assert await once.once("k", lambda: {"a": (1, 2)}, "ask") == {"a": [1, 2]}
    assert ledger.said == [("begin", "k", "ask"), ("done", "k", {"a": [1, 2]})]


async def test_an_effect_done_before_is_not_done_again() -> None:
    once, ledger = effects("done")
    assert await once.once("k", lambda: pytest.fail("done again"), "ask") == "recorded"
    assert len(ledger.said) == 1


async def test_the_same_key_gives_the_first_result_also_at_the_same_time() -> None:
    once, ledger = effects("do")
    done = []

    async def effect() -> int:
        await asyncio.sleep(0.01)
        done.append(1)
        return len(done)

    results = await asyncio.gather(*(once.once("k", effect, "ask") for _ in range(5)))
    assert [*results, await once.once("k", effect, "ask")] == [1] * 6
    assert [phase for phase, _, _ in ledger.said] == ["begin", "done"]


async def test_what_only_waits_may_be_cancelled() -> None:
    once, _ = effects("do")
    may_end = asyncio.Event()

    async def effect() -> str:
        await may_end.wait()
        return "x"

    first = asyncio.create_task(once.once("k", effect, "ask"))
    second = asyncio.create_task(once.once("k", effect, "ask"))
    await asyncio.sleep(0.01)
    second.cancel()
    may_end.set()
    assert await first == "x"
    with pytest.raises(asyncio.CancelledError):
        await second


async def test_an_effect_that_did_not_happen_may_be_tried_again() -> None:
    once, ledger = effects("do", "do")

    def refused() -> None:
        raise NotDone("refused")

    with pytest.raises(NotDone):
        await once.once("k", refused, "ask")
    assert await once.once("k", lambda: 1, "ask") == 1
    assert [phase for phase, _, _ in ledger.said] == ["begin", "undone", "begin", "done"]


async def test_after_any_other_exception_nothing_is_said() -> None:
    once, ledger = effects("do", "ask")

    def breaks() -> None:
        raise ConnectionError("no answer")

    with pytest.raises(ConnectionError):
        await once.once("k", breaks, "redo")
    with pytest.raises(EffectInDoubt):
        await once.once("k", breaks, "ask")
    assert [phase for phase, _, _ in ledger.said] == ["begin", "begin"]
    assert isinstance(once.over, EffectInDoubt)


@pytest.mark.parametrize("given", [object(), 2**70])
async def test_an_effect_whose_result_is_no_json_counts_as_done(given: Any) -> None:
    once, ledger = effects("do")
    with pytest.raises(SkillError, match="not JSON") as caught:
        await once.once("k", lambda: given, "ask")
    assert not caught.value.retry
    assert ledger.said[-1] == ("done", "k", None)


@pytest.mark.parametrize(
    ("key", "function", "unknown"),
    [
        ("", lambda: 1, "ask"),
        ("k" * 201, lambda: 1, "ask"),
        ("k", lambda: 1, "perhaps"),
        ("k", lambda a, b: 1, "ask"),
        ("k", lambda *, a: 1, "ask"),
    ],
)
async def test_a_call_that_cannot_be_is_told_before_anything_is_done(
    key: str, function: Any, unknown: Any
) -> None:
    once, ledger = effects()
    with pytest.raises((ValueError, TypeError)):
        await once.once(key, function, unknown)
    with pytest.raises((ValueError, TypeError)):
        once.once_sync(key, function, unknown, None)
    assert not ledger.said


async def test_a_function_with_one_argument_gets_the_idempotency_key() -> None:
    once, _ = effects("do", "do", "do")
    assert await once.once("a", lambda key: key, "ask") == once.id_of("a")
    assert await once.once("b", lambda key="mine": key, "ask") == "mine"
    assert await once.once("c", lambda *rest: rest, "ask") == []
    assert once.id_of("a") != Effects(Scripted(), "r" * 32, "other").id_of("a")
    assert len(once.id_of("a")) == 32


async def test_a_called_off_attempt_begins_no_effect() -> None:
    once, ledger = effects("do")
    begun = asyncio.create_task(once.once("k", lambda: pytest.fail("done"), "ask"))
    await asyncio.sleep(0)
    once.called_off = True  # while the answer is on its way
    with pytest.raises(CalledOff):
        await begun
    assert [phase for phase, _, _ in ledger.said] == ["begin", "undone"]
    with pytest.raises(CalledOff):
        await once.once("other", lambda: 1, "ask")
    assert len(ledger.said) == 2


async def test_an_attempt_that_is_over_is_told_to_stop() -> None:
    once, _ = effects("stop")
    with pytest.raises(CalledOff):
        await once.once("k", lambda: pytest.fail("done"), "ask")
    assert once.called_off


async def test_a_plain_effect_does_not_block_the_loop() -> None:
    once, _ = effects("do")
    here = threading.get_ident()
    assert await once.once("k", threading.get_ident, "ask") != here


def test_plain_functions_do_effects_in_their_own_thread() -> None:
    ctx = Context.offline()
    here = threading.get_ident()
    assert ctx.once_sync("k", threading.get_ident) == here
    assert ctx.once_sync("k", lambda: pytest.fail("again")) == here

    async def effect() -> None: ...

    with pytest.raises(TypeError, match=r"ctx\.once"):
        ctx.once_sync("other", effect)


def test_offline_effects_may_have_been_done_before() -> None:
    ctx = Context.offline(effects={"charge": {"id": 7}})
    assert ctx.once_sync("charge", lambda: pytest.fail("again")) == {"id": 7}
    assert asyncio.run(ctx.once("mail", lambda: "sent")) == "sent"


async def test_a_sync_form_on_the_loops_thread_is_refused() -> None:
    ctx = Context.offline()
    ctx.artefacts.loop = asyncio.get_running_loop()
    with pytest.raises(RuntimeError, match="_sync"):
        ctx.put_sync("key", 1)
