"""Values by key: fenced, mortal, deletable, readable without a consumer."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from _nats_server import add_stream

from consort_bus.buckets import Bucket
from consort_bus.publish import Publisher, PublishRefused, WrongLastSequence
from consort_bus.wire import Wire

KEY = "$KV.B.a.k"


@pytest.fixture
async def bucket(wire: Wire) -> Bucket:
    await add_stream(wire.nc, "KV_B", "$KV.B.>", max_msgs_per_subject=4, allow_msg_ttl=True)
    return Bucket(wire, Publisher(wire), "KV_B")


async def test_put_and_get(bucket: Bucket) -> None:
    assert await bucket.get(KEY) is None
    assert await bucket.put(KEY, b"one", headers={"A": "b"}) == 1
    value = await bucket.get(KEY)
    assert value is not None
    assert (value.revision, value.subject, value.key) == (1, KEY, "a.k")
    assert (value.data, value.headers) == (b"one", {"A": "b"})
    assert abs(datetime.now(UTC) - value.time) < timedelta(seconds=5)


async def test_an_expected_revision_is_a_fence(bucket: Bucket) -> None:
    assert await bucket.put(KEY, b"one", expected_revision=0) == 1
    with pytest.raises(WrongLastSequence) as caught:
        await bucket.put(KEY, b"two", expected_revision=0)
    assert caught.value.actual == 1
    assert await bucket.put(KEY, b"two", expected_revision=1) == 2
    with pytest.raises(WrongLastSequence):
        await bucket.delete(KEY, expected_revision=1)
    assert await bucket.delete(KEY, expected_revision=2) == 3


async def test_entries_and_history(bucket: Bucket) -> None:
    for n in range(6):
        await bucket.put(KEY, b"%d" % n)
    await bucket.put("$KV.B.a.other", b"x")
    await bucket.put("$KV.B.b.k", b"y")
    await bucket.put("$KV.B.a.gone", b"z")
    await bucket.delete("$KV.B.a.gone")
    assert [(value.key, value.data) for value in await bucket.entries("$KV.B.a.*")] == [
        ("a.k", b"5"),
        ("a.other", b"x"),
    ]
    assert len(await bucket.entries("$KV.B.>")) == 3
    assert await bucket.entries("$KV.B.none.*") == []
    assert [value.data for value in await bucket.history(KEY)] == [b"2", b"3", b"4", b"5"]
    assert [value.deleted for value in await bucket.history("$KV.B.a.gone")] == [False, True]
    assert await bucket.get("$KV.B.a.gone") is None


async def test_values_and_marks_go_away(bucket: Bucket) -> None:
    await bucket.put(KEY, b"one", ttl=timedelta(seconds=1))
    await bucket.delete("$KV.B.b.k", ttl=timedelta(seconds=1))
    assert await bucket.get(KEY) is not None
    async with asyncio.timeout(5):
        while await bucket.history(KEY) or await bucket.history("$KV.B.b.k"):
            await asyncio.sleep(0.05)
    with pytest.raises(ValueError, match="whole seconds"):
        await bucket.put(KEY, b"one", ttl=timedelta(seconds=1.5))


async def test_a_bucket_of_immortals_refuses_a_time_to_live(wire: Wire) -> None:
    await add_stream(wire.nc, "KV_B", "$KV.B.>")
    with pytest.raises(PublishRefused):
        await Bucket(wire, Publisher(wire), "KV_B").put(KEY, b"", ttl=timedelta(seconds=1))
