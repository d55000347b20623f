"""Several orchestrators share the inbox: evenly, and with as few changes as can be."""

from __future__ import annotations

from collections import Counter

from consort_orchestrator.shell.presence import shares


def test_two_have_half_each_and_three_about_a_third() -> None:
    assert Counter(shares(["a", "b"]).values()) == {"a": 16, "b": 16}
    assert sorted(Counter(shares(["a", "b", "c"]).values()).values()) == [10, 11, 11]
    assert set(shares(["a"]).values()) == {"a"}
    assert len(shares([f"o{n}" for n in range(40)])) == 32


def test_order_does_not_matter_and_who_leaves_leaves_only_its_own_share() -> None:
    before = shares(["a", "b", "c"])
    assert before == shares(["c", "a", "b", "a"])
    after = shares(["a", "b"])
    moved = [shard for shard in before if before[shard] != "c" and before[shard] != after[shard]]
    assert len(moved) <= 6
