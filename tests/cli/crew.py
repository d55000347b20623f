"""Two small agents for the tests of the command line. Each test that needs one names it by this file."""

from __future__ import annotations

import asyncio

from consort_agents import Agent, Context, SkillError

agent = Agent("crew", version="1.2", description="Does small things for tests.", slots=4, lease=2)
other = Agent("helper", version="1", description="Offers what the first does not.")


@agent.skill("crew.words")
async def words(text: str, seconds: float = 0.0) -> list[str]:
    """The words of a text, after a while."""
    await asyncio.sleep(seconds)
    return text.split()


@agent.skill("crew.shout")
def shout(word: str) -> str:
    """A word in capitals."""
    return word.upper()


@agent.skill("crew.fail")
def fail(why: str) -> str:
    """Fails for good."""
    raise SkillError(why, retry=False)


@agent.skill("crew.slow")
async def slow(word: str, seconds: float, context: Context) -> str:
    """A word in capitals, letter by letter, told as it goes."""
    for at in range(len(word)):
        context.progress(f"at {word[: at + 1]}", done=at + 1, total=len(word))
        await asyncio.sleep(seconds / len(word))
    return word.upper()


@agent.skill("crew.flaky")
async def flaky(context: Context) -> int:
    """Fails the first time."""
    if context.attempt == 1:
        raise SkillError("not today, or rather not now")
    return context.attempt


@agent.skill("crew.report")
async def report(words: list[str], context: Context) -> dict[str, object]:
    """A report with a file beside it."""
    context.progress("drawing", done=1, total=2)
    picture = await context.artefacts.put(b"<svg/>", media_type="image/svg+xml", name="../picture.svg")
    return {"report": f"# Words\n\n{' '.join(words)}\n", "picture": picture.model_dump(mode="json")}


@other.skill("helper.join")
def join(words: list[str]) -> str:
    """Words put together."""
    return " ".join(words)
