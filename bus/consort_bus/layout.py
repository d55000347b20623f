"""The places of the servers that make up a folder's bus: one, or the nodes of a cluster.

Sees which of them run and answer. Starts and ends none.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from consort_bus.cluster import ClusterPlan
from consort_bus.errors import ServerFailed
from consort_bus.server_process import Embedded, Node, Place, answering, running_pid

__all__ = ["GROWING", "Layout", "place_of"]

GROWING = "growing.json"
"""Exists in the bus's folder while a single server's data is on its way into a cluster."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the nodes of a folder's bus lie; one place without a plan."""

    shared: Place
    plan: ClusterPlan | None

    @classmethod
    def of(cls, folder: Path | str) -> Layout:
        shared = Place(Path(folder).absolute())
        return cls(shared, ClusterPlan.load(shared.bus))

    @property
    def places(self) -> tuple[Place, ...]:
        if self.plan is None:
            return (self.shared,)
        return tuple(Place(self.shared.folder, node.name, self.plan.id) for node in self.plan.nodes)

    @property
    def grows(self) -> bool:
        return (self.shared.bus / GROWING).exists()

    @property
    def has_data(self) -> bool:
        """Whether a single server ever stored something."""
        return any((self.shared.bus / "jetstream").glob("*/streams/*"))

    @property
    def any_runs(self) -> bool:
        return any(running_pid(place) is not None for place in self.places)

    @property
    def majority(self) -> int:
        return len(self.places) // 2 + 1

    def url(self, place: Place) -> str:
        """Where a node listens, or did the last time."""
        if self.plan is not None:
            return f"nats://127.0.0.1:{self.plan.node(place.node).port}"
        with suppress(OSError):
            return f"nats://127.0.0.1:{place.port.read_text(encoding='ascii')}"
        return ""

    def node(self, place: Place) -> Node:
        return Node(place.node or "n1", running_pid(place), self.url(place), place.home)

    def answering(self, started: bool = False, *, whole: bool) -> Embedded | None:
        """The bus, if most of its nodes answer, or with `whole` all."""
        pids = [(place, running_pid(place)) for place in self.places]
        urls = [answering(place, pid) for place, pid in pids if pid is not None]
        there = [url for url in urls if url is not None]
        if len(there) < (len(self.places) if whole else self.majority):
            return None
        found = tuple(
            Node(place.node or "n1", pid, self.url(place) or there[0], place.home) for place, pid in pids
        )
        pid = next(pid for _, pid in pids if pid is not None)
        url = there[0] if self.plan is None else ",".join(node.url for node in found)
        return Embedded(url, pid, self.shared.folder, started, found)


def place_of(layout: Layout, name: str) -> Place:
    for place in layout.places:
        if (place.node or "n1") == name:
            return place
    names = ", ".join(place.node or "n1" for place in layout.places)
    raise ServerFailed(f"there is no node {name!r} in {layout.shared.folder}; there are: {names}")
