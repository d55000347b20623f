"""S15, its validation half: every fault of a plan is found, named where it is, and says what to do."""

from __future__ import annotations

import textwrap
import time

import pytest

from consort_shared.errors import PlanError
from consort_shared.plan.check import MAX_STEPS, SkillInfo, check, check_inputs
from consort_shared.plan.model import Plan
from consort_shared.plan.source import loads

SKILLS = {
    "research.gather": SkillInfo(
        {
            "type": "object",
            "properties": {
                "question": {"type": "string"},
                "depth": {"type": "integer"},
                "tags": {"type": "array", "items": {"type": "string"}},
                "mode": {"enum": ["fast", "deep"]},
            },
            "required": ["question"],
        },
        {
            "type": "object",
            "properties": {
                "facts": {"type": "array", "items": {"$ref": "#/$defs/Fact"}},
                "best": {"anyOf": [{"$ref": "#/$defs/Fact"}, {"type": "null"}]},
                "open": {"type": "object"},
                "far": {"$ref": "https://example.invalid/schema.json"},
            },
            "$defs": {"Fact": {"type": "object", "properties": {"claim": {"type": "string"}}}},
        },
    ),
    "a.b": SkillInfo(),
    "remote": SkillInfo({"$ref": "https://example.invalid/schema.json"}),
    "broken": SkillInfo({"type": "nonsense"}),
}


def faults(text: str, skills: dict[str, SkillInfo] | None = None) -> list[str]:
    loaded = loads("name: test\n" + textwrap.dedent(text))
    return [str(fault) for fault in check(loaded.plan, skills=skills, lines=loaded.lines)]


GOOD = """
    inputs:
      q: {type: string}
      n: {type: integer, default: 3}
    steps:
      gather: {skill: research.gather, with: {question: "${{ inputs.q }}", depth: "${{ inputs.n + 1 }}"}}
      each:
        needs: [gather]
        if: size(steps.gather.output.facts) > 0 && steps.gather.status == 'done'
        for_each: {items: "${{ steps.gather.output.facts }}"}
        steps:
          look: {skill: a.b, with: {fact: "${{ item.claim }}", at: "${{ index }}", all: "${{ steps.gather.output }}"}}
          sum: {skill: a.b, needs: [look], with: {x: "${{ steps.look.output.anything }}"}}
      polish:
        needs: [each]
        repeat: {until: "steps.judge.output.ok || iteration > 1 && previous != null", max: 3}
        steps:
          draft: {skill: a.b, with: {was: "${{ previous.judge.output.notes }}", first: "${{ iteration == 1 }}",
                                     each: "${{ steps.each.output[0].sum.text }}",
                                     best: "${{ steps.gather.output.best.claim }}"}}
          judge: {skill: a.b, needs: [draft], key: steps.draft.output.id, with: {t: "${{ steps.draft.output }}"}}
      again:
        {skill: a.b, needs: [polish], repeat: {until: "output.ok", max: 2}, with: {p: "${{ previous.output.x }}"}}
      many:
        skill: a.b
        for_each: {items: [1, "${{ inputs.n }}"]}
        key: "k-${{ item }}"
        join: all
        undo: {skill: a.b, with: {got: "${{ output[0].x }}", was: "${{ item }} of ${{ output }}"}, retry: {wait: 2s}}
    output: {text: "${{ steps.polish.output.draft.text }}", n: "${{ size(steps.many.output) }}"}
"""


