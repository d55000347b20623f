"""Drawings show the whole plan, escape what they must, and never fail on a faulty plan."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import combinations

import pytest

from consort_shared.plan import Plan, as_mermaid, as_svg, as_text, loads
from consort_shared.plan.goals import plan_for_goal

PLAN = loads(
    """
name: market
goal: What about <this> & that?
timeout: 1h
inputs: {question: {type: string}, depth: {type: integer, default: 3}}
steps:
  gather: {skill: research.gather, timeout: 5m, retry: {attempts: 1}, undo: {skill: research.forget}}
  prices: {skill: research.prices, if: "${{ inputs.depth > 2 }}"}
  rivals:
    needs: [gather]
    for_each: {items: "${{ steps.gather.output.rivals }}", in_flight: 8, tolerate: 1}
    steps:
      profile: {skill: research.profile}
      risks: {skill: analyse.risks, needs: [profile], join: any}
  report:
    needs: [rivals, prices]
    join: {at_least: 1}
    repeat: {until: 'steps.judge.output.score >= 8.0', max: 3, exhausted: accept}
    steps:
      draft: {skill: write.report, title: 'Say "it" <b>loud</b>'}
      judge: {skill: judge.text, needs: [draft], key: steps.draft.output.id}
output: "${{ steps.report.output }}"
"""
).plan

SVG = "{http://www.w3.org/2000/svg}"


def test_text() -> None:
    assert as_text(PLAN) == (
        "market (version 1)\n"
        "What about <this> & that?\n"
        "inputs: question (text), depth (an integer = 3)\n"
        "within 1h\n"
        "\n"
        "1 ┬─ gather  research.gather  [within 5m]  [undone by research.forget]  [1 attempt]\n"
        "  └─ prices  research.prices  [if inputs.depth > 2]\n"
        "2 ── rivals  block  [for each of steps.gather.output.rivals, 8 in flight, 1 may fail]  <- gather\n"
        "     1 ── profile  research.profile\n"
        "     2 ── risks    analyse.risks  [when any is done]  <- profile\n"
        "3 ── report  block  [repeat until steps.judge.output.score >= 8.0, at most 3, then accept]"
        "  [when 1 of 2 are done]  <- rivals, prices\n"
        '     1 ── draft  write.report  “Say "it" <b>loud</b>”\n'
        "     2 ── judge  judge.text  [once per steps.draft.output.id]  <- draft\n"
        "\n"
        "output: ${{ steps.report.output }}\n"
    )


def test_mermaid() -> None:
    text = as_mermaid(PLAN)
    assert text.startswith("flowchart LR\n")
    assert '  s_prices["prices<br/>research.prices<br/>if inputs.depth #62; 2"]:::skill\n' in text
    assert '  subgraph s_rivals["rivals<br/>for each of steps.gather.output.rivals, 8 in flight' in text
    assert "    s_rivals_profile --> s_rivals_risks\n" in text
    assert "  s_rivals --> s_report\n" in text
    assert text.count("subgraph") == text.count("  end\n") == 2
    labels = re.findall(r'\["(.*)"\]', text)
    assert not any(char in label.replace("<br/>", "") for label in labels for char in '"<>[]{}')


def test_svg() -> None:
    text = as_svg(PLAN)
    root = ET.fromstring(text)
    words = [element.text for element in root.iter(f"{SVG}text")]
    assert "market" in words
    assert "What about <this> & that?" in words
    assert 'Say "it" <b>loud</b>' in words
    for name in ("gather", "prices", "rivals", "profile", "risks", "report", "judge", "research.gather"):
        assert name in words
    assert len(list(root.iter(f"{SVG}path"))) == 1 + 5  # the arrow's tip, and the arrows
    assert "href" not in text
    assert "script" not in text


def _rects(svg: str) -> dict[str, tuple[float, float, float, float]]:
    found = {}
    for group in ET.fromstring(svg).iter(f"{SVG}g"):
        title, rect = group.find(f"{SVG}title"), group.find(f"{SVG}rect")
        assert title is not None
        assert rect is not None
        x, y, w, h = (float(rect.attrib[key]) for key in ("x", "y", "width", "height"))
        found[str(title.text)] = (x, y, x + w, y + h)
    return found


def test_boxes_lie_apart_and_inside_their_blocks() -> None:
    rects = _rects(as_svg(PLAN))
    inside = {"profile": "rivals", "risks": "rivals", "draft": "report", "judge": "report"}
    for name, block in inside.items():
        a, b = rects[name], rects[block]
        assert b[0] < a[0] < a[2] < b[2]
        assert b[1] < a[1] < a[3] < b[3]
    for one, other in combinations(rects, 2):
        if inside.get(one) != other and inside.get(other) != one:
            a, b = rects[one], rects[other]
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], (one, other)
    assert rects["gather"][2] < rects["rivals"][0]
    assert rects["rivals"][2] < rects["report"][0]


@pytest.mark.parametrize(
    "steps",
    [
        {
            "a": {"skill": "s", "needs": ["b"]},
            "b": {"skill": "s", "needs": ["a"]},
            "c": {"skill": "s", "needs": ["zz"]},
        },
        {"a": {"skill": "s", "needs": ["a"], "if": "${{ 1 +", "title": "\x00\x1b[31m\u202e&"}},
        {f"s{i}": {"skill": "s", "needs": [f"s{i - 1}", "s0"] if i > 1 else []} for i in range(80)},
        {f"s{i}": {"skill": "s", "needs": ["s0"] if i else []} for i in range(120)},
    ],
)
def test_faulty_and_large_plans_are_drawn(steps: dict[str, object]) -> None:
    plan = Plan.model_validate({"name": "x", "steps": steps})
    ET.fromstring(as_svg(plan))
    text, mermaid = as_text(plan), as_mermaid(plan)
    assert all(name in text and name in mermaid for name in steps)
    assert "\x1b" not in text + mermaid + as_svg(plan)


def test_plans_that_are_still_to_be_made() -> None:
    plan = plan_for_goal("Write a report")
    text = as_text(plan)
    assert "plan  plan  “Break the goal into steps”  [gives a plan of at most 50 steps]" in text
    assert "work  plan  “Carry the steps out”  [the steps of steps.plan.output]  <- plan" in text
    assert "the steps of steps.plan.output" in as_svg(plan)
    assert ":::block" in as_mermaid(plan)
