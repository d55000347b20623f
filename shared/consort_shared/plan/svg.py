"""A plan as one self-contained SVG picture: no scripts, no fonts or styles from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from xml.sax.saxutils import escape

from consort_shared.plan.layout import Arrow, Box, Layout, arrange
from consort_shared.plan.model import Plan, Step
from consort_shared.plan.phrases import described, shortened
from consort_shared.plan.scopes import graph, layers

FONT = "ui-sans-serif, system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
MARGIN = 28.0
TITLE = 52.0
PADDING = 20.0
LINE = 16.0
MOST = 48
"""Characters of one line in a box."""
INK, MUTED, LINK, EDGE = "#0f172a", "#64748b", "#1d4ed8", "#94a3b8"
FILLS = ("#f8fafc", "#eef2f7")
"""Blocks inside blocks alternate."""


@dataclass(slots=True)
class _Node:
    """One step as it will be drawn."""

    box: Box
    lines: list[tuple[str, str]]
    """text and its kind: name, skill or note"""
    inner: _Drawing | None = None
    dashed: bool = False
    """a block whose steps are not known yet"""

    @property
    def head(self) -> float:
        return 12 + LINE * len(self.lines)


@dataclass(slots=True)
class _Drawing:
    nodes: dict[str, _Node]
    layout: Layout


def as_svg(plan: Plan) -> str:
    """The picture of a plan, as the text of an SVG file."""
    drawing = _drawn(plan.steps)
    subtitle = shortened(plan.goal or plan.description, 90)
    head = TITLE + (LINE if subtitle else 0)
    width = max(drawing.layout.width, _wide(plan.name, 9.5), _wide(subtitle, 6.2)) + 2 * MARGIN
    height = drawing.layout.height + 2 * MARGIN + head - 18
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" font-family="{FONT}" role="img">',
        f"<title>{escape(shortened(plan.name, 80))}</title>",
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
        f'orient="auto-start-reverse"><path d="M0 0.8 L10 5 L0 9.2 z" fill="{MUTED}"/></marker></defs>',
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>',
        _text(MARGIN, MARGIN + 12, plan.name, "title"),
    ]
    if subtitle:
        parts.append(_text(MARGIN, MARGIN + 12 + LINE + 4, subtitle, "note"))
    parts.extend(_paint(drawing, MARGIN, MARGIN + head - 18, 0))
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _drawn(steps: Mapping[str, Step]) -> _Drawing:
    nodes = {name: _node(name, step) for name, step in steps.items()}
    columns = [[nodes[name].box for name in column] for column in layers(steps)]
    return _Drawing(nodes, arrange(columns, graph(steps)))


def _node(name: str, step: Step) -> _Node:
    lines = [(step.title or name, "name")]
    if step.title and step.title != name:
        lines.append((name, "note"))
    if step.skill:
        lines.append((step.skill, "skill"))
    lines += [(phrase, "note") for phrase in described(step)]
    inner = _drawn(step.steps) if step.steps is not None else None
    most = max(60, int(inner.layout.width / 6.5)) if inner else MOST
    lines = [(shortened(text, most), kind) for text, kind in lines]
    width = max(_wide(text, 7.7 if kind == "name" else 6.5) for text, kind in lines) + 2 * 14
    node = _Node(Box(name, max(width, 110.0), 0.0), lines, inner, dashed=step.plan is not None)
    if inner is None:
        node.box.height = node.head + 10
    else:
        node.box.width = max(node.box.width, inner.layout.width + 2 * PADDING)
        node.box.height = node.head + inner.layout.height + 12 + PADDING
    return node


def _wide(text: str, each: float) -> float:
    """About how wide a text is; letters of East Asia take two places."""
    return each * sum(2 if ord(char) > 0x2E7F else 1 for char in text)


def _paint(drawing: _Drawing, left: float, top: float, depth: int) -> Iterator[str]:
    for node in drawing.nodes.values():
        yield from _paint_node(node, left, top, depth)
    for arrow in drawing.layout.arrows:
        yield _paint_arrow(arrow, left, top)


def _paint_node(node: _Node, left: float, top: float, depth: int) -> Iterator[str]:
    x, y = left + node.box.x, top + node.box.y
    block = node.inner is not None or node.dashed
    look = (
        f'rx="12" fill="{FILLS[depth % 2]}" stroke="{EDGE}" stroke-dasharray="5 4"'
        if block
        else f'rx="8" fill="#ffffff" stroke="{MUTED}" stroke-width="1.2"'
    )
    yield (
        f'<g><title>{escape(node.box.name)}</title><rect x="{x:.1f}" y="{y:.1f}" '
        f'width="{node.box.width:.1f}" height="{node.box.height:.1f}" {look}/>'
    )
    for at, (text, kind) in enumerate(node.lines):
        yield _text(x + 14, y + 22 + LINE * at, text, kind)
    yield "</g>"
    if node.inner is not None:
        inside = left + node.box.x + (node.box.width - node.inner.layout.width) / 2
        yield from _paint(node.inner, inside, y + node.head + 12, depth + 1)


def _text(x: float, y: float, text: str, kind: str) -> str:
    look = {
        "title": f'font-size="18" font-weight="700" fill="{INK}"',
        "name": f'font-size="13" font-weight="600" fill="{INK}"',
        "skill": f'font-size="12" fill="{LINK}"',
        "note": f'font-size="11.5" fill="{MUTED}"',
    }[kind]
    return f'<text x="{x:.1f}" y="{y:.1f}" {look}>{escape(shortened(text, 200))}</text>'


def _paint_arrow(arrow: Arrow, left: float, top: float) -> str:
    points = [(arrow.start.x + arrow.start.width, arrow.start.middle), (arrow.start.lane, arrow.start.middle)]
    for dummy in arrow.via:
        points += [(dummy.x, dummy.middle), (dummy.x + dummy.width, dummy.middle)]
    points.append((arrow.end.x - 2, arrow.end.middle))
    moved = [(left + x, top + y) for x, y in points]
    path = f"M{moved[0][0]:.1f} {moved[0][1]:.1f}"
    for (ax, ay), (bx, by) in pairwise(moved):
        if abs(ay - by) < 0.5:
            path += f" L{bx:.1f} {by:.1f}"
        else:
            bend = max(abs(bx - ax) / 2, 24.0)
            path += f" C{ax + bend:.1f} {ay:.1f} {bx - bend:.1f} {by:.1f} {bx:.1f} {by:.1f}"
    return f'<path d="{path}" fill="none" stroke="{MUTED}" stroke-width="1.4" marker-end="url(#tip)"/>'
