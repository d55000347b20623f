"""Encryption between processes and the bus, with certificates made here: it works, and each failure is one sentence.

J5: processes on several machines reach the bus encrypted, or not at all.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from deploy_kit import COMPOSE, Certificates, Processes, free_ports, processes, start_server

from consort_bus import topology
from consort_bus.connection import open_bus
from consort_bus.credentials import Credentials
from consort_bus.elsewhere import server_lines
from consort_bus.errors import BusError, BusUnreachable, ServerUntrusted
from consort_bus.keys import Authority
from consort_orchestrator.doctor.examining import Patient, examine
from consort_orchestrator.doctor.gathering import Bounds


@dataclass
class Site:
    """An installation of a test's own, whose server listens on a fixed port of 127.0.0.1."""

    folder: Path
    port: int
    there: Processes
    certificates: Certificates

    def credentials(self) -> Credentials:
        return Authority.load_or_create(self.folder / "keys").issue("provisioner", "setup")

    def serve(self, *, certificate: Path | None, insist: bool = False) -> None:
        """With `insist` the server wants certificates of its clients too."""
        lines = server_lines(Authority.load_or_create(self.folder / "keys"), tls=certificate)
        if insist:
            wanted = f'tls {{ verify: true, ca_file: "{self.certificates.authority}",'
            lines = lines.replace("tls {", wanted)
        config = self.folder / "server.conf"
        store = self.folder / "data"
        config.write_text(
            f'server_name: one\nhost: "127.0.0.1"\nport: {self.port}\njetstream {{ store_dir: "{store}" }}\n{lines}'
        )
        start_server(self.there, "server", config, self.port)

    def url(self, scheme: str, host: str = "127.0.0.1") -> str:
        return f"{scheme}://{host}:{self.port}"

    async def connect(self, url: str, *, patience: float = 0.0) -> None:
        async with open_bus(url, self.credentials(), patience=patience) as bus:
            await topology.ensure(bus)

    async def refusal(self, url: str) -> BusError:
        """What is said when a connection fails; patience must not be spent on what no waiting mends."""
        async with asyncio.timeout(5):
            with pytest.raises(BusError) as refused:
                await self.connect(url, patience=60)
        assert "\n" not in str(refused.value)
        return refused.value


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name in ("CA", "CERT", "KEY"):
        monkeypatch.delenv(f"CONSORT_TLS_{name}", raising=False)
    with processes(tmp_path) as there:
        yield Site(tmp_path, free_ports(1)[0], there, Certificates(tmp_path))


