"""Plan files: every way to get one wrong has a message with its line."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Literal

import pytest
from jsonschema import Draft202012Validator, ValidationError

from consort_shared.errors import InvalidInput, PlanError
from consort_shared.plan import load, load_checked, loads
from consort_shared.plan.schema import schema
from consort_shared.plan.source import MAX_BYTES

EXAMPLE = """\
name: market
inputs:
  question: {type: string}
steps:
  gather:
    skill: research.gather
    timeout: 5m
    retry: {attempts: 2, wait: 200ms}
    with: {question: "${{ inputs.question }}"}
  report:
    skill: write.report
    needs: [gather]
    join: {at_least: 1}
    timeout: 90
    repeat: {until: output.ok, max: 3}
"""


def told(text: str, format: Literal["yaml", "json"] = "yaml") -> list[str]:
    with pytest.raises(PlanError) as caught:
        loads(textwrap.dedent(text), "plan.yaml", format)
    assert caught.value.source == "plan.yaml"
    return [str(fault) for fault in caught.value.faults]


def test_a_plan_with_its_lines() -> None:
    loaded = loads(EXAMPLE)
    assert loaded.plan.steps["gather"].timeout == 300
    assert loaded.plan.steps["gather"].retry.wait == pytest.approx(0.2)
    assert loaded.lines[()] == 1
    assert loaded.lines[("steps", "report", "needs", 0)] == 12
    assert loaded.lines[("steps", "gather", "with", "question")] == 9
    assert loaded.text == EXAMPLE


def test_files(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text("\ufeff" + EXAMPLE, encoding="utf-8")
    assert load_checked(file).name == "market"
    assert load(str(file)).source == str(file)
    (tmp_path / "empty.yaml").write_text(" \n")
    (tmp_path / "comment.yaml").write_text("# nothing\n")
    (tmp_path / "latin.yaml").write_bytes("name: a\ngoal: Müller".encode("latin-1"))
    (tmp_path / "large.yaml").write_bytes(b"#" * (MAX_BYTES + 1))
    (tmp_path / "list.yaml").write_text("- a\n")
    (tmp_path / "bad.yaml").write_text("a: [1\nb: 2")
    (tmp_path / "two.yaml").write_text("a: 1\n---\nb: 1\n")
    for name, why in {
        "none.yaml": "there is no such file",
        ".": "is a directory",
        "empty.yaml": "is empty",
        "comment.yaml": "is empty",
        "latin.yaml": "line 2: is not UTF-8",
        "large.yaml": "is larger than 4 MiB",
        "list.yaml": "must be a mapping with `name` and `steps`, is a list",
        "bad.yaml": "line 2, column 2: not YAML",
        "two.yaml": "line 2: more than one document",
    }.items():
        with pytest.raises(InvalidInput) as caught:
            load(tmp_path / name)
        assert why in str(caught.value)
        assert not isinstance(caught.value, PlanError)


def test_a_checked_plan_tells_its_file_and_lines(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(EXAMPLE.replace("[gather]", "[gathr]"))
    with pytest.raises(PlanError) as caught:
        load_checked(file)
    assert str(caught.value) == (
        f"{file}: 1 fault\n  line 12, steps.report.needs[0]: there is no step `gathr`; did you mean `gather`?"
    )


def step(text: str) -> list[str]:
    return told(f"name: x\nsteps:\n  a: {text}\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "{skill: s, foreach: [1]}",
            "steps.a.foreach: unknown key `foreach`; did you mean `for_each`? Allowed here: `skill`",
        ),
        (
            "{skill: s, retry: {tries: 2}}",
            "steps.a.retry.tries: unknown key `tries`; allowed here: `attempts`, `wait`, `factor`, `longest`",
        ),
        (
            "{skill: s, undo: {skil: t}}",
            "steps.a.undo.skil: unknown key `skil`; did you mean `skill`? Allowed here: `skill`, `with`, `timeout`",
        ),
        ("{skill: s, undo: {with: {}}}", "steps.a.undo: `skill` is missing"),
        ("{skill: s, undo: t}", "steps.a.undo: must be a mapping, is `t`"),
        ("{skill: s, undo: {skill: t, timeout: soon}}", "steps.a.undo.timeout: must be a duration"),
        ("{skill: s, undo: {skill: t, retry: {tries: 2}}}", "steps.a.undo.retry.tries: unknown key `tries`"),
        ("{steps: {b: {skill: s}}, undo: {skill: t}}", "belong to a step with a `skill`, not to a block"),
        ("{skill: s, repeat: {until: x, max: 0}}", "steps.a.repeat.max: must be at least 1, is 0"),
        ("{skill: s, repeat: {until: x, max: 5000}}", "steps.a.repeat.max: must be at most 1000, is 5000"),
        ("{skill: s, repeat: {until: x, max: 2.5}}", "steps.a.repeat.max: must be a whole number, is 2.5"),
        ("{skill: s, repeat: {max: 3}}", "steps.a.repeat: `until` is missing"),
        (
            "{skill: s, repeat: {until: x, max: 3, exhausted: acept}}",
            "must be one of `fail`, `accept`, is `acept`; did you mean `accept`?",
        ),
        ("{skill: s, for_each: [1]}", "steps.a.for_each: must be a mapping, is a list"),
        (
            "{skill: s, for_each: {items: [1]}, repeat: {until: x, max: 1}}",
            "`for_each` and `repeat` exclude each other",
        ),
        ("{skill: s, needs: b}", "steps.a.needs: must be a list: write [b]"),
        ("{skill: s, needs: [B]}", "steps.a.needs[0]: `B` cannot be used: a name has lower-case letters"),
        (
            "{skill: s, if: yes}",
            'steps.a.if: must be text, but YAML reads `yes` as true; put it in quotes: "yes"',
        ),
        (
            "{skill: off}",
            'steps.a.skill: must be text, but YAML reads `off` as false; put it in quotes: "off"',
        ),
        ("{skill: s, title: 3}", "steps.a.title: must be text, is 3; quote it"),
        (
            "{skill: s, on: x}",
            'steps.a: YAML reads the key `on` as true, not as text; put it in quotes: "on"',
        ),
        ("{skill: s, with: {1: x}}", "steps.a.with: YAML reads the key `1` as an integer, not as text"),
        ("{skill: s, timeout: 10 minutes}", "steps.a.timeout: must be a duration such as `200ms`, `30s`"),
        ("{skill: s, timeout: -1s}", "steps.a.timeout: must be at least 0, is -1s"),
        ("{skill: Big.Name}", "steps.a.skill: `Big.Name` cannot be used: a skill is one to four words"),
        (
            "{skill: s, join: most}",
            "steps.a.join: must be `all`, `any`, `ended` or `at_least: <number>`, is `most`",
        ),
        ("{skill: s, join: {at_least: 0}}", "steps.a.join.at_least: must be at least 1, is 0"),
        ("{skill: s, steps: {b: {skill: s}}}", "steps.a: a step has either `skill` or `steps`"),
        ("{}", "steps.a: a step has either `skill` or `steps`"),
        ("{steps: {}}", "`steps` is empty"),
        ("", "steps.a: must be a mapping, is empty"),
        ("{skill: s, skill: t}", "steps.a.skill: the key `skill` is given twice, first on line 3"),
        ("{steps: {b: {skill: s}}, with: {x: 1}}", "belong to a step with a `skill`, not to a block"),
    ],
)
def test_what_the_model_refuses(text: str, expected: str) -> None:
    found = step(text)
    assert any(expected in fault for fault in found), found
    assert all(fault.startswith("line 3, ") for fault in found)
    assert "pydantic" not in str(found)


def test_the_time_of_a_plan() -> None:
    assert loads("name: x\ntimeout: 90m\nsteps: {a: {skill: s}}").plan.timeout == 5400
    assert loads("name: x\ntimeout: null\nsteps: {a: {skill: s}}").plan.timeout is None
    (fault,) = told("name: x\ntimeout: soon\nsteps: {a: {skill: s}}")
    assert fault.startswith("line 2, timeout: must be a duration such as `200ms`, `30s`")


def test_the_top_of_a_plan() -> None:
    assert told("name: ''\nsteps: {}\ntasks: 1\n") == [
        "line 1, name: must not be empty",
        "line 2, steps: is empty; at least one is needed",
        "line 3, tasks: unknown key `tasks`; allowed here: `name`, `version`, `description`, `goal`, `inputs`, "
        "`timeout`, `steps`, `output`",
    ]
    assert told("version: 1.5\n") == [
        "line 1, plan: `name` is missing",
        "line 1, version: must be text, is 1.5; quote it",
        "line 1, plan: `steps` is missing",
    ]
    assert told("name: x\nsteps:\n  a: {skill: s}\n  a: {skill: s}\n") == [
        "line 4, steps.a: the key `a` is given twice, first on line 3"
    ]
    assert told("name: x\ninputs: {q: {typ: string}, n: {type: text}}\nsteps: {a: {skill: s}}\n") == [
        "line 2, inputs.q.typ: unknown key `typ`; did you mean `type`? Allowed here: `type`, `description`, "
        "`default`, `required`",
        "line 2, inputs.n.type: must be one of `string`, `number`, `integer`, `boolean`, `array`, `object`, "
        "`plan`, `any`, is `text`",
    ]


def test_anchors_and_merges() -> None:
    loaded = loads(
        textwrap.dedent(
            """\
            name: x
            steps:
              a: &task {skill: s, timeout: 5s}
              b: {<<: *task, timeout: 9s, needs: [a]}
              c: *task
            """
        )
    )
    assert [loaded.plan.steps[name].timeout for name in "abc"] == [5, 9, 5]
    assert loaded.plan.steps["b"].skill == "s"
    assert loaded.lines[("steps", "c")] == 5


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "a0: &a0 [x]\n"
            + "".join(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]\n" for i in range(9)),
            "300000 values",
        ),
        pytest.param("a: [" + "1," * 310_000 + "]", "300000 values", marks=pytest.mark.slow),
        ("a: &a [*a]", "contains itself"),
        ("a: *b", "no anchor"),
        ("a: " + "[" * 150 + "]" * 150, "nested deeper than 100"),
        ("a: " + "[" * 500_000, "nested deeper"),
        ("a: !!python/object:os.system x", "not allowed"),
        ("a: !!binary aGVsbG8=", "not allowed"),
        ("a: .nan", "no number"),
        ("? [a]\n: b", "a key must be text"),
        ("a: \x00", "not YAML"),
    ],
)
def test_hostile_text(text: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        loads(text)


def test_instants_stay_text() -> None:
    plan = loads("name: x\nsteps: {a: {skill: s, with: {day: 2024-05-01, hex: 0x10, yes_: yes}}}").plan
    assert plan.steps["a"].with_ == {"day": "2024-05-01", "hex": 16, "yes_": True}


def test_json_has_lines_too(tmp_path: Path) -> None:
    data = json.loads(loads(EXAMPLE).plan.model_dump_json(by_alias=True, exclude_unset=True))
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(data, indent="\t"))
    loaded = load(file)
    assert loaded.plan == loads(EXAMPLE).plan
    assert loaded.lines[("steps", "gather")] > 1
    assert told('{"name": "x",\n "steps": {\n\t"a": {"skil": "s/\\u00e9", "e": 1e5}}}', "json") == [
        "line 3, steps.a.skil: unknown key `skil`; did you mean `skill`? Allowed here: `skill`, `steps`, `plan`, "
        "`returns`, `max_steps`, `title`, `needs`, `join`, `if`, `with`, `context`, `for_each`, `repeat`, `key`, "
        "`timeout`, `retry`, `undo`",
        "line 3, steps.a.e: unknown key `e`; allowed here: `skill`, `steps`, `plan`, `returns`, `max_steps`, `title`, "
        "`needs`, `join`, `if`, `with`, `context`, `for_each`, `repeat`, `key`, `timeout`, `retry`, `undo`",
    ]
    assert told('{"name": "x",\n"name": "y", "steps": {"a": {"skill": "s"}}}', "json") == [
        "line 2, name: the key `name` is given twice, first on line 1"
    ]
    for text, why in {
        '{"a": ': "line 1, column 7: not JSON",
        '{"a": NaN}': "`NaN` is no number",
        "[" * 100_000: "nested too deep",
        "[]": "must be a mapping",
    }.items():
        with pytest.raises(InvalidInput, match=why):
            loads(text, format="json")


def test_the_schema_takes_plans_as_files_write_them() -> None:
    import yaml

    made = schema()
    Draft202012Validator.check_schema(made)
    assert made["title"] == "Consort plan"
    assert made["$id"]
    validator = Draft202012Validator(made)
    validator.validate(yaml.safe_load(EXAMPLE))
    taken = {"skill": "t", "with": {"x": "${{ output }}"}, "timeout": "5m", "retry": {"attempts": 2}}
    validator.validate({"name": "x", "timeout": "1h", "steps": {"a": {"skill": "s", "undo": taken}}})
    validator.validate({"name": "x", "timeout": None, "steps": {"a": {"skill": "s"}}})
    for bad in (
        {"name": "x"},
        {"name": "x", "steps": {"a": {"skill": "s", "timeout": "soon"}}},
        {"name": "x", "timeout": "soon", "steps": {"a": {"skill": "s"}}},
        {"name": "x", "steps": {"a": {"skill": "s", "undo": {"with": {}}}}},
        {"name": "x", "steps": {"a": {"skill": "s", "undo": {"skill": "t", "timeout": "soon"}}}},
    ):
        with pytest.raises(ValidationError):
            validator.validate(bad)


@pytest.mark.slow
def test_importing_is_cheap() -> None:
    program = (
        "import sys, consort_shared.plan;"
        "print([m for m in ('yaml', 'jsonschema', 'cel', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_all_public_names_are_there() -> None:
    import consort_shared.plan as package

    assert sorted(package.__all__) == list(package.__all__)
    assert all(hasattr(package, name) for name in package.__all__)
