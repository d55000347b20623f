"""The page on models shows scripts and prices that can be used as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from models_kit import SEARCH, asking

from consort_agents.models.errors import Overloaded
from consort_agents.models.pricing import read_prices
from consort_agents.models.script_files import read_script
from consort_agents.models.scripted import Scripted

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


async def test_the_script_shown_does_what_is_said() -> None:
    [text] = blocks("yaml")
    provider = Scripted(read_script(text))
    reply = await provider.ask(asking("all about teapots", agent="researcher", tools=(SEARCH,)))
    assert reply.tool_uses[0].input == {"query": "teapots", "limit": 5}
    assert (await provider.ask(asking(agent="writer"))).text == "Once upon a time."
    with pytest.raises(Overloaded):
        await provider.ask(asking("hurry"))
    critic = asking(system="You are a critic.", output_schema={"type": "boolean"})
    assert [(await provider.ask(critic)).text for _ in range(2)] == [
        '{"accepted": false, "reason": "no source is named"}',
        "false",
    ]


def test_the_prices_shown_can_be_read(tmp_path: Path) -> None:
    [text] = [block for block in blocks("toml") if "input" in block]
    file = tmp_path / "prices.toml"
    file.write_text(text, encoding="utf-8")
    assert set(read_prices(str(file))) == {"claude-sonnet-5-5", "our-llama"}
