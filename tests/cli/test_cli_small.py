"""Small things that users meet: options that are refused in time, and what is said of a bus of several nodes."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
from cli_kit import CREW, consort, started, until

from consort_bus import embedded
from consort_bus.embedded import Node
from consort_orchestrator.cli.effects import _given
from consort_orchestrator.cli.household import _started_anew
from consort_shared.errors import InvalidInput


def test_a_report_that_cannot_be_written_is_said_before_anything_is_started(tmp_path: Path) -> None:
    ended = consort(tmp_path, "chaos", "--runs", "1", "--out", "nowhere/report.json")
    assert ended.code == 2
    assert "nowhere/report.json cannot be written" in ended.err
    assert "the system is up" not in ended.err


def test_an_answer_that_was_to_be_json_does_not_pass_as_text() -> None:
    assert _given('{"receipt": 17}') == {"receipt": 17}
    assert _given("receipt 17") == "receipt 17"
    assert _given('"{receipt}"') == "{receipt}"
    for broken in ("{receipt: 17}", "[17", '"seventeen'):
        with pytest.raises(InvalidInput, match="--value is no JSON"):
            _given(broken)


def test_a_node_that_was_started_anew_is_named() -> None:
    def node(name: str, pid: int | None) -> Node:
        return Node(name, pid, "nats://127.0.0.1:1", Path(name))

    before = [node("n1", 11), node("n2", None), node("n3", 13)]
    after = [node("n1", 11), node("n2", 22), node("n3", 13)]
    assert _started_anew(before, after) == ["node n2 of the bus had died and was started again, process 22"]
    assert _started_anew(before, before) == []
    assert _started_anew([node("n1", None)], [node("n1", 5)]) == [
        "the bus had died and was started again, process 5"
    ]


def test_up_takes_only_sizes_that_a_bus_can_have(tmp_path: Path) -> None:
    ended = consort(tmp_path, "up", "--nodes", "2", "--agents", CREW)
    assert ended.code == 2
    assert "--nodes" in ended.err


@pytest.mark.slow
def test_up_keeps_a_bus_of_three_nodes_running(tmp_path: Path) -> None:
    with started(tmp_path, "up", "--nodes", "3", "--agents", CREW) as up:
        up.until_says("ready")
        nodes = embedded.nodes(tmp_path / ".consort")
        assert len(nodes) == 3
        assert nodes[1].pid is not None
        os.kill(nodes[1].pid, signal.SIGKILL)
        again = re.compile(rf"node {nodes[1].name} of the bus had died and was started again")
        until(lambda: again.search(up.text) is not None)
