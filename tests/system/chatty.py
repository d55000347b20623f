"""An agent whose skills log, fail and are isolated: `python -m consort_agents chatty.py:chatty`."""

from __future__ import annotations

import asyncio
import logging
import threading

from consort_agents import Agent, Context, SkillError

chatty = Agent("chatty", slots=2, lease=2.0, description="Says what it does.")
own = logging.getLogger("mine.lib")


@chatty.skill("talk.thread")
def in_thread(text: str) -> str:
    own.warning("in a thread")
    return text


@chatty.skill("talk.async")
async def in_loop(text: str, ctx: Context) -> str:
    own.warning("in the loop")
    await asyncio.to_thread(own.warning, "in a thread of the loop")
    ctx.log.info("by the context")
    return text


@chatty.skill("talk.isolated", isolation="process")
def isolated(text: str) -> str:
    own.warning("in a child")
    bare = threading.Thread(target=own.warning, args=("in a bare thread of a child",))
    bare.start()
    bare.join()
    return text


@chatty.skill("talk.raise")
def raises(text: str) -> str:
    try:
        raise KeyError(text)
    except KeyError as exc:
        raise ValueError(f"cannot do anything with {text}") from exc


@chatty.skill("talk.give-up")
def gives_up(text: str) -> str:
    raise SkillError(f"not {text}", kind=f"odd-{text}", retry=False)


@chatty.skill("talk.odd")
def odd(text: str) -> int:
    return text  # type: ignore[return-value] # the point of it
