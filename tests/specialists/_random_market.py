"""Folders of made-up tables in every shape that is understood, with names that are hard to tell from text."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from random import Random

NAMES = [
    "A2A", "n8n", "Dr. Oetker", "foo|bar", "x [3]", "7-Eleven", "3M", '"Q" Ltd', "data", "rows", "Step 3 — go",
    "a,b", "v1.2", "C++", "U.S. Steel", "two", "100% Pure", "back`tick", "Mr. X. Y.", "Sources", "Beta Corp",
    "Epsilon (EU)", "Theta: one", "Iota; two", "$Money", "#1 Tool", "<b>bold</b>", "naïve", "日本", "new*star*",
]  # fmt: skip
HEADERS = [
    "name",
    "Name of thing",
    "x1",
    "Q1 2024",
    "value [EUR]",
    "share %",
    "rank",
    "price_per_unit",
    "Jahr",
    "n.",
    "",
]
LEVELS = [["yes", "no", "partial", "n/a", ""], ["full", "none"], ["0", "1", "2", "3"]]
Rows = list[list[str]]


def random_market(folder: Path, random: Random) -> None:
    """One to three tables and perhaps a text."""
    folder.mkdir(parents=True)
    for number in range(random.randint(1, 3)):
        rows = random.choice([_keyed, _keyed, _long_grid, _wide_grid, _over_time, _wide_periods])(random)
        out = io.StringIO()
        csv.writer(out, delimiter=random.choice(",;\t")).writerows(rows)
        (folder / f"t{number}.csv").write_text(out.getvalue(), encoding="utf-8")
    if random.random() > 0.5:
        text = "The 5 systems of 2024 lead. They may be estimates, “quoted” too.\n\n- item [3] with 7 things in it\n"
        (folder / "notes.md").write_text(text, encoding="utf-8")


def _header(random: Random, columns: int) -> list[str]:
    return [random.choice(HEADERS) for _ in range(columns)]


def _keyed(random: Random) -> Rows:
    kinds: list[Callable[[], str]] = [
        lambda: random.choice([str(random.randint(0, 5000)), f"{random.uniform(0, 9999):.2f}", "", "n/a"]),
        lambda: str(random.randint(-50, 50)),
        lambda: f"{random.randint(2021, 2026)}-{random.randint(1, 12):02d}",
        lambda: f"{random.randint(1, 28):02d}.{random.randint(1, 12):02d}.{random.randint(2021, 2026)}",
        lambda: str(random.randint(2015, 2026)),
        lambda: f"{random.randint(0, 3)}.{random.randint(0, 9)}.{random.randint(0, 9)}",
        lambda: random.choice(LEVELS[0]),
        lambda: f"{random.randint(0, 100)}%",
        lambda: " ".join(random.choice([*NAMES, "is", "good", "3"]) for _ in range(8)),
    ]
    names = random.sample(NAMES, random.randint(2, 25))
    chosen = [random.choice(kinds) for _ in range(random.randint(1, 5))]
    return [_header(random, 1 + len(chosen)), *([name, *(make() for make in chosen)] for name in names)]


def _long_grid(random: Random) -> Rows:
    levels = random.choice(LEVELS)
    groups = {
        item: random.choice(["G1", "G 2", "Group III"]) for item in random.sample(NAMES, random.randint(2, 8))
    }
    entities = random.sample(NAMES, random.randint(2, 6))
    cells = [[entity, item, groups[item], random.choice(levels)] for entity in entities for item in groups]
    return [_header(random, 4), *(cell for cell in cells if random.random() > 0.05)]


def _wide_grid(random: Random) -> Rows:
    levels, entities = random.choice(LEVELS), random.sample(NAMES, random.randint(3, 6))
    items = random.sample(NAMES, random.randint(3, 8))
    return [["feature", *entities], *([item, *(random.choice(levels) for _ in entities)] for item in items)]


def _over_time(random: Random) -> Rows:
    months = [f"2024-{month:02d}" for month in range(1, random.randint(4, 9))]
    names = random.sample(NAMES, random.randint(1, 5))
    return [
        _header(random, 3),
        *([name, month, str(random.randint(0, 900))] for name in names for month in months),
    ]


def _wide_periods(random: Random) -> Rows:
    periods = random.choice(
        [["2020", "2021", "2022"], ["2024-01", "2024-02", "2024-03"], ["Q1 2024", "Q2 2024", "Q3 2024"]]
    )
    names = random.sample(NAMES, random.randint(2, 8))
    return [["who", *periods], *([name, *(str(random.randint(0, 99)) for _ in periods)] for name in names)]
