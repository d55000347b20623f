"""Models by name: providers that ship, providers of other packages, and what is said of those that are not there."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from models_kit import asking

from consort_agents.models.anthropic import Anthropic
from consort_agents.models.errors import ModelUnknown, ModelUnusable, NoKey
from consort_agents.models.finding import close_providers, listed, open_provider, split
from consort_agents.models.scripted import Scripted

THEIRS = """
from consort_agents.models.finding import Source
from consort_agents.models.port import Reply, Text


class Echo:
    name, key, needs_network = "echo", "", False

    async def ask(self, request, deliver=None, *, timeout=600.0):
        return Reply(model=request.model, content=(Text(text=request.messages[-1].text),), stop_reason="end_turn")

    async def count(self, request):
        return 1

    def limits(self):
        return None

    async def close(self):
        closed.append(self)


closed = []
SOURCE = Source(lambda name: (Echo(), name), takes="any name")
"""


@pytest.fixture(autouse=True)
async def forgotten(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "CONSORT_MODEL"):
        monkeypatch.delenv(name, raising=False)
    await close_providers()
    yield
    await close_providers()


@pytest.fixture
def others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is installed, with providers that work and that do not."""
    (tmp_path / "their_models.py").write_text(THEIRS, encoding="utf-8")
    (tmp_path / "broken_models.py").write_text("import nothing_of_that_name\n", encoding="utf-8")
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(
        "[consort.models]\necho = their_models:SOURCE\nbroken = broken_models:SOURCE\nwrong = their_models:closed\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()


def test_a_reference_names_provider_and_model() -> None:
    assert split("anthropic:claude-sonnet-5-5") == ("anthropic", "claude-sonnet-5-5")
    assert split(" claude-sonnet-5-5 ") == ("anthropic", "claude-sonnet-5-5")
    assert split("scripted:a/b:c.yaml") == ("scripted", "a/b:c.yaml")
    for bad in ("", ":", "scripted:", ":model"):
        with pytest.raises(ModelUnknown, match="names no model; write provider:model"):
            split(bad)


def test_an_unknown_provider_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        ModelUnknown, match="no provider 'antropic' of models; there are anthropic, replay, scripted"
    ):
        open_provider("antropic:claude-sonnet-5-5")


async def test_a_script_is_a_model(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("{models: [one, two], otherwise: {answer: '{{ model }}'}}", encoding="utf-8")
    provider, model = open_provider(f"scripted:{file}")
    assert isinstance(provider, Scripted)
    assert model == "one"
    assert not provider.needs_network
    assert (await provider.ask(asking(model=model))).text == "one"
    assert open_provider(f"scripted:{file}")[0] is provider
    assert open_provider(f"scripted:{file}#two")[1] == "two"
    with pytest.raises(ModelUnusable, match="has no model 'three'; it has one, two"):
        open_provider(f"scripted:{file}#three")
    with pytest.raises(ModelUnusable, match="no such file"):
        open_provider("scripted:nowhere.yaml")


def test_without_a_key_the_model_cannot_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoKey):
        open_provider("claude-sonnet-5-5")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-0123456789abcdef")
    one, model = open_provider("claude-sonnet-5-5")
    other, _ = open_provider("anthropic:claude-opus-5-5")
    assert isinstance(one, Anthropic)
    assert model == "claude-sonnet-5-5"
    assert one is other


@pytest.mark.usefixtures("others")
async def test_another_package_adds_a_provider() -> None:
    provider, model = open_provider("echo:loud")
    assert (await provider.ask(asking("hello", model=model))).text == "hello"
    await close_providers()
    assert sys.modules["their_models"].closed == [provider]
    assert open_provider("echo:loud")[0] is not provider


@pytest.mark.usefixtures("others")
def test_a_broken_provider_stands_in_nobodys_way() -> None:
    with pytest.raises(
        ModelUnknown, match=r"'broken' cannot be loaded: ModuleNotFoundError.*nothing_of_that_name"
    ):
        open_provider("broken:x")
    with pytest.raises(ModelUnknown, match="their_models:closed is no"):
        open_provider("wrong:x")
    found = {provider.name: provider.trouble for provider in listed()}
    assert found["echo"] == ""
    assert "nothing_of_that_name" in found["broken"]
    assert "ANTHROPIC_API_KEY" in found["anthropic"]
    assert found["scripted"] == ""


def test_the_chosen_script_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "CONSORT_MODEL", "scripted:nowhere.yaml")
    assert "no such file" in {provider.name: provider.trouble for provider in listed()}["scripted"]
