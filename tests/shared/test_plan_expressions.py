"""The expression language: what it means, what it refuses, and that it is bounded and repeatable."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consort_shared.plan.expressions import (
    MAX_LENGTH,
    ExpressionError,
    Reference,
    condition,
    evaluate_tree,
    parse,
    templates_in,
    truth,
)

NAMES = {
    "inputs": {"question": "why", "many": list(range(10_000)), "some": list(range(300))},
    "steps": {
        "gather": {
            "output": {
                "n": 2,
                "score": 1.5,
                "facts": [{"x": 1, "tags": ["a", "b"]}, {"x": 2, "tags": []}],
                "by-key": {"a b": 7},
                "none": None,
            }
        }
    },
    "item": {"id": 3},
    "index": 0,
    "previous": None,
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("", ""),
        ("${{ steps.gather.output.n }}", 2),
        ("  ${{ steps.gather.output.n }}\n", 2),
        ("${{ steps.gather.output.n + 1 }}", 3),
        ("${{ 7 / 2 }}", 3),
        ("${{ double(7) / 2.0 }}", 3.5),
        ("${{ steps.gather.output.n < 2.5 }}", True),
        ("${{ 1 == 1.0 }}", True),
        ("n is ${{ steps.gather.output.n }}, q is ${{ inputs.question }}!", "n is 2, q is why!"),
        ("${{ steps.gather.output.facts[0] }} ", {"x": 1, "tags": ["a", "b"]}),
        ("facts: ${{ steps.gather.output.facts[0] }}", 'facts: {"x":1,"tags":["a","b"]}'),
        ('${{ steps.gather.output["by-key"]["a b"] }}', 7),
        ("${{ steps.gather.output['by-key']['a b'] + 1 }}", 8),
        ("${{ has(steps.gather.output.zz) }}", False),
        ("${{ steps.gather.output.none == null }}", True),
        ("${{ {'a': {'b': '}}'}} }}", {"a": {"b": "}}"}}),
        ("${{ '${{' }}", "${{"),
        ("${{ 1 // a note }}", 1),
        ("${{ timestamp('2024-05-01T10:00:00Z') }}", "2024-05-01T10:00:00+00:00"),
        ("${{ duration('90s') }}", 90.0),
        ("${{ type(1) == int }}", True),
        ("${{ steps.gather.output.facts.map(f, f.x * 10) }}", [10, 20]),
        ("${{ steps.gather.output.facts.filter(f, f.tags.exists(t, t == 'a')).size() }}", 1),
        ("${{ previous.draft.output.text }}", None),
        ("${{ previous == null }}", True),
        ("${{ item.id }}-${{ index }}", "3-0"),
    ],
)
def test_values(text: str, value: object) -> None:
    result = parse(text).evaluate(NAMES)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("${{ 1", "not closed"),
        ("${{ }}", "nothing between"),
        ("${{ 1 + }}", "syntax error at character 4: it ends too early"),
        ("${{ a b }}", "syntax error"),
        ("${{ " + "1 + " * 1000 + "1 }}", f"at most {MAX_LENGTH}"),
        ("${{ " + "(" * 500 + "1" + ")" * 500 + " }}", "syntax error"),
        ("${{ 1" + " + 1" * 70 + " }}", "70 additions; at most 64"),
        ("${{ " + "[1].map(a, " * 4 + "1" + ")" * 4 + " }}", "loops inside one another"),
        ("${{ [1]" + ".map(a, a)" * 9 + " }}", "9 loops"),
    ],
)
def test_what_does_not_compile(text: str, why: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("${{ steps.gather.output.zz }}", "nothing at .gather.output.zz; there are: by-key, facts"),
        ("${{ steps.gather.output.zz + 1 }}", "`steps.gather.output.zz`: nothing at .gather.output.zz"),
        ("${{ steps.gather.output.facts[9].x }}", "nothing at .gather.output.facts[9]"),
        ("${{ nope }}", "`nope` is not known here"),
        ("${{ nope + 1 }}", "`nope` is neither a name that is known here nor a function"),
        ("${{ foo(1) }}", "`foo` is neither"),
        ("${{ string(steps.gather.output) }}", "`string` does not take such a value"),
        ("${{ 1 + 1.5 }}", "whole and broken numbers do not mix"),
        ("${{ steps.gather.output.n + 'x' }}", "does not fit its operands"),
        ("${{ 9223372036854775807 + 1 }}", "verflow"),
        ("${{ 1 / 0 }}", "division by zero"),
        ("${{ 1.0 / 0.0 }}", "gives inf"),
        ("${{ b'x' }}", "gives bytes"),
        ("${{ {1: 2} }}", "keys must be text"),
        ("${{ 'a'.matches('(a{1000}){1000}') }}", "not a valid regex"),
        ("${{ inputs.many.map(x, x) }}", "may take too long"),
        ("${{ inputs.some.map(x, inputs.some.map(y, y)) }}", "may take too long"),
        ("${{ ['aaaaaaaaaa']" + ".map(x, x+x+x+x+x+x+x+x)" * 8 + " }}", "may take too long"),
    ],
)
def test_what_has_no_value(text: str, why: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text).evaluate(NAMES)
    assert why in str(caught.value)
    assert caught.value.source in text


def test_data_the_library_cannot_take() -> None:
    deep: object = 1
    for _ in range(30_000):
        deep = [deep]
    with pytest.raises(ExpressionError, match="nested deeper"):
        parse("${{ size(item) }}").evaluate({"item": deep})
    with pytest.raises(ExpressionError, match="64 bits"):
        parse("${{ item + 1 }}").evaluate({"item": 2**64})
    assert parse("${{ item }}").evaluate({"item": 2**64}) == 2**64
    # What an expression does not read does not matter to it.
    assert parse("${{ item.a + 1 }}").evaluate({"item": {"a": 1, "b": deep, "c": 2**70}}) == 2


def test_a_list_of_ten_thousand_costs_nothing_by_path() -> None:
    started = time.perf_counter()
    assert parse("${{ inputs.many }}").evaluate(NAMES) is NAMES["inputs"]["many"]  # type: ignore[index]
    assert parse("${{ inputs.many.all(x, x >= 0) && size(inputs.many) == 10000 }}").evaluate(NAMES) is True
    assert time.perf_counter() - started < 2


@pytest.mark.slow
def test_maps_have_one_order_in_every_process() -> None:
    """A replay must decide the same: the library alone walks maps in random order."""
    program = (
        "import json; from consort_shared.plan.expressions import parse;"
        "m = {c: {'v': i} for i, c in enumerate('hgfedcba')};"
        "texts = ['${{ m.map(k, k) }}', 'x ${{ {\"b\": 1, \"a\": 2, \"c\": 3} }}', '${{ m.filter(k, m[k].v > 1) }}'];"
        "print(json.dumps([parse(t).evaluate({'m': m}) for t in texts]))"
    )
    runs = {
        subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout
        for _ in range(2)
    }
    assert len(runs) == 1
    keys, text, some = json.loads(runs.pop())
    assert keys == list("abcdefgh")
    assert text == 'x {"a":2,"b":1,"c":3}'
    assert some == list("abcdef")


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("${{ steps.gather.output.facts[0].x }}", Reference("steps", ("gather", "output", "facts", 0, "x"))),
        ("${{inputs.question}}", Reference("inputs", ("question",))),
        ("${{ item }}", Reference("item")),
        ('${{ item["a b"] }}', Reference("item", ("a b",))),
        ("${{ steps.a.output.size() }}", None),
        ("${{ steps.a.output }} ", Reference("steps", ("a", "output"))),
        ("x ${{ item }}", None),
        ("${{ item }}${{ item }}", None),
        ("${{ true }}", None),
        ("item", None),
    ],
)
def test_pure_references(text: str, reference: Reference | None) -> None:
    assert parse(text).reference == reference


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("${{ steps.a.output.x + steps['b'].output }}", {"steps.a.output.x", "steps.b.output"}),
        ("${{ 'steps.a.output' + inputs.q }} // steps.b", {"inputs.q"}),
        ("${{ steps.a.output.map(item, item.x + inputs.k) }}", {"steps.a.output", "inputs.k"}),
        ("${{ steps.a.output.map(x, x.y).size() + x }}", {"steps.a.output", "x"}),
        ("${{ steps[inputs.q].output }}", {"steps", "inputs.q"}),
        ("${{ r'\\' + inputs.q }}", {"inputs.q"}),
        ("${{ has(steps.a.output.b) && !(index in [1, 2]) }}", {"steps.a.output.b", "index"}),
        ("${{ {inputs.a: true, 'b': previous.d.output} }}", {"inputs.a", "previous.d.output"}),
        ("${{ steps.a.output[3].size() }} and ${{ iteration }}", {"steps.a.output[3]", "iteration"}),
        ("${{ type(item) == int }}", {"item"}),
    ],
)
def test_references_inside(text: str, found: set[str]) -> None:
    template = parse(text)
    assert {str(reference) for reference in template.references()} == found
    assert template.roots == {name.split(".")[0].split("[")[0] for name in found}


def test_conditions_may_leave_out_the_braces() -> None:
    for text in ("item.id == 3", "${{ item.id == 3 }}", " item.id == 3\n"):
        assert truth(condition(text).evaluate(NAMES)) is True
    assert condition("${{ inputs.question }}-${{ item.id }}").evaluate(NAMES) == "why-3"
    for value in (1, "true", None, []):
        with pytest.raises(ExpressionError, match="must be true or false"):
            truth(value)


def test_trees() -> None:
    tree = {"a": ["${{ item.id }}", {"b": "n=${{ index }}", "c": 1.5}], "d": None}
    assert evaluate_tree(tree, NAMES) == {"a": [3, {"b": "n=0", "c": 1.5}], "d": None}
    assert [path for path, _ in templates_in(tree)] == [("a", 0), ("a", 1, "b")]


@given(st.text(alphabet="${} 'abc.[]()+\"\\/x1,:\n", max_size=40))
def test_no_text_does_worse_than_an_expression_error(text: str) -> None:
    try:
        parse(text).evaluate({"a": 1, "b": [1, 2], "c": {"x": "y"}})
        condition(text).evaluate({"a": 1, "b": [1, 2], "c": {"x": "y"}})
    except ExpressionError:
        pass


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda part: (
        st.lists(part, max_size=4) | st.dictionaries(st.text("abc", min_size=1, max_size=3), part, max_size=4)
    ),
    max_leaves=12,
)


@given(_json)
def test_values_pass_through_the_library_unchanged(value: object) -> None:
    result = parse("${{ [item][0] }}").evaluate({"item": value})
    assert result == value
    assert json.dumps(result, sort_keys=True) == json.dumps(value, sort_keys=True)
