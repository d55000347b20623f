"""How records become lines, and what a line may not say."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterator

import pytest

from consort_shared.telemetry import logs
from consort_shared.telemetry.logs import (
    About,
    in_force,
    message_of,
    set_about,
    set_up_logging,
    without_words,
)

RUN = "0123456789abcdef" * 2


Lines = Callable[[], list[str]]


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[Lines]:
    """Gives what was logged; afterwards logging is as it was."""
    root, ours = logging.getLogger(), logging.getLogger("consort")
    before = list(root.handlers), root.level, ours.level
    yield lambda: capsys.readouterr().err.splitlines()
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])


async def test_what_is_logged_in_a_context_says_what_it_is_about(lines: Lines) -> None:
    set_up_logging("info", "json")
    mine = logging.getLogger("mine")

    async def work() -> None:
        set_about(About(RUN, "draft", "2-0", "write", "writer"))
        mine.warning("here")
        await asyncio.to_thread(mine.warning, "in a thread")
        bare = threading.Thread(target=mine.warning, args=("bare",))
        bare.start()
        bare.join()

    await asyncio.create_task(work())
    mine.warning("elsewhere")
    told = {line["message"]: line for line in map(json.loads, lines())}
    for text in ("here", "in a thread"):
        about = {"run": RUN, "step": "draft", "task": "2-0", "skill": "write", "agent": "writer"}
        assert about.items() <= told[text].items()
        assert told[text]["trace_id"] == RUN
        assert told[text]["logger"] == "mine"
    assert not {"run", "trace_id"} & (told["bare"].keys() | told["elsewhere"].keys())


def test_lines_for_people(lines: Lines) -> None:
    set_up_logging("warning")
    logging.getLogger("consort.agent").info("not shown")
    logging.getLogger("consort.agent").warning("failed: a", extra={"run": RUN, "entry": 2, "step": "a"})
    logging.getLogger("lib").warning("odd")
    ours, theirs = lines()
    assert ours.endswith(f" warning failed: a  (run={RUN} entry=2 step=a)")
    assert theirs.endswith(" warning lib: odd")


def test_the_span_is_named_that_the_run_is_traced_by(lines: Lines) -> None:
    from opentelemetry import trace

    set_up_logging("info", "json")
    for trace_id in (int(RUN, 16), 7):
        span = trace.NonRecordingSpan(trace.SpanContext(trace_id, 0xABC, is_remote=False))
        with trace.use_span(span):
            logging.getLogger("consort.agent").info("x", extra={"run": RUN})
    within, other = map(json.loads, lines())
    assert within["span_id"] == f"{0xABC:016x}"
    assert "span_id" not in other


def test_a_child_logs_as_its_parent(lines: Lines) -> None:
    set_up_logging("debug", "json")
    assert in_force() == ("DEBUG", "json")
    set_up_logging("error")
    assert in_force() == ("ERROR", "human")


def test_an_error_without_its_words() -> None:
    try:
        try:
            raise KeyError("secret one")
        except KeyError as exc:
            raise ValueError("secret two") from exc
    except ValueError as exc:
        text = without_words(exc)
    assert text.splitlines()[-1] == "KeyError"
    assert "ValueError\nbecause of" in text
    assert "test_telling_logs.py" in text
    assert logs.without_words(ValueError("secret")) == "ValueError"


def test_the_message_of_a_line_in_either_style() -> None:
    assert message_of('{"time": "x", "message": "it broke"}') == "it broke"
    assert message_of("12:00:00 error it broke") == "12:00:00 error it broke"
    assert message_of("[1, 2]") == "[1, 2]"
