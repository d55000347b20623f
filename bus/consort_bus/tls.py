"""Encryption between a process and the bus: which servers are trusted, and what a failure means.

`tls://` in an address demands it: a server that offers none is left before anything is said to
it, so nobody in between can talk a client out of encryption. Which certificates count is the
system's choice, or that of the authority in the file that CONSORT_TLS_CA names. Who a client is
lies in its credentials, so it needs no certificate, unless the server insists on one.

Must not know what is sent.
"""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Mapping
from typing import Any

from consort_bus.errors import BusUnreachable, ServerUntrusted

__all__ = ["CA_VARIABLE", "NotEncrypted", "demands_tls", "trust", "why_untrusted"]

CA_VARIABLE = "CONSORT_TLS_CA"
CERTIFICATE_VARIABLE, KEY_VARIABLE = "CONSORT_TLS_CERT", "CONSORT_TLS_KEY"
_SCHEME = "tls://"
_EXPIRED, _NOT_YET = 10, 9
_UNKNOWN_AUTHORITY = frozenset({2, 18, 19, 20, 21, 26})
"""Results of OpenSSL's check of a chain: no, or no known, authority at its end."""
_OTHER_HOST = frozenset({62, 64})


class _NoNoise(logging.Filter):
    """asyncio warns each time when a server closes an encrypted connection, which is told here anyway."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("returning true from eof_received()")


_no_noise = _NoNoise()


class NotEncrypted(OSError):
    """Encryption was demanded and the server offers none."""

    def __init__(self) -> None:
        super().__init__("the server offers no TLS")


def demands_tls(server: str) -> bool:
    """Whether an address must not be spoken to in the clear."""
    return server.strip().startswith(_SCHEME)


def trust(url: str) -> ssl.SSLContext | None:
    """Which servers count as those they say they are; None where nothing was said about encryption.

    Then a server that wants it is judged by what the system trusts. Raises ServerUntrusted.
    """
    authority, own = os.environ.get(CA_VARIABLE) or None, os.environ.get(CERTIFICATE_VARIABLE) or None
    if authority is None and own is None and not any(demands_tls(server) for server in url.split(",")):
        return None
    try:
        context = ssl.create_default_context(cafile=authority)
    except OSError as exc:
        raise _unusable(url, str(authority), CA_VARIABLE, exc) from exc
    if own is not None:
        try:
            context.load_cert_chain(own, os.environ.get(KEY_VARIABLE) or None)
        except OSError as exc:
            raise _unusable(url, own, f"{CERTIFICATE_VARIABLE} with {KEY_VARIABLE}", exc) from exc
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    logging.getLogger("asyncio").addFilter(_no_noise)
    return context


def _unusable(url: str, file: str, variable: str, cause: OSError) -> ServerUntrusted:
    """What is said of a file that is missing or holds something else."""
    if isinstance(cause, ssl.SSLError):
        return ServerUntrusted(
            url, f"{file} is not what it should be", f"{variable} names it, in PEM form: {cause.reason}"
        )
    return ServerUntrusted(url, f"{file} cannot be read: {cause.strerror}", f"{variable} names it")


def why_untrusted(url: str, cause: BaseException) -> BusUnreachable | None:
    """What there is to say of a failure that is about encryption, None if it is about something else."""
    match cause:
        case NotEncrypted():
            why = "the address asks for TLS and the server offers none"
            return ServerUntrusted(
                url, why, "give the server a `tls` block, or write nats:// where the network is trusted"
            )
        case ssl.SSLCertVerificationError(verify_code=code):
            return ServerUntrusted(url, *_of_certificate(code, cause.verify_message))
        case ssl.SSLError(reason=str(reason)) if "CERTIFICATE_REQUIRED" in reason:
            return _certificate_wanted(url)
        case ssl.SSLError():
            why = f"the TLS handshake failed: {cause.reason or cause}"
            return BusUnreachable(url, why, "look at the server's log for the other side of it")
        case _:
            return None


def why_hung_up(url: str, greeting: Mapping[str, Any]) -> BusUnreachable | None:
    """What there is to say of a server that greeted and then hung up, as it may before its reason has arrived."""
    wanted = greeting.get("tls_verify", False) and not os.environ.get(CERTIFICATE_VARIABLE)
    return _certificate_wanted(url) if wanted else None


def _certificate_wanted(url: str) -> ServerUntrusted:
    why = "the server asks its clients for a certificate"
    return ServerUntrusted(url, why, f"name one with {CERTIFICATE_VARIABLE}, and its key with {KEY_VARIABLE}")


def _of_certificate(code: int, said: str) -> tuple[str, str]:
    """What is wrong with a server's certificate, and what to do about it."""
    if code == _EXPIRED:
        return "the server's certificate has expired", "give the server a new one and reload it"
    if code == _NOT_YET:
        return "the server's certificate is not valid yet", "set the clocks of both machines"
    if code in _OTHER_HOST:
        return (
            "the server's certificate is for another host",
            "use the name that stands in it, or have one made for this name",
        )
    if code in _UNKNOWN_AUTHORITY:
        used = os.environ.get(CA_VARIABLE)
        where = f"that {used} does not hold" if used else "unknown here"
        return (
            f"the server's certificate is from an authority {where}",
            f"name the CA that made it with {CA_VARIABLE}",
        )
    return f"the server's certificate is refused: {said}", "have a valid one made"
