"""Where figures go, and readings that the loop takes for other threads."""

from __future__ import annotations

import asyncio
import logging

import pytest

from consort_shared.errors import ConsortError
from consort_shared.telemetry.looking import Reading
from consort_shared.telemetry.metering import Wanted, wanted

HTTP, GRPC = "http://127.0.0.1:4318", "http://127.0.0.1:4317"


@pytest.mark.parametrize(
    ("page", "environment", "found"),
    [
        (False, {}, Wanted(False, False)),
        (True, {}, Wanted(True, False)),
        (True, {"OTEL_EXPORTER_OTLP_ENDPOINT": GRPC}, Wanted(True, True, "grpc")),
        (False, {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": HTTP}, Wanted(False, True, "http/protobuf")),
        (
            False,
            {"OTEL_EXPORTER_OTLP_ENDPOINT": GRPC, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
            Wanted(False, True, "http/protobuf"),
        ),
        (
            True,
            {"OTEL_EXPORTER_OTLP_ENDPOINT": GRPC, "OTEL_METRICS_EXPORTER": "none"},
            Wanted(False, False),
        ),
        (
            True,
            {"OTEL_EXPORTER_OTLP_ENDPOINT": GRPC, "OTEL_METRICS_EXPORTER": "prometheus"},
            Wanted(True, False),
        ),
        (True, {"OTEL_METRICS_EXPORTER": "otlp"}, Wanted(False, True, "http/protobuf")),
        (True, {"OTEL_METRICS_EXPORTER": "otlp, prometheus"}, Wanted(True, True, "http/protobuf")),
        (True, {"OTEL_SDK_DISABLED": "true", "OTEL_METRICS_EXPORTER": "otlp"}, Wanted(False, False)),
    ],
)
def test_where_figures_go(page: bool, environment: dict[str, str], found: Wanted) -> None:
    assert wanted(page, environment) == found


def test_what_is_not_there_is_said_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    asked = {"OTEL_METRICS_EXPORTER": "otlp,console", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}
    with caplog.at_level(logging.WARNING):
        assert wanted(True, asked).nowhere
    assert "console" in caplog.text
    assert "http/json" in caplog.text


async def test_a_reading_is_taken_by_the_loop_and_kept_for_a_while() -> None:
    taken: list[int] = []

    async def take() -> int:
        taken.append(1)
        return len(taken)

    reading = Reading(take, 0, every=60.0)
    assert [await asyncio.to_thread(reading) for _ in range(3)] == [1, 1, 1]


async def test_a_reading_that_comes_too_late_is_there_the_next_time() -> None:
    come = asyncio.Event()

    async def take() -> int:
        await come.wait()
        return 7

    reading = Reading(take, 0, every=60.0, limit=0.05)
    assert await asyncio.to_thread(reading) == 0
    come.set()
    async with asyncio.timeout(10):
        while await asyncio.to_thread(reading) != 7:
            await asyncio.sleep(0.05)


async def test_a_reading_that_cannot_be_had_is_nothing() -> None:
    async def fail() -> int:
        raise ConsortError("no bus")

    async def hang() -> int:
        await asyncio.sleep(60)
        return 1

    assert await asyncio.to_thread(Reading(fail, 0, every=60.0)) == 0
    assert await asyncio.to_thread(Reading(hang, 0, every=60.0, limit=0.05)) == 0


def test_a_reading_of_a_loop_that_is_over_is_nothing() -> None:
    async def take() -> int:
        return 1

    async def make() -> Reading[int]:
        return Reading(take, 0, every=60.0)

    assert asyncio.run(make())() == 0
