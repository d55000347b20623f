"""Command lines with places for arguments: what may be written, and that arguments stay arguments."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consort_agents.tools.errors import ToolError
from consort_agents.tools.templates import Unfit, script, template


def test_places_and_kinds() -> None:
    """F11: a command with arguments has a schema."""
    made = template("grep -c {pattern:any} --max={most:int} -- {words:list} {text:file} '{{x}}'")
    schema = made.schema({"pattern": "what to look for"})
    assert schema["required"] == ["pattern", "most", "words", "text"]
    assert schema["properties"]["pattern"] == {"type": "string", "description": "what to look for"}
    assert schema["properties"]["words"] == {"type": "array", "items": {"type": "string"}}
    filled = made.filled({"pattern": "-v", "most": 3, "words": ["a b", "-c"], "text": "hello"})
    assert filled.argv == ["grep", "-c", "-v", "--max=3", "--", "a b", "-c", "text", "{x}"]
    assert filled.files == {"text": b"hello"}


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("", "does not begin with the name of a program"),
        ("{program} x", "does not begin with the name of a program"),
        ("cat {", "{ is no place for an argument"),
        ("cat '{a b}'", "{a b} is no place"),
        ("cat {a:url}", "a kind of any, int, number, list, file"),
        ("cat 'x", "cannot be taken apart"),
        ("cat x{a:list}", "must be a word of its own"),
        ("cat {a} {a:int}", "{a} has two kinds"),
    ],
)
def test_what_is_wrong_with_a_command_is_said(command: str, told: str) -> None:
    with pytest.raises(ToolError) as caught:
        template(command)
    assert told in str(caught.value)


def test_a_place_within_quotes_is_refused_for_a_shell() -> None:
    for command in ('echo "{a}"', "echo '{a}'", "echo `{a}`"):
        with pytest.raises(ToolError, match="stands within quotes"):
            script(command)
    with pytest.raises(ToolError, match="no place for a list"):
        script("echo {a:list}")
    assert script("echo {a} 'x' \\' {b:int}").script == 'echo "${arg_a}" \'x\' \\\' "${arg_b}"'


def test_an_argument_is_no_option() -> None:
    """J22: `--files0-from=/etc/passwd` as the name of a file is not that option."""
    with pytest.raises(Unfit, match="begins with -, and would be taken for an option"):
        template("wc {name}").filled({"name": "--files0-from=/etc/passwd"})
    with pytest.raises(Unfit, match="begins with -"):
        template("wc {names:list}").filled({"names": ["a", "-b"]})
    with pytest.raises(Unfit, match="NUL"):
        template("wc {name}").filled({"name": "a\0b"})
    assert template("wc -- {name}").filled({"name": "-x"}).argv == ["wc", "--", "-x"]
    assert template("wc --name={name}").filled({"name": "-x"}).argv == ["wc", "--name=-x"]
    assert template("seq {n:int}").filled({"n": -3}).argv == ["seq", "-3"]


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40))
def test_a_word_stays_one_word(value: str) -> None:
    if not value.startswith("-"):
        assert template("echo {a} b").filled({"a": value}).argv == ["echo", value, "b"]
    assert template("echo x{a}y").filled({"a": value}).argv == ["echo", f"x{value}y"]


@pytest.mark.slow
@given(st.text("ab $`\"'\\;|&<>(){}*?~!#\n", max_size=25))
def test_a_real_shell_never_reads_an_argument_as_a_command(value: str) -> None:
    """F11, J22: quoting, whatever the argument is."""
    filled = script("printf '%s' {a:any}").filled({"a": value})
    done = subprocess.run(filled.argv, env=filled.variables, capture_output=True, check=True)
    assert done.stdout.decode() == value
