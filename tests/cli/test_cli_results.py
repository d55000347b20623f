"""A result as files: names from strangers, texts, artefacts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from consort_orchestrator.cli.results import Names, artefacts_of, safe_name, save_results, texts_of
from consort_shared.values import ArtefactRef


class Shelf:
    """Artefacts whose bytes are their own names."""

    async def save(self, ref: ArtefactRef, path: Path) -> None:
        path.write_bytes(ref.name.encode())


def ref(name: str, number: int = 0) -> dict[str, object]:
    made = ArtefactRef(artefact=f"{number:064x}", writer="agent.a", size=3, name=name)
    return made.model_dump(mode="json")


@pytest.mark.parametrize(
    ("given", "safe"),
    [
        ("chart.svg", "chart.svg"),
        ("../../etc/passwd", "passwd"),
        ("/etc/shadow", "shadow"),
        ("..\\..\\boot.ini", "boot.ini"),
        (".bashrc", "bashrc"),
        ("-rf", "rf"),
        ("a\nb\x00c\x1b.txt", "a_b_c_.txt"),
        ("Übersicht 3.pdf", "Übersicht 3.pdf"),
        ("..", ""),
        ("", ""),
        ("///", ""),
        ("$(reboot).sh", "_(reboot).sh"),
    ],
)
def test_names_become_plain_file_names(given: str, safe: str) -> None:
    assert safe_name(given) == safe


def test_long_names_keep_their_suffix() -> None:
    name = safe_name("ü" * 300 + ".svg")
    assert len(name.encode()) <= 100
    assert name.endswith(".svg")


def test_no_name_is_given_twice() -> None:
    names = Names()
    assert [names.take("A.svg", "x"), names.take("a.SVG", "x"), names.take("a.svg", "x"), names.take("", "x")] == [
        "A.svg", "a-2.SVG", "a-3.svg", "x",
    ]  # fmt: skip


def test_texts_that_get_a_file() -> None:
    long = "word " * 50
    output = {
        "report": "# Short",
        "notes": long,
        "n": 1,
        "deep": {"report": "# Other", "notes": long},
        "s": "short",
    }
    assert sorted(name for name, _ in texts_of(output)) == ["notes", "report", "report"]
    assert list(texts_of(long)) == [("result", long)]
    assert list(texts_of("short")) == []


def test_references_are_found_everywhere_and_once() -> None:
    value = {"a": ref("x"), "b": [{"c": ref("y", 1)}, ref("x")], "artefact": "no", "writer": "no", "size": -1}
    assert [found.name for found in artefacts_of(value)] == ["x", "y"]


async def test_everything_is_saved_inside_the_folder(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    output = {
        "report": "# Hello",
        "pictures": [
            ref("../up.svg"),
            ref("up.svg", 1),
            ref("result.json", 2),
            ref("report.md", 3),
            ref("..", 4),
        ],
    }
    files = await save_results(output, out, Shelf())
    assert [file.name for file in files] == [
        "result.json", "report.md", "up.svg", "up-2.svg", "result-2.json", "report-2.md", f"artefact-{4:064x}"[:21],
    ]  # fmt: skip
    assert {file.parent for file in files} == {out}
    assert json.loads(files[0].read_text()) == output
    assert files[1].read_text() == "# Hello\n"
    assert sorted(path.name for path in out.iterdir()) == sorted(file.name for file in files)
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]


async def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("kept")
    out = tmp_path / "out"
    out.mkdir()
    (out / "result.json").symlink_to(target)
    await save_results({"a": 1}, out, Shelf())
    assert target.read_text() == "kept"
    assert json.loads((out / "result.json").read_text()) == {"a": 1}
