"""Which protocol a collector is spoken to in, for traces and metrics alike.

What `OTEL_EXPORTER_OTLP_PROTOCOL` says; without it gRPC where the address has gRPC's usual
port, and otherwise HTTP, which the specification wants as the default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from consort_shared.errors import InvalidInput

HTTP, GRPC = "http/protobuf", "grpc"
HTTP_PORT, GRPC_PORT = ":4318", ":4317"
"""The ports of collectors, as everybody sets them up."""
ENDPOINT, PROTOCOL = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL"
Signal = Literal["TRACES", "METRICS"]


def endpoint_of(signal: Signal, environment: Mapping[str, str]) -> str:
    """The collector's address, empty if none is named."""
    return environment.get(_own(ENDPOINT, signal)) or environment.get(ENDPOINT) or ""


def protocol_of(signal: Signal, environment: Mapping[str, str]) -> str:
    """`http/protobuf` or `grpc`. Raises InvalidInput for anything else."""
    named = environment.get(_own(PROTOCOL, signal)) or environment.get(PROTOCOL) or ""
    if named not in ("", HTTP, GRPC):
        raise InvalidInput(f"{PROTOCOL} is {named!r}; it may be {HTTP} or {GRPC}")
    return named or (GRPC if GRPC_PORT in endpoint_of(signal, environment) else HTTP)


def _own(name: str, signal: Signal) -> str:
    return name.replace("OTLP", f"OTLP_{signal}")
