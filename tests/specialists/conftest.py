"""The two example markets, gathered once, and folders of sources made on the spot."""

from __future__ import annotations

from pathlib import Path

import pytest
from _markets import COFFEE, EXAMPLES, QUESTION, MakeFolder

from consort_agents.specialists.facts import Facts
from consort_agents.specialists.gathering import gather_facts


@pytest.fixture(scope="session")
def systems() -> Facts:
    return gather_facts(EXAMPLES / "market-analysis" / "sources", QUESTION)


@pytest.fixture(scope="session")
def coffee() -> Facts:
    return gather_facts(EXAMPLES / "coffee-market" / "sources", COFFEE)


@pytest.fixture
def folder(tmp_path: Path) -> MakeFolder:
    """`folder({"a.csv": "x,y\\n1,2"})`: a folder with these files; text or bytes."""

    def make(files: dict[str, str | bytes]) -> Path:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path

    return make
