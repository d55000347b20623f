"""Plans as text for a terminal, as Mermaid, and as SVG.

A drawing shows what the plan says: layers by needs, blocks with their steps
inside, and the modifiers in words. It never fails on a plan that `check` would
refuse, because a faulty plan is the one that people want to look at.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from consort_shared.plan.model import InputSpec, Plan, Step
from consort_shared.plan.phrases import described, duration, needs_of, shortened
from consort_shared.plan.scopes import graph, layers
from consort_shared.plan.svg import as_svg
from consort_shared.plan.wording import type_words

__all__ = ["as_mermaid", "as_svg", "as_text"]


def as_text(plan: Plan) -> str:
    """A drawing in lines: the number is the layer, `<-` says what a step needs."""
    lines = [f"{shortened(plan.name, 80)} (version {shortened(plan.version, 40)})"]
    if plan.goal or plan.description:
        lines.append(shortened(plan.goal or plan.description, 100))
    if plan.inputs:
        lines.append(f"inputs: {', '.join(_input(name, spec) for name, spec in plan.inputs.items())}")
    if plan.timeout is not None:
        lines.append(f"within {duration(plan.timeout)}")
    lines.append("")
    lines.extend(_layers(plan.steps, ""))
    if plan.output is not None:
        shown = plan.output if isinstance(plan.output, str) else json.dumps(plan.output, ensure_ascii=False)
        lines += ["", f"output: {shortened(shown, 100)}"]
    return "\n".join(lines) + "\n"


def _input(name: str, spec: InputSpec) -> str:
    default = "" if spec.required else f" = {shortened(json.dumps(spec.default, ensure_ascii=False), 40)}"
    return f"{name} ({type_words(spec.type)}{default})"


def _layers(steps: Mapping[str, Step], prefix: str) -> Iterator[str]:
    columns = layers(steps)
    wide = max(len(name) for name in steps)
    digits = len(str(len(columns)))
    for rank, names in enumerate(columns):
        for at, name in enumerate(names):
            number = f"{rank + 1:>{digits}}" if at == 0 else " " * digits
            last = at == len(names) - 1
            branch = "──" if len(names) == 1 else "┬─" if at == 0 else "└─" if last else "├─"
            yield f"{prefix}{number} {branch} {_line(name, steps[name], wide)}".rstrip()
            inner = steps[name].steps
            if inner:
                rail = " " if last else "│"
                yield from _layers(inner, f"{prefix}{' ' * digits} {rail}  ")


def _line(name: str, step: Step, wide: int) -> str:
    what = step.skill or ("block" if step.plan is None else "plan")
    extras = [f"[{text}]" for text in described(step)]
    needs = f"<- {needs_of(step)}" if step.needs else ""
    title = f"“{shortened(step.title, 80)}”" if step.title else ""
    return "  ".join(part for part in (f"{name:<{wide}}", what, title, *extras, needs) if part)


def as_mermaid(plan: Plan) -> str:
    """A Mermaid flowchart; blocks are subgraphs."""
    lines = ["flowchart LR", f"  %% {_comment(plan.name)}"]
    lines.extend(_nodes(plan.steps, "s", "  "))
    lines.append("  classDef skill fill:#ffffff,stroke:#475569,color:#0f172a")
    lines.append("  classDef block fill:#f1f5f9,stroke:#64748b,color:#0f172a,stroke-dasharray:5 4")
    return "\n".join(lines) + "\n"


def _nodes(steps: Mapping[str, Step], above: str, indent: str) -> Iterator[str]:
    for name, step in steps.items():
        ident = f"{above}_{name}"
        label = "<br/>".join(_label(text) for text in (name, step.skill or "", *described(step)) if text)
        if step.steps is None:
            look = "skill" if step.plan is None else "block"
            yield f'{indent}{ident}["{label}"]:::{look}'
        else:
            yield f'{indent}subgraph {ident}["{label}"]'
            yield f"{indent}  direction LR"
            yield from _nodes(step.steps, ident, indent + "  ")
            yield f"{indent}end"
            yield f"{indent}class {ident} block"
    for name, needs in graph(steps).items():
        for need in needs:
            yield f"{indent}{above}_{need} --> {above}_{name}"


def _label(text: str) -> str:
    """Text inside a quoted Mermaid label: what it would read as markup becomes a character code."""
    return "".join(f"#{ord(char)};" if char in '#"<>&`\\{}[]()|;*_' else char for char in shortened(text, 60))


def _comment(text: str) -> str:
    """Text behind `%%`, where braces would start a directive."""
    return shortened("".join(char for char in text if char not in "%{}"), 80)
