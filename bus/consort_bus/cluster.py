"""Which nodes the bus of a folder has, when it has more than one.

Written once, when the cluster is made, and kept beside the nodes' folders: their names
and ports stay what they are, so that clients find the nodes again after a restart and
the nodes know each other again by their names. A folder that was moved goes on; a copy of
one cannot mix with what it was copied from, because the password between the nodes
belongs to the place where the folder lies.

Decides nothing about when a node is to run.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from consort_bus.credentials import write_secret
from consort_bus.errors import ServerFailed

__all__ = ["SIZES", "ClusterPlan", "NodePlan", "port_is_free"]

SIZES = (1, 3, 5)
"""Numbers of nodes of which a majority is worth having."""
_FILE = "cluster.json"
_FORMAT = 1
_LOOPBACK = "127.0.0.1"
_ROUTE_USER = "route"


@dataclass(frozen=True, slots=True)
class NodePlan:
    """One node: what it is called, and where it listens to clients and to the other nodes."""

    name: str
    port: int
    route: int


@dataclass(frozen=True, slots=True)
class ClusterPlan:
    """All nodes of a cluster on this machine."""

    id: str
    secret: str = field(repr=False)
    nodes: tuple[NodePlan, ...]

    @classmethod
    def new(cls, count: int) -> ClusterPlan:
        """A cluster of `count` nodes on ports that are free now."""
        return cls(secrets.token_hex(6), secrets.token_hex(32), ()).enlarged(count)

    @classmethod
    def load(cls, folder: Path) -> ClusterPlan | None:
        """The plan kept in a folder, None if the bus there is no cluster. Raises ServerFailed."""
        path = folder / _FILE
        try:
            data = json.loads(path.read_text(encoding="ascii"))
            if data["format"] != _FORMAT:
                raise ServerFailed(f"{path}: format {data['format']} is of a newer version")
            nodes = tuple(NodePlan(node["name"], node["port"], node["route"]) for node in data["nodes"])
            return cls(data["id"], data["secret"], nodes)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise ServerFailed(f"{path} cannot be read: {exc}; restore it from a backup") from exc

    def save(self, folder: Path) -> None:
        """Raises KeysUnusable: the file is secret."""
        nodes = [{"name": node.name, "port": node.port, "route": node.route} for node in self.nodes]
        data = {"format": _FORMAT, "id": self.id, "secret": self.secret, "nodes": nodes}
        write_secret(folder / _FILE, json.dumps(data, indent=1) + "\n")

    def enlarged(self, count: int) -> ClusterPlan:
        """With nodes added up to `count`."""
        missing = range(len(self.nodes) + 1, count + 1)
        ports = _free_ports(2 * len(missing))
        added = (NodePlan(f"n{number}", ports.pop(), ports.pop()) for number in missing)
        return replace(self, nodes=(*self.nodes, *added))

    def with_free_ports(self, away: Sequence[str]) -> ClusterPlan:
        """With other ports for those nodes that do not run and whose ports somebody else took."""
        return replace(
            self, nodes=tuple(_movable(node) if node.name in away else node for node in self.nodes)
        )

    def node(self, name: str) -> NodePlan:
        """Raises ServerFailed when there is no such node."""
        for node in self.nodes:
            if node.name == name:
                return node
        names = ", ".join(node.name for node in self.nodes)
        raise ServerFailed(f"there is no node {name!r}; there are: {names}")

    def config_lines(self, name: str, folder: Path) -> str:
        """What makes a server with this node's name one of the cluster; `folder` is the whole bus's."""
        password = hmac.new(self.secret.encode(), str(folder).encode(), hashlib.sha256).hexdigest()
        routes = "\n".join(
            f"    nats-route://{_ROUTE_USER}:{password}@{_LOOPBACK}:{node.route}"
            for node in self.nodes
            if node.name != name
        )
        return (
            "cluster {\n"
            f"  name: consort-{self.id}\n"
            f"  listen: {_LOOPBACK}:{self.node(name).route}\n"
            f"  authorization {{ user: {_ROUTE_USER}, password: {json.dumps(password)}, timeout: 5 }}\n"
            f"  routes: [\n{routes}\n  ]\n"
            "}\n"
        )


def port_is_free(port: int) -> bool:
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((_LOOPBACK, port))
    except (OSError, OverflowError):
        return False
    return True


def _movable(node: NodePlan) -> NodePlan:
    if port_is_free(node.port) and port_is_free(node.route):
        return node
    port, route = _free_ports(2)
    return replace(node, port=port, route=route)


def _free_ports(count: int) -> list[int]:
    """All held at once while they are chosen, so that they are different."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((_LOOPBACK, 0))
        return [probe.getsockname()[1] for probe in probes]
