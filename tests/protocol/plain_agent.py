"""An agent written from docs/protocol.md alone: nats-py, the standard library, JSON, and nothing of Consort.

    CONSORT_SERVER=nats://127.0.0.1:4222 CONSORT_CREDS=agent.plain.creds python plain_agent.py

It offers `plain.shout`, which answers at once, `plain.nap`, which sleeps for so many seconds, and `plain.gate`, which
waits until a file `go-<name>` lies in the folder that MARKS names. For the tests it leaves marks there.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import os
import re
import secrets
import socket
import sys
import time
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from plain_parts import INLINE, fetch, store

NAME, SLOTS, LEASE, POISON_AFTER = "plain", 2, 2.0, 5
CONSUMER = f"agent_{NAME}"
MARKS = Path(os.environ.get("MARKS", "."))
TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
ASK = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
CARD = {
    "name": NAME,
    "version": "1",
    "slots": SLOTS,
    "lease": LEASE,
    "poison_after": POISON_AFTER,
    "encoding": "json",
    "skills": [
        {"name": "plain.shout", "input_schema": TEXT, "output_schema": TEXT},
        {"name": "plain.gate", "input_schema": ASK, "output_schema": TEXT},
        {"name": "plain.nap", "output_schema": TEXT},
    ],
}


def mark(name: str, text: str = "") -> None:
    with (MARKS / name).open("a") as file:
        file.write(f"{os.getpid()} {time.time():.4f} {text}\n")


# --- codes


def code(key: bytes, subject: str, body: bytes) -> str:
    return hashlib.blake2b(subject.encode() + b"\0" + body, key=key, digest_size=16).hexdigest()


def unmask(key: bytes, run: str, task: str, nonce: str, masked: bytes) -> bytes:
    pad = hashlib.blake2b(f"token {run} {task} {nonce}".encode(), key=key, digest_size=16).digest()
    return bytes(a ^ b for a, b in zip(pad, masked, strict=True))


def report_key(key: bytes, token: bytes) -> bytes:
    return hashlib.blake2b(b"consort report " + token, key=key, digest_size=32).digest()


def mac_key(creds: str) -> bytes:
    found = re.search(r"-----BEGIN CONSORT MAC KEY-----\s+(\S+)\s", creds)
    assert found is not None, "these credentials are no agent's"
    return base64.b64decode(found.group(1))


def filled(granted: dict[str, Any], results: dict[str, Any]) -> dict[str, Any]:
    """The inputs of a task, with the results that it follows in their places."""
    inputs: dict[str, Any] = granted.get("inputs", {})
    for hole in granted.get("holes", []):
        value = results[hole["prior"]]
        for part in hole.get("path", []):
            value = value[part]
        place: Any = inputs
        for part in hole["at"][:-1]:
            place = place[part]
        place[hole["at"][-1]] = value
    return inputs


def counted(msg: Msg) -> list[int]:
    """How often it was delivered, two sequences, when it was stored in nanoseconds, and how many wait."""
    tokens = msg.reply.split(".")
    return [int(token) for token in (tokens[4:9] if len(tokens) == 9 else tokens[6:11])]


class Failed(Exception):
    """The task cannot be done."""

    def __init__(self, kind: str, message: str, *, retry: bool) -> None:
        super().__init__(message)
        self.kind, self.retry = kind, retry


class NotMine(Exception):
    """No orchestrator gave this task to this agent."""


class Task:
    """A task in hand."""

    def __init__(self, msg: Msg, run: str, granted: dict[str, Any], token: bytes) -> None:
        self.msg = msg
        self.delivered, _, _, stored, _ = counted(msg)
        self.stored = stored / 1e9
        self.run, self.granted, self.token = run, granted, token
        self.work: asyncio.Task[Any] | None = None
        self.off = False


class Agent:
    """One process of the agent."""

    def __init__(self, nc: Client, key: bytes) -> None:
        self.nc, self.key = nc, key
        self.instance = secrets.token_hex(4)
        self.inbox = f"_INBOX.agent.{NAME}.{self.instance}"
        self.tasks: dict[tuple[str, str], Task] = {}
        self.held: set[str] = set()
        self.ahead = self.joined = 0.0
        self.started = time.time()

    # --- taking part

    async def ask(self, verb: str, body: dict[str, Any]) -> dict[str, Any] | None:
        subject, data = f"api.{verb}.{NAME}", json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Consort-Mac": code(self.key, subject, data)}
        try:
            answer = await self.nc.request(subject, data, timeout=2, headers=headers)
        except nats.errors.Error:
            return None
        return json.loads(answer.data)

    async def join(self) -> None:
        while (answer := await self.ask("announce", {"card": CARD, "instance": self.instance})) is None:
            await asyncio.sleep(0.2)
        if not answer["accepted"]:
            sys.exit(f"not admitted: {answer['why']}")
        assert answer["consumer"] == CONSUMER
        self.joined, self.ahead = answer["now"], answer["now"] - time.time()

    async def show(self) -> None:
        subject = f"$KV.AGENTS.{NAME}.{self.instance}"
        while True:
            presence = {
                "instance": self.instance,
                "card": CARD,
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "started": self.started,
                "busy": len(self.tasks),
            }
            data = json.dumps(presence).encode()
            headers = {
                "Content-Type": "application/json",
                "Consort-Mac": code(self.key, subject, data),
                "Nats-TTL": "10s",
            }
            await self.nc.publish(subject, data, headers=headers)
            await asyncio.sleep(3)

    async def keep_leases(self) -> None:
        while True:
            await asyncio.sleep(LEASE / 3)
            for task in self.tasks.values():
                await self.nc.publish(task.msg.reply, b"+WPI")

    # --- tasks

    async def slot(self, number: int) -> None:
        """One place for a task: asks for one, does it, asks for the next."""
        subject = f"{self.inbox}.{number}"
        arrived = await self.nc.subscribe(subject)
        request = json.dumps({"batch": 1, "expires": 2_000_000_000}).encode()
        while True:
            await self.nc.publish(f"$JS.API.CONSUMER.MSG.NEXT.LOG.{CONSUMER}", request, reply=subject)
            try:
                msg = await arrived.next_msg(timeout=3)
            except nats.errors.TimeoutError:
                continue
            if not msg.reply:
                if (msg.headers or {}).get("Status") != "408":
                    await asyncio.sleep(0.2)
                continue
            await self.take(msg)

    async def take(self, msg: Msg) -> None:
        try:
            task = await self.read(msg)
        except NotMine as exc:
            mark("refused", str(exc))
            await self.nc.publish(msg.reply, f"+TERM {exc}".encode())
            return
        except (ValueError, LookupError) as exc:  # of a later version, perhaps: another process may read it
            mark("refused", f"{type(exc).__name__}: {exc}")
            delay = 1_000_000_000 * 2 ** min(counted(msg)[0] - 1, 5)
            await self.nc.publish(msg.reply, b'-NAK {"delay": %d}' % delay)
            return
        granted, key = task.granted, (task.run, task.granted["task"])
        if key in self.tasks:  # the lease ran out while it was in hand: the newest delivery holds it
            self.tasks[key].msg = msg
            return
        if not await self.may_begin(task):
            return
        self.tasks[key] = task
        try:
            await self.carry_out(task, granted)
        finally:
            del self.tasks[key]

    async def read(self, msg: Msg) -> Task:
        headers = msg.headers or {}
        payload = headers["Consort-Body"].encode() if "Consort-Body" in headers else msg.data
        claimed = headers.get("Consort-Agent-Mac", "")
        if "Nats-Stream" in headers or not hmac.compare_digest(claimed, code(self.key, msg.subject, payload)):
            raise NotMine("its code does not prove that an orchestrator sent it")
        body = msg.data if "Consort-Body" not in headers else await fetch(self.nc, json.loads(payload))
        delivery = json.loads(body)
        granted, run = delivery["granted"], delivery["run"]
        if msg.subject != f"log.{run}.copy.{NAME}.{granted['task']}":
            raise NotMine("its body is about another task than its subject")
        token = unmask(
            self.key, run, granted["task"], granted["nonce"], bytes.fromhex(headers["Consort-Token"])
        )
        return Task(msg, run, granted, token)

    async def may_begin(self, task: Task) -> bool:
        """What is new is begun at once; what came again, waited or is older than this process is asked about."""
        now = time.time() + self.ahead
        late = task.delivered > 1 or now - task.stored > 3 or task.stored < self.joined
        if late:
            answer = await self.ask("wanted", {"run": task.run, "task": task.granted["task"]})
            mark("asked", f"{task.granted['task']} {answer}")
            if answer is not None and answer["wanted"] == "no":
                await self.nc.publish(task.msg.reply, b"+ACK")
                return False
            if answer is not None:
                (self.held.add if answer["wanted"] == "later" else self.held.discard)(task.run)
        if task.run in self.held:
            await self.nc.publish(task.msg.reply, b'-NAK {"delay": 1000000000}')
            return False
        if task.delivered > POISON_AFTER:
            await self.report(task, failed("poison", f"delivered {task.delivered} times"))
            return False
        return True

    async def carry_out(self, task: Task, granted: dict[str, Any]) -> None:
        began = time.monotonic()
        task.work = asyncio.create_task(self.work(task, granted))
        try:
            outcome = {"outcome": "done", "output": await self.output(await task.work)}
        except asyncio.CancelledError:
            if not task.off:
                raise
            return
        except Failed as exc:
            outcome = failed(exc.kind, str(exc), retry=exc.retry)
        except (LookupError, TypeError, ValueError, AssertionError) as exc:
            outcome = failed("exception", f"{type(exc).__name__}: {exc}")
        await self.report(task, outcome, time.monotonic() - began)

    async def work(self, task: Task, granted: dict[str, Any]) -> dict[str, Any]:
        results = {}
        for prior in granted.get("handoff", {}).get("priors", []):
            if (output := prior.get("output")) is not None:
                stored = output.get("ref")
                results[prior["path"]] = (
                    json.loads(await fetch(self.nc, stored)) if stored else output.get("value")
                )
        inputs = filled(granted, results)
        match granted["skill"]:
            case "plain.shout":
                if not isinstance(inputs.get("text"), str):
                    raise Failed("bad-input", "text is missing or no text", retry=False)
                mark("shouted", inputs["text"][:100])
                return {"text": inputs["text"].upper()}
            case "plain.gate":
                mark(f"at-{inputs['name']}", granted["task"])
                while not (MARKS / f"go-{inputs['name']}").exists():
                    await asyncio.sleep(0.02)
                return {"text": inputs["name"]}
            case "plain.nap":
                await asyncio.sleep(inputs["seconds"])
                return {"text": "rested"}
            case skill:
                raise Failed("no-skill", f"{NAME} has no skill {skill}", retry=True)

    async def output(self, value: Any) -> dict[str, Any]:
        """A result as it travels: the value itself or, over 64 KiB, where it is stored."""
        data = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        if len(data) <= INLINE:
            return {"value": value}
        ref = await store(self.nc, "agent", NAME, data)
        return {"ref": ref, "digest": ref["artefact"]}

    # --- saying something

    async def say(self, task: Task, message: dict[str, Any]) -> None:
        """Store a message in the inbox: tried again until the stream has it."""
        subject = f"in.agent.{NAME}.{task.run}"
        message |= {"task": task.granted["task"], "instance": self.instance}
        data = json.dumps(message).encode()
        headers = {
            "Content-Type": "application/json",
            "Consort-Mac": code(report_key(self.key, task.token), subject, data),
        }
        while True:
            try:
                receipt = json.loads((await self.nc.request(subject, data, timeout=2, headers=headers)).data)
            except nats.errors.Error:
                receipt = {}
            if "seq" in receipt:
                return
            await asyncio.sleep(0.2)

    async def report(self, task: Task, outcome: dict[str, Any], seconds: float = 0.0) -> None:
        await self.say(task, {"say": "report", "outcome": outcome, "seconds": seconds})
        await self.nc.publish(task.msg.reply, b"+ACK")  # last: what is not acknowledged comes again

    async def ordered(self, msg: Msg) -> None:
        headers = msg.headers or {}
        if "Nats-Stream" in headers or headers.get("Consort-Agent-Mac") != code(
            self.key, msg.subject, msg.data
        ):
            mark("refused", "an order")
            return
        order = json.loads(msg.data)
        if order["order"] == "hold":
            (self.held.add if order["on"] else self.held.discard)(order["run"])
        elif order["order"] == "stop":
            task = self.tasks.get((order["run"], order["task"]))
            if task is not None and task.work is not None and not task.off:
                task.off = True
                task.work.cancel()
                await self.nc.publish(task.msg.reply, b"+ACK")
                await self.say(task, {"say": "heed", "order": "stop", "how": "stopped"})


def failed(kind: str, message: str, *, retry: bool = True) -> dict[str, Any]:
    return {"outcome": "failed", "kind": kind, "message": message[:2000], "retry": retry}


async def main() -> None:
    creds = os.environ["CONSORT_CREDS"]
    nc = await nats.connect(
        os.environ["CONSORT_SERVER"],
        user_credentials=creds,
        inbox_prefix=f"_INBOX.agent.{NAME}".encode(),
        max_reconnect_attempts=-1,
    )
    agent = Agent(nc, mac_key(Path(creds).read_text()))
    await nc.subscribe(f"ctl.{NAME}", cb=agent.ordered)
    await agent.join()
    mark("modules", " ".join(name for name in sys.modules if name.startswith("consort")))
    await asyncio.gather(agent.show(), agent.keep_leases(), *(agent.slot(number) for number in range(SLOTS)))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
