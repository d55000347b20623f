"""Columns are known by what they hold, grids in whatever shape they come."""

from __future__ import annotations

from _markets import EXAMPLES, QUESTION, MakeFolder

from consort_agents.specialists.facts import Facts, Kind, Role, cells, column_named, table_named
from consort_agents.specialists.gathering import gather_facts


def kinds(facts: Facts, table: str) -> dict[str, tuple[Kind, Role]]:
    return {column.name: (column.kind, column.role) for column in table_named(facts, table).columns}


def test_columns_of_the_packages(systems: Facts) -> None:
    assert kinds(systems, "packages.csv") == {
        "package": (Kind.NAME, Role.NONE),
        "version": (Kind.VERSION, Role.NONE),
        "last_release": (Kind.DATE, Role.NONE),
        "download_rank": (Kind.NUMBER, Role.RANK),
        "summary": (Kind.TEXT, Role.NONE),
    }
    assert table_named(systems, "packages.csv").key == "package"


def test_the_long_matrix_is_found(systems: Facts) -> None:
    [matrix] = systems.matrices
    assert (matrix.entity, matrix.item, matrix.item_id, matrix.group) == (
        "system",
        "capability",
        "capability_id",
        "area",
    )
    assert (matrix.full, matrix.partial, matrix.none) == (("yes",), ("partial",), ("no",))
    assert (matrix.apart, matrix.unknown) == (("n/a",), ("",))


def test_headers_do_not_matter_but_for_ranks(folder: MakeFolder, systems: Facts) -> None:
    """The same cells under other headers are the same kinds of columns."""
    original = table_named(systems, "features.csv")
    lines = ["a,b,c,d,e,f"]
    for row in zip(*(cells(column) for column in original.columns), strict=True):
        lines.append(",".join('"' + text.replace('"', '""') + '"' for text in row))
    facts = gather_facts(folder({"x.csv": "\n".join(lines)}), "")
    [matrix] = facts.matrices
    assert (matrix.entity, matrix.item, matrix.item_id, matrix.group, matrix.value) == (
        "d",
        "b",
        "a",
        "c",
        "e",
    )


def test_a_wide_matrix_is_unfolded_and_its_columns_named_after_the_table_that_lists_them(
    coffee: Facts,
) -> None:
    [matrix] = coffee.matrices
    assert (matrix.table, matrix.entity, matrix.item, matrix.group) == (
        "practices.csv (cell by cell)",
        "Roaster",
        "Practice",
        "Theme",
    )
    assert matrix.unknown == ("", "?")
    grid = table_named(coffee, matrix.table)
    assert len(grid.places) == 12 * 6
    assert grid.places[:7] == (2, 2, 2, 2, 2, 2, 3)


def test_periods_as_columns_are_unfolded(coffee: Facts) -> None:
    grid = table_named(coffee, "exports.csv (cell by cell)")
    assert [column.name for column in grid.columns] == ["Origin", "Region", "period", "exports"]
    assert column_named(grid, "period").grain == "year"


def test_amounts_ratios_and_missing_cells(coffee: Facts) -> None:
    found = kinds(coffee, "roasters.csv")
    assert found["Cups sold (million)"] == (Kind.NUMBER, Role.QUANTITY)
    assert found["Average price (EUR/kg)"] == (Kind.NUMBER, Role.RATIO)
    assert column_named(table_named(coffee, "roasters.csv"), "Cups sold (million)").empty == 1


def test_a_scale_of_numbers_can_be_a_matrix(folder: MakeFolder) -> None:
    path = folder({"a.csv": "tool,A,B,C\nsaw,1,3,2\naxe,2,1,3\nplane,3,3,1\n"})
    [matrix] = gather_facts(path, "").matrices
    assert (matrix.full, matrix.partial, matrix.none) == (("3",), ("2",), ("1",))


def test_words_without_a_known_order_are_no_levels(folder: MakeFolder) -> None:
    path = folder(
        {"a.csv": "tool,A,B,C\nsaw,gold,silver,gold\naxe,silver,gold,gold\nplane,gold,gold,silver\n"}
    )
    assert gather_facts(path, "").matrices == ()


def test_a_permutation_is_a_rank_and_a_running_number_is_not(folder: MakeFolder) -> None:
    path = folder({"a.csv": "name,n,m\nA,1,3\nB,2,5\nC,3,1\nD,4,2\nE,5,4\n"})
    found = kinds(gather_facts(path, ""), "a.csv")
    assert found["n"][1] is Role.INDEX
    assert found["m"][1] is Role.RANK


def test_passages_are_quoted_with_their_lines(coffee: Facts) -> None:
    nearest = coffee.passages[0]
    assert nearest.file == "interviews.txt"
    assert nearest.text.startswith("Roasters lead where cafés trust them")
    assert (nearest.first, nearest.last) == (3, 3)


def test_the_same_folder_gives_the_same_facts(systems: Facts) -> None:
    again = gather_facts(EXAMPLES / "market-analysis" / "sources", QUESTION)
    assert again.model_dump_json() == systems.model_dump_json()
