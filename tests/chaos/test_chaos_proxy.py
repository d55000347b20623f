"""The proxy between a process and a bus node: whole messages, held, lost, late and twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from random import Random

import pytest

from consort_orchestrator.chaos.frames import Frame, Splitter, lonely
from consort_orchestrator.chaos.proxy import Link, Meddling

PUB = b"PUB in.agent.a.r 5\r\nhello\r\n"
HPUB = b"HPUB log.r.entry.-.noted _INBOX.x 12 15\r\nNATS/1.0\r\n\r\nabc\r\n"
PING = b"PING\r\n"


def test_frames_however_they_are_cut() -> None:
    stream = PING + PUB + HPUB + b"SUB x 1\r\n"
    whole = [
        Frame(PING),
        Frame(PUB, "in.agent.a.r"),
        Frame(HPUB, "log.r.entry.-.noted"),
        Frame(b"SUB x 1\r\n"),
    ]
    for size in (1, 2, 7, 1000):
        splitter = Splitter()
        parts = [stream[at : at + size] for at in range(0, len(stream), size)]
        assert [frame for part in parts for frame in splitter.feed(part)] == whole


def test_a_payload_may_look_like_the_protocol() -> None:
    trick = b"PUB a 12\r\nPUB b 3\r\nxyz\r\n"
    assert Splitter().feed(trick) == [Frame(trick, "a")]


def test_a_greeting_names_no_other_server() -> None:
    told = json.loads(lonely(b'INFO {"server_name":"n1","connect_urls":["127.0.0.1:1"]}\r\n')[5:])
    assert told == {"server_name": "n1"}
    assert lonely(PUB) == PUB


class Echo:
    """A server that keeps what it is sent."""

    def __init__(self) -> None:
        self.got = b""
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while data := await reader.read(1000):
            self.got += data
        writer.close()

    async def until(self, holds: Callable[[bytes], bool]) -> None:
        async with asyncio.timeout(5):
            while not holds(self.got):
                await asyncio.sleep(0.005)


Way = tuple[Link, Echo, Callable[[], Awaitable[asyncio.StreamWriter]]]


@pytest.fixture
async def way() -> AsyncIterator[Way]:
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    link = Link(lambda: server.sockets[0].getsockname()[1], Random(1))
    await link.open()
    writers = []

    async def connect() -> asyncio.StreamWriter:
        _, writer = await asyncio.open_connection("127.0.0.1", int(link.url.rpartition(":")[2]))
        writers.append(writer)
        return writer

    try:
        yield link, echo, connect
    finally:
        for writer in writers:
            writer.close()
        await link.close()
        server.close()
        await server.wait_closed()


async def test_what_is_held_arrives_when_the_way_is_open_again(way: Way) -> None:
    link, echo, connect = way
    writer = await connect()
    writer.write(PING)
    await echo.until(lambda got: got == PING)
    link.hold()
    writer.write(PUB)
    await asyncio.sleep(0.05)
    assert echo.got == PING
    link.release()
    await echo.until(lambda got: got == PING + PUB)


async def test_what_is_held_is_lost_with_the_connection(way: Way) -> None:
    link, echo, connect = way
    writer = await connect()
    writer.write(PING)
    await echo.until(lambda got: got == PING)
    link.hold()
    writer.write(PUB)
    await asyncio.sleep(0.05)
    link.reset()
    link.calm()
    (await connect()).write(HPUB)
    await echo.until(lambda got: got.endswith(HPUB))
    assert echo.got == PING + HPUB


async def test_a_message_arrives_twice(way: Way) -> None:
    link, echo, connect = way
    link.meddling = Meddling(("in.agent.",), share=1.0, lag=0.02, twice=True)
    writer = await connect()
    writer.write(PUB + HPUB)
    await echo.until(lambda got: got.count(PUB) == 2)
    assert echo.got.count(HPUB) == 1


async def test_a_message_is_overtaken(way: Way) -> None:
    link, echo, connect = way
    link.meddling = Meddling(("in.agent.",), share=1.0, lag=0.2, twice=False)
    writer = await connect()
    writer.write(PUB + HPUB)
    await echo.until(lambda got: len(got) == len(PUB + HPUB))
    assert echo.got == HPUB + PUB