def test_a_good_plan_has_none() -> None:
    assert faults(GOOD) == []
    assert faults(GOOD, SKILLS) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            """
            steps:
              a: {skill: a.b, needs: [c]}
              b: {skill: a.b, needs: [a]}
              c: {skill: a.b, needs: [b]}
            """,
            ["line 4, steps.a.needs: cycle: a -> c -> b -> a (each needs the next)"],
        ),
        (
            "steps:\n  a: {skill: a.b, needs: [a]}\n",
            ["line 3, steps.a.needs: cycle: a -> a (each needs the next)"],
        ),
        (
            "steps:\n  gather: {skill: a.b}\n  b:\n    skill: a.b\n    needs:\n      - gathr\n",
            ["line 7, steps.b.needs[0]: there is no step `gathr`; did you mean `gather`?"],
        ),
        (
            "timeout: 0\nsteps: {a: {skill: a.b}}",
            ["line 2, timeout: must be more than 0; leave it out for a run without a limit"],
        ),
        (
            """
            steps:
              a: {skill: a.b}
              b:
                skill: a.b
                undo: {skill: a.b, with: {x: "${{ steps.a.output }}", y: "${{ item }}", z: "${{ steps.b.output }}"}}
              c: {skill: a.b, with: {x: "${{ output.y }}"}}
            """,
            [
                "line 7, steps.b.undo.with.x: `b` does not need `a`; add `a` to steps.b.needs",
                "line 7, steps.b.undo.with.y: `item` is known only in and below a `for_each`",
                "line 7, steps.b.undo.with.z: what undoes `b` knows its output as `output`",
                "line 8, steps.c.with.x: `output` alone is known only in the `until` of a repeated task and in an "
                "`undo`; write steps.<name>.output",
            ],
        ),
        (
            "steps: {a: {skill: a.b, needs: [zzzz]}, b: {skill: a.b}}",
            ["line 2, steps.a.needs[0]: there is no step `zzzz`; here are `b`"],
        ),
        (
            "steps: {a: {skill: a.b}, b: {skill: a.b, needs: [a, a]}}",
            ["line 2, steps.b.needs[1]: `a` is named twice"],
        ),
        (
            "steps: {a: {skill: a.b}, b: {steps: {c: {skill: a.b, needs: [a]}}}}",
            [
                "line 2, steps.b.steps.c.needs[0]: `a` is not in the same block; needs stay inside one (steps.a)"
            ],
        ),
        (
            "steps: {b: {steps: {c: {skill: a.b, needs: [b]}}}}",
            ["line 2, steps.b.steps.c.needs[0]: `b` is the block this step is in; a step cannot need it"],
        ),
        (
            "steps:\n  a: {skill: a.b}\n  b:\n    steps:\n      a: {skill: a.b}\n",
            ["line 6, steps.b.steps.a: the step name `a` is used twice, also at steps.a on line 3"],
        ),
        (
            "steps: {a: {skill: a.b}, b: {skill: a.b, needs: [a], join: {at_least: 2}}}",
            ["line 2, steps.b.join.at_least: 2 needs must be done, but only 1 are named"],
        ),
        (
            'inputs: {query: {}}\nsteps: {a: {skill: a.b, with: {x: ["${{ inputs.qery }}"]}}}',
            ["line 3, steps.a.with.x[0]: the plan has no input `qery`; did you mean `query`?"],
        ),
        (
            'steps: {gather: {skill: a.b, with: {x: "${{ steps.gathering.output }}"}}}',
            ["line 2, steps.gather.with.x: there is no step `gathering`; did you mean `gather`?"],
        ),
        (
            'steps: {a: {skill: a.b}, b: {skill: a.b, with: {x: "${{ steps.a.output }}"}}}',
            ["line 2, steps.b.with.x: `b` does not need `a`; add `a` to steps.b.needs"],
        ),
        (
            'steps: {a: {skill: a.b}, b: {steps: {c: {skill: a.b, if: "steps.a.output.x"}}}}',
            ["line 2, steps.b.steps.c.if: `b` does not need `a`; add `a` to steps.b.needs"],
        ),
        (
            'steps: {a: {skill: a.b, with: {x: "${{ steps.a.output }}"}}}',
            ["line 2, steps.a.with.x: `a` cannot use its own output"],
        ),
        (
            'steps: {a: {steps: {b: {skill: a.b, with: {x: "${{ steps.a.output }}"}}}}}',
            ["line 2, steps.a.steps.b.with.x: `a` is the block this step is in; its output is not there yet"],
        ),
        (
            'steps: {a: {skill: a.b, with: {x: "${{ item }} ${{ index }}"}}}',
            [
                "line 2, steps.a.with.x: `item` is known only in and below a `for_each`",
                "line 2, steps.a.with.x: `index` is known only in and below a `for_each`",
            ],
        ),
        (
            "steps: {a: {skill: a.b, if: item > 1, for_each: {items: [1]}}}",
            [
                "line 2, steps.a.if: `item` is known only in and below a `for_each`; "
                "`if` and `items` are read once, before the first item"
            ],
        ),
        (
            'steps: {a: {skill: a.b, with: {x: "${{ iteration }}", y: "${{ previous.output }}"}}}',
            [
                "line 2, steps.a.with.x: `iteration` is known only in and below a `repeat`",
                "line 2, steps.a.with.y: `previous` is known only in and below a `repeat`",
            ],
        ),
        (
            "steps: {a: {steps: {b: {steps: {c: {skill: a.b}}}}}, d: {skill: a.b, needs: [a], if: steps.c.output}}",
            ["line 2, steps.d.if: `c` is inside the block `b`; use steps.a.output.b.output.c"],
        ),
        (
            'steps: {a: {steps: {b: {skill: a.b}}}}\noutput: "${{ steps.b.output }} ${{ steps.a.output.c }}"',
            [
                "line 3, output: `b` is inside the block `a`; use steps.a.output.b",
                "line 3, output: the block `a` has no step `c`; there are `b`",
            ],
        ),
        (
            'steps:\n  a:\n    skill: a.b\n    with:\n      x: "${{ 1 + }}"\n',
            ["line 6, steps.a.with.x: expression `1 +`: syntax error at character 4: it ends too early"],
        ),
        (
            "steps: {a: {skill: a.b, if: '${{ true }} && ${{ true }}'}}",
            ["line 2, steps.a.if: must be one expression; text around an expression makes it text"],
        ),
        (
            "steps: {a: {repeat: {until: steps.b.output.ok, max: 2}, steps:"
            " {b: {skill: a.b, with: {x: '${{ previous.c.output }}'}}}}}",
            ["line 2, steps.a.steps.b.with.x: `c` is not a step of the repeated block `a`; there are `b`"],
        ),
        (
            "steps: {a: {skill: a.b, repeat: {until: previous.x.output, max: 2}}}",
            ["line 2, steps.a.repeat.until: the last iteration of `a` is `previous.output`"],
        ),
        (
            "steps: {a: {repeat: {until: output.ok, max: 2}, steps: {b: {skill: a.b, if: output}}}}",
            [
                "line 2, steps.a.repeat.until: a repeated block has no `output` in its `until`; "
                "write steps.<name>.output of a step in it",
                "line 2, steps.a.steps.b.if: `output` alone is known only in the `until` of a repeated task and in "
                "an `undo`; write steps.<name>.output",
            ],
        ),
        (
            "inputs:\n  n:\n    type: integer\n    default: true\nsteps: {a: {skill: a.b}}",
            ["line 5, inputs.n.default: is a boolean, must be an integer"],
        ),
        (
            "steps: {a: {skill: a.b, for_each: {items: 7}}, b: {skill: a.b, for_each: {items: inputs.x}},"
            " c: {skill: a.b, for_each: {items: 'x ${{ 1 }}'}}}",
            [
                "line 2, steps.a.for_each.items: must be a list or an expression, is an integer",
                "line 2, steps.b.for_each.items: must be a list or an expression; is text: write ${{ inputs.x }}",
                "line 2, steps.c.for_each.items: must be a list or one expression; "
                "text around an expression makes it text",
            ],
        ),
        (
            "steps: {in: {skill: a.b}}",
            ["line 2, steps.in: `in` is a word of the expression language; choose another name"],
        ),
        (
            "steps: {a: {skill: a.b, if: 'step.b == 1 && b'}}",
            [
                "line 2, steps.a.if: there is nothing called `step`; did you mean `steps`?",
                "line 2, steps.a.if: there is nothing called `b`; write steps.b.output or inputs.b",
            ],
        ),
        (
            "steps: {a: {skill: a.b}, b: {skill: a.b, needs: [a], if: 'steps.a.result && steps.a && size(steps) > 0'}}",
            [
                "line 2, steps.b.if: a step has no `result` but an output: write steps.a.output.result",
                "line 2, steps.b.if: `steps.a` is not a value; write steps.a.output",
                "line 2, steps.b.if: `steps` must be followed by the name of a step, written out",
            ],
        ),
        (
            "steps: {a: {skill: a.b, for_each: {items: [1]}}, b: {skill: a.b, needs: [a], if: steps.a.output.x}}",
            ["line 2, steps.b.if: the output of `a` is a list, one for each item: write steps.a.output[0]"],
        ),
    ],
)
def test_faults(text: str, expected: list[str]) -> None:
    assert faults(text) == expected


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (
            "{skill: research.gathr}",
            [
                "steps.s.skill: no agent offers `research.gathr`; did you mean `research.gather`? On offer: "
                "`a.b`, `broken`, `remote`, `research.gather`"
            ],
        ),
        ("{skill: research.gather}", ["steps.s.with: skill `research.gather` needs the input `question`"]),
        (
            "{skill: research.gather, with: {question: x, dept: 3}}",
            ["steps.s.with.dept: skill `research.gather` has no input `dept`; did you mean `depth`?"],
        ),
        (
            "{skill: research.gather, with: {question: 3, depth: three, mode: slow}}",
            [
                "steps.s.with.question: input `question` of skill `research.gather` is an integer, must be text",
                "steps.s.with.depth: input `depth` of skill `research.gather` is text, must be an integer",
                "steps.s.with.mode: input `mode` of skill `research.gather` is 'slow', must be one of 'fast', 'deep'",
            ],
        ),
        (
            "{skill: research.gather, with: {question: x, tags: [a, 1, '${{ inputs.n }}'], mode: '${{ inputs.m }}'}}",
            ["steps.s.with.tags[1]: input `tags[1]` of skill `research.gather` is an integer, must be text"],
        ),
        ("{skill: remote, with: {x: 1}}", []),
        (
            "{skill: a.b, undo: {skill: research.gathr}}",
            [
                "steps.s.undo.skill: no agent offers `research.gathr`; did you mean `research.gather`? On offer: "
                "`a.b`, `broken`, `remote`, `research.gather`"
            ],
        ),
        (
            "{skill: research.gather, with: {question: x}, undo: {skill: research.gather, "
            "with: {question: '${{ output.fact }}', dept: 3}}}",
            [
                "steps.s.undo.with.question: the output of `s` (skill `research.gather`): there is no field `fact`; "
                "did you mean `facts`?",
                "steps.s.undo.with.dept: skill `research.gather` has no input `dept`; did you mean `depth`?",
            ],
        ),
        ("{skill: broken, with: {x: 1}}", []),
        (
            "{skill: a.b, needs: [g], with: {x: '${{ steps.g.output.fact }}', "
            "y: '${{ steps.g.output.facts[0].clam }}', z: '${{ steps.g.output.best.nope }}', "
            "o: '${{ steps.g.output.open.x }} ${{ steps.g.output.far.x.y }}'}}",
            [
                "steps.s.with.x: the output of `g` (skill `research.gather`): there is no field `fact`; "
                "did you mean `facts`?",
                "steps.s.with.y: the output of `g` (skill `research.gather`): `facts[0]` has no field `clam`; "
                "did you mean `claim`?",
                "steps.s.with.z: the output of `g` (skill `research.gather`): `best` has no field `nope`; "
                "there are `claim`",
            ],
        ),
    ],
)
def test_against_the_skills_on_offer(step: str, expected: list[str]) -> None:
    text = "inputs: {n: {}, m: {}}\nsteps:\n  g: {skill: research.gather, with: {question: x}}\n  s: " + step
    found = faults(text, SKILLS)
    assert sorted(found) == sorted(f"line 5, {fault}" for fault in expected)


