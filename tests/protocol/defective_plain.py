"""The plain agent with defects in it, as people make them: what `consort protocol check` is to find."""

from __future__ import annotations

import asyncio
import hmac
import json
from typing import Any

import plain_agent
from nats.aio.msg import Msg
from plain_agent import Agent, Task


async def report_after_acknowledging(
    self: Agent, task: Task, outcome: dict[str, Any], seconds: float = 0.0
) -> None:
    await self.nc.publish(task.msg.reply, b"+ACK")
    await self.say(task, {"say": "report", "outcome": outcome, "seconds": seconds})
    await self.nc.publish(
        f"in.agent.{plain_agent.NAME}.{task.run}", b'{"say": "progress", "text": "unsealed"}'
    )


async def begin_without_asking(self: Agent, task: Task) -> bool:
    return True


async def keep_no_lease(self: Agent) -> None:
    await asyncio.Event().wait()


async def go_on_when_told_to_stop(self: Agent, msg: Msg) -> None:
    order = json.loads(msg.data)
    task = self.tasks.get((order["run"], order.get("task")))
    if order["order"] == "stop" and task is not None:
        await self.say(task, {"say": "heed", "order": "stop", "how": "goes-on"})


def believe_everything(claimed: str, right: str) -> bool:
    return True


plain_agent.CARD["skills"][0]["output_schema"] = {"type": "integer"}  # type: ignore[index] # a card's own form
hmac.compare_digest = believe_everything  # type: ignore[assignment,misc] # the plain agent's guard
Agent.report = report_after_acknowledging  # type: ignore[method-assign]
Agent.may_begin = begin_without_asking  # type: ignore[method-assign]
Agent.keep_leases = keep_no_lease  # type: ignore[method-assign]
Agent.ordered = go_on_when_told_to_stop  # type: ignore[method-assign]

if __name__ == "__main__":
    asyncio.run(plain_agent.main())
