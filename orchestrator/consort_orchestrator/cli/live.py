"""The view of a run on a terminal: its steps as a tree that keeps changing in place.

Draws what `follow` says and decides only what fits: on a small screen steps that
are over give way first, then those to come, those at work last.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from consort_orchestrator.cli.costs import brief
from consort_orchestrator.cli.follow import Picture, Row
from consort_orchestrator.cli.wording import counted, span
from consort_orchestrator.core import Phase

SIGNS: dict[Phase, tuple[str, str, str]] = {
    Phase.PENDING: ("·", ".", "dim"),
    Phase.HELD: ("=", "=", "dim"),
    Phase.WAITING: ("?", "?", "yellow"),
    Phase.GRANTED: ("●", "*", "cyan"),
    Phase.BACKOFF: ("↻", "~", "yellow"),
    Phase.ASKING: ("!", "!", "yellow"),
    Phase.STOPPING: ("◌", "o", "yellow"),
    Phase.OPEN: ("▸", ">", "cyan"),
    Phase.DONE: ("✓", "+", "green"),
    Phase.FAILED: ("✗", "x", "red"),
    Phase.SKIPPED: ("-", "-", "dim"),
    Phase.CANCELLED: ("-", "-", "dim"),
}
"""The sign of each phase, the same where only ASCII can be shown, and its colour."""
STATE_STYLES = {
    "completed": "green",
    "failed": "red",
    "cancelled": "red",
    "waiting": "yellow",
    "paused": "yellow",
    "asking": "yellow",
    "cancelling": "red",
    "failing": "red",
    "undoing": "red",
    "unreadable": "red",
}
NOTES = 4
_LOUD = {Phase.FAILED: "red", Phase.WAITING: "yellow", Phase.BACKOFF: "yellow", Phase.ASKING: "yellow"}
_LABEL_LEAST, _LABEL_WIDTH = 22, 30
_AGENT_LEAST, _AGENT_WIDTH = 10, 16
_TIME_LEAST = 6
"""Columns are never narrower than this, so that they stay where they are while the tree changes."""


def drawn(picture: Picture, notes: Sequence[str], now: float, console: Console) -> RenderableType:
    """The run as it is now, no taller than the console."""
    rows = picture.rows(now, brief=True)
    room = console.size.height - 2 - min(len(notes), NOTES)
    shown = fit(rows, max(room, 3))
    ascii_only = not console.encoding.lower().startswith("utf")
    parts: list[RenderableType] = [_header(picture, now)]
    if rows:
        parts.append(tree(shown, ascii_only=ascii_only))
    parts += [Text(note, style="yellow", no_wrap=True, overflow="ellipsis") for note in notes[-NOTES:]]
    return Group(*parts)


def tree(rows: Sequence[Row | str], *, ascii_only: bool = False, words: bool = False) -> Table:
    """Rows as a table without borders; text among them stands for rows left out. `words` adds the phase."""
    table = Table.grid(padding=(0, 1), expand=not words)
    table.add_column(no_wrap=True, min_width=_LABEL_LEAST, max_width=_LABEL_WIDTH, overflow="ellipsis")
    if words:
        table.add_column(no_wrap=True)
    table.add_column(
        no_wrap=True, min_width=_AGENT_LEAST, max_width=_AGENT_WIDTH, overflow="ellipsis", style="magenta"
    )
    table.add_column(no_wrap=True, justify="right", min_width=_TIME_LEAST)
    table.add_column(no_wrap=not words, ratio=1, overflow="fold" if words else "ellipsis", style="dim")
    for row in rows:
        if isinstance(row, str):
            cells: list[RenderableType] = [Text(row, style="dim")]
        else:
            cells = _cells(row, ascii_only, words)
        table.add_row(*cells)
    return table


def _cells(row: Row, ascii_only: bool, words: bool) -> list[RenderableType]:
    sign, plain, style = SIGNS[row.phase]
    quiet = style if style == "dim" else ""
    label = Text.assemble("  " * row.depth, (plain if ascii_only else sign, style), " ", (row.label, quiet))
    agent = f"{row.agent} #{row.attempt}" if row.attempt > 1 else row.agent
    loud = _LOUD.get(row.phase, "")
    told = ", ".join(part for part in (brief(row.usage), row.text) if part)
    cells: list[RenderableType] = [
        label,
        Text(agent),
        Text("" if row.seconds is None else span(row.seconds)),
        _Newest(told) if told.startswith("…") else Text(told, style=loud),
    ]
    if words:
        cells.insert(1, Text(row.phase.value, style=style))
    return cells


class _Newest:
    """What is being written: where there is no room for all, its end is shown."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        text = self._text
        while cell_len(text) > options.max_width > 1:
            text = f"…{text[2:]}"
        yield Text(text, no_wrap=True, overflow="ellipsis")


def fit(rows: Sequence[Row], height: int) -> list[Row | str]:
    """At most `height` rows, in their order, with a line of text where some are left out."""
    if len(rows) <= height:
        return list(rows)
    order = (
        {Phase.DONE, Phase.SKIPPED},
        {Phase.PENDING, Phase.CANCELLED},
        {Phase.HELD},
        {Phase.GRANTED, Phase.OPEN, Phase.STOPPING},
        {Phase.WAITING, Phase.BACKOFF, Phase.FAILED, Phase.ASKING},
    )
    left_out: set[int] = set()
    for phases in order:
        indices = [at for at, row in enumerate(rows) if row.phase in phases]
        if Phase.DONE not in phases:
            indices.reverse()
        for at in indices:
            if len(rows) - len(left_out) + _gaps(left_out) <= height:
                return _with_gaps(rows, left_out)
            left_out.add(at)
    return _with_gaps(rows, left_out)


def _gaps(left_out: set[int]) -> int:
    return sum(at - 1 not in left_out for at in left_out)


def _with_gaps(rows: Sequence[Row], left_out: set[int]) -> list[Row | str]:
    shown: list[Row | str] = []
    hidden: list[Row] = []
    for at, row in enumerate(rows):
        if at in left_out:
            hidden.append(row)
            continue
        if hidden:
            shown.append(_gap(hidden))
            hidden = []
        shown.append(row)
    if hidden:
        shown.append(_gap(hidden))
    return shown


def _gap(hidden: Sequence[Row]) -> str:
    phases = {row.phase for row in hidden}
    if phases <= {Phase.DONE, Phase.SKIPPED}:
        return f"  … {len(hidden)} over"
    return f"  … {len(hidden)} to come" if phases == {Phase.PENDING} else f"  … {len(hidden)} more"


def _header(picture: Picture, now: float) -> Text:
    tally = picture.tally()
    style = STATE_STYLES.get(picture.state, "cyan")
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(picture.name or "run", style="bold")
    text.append(f"  {picture.run.id[:12]}  ", style="dim")
    if picture.run.n == 0:
        return text.append("handed in", style="cyan")
    text.append(picture.state, style=style)
    text.append(f"  {span(picture.seconds(now))}")
    wanted = sum(number for phase, number in tally.items() if phase is not Phase.SKIPPED)
    text.append(f"  {tally.get(Phase.DONE, 0)} of {counted(wanted, 'task')} done", style="dim")
    if failed := tally.get(Phase.FAILED, 0):
        text.append(f", {failed} failed", style="red")
    if undone := picture.undone():
        text.append(f", {len(undone)} undone", style="red")
    if cost := brief(picture.run.usage):
        text.append(f"  {cost}", style="dim")
    return text