@pytest.mark.slow
async def test_the_bus_is_reached_encrypted(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a connection that was lost is encrypted again when it comes back."""
    site.serve(certificate=site.certificates.server(site.folder / "tls"))
    monkeypatch.setenv("CONSORT_TLS_CA", str(site.certificates.authority))
    await site.connect(site.url("nats"))
    async with open_bus(site.url("tls"), site.credentials()) as bus:
        writer = bus.nc._transport._io_writer  # type: ignore[union-attr]
        assert writer.get_extra_info("cipher") is not None
        back = asyncio.Event()

        async def came_back() -> None:
            back.set()

        bus.on_reconnect(came_back)
        site.there.end("server")
        site.serve(certificate=site.folder / "tls")
        async with asyncio.timeout(10):
            await back.wait()
        assert bus.nc._transport._io_writer.get_extra_info("cipher") is not None  # type: ignore[union-attr]
        await bus.barrier()


async def test_a_server_that_cannot_prove_itself_is_left(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.serve(certificate=site.certificates.server(site.folder / "tls", names="DNS:hub,IP:127.0.0.1"))
    for scheme in (
        "tls",
        "nats",
    ):  # without tls:// too, a server that wants it is spoken to encrypted, or not at all
        refused = await site.refusal(site.url(scheme))
        assert isinstance(refused, ServerUntrusted)
        assert refused.exit_code == 3
        assert "is from an authority unknown here; name the CA that made it with CONSORT_TLS_CA" in str(
            refused
        )

    other = Certificates(site.folder, "other")
    monkeypatch.setenv("CONSORT_TLS_CA", str(other.authority))
    refused = await site.refusal(site.url("tls"))
    assert f"is from an authority that {other.authority} does not hold" in str(refused)

    monkeypatch.setenv("CONSORT_TLS_CA", str(site.certificates.authority))
    refused = await site.refusal(site.url("tls", "localhost"))
    assert "is for another host; use the name that stands in it" in str(refused)


async def test_an_expired_certificate_is_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.serve(certificate=site.certificates.server(site.folder / "tls", days=-1))
    monkeypatch.setenv("CONSORT_TLS_CA", str(site.certificates.authority))
    refused = await site.refusal(site.url("tls"))
    assert "the server's certificate has expired; give the server a new one and reload it" in str(refused)


async def test_nothing_is_said_in_the_clear_where_encryption_was_demanded(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody in between who says "no TLS here" gets neither credentials nor a connection."""
    site.serve(certificate=None)
    refused = await site.refusal(site.url("tls"))
    assert isinstance(refused, ServerUntrusted)
    assert "the address asks for TLS and the server offers none; give the server a `tls` block" in str(
        refused
    )
    monkeypatch.setenv("CONSORT_TLS_CA", str(site.certificates.authority))
    await site.connect(site.url("nats"))


async def test_an_authority_that_is_none_is_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    path = site.folder / "trusted.pem"
    monkeypatch.setenv("CONSORT_TLS_CA", str(path))
    assert f"{path} cannot be read: No such file or directory" in str(await site.refusal(site.url("tls")))
    path.write_text("nothing")
    assert f"{path} is not what it should be; CONSORT_TLS_CA names it, in PEM form" in str(
        await site.refusal(site.url("tls"))
    )
    monkeypatch.delenv("CONSORT_TLS_CA")
    with pytest.raises(BusUnreachable, match="nothing listens there"):
        await site.connect(site.url("tls"))


async def test_a_server_may_insist_on_certificates_of_its_clients(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.serve(certificate=site.certificates.server(site.folder / "tls"), insist=True)
    monkeypatch.setenv("CONSORT_TLS_CA", str(site.certificates.authority))
    refused = await site.refusal(site.url("tls"))
    assert "the server asks its clients for a certificate; name one with CONSORT_TLS_CERT" in str(refused)
    own = site.certificates.server(site.folder / "own")
    monkeypatch.setenv("CONSORT_TLS_CERT", str(own / "server.pem"))
    refused = await site.refusal(site.url("tls"))
    assert "is not what it should be; CONSORT_TLS_CERT with CONSORT_TLS_KEY names it" in str(refused)
    monkeypatch.setenv("CONSORT_TLS_KEY", str(own / "server.key"))
    await site.connect(site.url("tls"))


async def test_the_doctor_says_how_a_server_comes_to_be_trusted(site: Site) -> None:
    site.serve(certificate=site.certificates.server(site.folder / "tls"))
    creds = site.folder / "operator.creds"
    Authority.load(site.folder / "keys").issue("operator", "me").save(creds)
    report = await examine(Patient(site.url("tls"), creds, site.folder), Bounds())
    [finding] = report.findings
    assert finding.check == "connection"
    assert finding.mend == "name the CA that made it with CONSORT_TLS_CA"


@pytest.mark.slow
async def test_nodes_of_a_cluster_know_each_other_encrypted(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the lines of `server-config --cluster --tls` and the node file that ships; a stranger is no node."""
    names, ports = ("host-a", "host-b", "host-c"), free_ports(9)
    own = {name: (ports.pop(), ports.pop(), ports.pop()) for name in names}
    lines = server_lines(
        Authority.load_or_create(site.folder / "keys"), names, site.certificates.server(site.folder / "tls")
    )
    for name in names:
        lines = lines.replace(f"@{name}:6222", f"@127.0.0.1:{own[name][1]}")
    for name, (client, route, monitor) in own.items():
        folder = site.folder / name
        folder.mkdir()
        (folder / "consort.conf").write_text(lines.replace("port: 6222", f"port: {route}"))
        shipped = (COMPOSE / "node.conf").read_text().replace("port: 4222", f"port: {client}")
        (folder / "node.conf").write_text(shipped.replace("localhost:8222", f"127.0.0.1:{monitor}"))
        start_server(
            site.there, name, folder / "node.conf", client, {"NODE": name, "DATA": str(folder / "data")}
        )
    monkeypatch.setenv("CONSORT_TLS_CA", str(site.certificates.authority))
    urls = ",".join(f"tls://127.0.0.1:{client}" for client, _, _ in own.values())
    async with open_bus(urls, site.credentials(), patience=10) as bus:
        async with asyncio.timeout(20):
            while True:
                try:
                    await topology.ensure(bus, 3)
                    break
                except BusError:  # the nodes have yet to elect who leads them
                    await asyncio.sleep(0.1)
        assert bus.nc.connected_url is not None
        assert bus.nc.connected_url.scheme == "tls"
        assert all(server.uri.scheme == "tls" for server in bus.nc._server_pool)
    trusting = ssl.create_default_context(cafile=str(site.certificates.authority))
    with (
        socket.create_connection(("127.0.0.1", own["host-a"][1])) as plain,
        pytest.raises(ssl.SSLError),
        trusting.wrap_socket(plain, server_hostname="127.0.0.1") as stranger,
    ):
        stranger.recv(1)  # a certificate is asked for in the handshake, and missed after it
