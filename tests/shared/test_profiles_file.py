"""Profiles as people write them: what is read, what is refused and how it is said, and what is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consort_shared.errors import InvalidInput, ProfileError
from consort_shared.profile import Profile, ThinkingLimits
from consort_shared.profiles_file import (
    as_toml,
    card_of,
    load_profile,
    own_version,
    profile_of_value,
    read_profile,
)

TOML = """
role = "a market analyst"
goal = "Say what the market does, and how sure that is."
background = '''
It knows
limits = "nothing of these"
'''
model = "anthropic:some-model"
effort = "high"
tools = ["search", "table.*"]

[limits]
turns = 12
dollars = 0.5
"""
YAML = """
role: a market analyst
goal: Say what the market does, and how sure that is.
background: |
  It knows
  limits = "nothing of these"
model: anthropic:some-model
effort: high
tools: [search, table.*]
limits: {turns: 12, dollars: 0.5}
"""


def test_the_same_from_toml_yaml_and_json(tmp_path: Path) -> None:
    """J9: a profile is a file, TOML, YAML or JSON, and says the same in each."""
    (tmp_path / "a.toml").write_text(TOML)
    (tmp_path / "a.yaml").write_text(YAML)
    one, other = load_profile(tmp_path / "a.toml"), load_profile(tmp_path / "a.yaml")
    assert one == other
    (tmp_path / "a.json").write_text(one.model_dump_json())
    assert load_profile(tmp_path / "a.json") == one
    assert one.limits == ThinkingLimits(turns=12, dollars=0.5)
    assert own_version(one) == own_version(other)
    assert card_of(one).version == own_version(one)
    assert card_of(one).role == "a market analyst"


@pytest.mark.parametrize(
    ("form", "text", "said"),
    [
        ("toml", 'role = "a"\nrolle = "b"\n', "line 2, rolle: unknown key `rolle`; did you mean `role`?"),
        ("toml", "[limits]\n\nturns = 0\n", "line 3, limits.turns: must be at least 1, is 0"),
        (
            "toml",
            "limits.dolars = 3\n",
            "line 1, limits.dolars: unknown key `dolars`; did you mean `dollars`?",
        ),
        ("toml", "[limits]\ndollars = inf\n", "line 2, limits.dollars: must be a finite number"),
        ("toml", 'role = "a\n', "line 1, column 10: not TOML"),
        ("toml", 'background = """\nx = 1\n"""\neffort = "hgih"\n', "line 4, effort: must be one of"),
        ("yaml", "role: a\ntools: search\n", "line 2, tools: must be a list: write [search]"),
        ("yaml", "role: a\nrole: b\n", "line 2, role: the key `role` is given twice"),
        ("yaml", "role: [a\n", "not YAML"),
        ("yaml", "- role\n", "must be a mapping with keys such as `role` and `goal`, is a list"),
        ("yaml", "role: yes\n", 'YAML reads `yes` as true; put it in quotes: "yes"'),
        ("json", '{"max_tokens": "many"}', "max_tokens: must be a whole number, is `many`"),
        ("toml", "\n", "is empty"),
    ],
)
def test_a_bad_file_is_refused_with_the_place_and_what_would_be_right(
    form: Any, text: str, said: str
) -> None:
    """J9: validation. Every fault with its line, in words."""
    with pytest.raises(InvalidInput) as refused:
        read_profile(text, "p", form)
    assert said in str(refused.value)
    assert str(refused.value).startswith("p")


def test_all_faults_in_one_go() -> None:
    with pytest.raises(ProfileError) as refused:
        read_profile('rolle = "x"\nmax_tokens = 0\n[limits]\nturns = "x"\n', "p")
    assert [fault.line for fault in refused.value.faults] == [1, 2, 4]
    with pytest.raises(ProfileError):
        profile_of_value({"role": 3, "limits": {"nothing": 1}})


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b'role = "a"\ngoal = "\xe9"\n')
    (tmp_path / "large.toml").write_bytes(b"#" * 600_000)
    (tmp_path / "folder.toml").mkdir()
    for name, said in {
        "latin.toml": "line 2: is not UTF-8",
        "large.toml": "larger than 512 KiB",
        "none.toml": "there is no such file",
        "folder.toml": "cannot be read",
        "a.txt": "a profile is a file named *.toml, *.yaml, *.yml, *.json",
    }.items():
        with pytest.raises(InvalidInput, match=said.replace("*", r"\*")):
            load_profile(tmp_path / name)


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=60)


@given(
    st.builds(
        Profile,
        role=texts,
        goal=texts,
        background=texts,
        instructions=texts,
        effort=st.sampled_from([None, "low", "max"]),
        tools=st.none() | st.lists(texts, max_size=3).map(tuple),
        limits=st.builds(
            ThinkingLimits, turns=st.integers(1, 1000), dollars=st.none() | st.floats(0.001, 1e9)
        ),
    )
)
def test_what_is_written_reads_the_same(profile: Profile) -> None:
    text = as_toml(profile)
    assert (read_profile(text) if text else Profile()) == profile