@pytest.mark.slow
def test_limits_of_size() -> None:
    chain = {f"s{i}": {"skill": "a.b", "needs": [f"s{i - 1}"] if i else []} for i in range(MAX_STEPS)}
    chain["s9999"]["with"] = {"x": "${{ steps.s0.output }}"}  # type: ignore[assignment]
    started = time.perf_counter()
    assert check(Plan.model_validate({"name": "x", "steps": chain})) == []
    assert time.perf_counter() - started < 5
    chain["one_more"] = {"skill": "a.b"}  # type: ignore[dict-item]
    (fault,) = check(Plan.model_validate({"name": "x", "steps": chain}))
    assert fault.what == "10001 steps; at most 10000 are allowed"

    nested: dict[str, object] = {"skill": "a.b"}
    for depth in range(8):
        nested = {"steps": {f"b{depth}": nested}}
    (fault,) = check(Plan.model_validate({"name": "x", "steps": {"top": nested}}))
    assert fault.what == "blocks are nested 9 deep; at most 8 are allowed"


def test_each_knot_of_cycles_is_told() -> None:
    steps = {
        "a": ["b"],
        "b": ["a"],
        "c": ["d", "a"],
        "d": ["c"],
        "e": ["d"],
        "f": ["g"],
        "g": ["h"],
        "h": ["f", "g"],
    }
    plan = Plan.model_validate(
        {"name": "x", "steps": {k: {"skill": "a.b", "needs": v} for k, v in steps.items()}}
    )
    cycles = [f.what.split(" (")[0] for f in check(plan)]
    assert cycles == ["cycle: a -> b -> a", "cycle: c -> d -> c", "cycle: f -> g -> h -> f"]


def test_inputs_are_completed_and_checked() -> None:
    plan = Plan.model_validate(
        {
            "name": "market",
            "inputs": {
                "q": {"type": "string"},
                "n": {"type": "integer", "default": 3},
                "x": {"type": "number", "default": None},
                "any": {"default": [1]},
            },
            "steps": {"a": {"skill": "a.b"}},
        }
    )
    assert check_inputs(plan, {"q": "why"}) == {"q": "why", "n": 3, "x": None, "any": [1]}
    assert check_inputs(plan, {"q": "", "n": 0, "x": 2, "any": {}}) == {"q": "", "n": 0, "x": 2, "any": {}}
    with pytest.raises(PlanError) as caught:
        check_inputs(plan, {"n": True, "x": "1", "anny": 1})
    assert [str(fault) for fault in caught.value.faults] == [
        "inputs.anny: the plan has no input `anny`; did you mean `any`?",
        "inputs.q: is missing, must be text",
        "inputs.n: is a boolean, must be an integer",
        "inputs.x: is text, must be a number",
    ]
    with pytest.raises(PlanError, match="must be an integer"):
        check_inputs(plan, {"q": "why", "n": None})
