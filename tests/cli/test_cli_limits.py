"""`consort limits`: what is set holds for every process, what is wrong is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_kit import consort

from consort_orchestrator.cli.limits_words import breaker_state, data_of, lines_of, short_line
from consort_shared.rates import Breaker, Learned, Limits, Rate, Told, Want, limited, saw, turn

T0 = 1_000_000.0


@pytest.mark.slow
def test_limits_are_set_shown_and_reset(tmp_path: Path) -> None:
    """C13: limits per key, shared by all processes."""
    consort(tmp_path, "bus", "start")
    try:
        none = consort(tmp_path, "limits")
        assert (none.code, none.out) == (0, "")
        assert "no limits are set" in none.err
        ended = consort(tmp_path, "limits", "set", "k1", "--requests-per-minute", "60", "--concurrent", "3")
        assert ended.out == "k1: 60 requests a minute, 3 at a time\n"
        (tmp_path / "l.yaml").write_text("limits:\n  k2: {tokens_per_minute: 1000}\n")
        assert consort(tmp_path, "limits", "set", "--file", "l.yaml").code == 0
        assert [one["key"] for one in json.loads(consort(tmp_path, "limits", "--json").out)] == ["k1", "k2"]
        found = json.loads(consort(tmp_path, "limits", "show", "k1", "--json").out)
        assert found["limits"] == {"requests_per_minute": 60, "tokens_per_minute": None, "concurrent": 3}
        assert found["set_by"] == "person.me"
        assert consort(tmp_path, "limits", "reset", "k2", "--limits").code == 0
        assert consort(tmp_path, "limits", "reset", "k1").code == 0
        assert "k1  60 requests a minute" in consort(tmp_path, "limits").out
        unknown = consort(tmp_path, "limits", "show", "k2")
        assert unknown.code == 2
        assert "known are k1" in unknown.err
    finally:
        consort(tmp_path, "bus", "stop")


def test_what_cannot_be_meant_is_refused_before_the_bus_is_asked(tmp_path: Path) -> None:
    for arguments, told in (
        (["set", "k1"], "at least one of"),
        (["set"], "either KEY"),
        (["set", "k1", "--concurrent", "0"], "--concurrent"),
    ):
        ended = consort(tmp_path, "limits", *arguments)
        assert ended.code == 2
        assert told in ended.err
    (tmp_path / "l.yaml").write_text("limits:\n  k2: {tokens_per_minut: 1000}\n")
    ended = consort(tmp_path, "limits", "set", "--file", "l.yaml")
    assert ended.code == 2
    assert "line 2, limits.k2.tokens_per_minut: Extra inputs" in ended.err
    (tmp_path / "l.yaml").write_text("limits:\n  k2: {concurrent: 1}\n  k2: {concurrent: 2}\n")
    assert "line 3, limits.k2: the key" in consort(tmp_path, "limits", "set", "--file", "l.yaml").err
    assert not (tmp_path / ".consort").exists()


def test_a_state_in_words() -> None:
    rate = Rate(limits=Limits(requests_per_minute=60))
    rate, _ = turn(rate, "a", [Want("f" * 32, 10, T0)] * 4, T0)
    rate = limited(rate, "a", T0 - 1, 3.0, None, {}, T0)
    rate = saw(rate, Told(requests_per_minute=30, requests_left=0), T0)
    assert (
        short_line("k", rate, T0 + 1)
        == "k  30 requests a minute (learned); 1 used; 3 waiting; blocked for 2 s"
    )
    text = "\n".join(lines_of("k", rate, T0 + 1))
    assert "told by the provider 1 s ago" in text
    assert "waiting  ffffffffffff: 3 calls, the first for 1 s" in text
    assert data_of("k", rate, T0 + 1)["in_force"]["requests_per_minute"] == 30
    old = rate.model_copy(update={"learned": Learned(how="told", at=T0 - 10_000, requests_per_minute=1)})
    assert "learned" not in short_line("k", old, T0)
    opened = rate.model_copy(update={"breaker": Breaker(openings=1, open_until=T0 + 5)})
    assert breaker_state(opened, T0) == "open for 5 s more"
    assert breaker_state(opened, T0 + 6) == "half open, one call tries"
