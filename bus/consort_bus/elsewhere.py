"""What servers that Consort does not start need in their configuration: whom to trust, each other, certificates.

The same lines fit every server of a bus; what differs (its name, its data) is the including file's.
The password between the nodes follows from the installation's secrets, so it need not be chosen,
kept or handed around, and lines made anew fit those that are in use.

Must not know where a server runs or how it is started.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import PurePath

from consort_bus.keys import Authority
from consort_shared.errors import InvalidInput
from consort_shared.seal import route_password

__all__ = ["CERTIFICATE", "CLUSTER_PORT", "KEY", "TLS_AUTHORITY", "server_lines"]

CLUSTER_PORT = 6222
CERTIFICATE, KEY, TLS_AUTHORITY = "server.pem", "server.key", "ca.pem"
"""Files of the folder that holds a server's certificate."""
_USER = "route"
_HANDSHAKE_SECONDS = 5
_host = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")


def server_lines(authority: Authority, hosts: Sequence[str] = (), tls: PurePath | None = None) -> str:
    """The lines to include. With `hosts`, one for each node of a cluster, they are secret.

    `tls` is the folder of the certificate on the server's machine. Raises InvalidInput.
    """
    if hosts and (len(hosts) < 3 or len(set(hosts)) != len(hosts)):
        raise InvalidInput(
            "a cluster has three nodes at least, each on another host: with two, one lost is all lost"
        )
    for host in hosts:
        if not _host.fullmatch(host):
            raise InvalidInput(f"{host!r} is no host's name or address")
    lines = authority.server_config()
    if tls is not None:
        lines += f"tls {{\n{_certificate(tls)}}}\n"
    return lines + (_cluster(route_password(authority.mac_master), hosts, tls) if hosts else "")


def _certificate(folder: PurePath) -> str:
    return (
        f"  cert_file: {json.dumps(str(folder / CERTIFICATE))}\n"
        f"  key_file: {json.dumps(str(folder / KEY))}\n"
        f"  timeout: {_HANDSHAKE_SECONDS}\n"
    )


def _cluster(password: str, hosts: Sequence[str], tls: PurePath | None) -> str:
    """Routes from each to each; a node leaves out the one to itself. If encrypted, both sides show a certificate."""
    routes = "".join(f"    nats-route://{_USER}:{password}@{host}:{CLUSTER_PORT}\n" for host in hosts)
    encrypted = ""
    if tls is not None:
        authority = json.dumps(str(tls / TLS_AUTHORITY))
        encrypted = f"  tls {{\n{_certificate(tls)}  ca_file: {authority}\n  verify: true\n  }}\n"
    return (
        "cluster {\n"
        f"  name: consort\n  port: {CLUSTER_PORT}\n"
        f"  authorization {{ user: {_USER}, password: {json.dumps(password)}, timeout: {_HANDSHAKE_SECONDS} }}\n"
        f"  routes: [\n{routes}  ]\n"
        f"{encrypted}"
        "}\n"
    )
