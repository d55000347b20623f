"""Connecting: what a person is told when it fails, and what callers are told while it lasts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import nats
import pytest

from consort_bus import embedded, jetstream, subjects
from consort_bus.connection import Bus, open_bus
from consort_bus.credentials import Credentials
from consort_bus.embedded import Embedded
from consort_bus.errors import AccessDenied, BusUnreachable, BusUnsuitable, CredentialsRefused, NoAnswer
from consort_bus.keys import Authority
from consort_shared.ids import new_run_id

OpenAs = Callable[[str, str], AbstractAsyncContextManager[Bus]]


def _client(server: Embedded, name: str = "c1") -> Credentials:
    return embedded.credentials_for(server.folder, "client", name)


async def test_nobody_listens(embedded_bus: Embedded, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"nats://127.0.0.1:{free.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(BusUnreachable, match=r"nothing listens there.*consort bus start") as refused:
            async with open_bus(url, _client(embedded_bus)):
                pass
    assert time.monotonic() - began < 1
    assert refused.value.exit_code == 3
    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.mark.slow
async def test_silence_is_not_waited_out(embedded_bus: Embedded) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        with pytest.raises(BusUnreachable, match="nothing answers in time"):
            async with open_bus(
                f"nats://127.0.0.1:{silent.getsockname()[1]}", _client(embedded_bus), connect_timeout=0.3
            ):
                pass
        assert time.monotonic() - began < 1


async def test_one_dead_server_of_two_is_passed_over(embedded_bus: Embedded) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        urls = f"nats://127.0.0.1:{free.getsockname()[1]},{embedded_bus.url}"
        async with open_bus(urls, _client(embedded_bus)) as bus:
            assert bus.connected


@pytest.mark.slow
async def test_patience_outlasts_a_late_server(embedded_bus: Embedded, tmp_path: Path) -> None:
    credentials = embedded.credentials_for(tmp_path, "client", "c1")
    port = embedded.start(tmp_path).url
    embedded.stop(tmp_path)

    async def late() -> None:
        await asyncio.sleep(0.3)
        await asyncio.to_thread(embedded.start, tmp_path)

    starting = asyncio.create_task(late())
    try:
        async with open_bus(port, credentials, patience=10) as bus:
            assert bus.connected
    finally:
        await starting
        embedded.stop(tmp_path)


@asynccontextmanager
async def _pretender(info: dict[str, object]) -> AsyncIterator[str]:
    """Something that greets like a server and answers pings."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            writer.write(b"INFO " + json.dumps(info).encode() + b"\r\n")
            while line := await reader.readline():
                if line.startswith(b"PING"):
                    writer.write(b"PONG\r\n")
            writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        yield f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"version": "2.13.9", "jetstream": True}, "version 2.13.9; Consort needs 2.14 or newer"),
        ({"version": "2.15.1"}, "runs without JetStream; switch it on"),
    ],
)
async def test_unsuitable_servers(embedded_bus: Embedded, info: dict[str, object], said: str) -> None:
    async with _pretender({"server_id": "x", "max_payload": 1048576, "headers": True, **info}) as url:
        with pytest.raises(BusUnsuitable, match=said):
            async with open_bus(url, _client(embedded_bus)):
                pass


