"""Folders of sources, good and bad: every trouble is named, none is fatal but the last."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from _markets import MakeFolder
from hypothesis import given, settings
from hypothesis import strategies as st

from consort_agents.specialists import gathering, sources
from consort_agents.specialists.delimited import read_delimited
from consort_agents.specialists.gathering import MAX_CELLS, gather_facts
from consort_agents.specialists.sources import UnusableSources, read_folder


def notes(path: Path) -> str:
    return "\n".join(gather_facts(path, "").limits)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnusableSources, match="nowhere: no such folder; give the path of a folder with CSV"):
        read_folder(tmp_path / "nowhere")


def test_a_file_is_no_folder(folder: MakeFolder) -> None:
    path = folder({"a.csv": "x\n1"}) / "a.csv"
    with pytest.raises(UnusableSources, match=r"a\.csv: is a file; give the path of the folder"):
        read_folder(path)


def test_an_empty_folder_says_what_can_be_read(tmp_path: Path) -> None:
    with pytest.raises(UnusableSources, match=r"it is empty; what can be read: CSV"):
        read_folder(tmp_path)


def test_a_folder_with_nothing_readable_names_every_file(folder: MakeFolder) -> None:
    path = folder({"logo.png": b"\x89PNG\x00", "table.csv": b"\x00\x01\x02", "empty.md": ""})
    with pytest.raises(UnusableSources) as caught:
        read_folder(path)
    assert "logo.png: not read: not one of" in str(caught.value)
    assert "table.csv: not read: it is binary" in str(caught.value)
    assert "empty.md: empty." in str(caught.value)


def test_ragged_rows_are_set_aside_with_their_lines(folder: MakeFolder) -> None:
    path = folder({"a.csv": "name,amount\nA,1\nB\nC,3\nD,4,5\n"})
    facts = gather_facts(path, "")
    assert facts.tables[0].places == (2, 4)
    assert facts.limits == (
        "a.csv: lines 3, 5 set aside: not 2 fields as in the header, a delimiter (comma) too many or missing.",
    )


def test_an_open_quotation_mark_spoils_one_row_only(folder: MakeFolder) -> None:
    path = folder({"a.csv": 'name,amount\nA,1\n"B,2\nC,3\n'})
    facts = gather_facts(path, "")
    assert facts.tables[0].places == (2, 4)
    assert "a.csv: line 3 set aside: a quotation mark opens and does not close" in facts.limits[0]


def test_quoted_fields_may_span_lines_and_rows_keep_their_line(folder: MakeFolder) -> None:
    table = gather_facts(folder({"a.csv": 'name,amount\n"A\nB",1\nC,3\n'}), "").tables[0]
    assert table.places == (2, 4)


def test_other_encodings_are_read_with_a_note(folder: MakeFolder) -> None:
    path = folder(
        {"a.csv": "name,town\nA,Málaga\n".encode("cp1252"), "b.txt": "Viele Grüße aus Köln".encode("utf-16")}
    )
    said = notes(path)
    assert "a.csv: not UTF-8 (line 2); read as Windows-1252" in said
    assert "b.txt: read as UTF-16" in said


def test_a_mark_of_byte_order_is_no_part_of_the_header(folder: MakeFolder) -> None:
    table = gather_facts(folder({"a.csv": "\ufeffname,amount\nA,1\n"}), "").tables[0]
    assert [column.name for column in table.columns] == ["name", "amount"]


def test_large_files_are_cut_with_a_note(folder: MakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_BYTES", 40)
    found = read_folder(folder({"a.csv": "name,amount\n" + "A,1\n" * 100}))
    assert found.tables[0].raw.rows == (("A", "1"),) * 7
    assert "only its beginning was read" in found.notes[0]


def test_long_tables_are_cut_with_a_note(folder: MakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "MAX_CELLS", 100)
    facts = gather_facts(folder({"a.csv": "name,amount\n" + "".join(f"A{n},{n}\n" for n in range(80))}), "")
    assert len(facts.tables[0].places) == 50
    assert facts.limits == ("a.csv: only the first 50 of 80 rows were used.",)


def test_facts_stay_small_however_much_there_is(folder: MakeFolder) -> None:
    rows = "".join(f"name {n},{n},{n * 7}\n" for n in range(MAX_CELLS // 3))
    facts = gather_facts(folder({"a.csv": "name,amount,other\n" + rows}), "")
    assert len(facts.model_dump_json()) < 1_000_000


def test_json_lists_of_objects_are_tables_and_other_json_is_text(folder: MakeFolder) -> None:
    path = folder(
        {
            "list.json": '[{"name": "A", "price": 2, "open": true}, {"name": "B", "price": null}]',
            "inside.json": '{"unit": "kg", "rows": [{"name": "A"}]}',
            "lines.jsonl": '{"name": "A"}\n{"name": "B"}\n',
            "other.json": '{"about": "what the people of the market say"}',
            "broken.json": "{",
        }
    )
    facts = gather_facts(path, "people")
    tables = {table.name: table for table in facts.tables}
    assert sorted(tables) == ["inside.json", "lines.jsonl", "list.json"]
    assert tables["list.json"].place == "item"
    assert tables["list.json"].columns[2].texts == ("yes", "")
    assert facts.passages[0].text == "about: what the people of the market say"
    assert "broken.json: not used: not JSON" in facts.limits[0]


def test_a_table_without_a_header_gets_numbered_columns(folder: MakeFolder) -> None:
    table = gather_facts(folder({"a.csv": "A,1\nB,2\nC,3\n"}), "").tables[0]
    assert [column.name for column in table.columns] == ["column 1", "column 2"]
    assert table.places == (1, 2, 3)


def test_doubled_and_empty_headers_are_told_apart(folder: MakeFolder) -> None:
    table = gather_facts(folder({"a.csv": "name,x,x,,[y]\nA,1,2,3,4\nB,1,2,3,4\n"}), "").tables[0]
    assert [column.name for column in table.columns] == ["name", "x", "x (2)", "column 4", "(y)"]


@pytest.mark.skipif(os.name != "posix", reason="links need rights elsewhere")
def test_links_out_of_the_folder_are_not_followed(
    folder: MakeFolder, tmp_path_factory: pytest.TempPathFactory
) -> None:
    secret = tmp_path_factory.mktemp("other") / "secret.csv"
    secret.write_text("name,amount\nA,1\n")
    path = folder({"a.csv": "name,amount\nA,1\n"})
    (path / "b.csv").symlink_to(secret)
    facts = gather_facts(path, "")
    assert [file.name for file in facts.files] == ["a.csv"]
    assert facts.limits == ("b.csv: not read: a link that leads out of the folder.",)


def test_folders_in_folders_are_read_and_hidden_files_are_not(folder: MakeFolder) -> None:
    path = folder({"in/a.csv": "name,amount\nA,1\n", ".hidden.csv": "x\n1\n"})
    assert [file.name for file in gather_facts(path, "").files] == ["in/a.csv"]


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.sampled_from('ab1,;"\n\r\t|\x0b\u2028 '), max_size=60))
def test_no_text_breaks_the_reading(text: str) -> None:
    table = read_delimited(text, "a.csv")
    if table is not None:
        assert all(len(row) == len(table.header) for row in table.rows)
        assert len(table.rows) == len(table.places)
