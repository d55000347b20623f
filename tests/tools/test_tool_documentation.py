"""What the page on tools shows is what there is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from consort_agents.tools.files import load_tools

PAGE = Path(__file__).parents[2] / "docs" / "tools.md"


def blocks(language: str) -> list[str]:
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_code_of_the_page_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """F11, S75: a tool of each kind in one line."""
    monkeypatch.chdir(Path(__file__).parent)
    known: dict[str, object] = {}
    for code in blocks("python"):
        exec(compile(code, str(PAGE), "exec"), known)
    assert {"count_letters", "pets", "lines", "servers", "box"} <= set(known)


def test_functions_are_found_whatever_was_imported_before() -> None:
    """`secret` is a function and the name of its module, which others import."""
    code = (
        "import consort_agents.tools.files, consort_agents.tools.secret, consort_agents.tools.openapi\n"
        "from consort_agents.tools import openapi, secret, shell, tool\n"
        "assert all(map(callable, [openapi, secret, shell, tool]))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_file_of_the_page_is_one(tmp_path: Path) -> None:
    [text] = blocks("yaml")
    (tmp_path / "tools.yaml").write_text(text)
    file = load_tools(tmp_path / "tools.yaml")
    assert len(file.contents.tools) == 5
    assert file.limits("send_letter").calls_per_run == 1
    assert file.limits("send_letter").concurrent == 4