async def test_something_else_listens(embedded_bus: Embedded) -> None:
    async def web(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(web, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(BusUnreachable, match="expecting INFO"):
            async with open_bus(f"nats://127.0.0.1:{port}", _client(embedded_bus)):
                pass


async def test_credentials_of_another_installation(embedded_bus: Embedded, tmp_path: Path) -> None:
    stranger = Authority.load_or_create(tmp_path).issue("client", "c1")
    with pytest.raises(CredentialsRefused, match=r"client\.c1: it does not know the credentials"):
        async with open_bus(embedded_bus.url, stranger):
            pass


async def test_another_seed_than_the_tokens(embedded_bus: Embedded) -> None:
    stolen = replace(_client(embedded_bus), seed=_client(embedded_bus, "c2").seed)
    with pytest.raises(CredentialsRefused):
        async with open_bus(embedded_bus.url, stolen):
            pass


async def test_the_file_serves_other_clients_too(embedded_bus: Embedded, tmp_path: Path) -> None:
    """Written as NATS writes its own, the key for sealing last, where others do not look."""
    embedded.credentials_for(embedded_bus.folder, "agent", "a1").save(tmp_path / "a1.creds")
    plain = await nats.connect(embedded_bus.url, user_credentials=tmp_path / "a1.creds")
    await plain.flush()
    await plain.close()


@pytest.mark.slow
async def test_credentials_end_while_connected(embedded_bus: Embedded) -> None:
    brief = embedded.credentials_for(embedded_bus.folder, "client", "brief", timedelta(seconds=1.5))
    async with open_bus(embedded_bus.url, brief) as bus:
        async with asyncio.timeout(5):
            assert isinstance(await bus.wait_closed(), CredentialsRefused)
        with pytest.raises(NoAnswer):
            await bus.request(jetstream.stream_info(subjects.LOG))
    assert "the credentials expired at" in await _refusal(embedded_bus.url, brief)


async def _refusal(url: str, credentials: Credentials) -> str:
    """Why they are not let in; the server counts their time in whole seconds, so perhaps not at once."""
    async with asyncio.timeout(5):
        while True:
            try:
                async with open_bus(url, credentials):
                    await asyncio.sleep(0.05)
            except CredentialsRefused as exc:
                return str(exc)


async def test_a_refused_request_says_so_at_once(open_as: OpenAs) -> None:
    subject = str(subjects.IncomingSubject("client", "c2", new_run_id()))
    async with open_as("client", "c1") as bus:
        began = time.monotonic()
        with pytest.raises(AccessDenied, match=r"client\.c1 may not publish to in\.client\.c2") as denied:
            await bus.request(subject, timeout=5)
        assert time.monotonic() - began < 1
        assert denied.value.subject == subject
        assert "client" in denied.value.allowed
        # an upper-case subject comes back from the library in lower case
        with pytest.raises(AccessDenied):
            await bus.request(jetstream.stream_info(subjects.DEAD), timeout=5)


async def test_a_refusal_nobody_waits_for_reaches_the_alarm(open_as: OpenAs) -> None:
    async with open_as("client", "c1") as bus:
        heard: list[AccessDenied] = []
        bus.on_refusal(heard.append)
        await bus.publish("ctl.a1")
        await bus.nc.subscribe("ctl.a1")
        await bus.barrier()
        assert [(denied.action, denied.subject) for denied in heard] == [
            ("publish to", "ctl.a1"),
            ("subscribe to", "ctl.a1"),
        ]


async def test_nobody_answers(open_as: OpenAs) -> None:
    async with open_as("agent", "a1") as bus:
        with pytest.raises(NoAnswer) as unanswered:
            await bus.request(str(subjects.ApiSubject("wanted", "a1")))
        assert unanswered.value.reason == "no responders"


async def test_requests_and_replies_between_roles(open_as: OpenAs) -> None:
    async with open_as("client", "c1") as client, open_as("orchestrator", "o1") as orchestrator:
        requests = await orchestrator.nc.subscribe(subjects.API_FILTER)
        await orchestrator.barrier()
        asking = asyncio.create_task(client.request(str(subjects.ApiSubject("submit", "c1")), b"go"))
        await (await requests.next_msg(timeout=2)).respond(b"done")
        assert (await asking).data == b"done"


async def test_a_role_and_name_have_an_inbox_of_their_own(open_as: OpenAs) -> None:
    async with open_as("client", "c1") as bus:
        assert bus.new_inbox().startswith("_INBOX.client.c1.")
        heard: list[AccessDenied] = []
        bus.on_refusal(heard.append)
        for other in ("_INBOX.>", "_INBOX.client.c2.>", "_INBOX.agent.c1.>", "_INBOX.*.c1.>"):
            await bus.nc.subscribe(other)
        await bus.barrier()
        assert len(heard) == 4


@pytest.mark.slow
async def test_a_restart_is_survived(tmp_path: Path) -> None:
    server = embedded.start(tmp_path)
    try:
        async with open_bus(server.url, embedded.credentials_for(tmp_path, "agent", "a1")) as bus:
            back = asyncio.Event()

            async def note() -> None:
                back.set()

            bus.on_reconnect(note)
            silent = await bus.nc.subscribe("ctl.a1")
            listener = embedded.credentials_for(tmp_path, "orchestrator", "o1")
            async with open_bus(server.url, listener) as orchestrator:
                requests = await orchestrator.nc.subscribe(subjects.API_FILTER)
                await orchestrator.barrier()
                asking = asyncio.create_task(bus.request("api.wanted.a1", timeout=30))
                await requests.next_msg(timeout=2)
            await asyncio.to_thread(embedded.stop, tmp_path)
            with pytest.raises(NoAnswer, match="disconnected"):
                await asking
            with pytest.raises(NoAnswer, match="disconnected"):
                await bus.publish(f"live.{new_run_id()}.a1.t1")
            assert (await asyncio.to_thread(embedded.start, tmp_path)).url == server.url
            async with asyncio.timeout(10):
                await back.wait()
            orchestrator = embedded.credentials_for(tmp_path, "orchestrator", "o1")
            async with open_bus(server.url, orchestrator) as other:
                await other.publish("ctl.a1", b"drain")
            assert (await silent.next_msg(timeout=2)).data == b"drain"
    finally:
        embedded.stop(tmp_path)


def test_ctrl_c_does_not_reach_the_server(embedded_bus: Embedded) -> None:
    assert os.getsid(embedded_bus.pid) != os.getsid(0)  # a terminal signals its own session only
