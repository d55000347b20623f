"""A bus of the test's own, with everything set up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hosting_kit import HERE, Site

from consort_bus import embedded, topology
from consort_bus.connection import open_bus


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setenv("PYTHONPATH", str(HERE))  # for the processes that read files of tools
    monkeypatch.setenv("MARKS", str(tmp_path / "bus" / "marks"))
    server = embedded.start(tmp_path / "bus")
    there = Site(server.folder, server.url)
    there.marks.mkdir()
    async with open_bus(server.url, embedded.credentials_for(server.folder, "provisioner", "setup")) as bus:
        await topology.ensure(bus)
    try:
        yield there
    finally:
        for host in there.hosts:
            if host.running:
                host.process.kill()
                host.process.wait(10)
        embedded.stop(server.folder)
