"""What the bus could not do.

    BusError
    ├── BusUnreachable        nobody answers at the address, or the connection is gone for good
    │   └── ServerUntrusted       who answers cannot prove to be who it should be, or does not encrypt
    ├── BusUnsuitable         somebody answers, but not a server set up for Consort
    ├── AccessDenied          the server refuses this identity something
    │   └── CredentialsRefused    it refuses the identity itself
    ├── KeysUnusable          a file of keys or credentials that cannot be read or written
    ├── NoAnswer              a request without a reply: what was asked may or may not have happened
    ├── StorageFull           a stream or the disk is at its limit; nothing was stored
    ├── FenceRefused          somebody else appended to the run first
    ├── AppendUnknown         an append whose outcome could not be found out in time
    └── ServerFailed          an embedded server that could not be started or stopped

Every text is meant for the person who has to mend it, and ends with what to try.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from consort_shared.errors import ConsortError


class BusError(ConsortError):
    """Anything the bus could not do."""


class BusUnreachable(BusError):
    """No server at the address, or the connection to it is closed for good."""

    exit_code = 3

    def __init__(
        self,
        address: str,
        why: str,
        advice: str = "start it with `consort bus start`, or name another with CONSORT_SERVER and CONSORT_CREDS",
    ) -> None:
        super().__init__(f"no bus at {address}: {why}; {advice}")
        self.address = address
        self.why = why
        self.advice = advice


class ServerUntrusted(BusUnreachable):
    """The server offers no encryption where it is demanded, or its certificate does not count. No waiting mends it."""


class BusUnsuitable(BusError):
    """A server answers, but it cannot carry Consort as it is."""

    exit_code = 3

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(f"{what}; {mend}")
        self.what = what
        self.mend = mend


class AccessDenied(BusError):
    """The server refuses an identity the use of a subject.

    `subject` is in lower case when the refusal came without a request that it could be
    matched to: the client library folds the case of what the server says.
    """

    exit_code = 3

    def __init__(
        self,
        who: str,
        action: Literal["publish to", "subscribe to"],
        subject: str,
        allowed: Sequence[str] = (),
    ) -> None:
        needed = f"; allowed to: {', '.join(allowed)}" if allowed else ""
        super().__init__(f"{who} may not {action} {subject}{needed}")
        self.who = who
        self.action = action
        self.subject = subject
        self.allowed = tuple(allowed)


class CredentialsRefused(AccessDenied):
    """The server does not let this identity in at all: expired, revoked or of another installation."""

    def __init__(self, who: str, address: str, why: str) -> None:
        BusError.__init__(self, f"{address} refuses {who}: {why}")
        self.who = who
        self.action = "subscribe to"
        self.subject = ""
        self.allowed = ()
        self.address = address
        self.why = why


class KeysUnusable(BusError):
    """A file of keys or credentials that is missing, damaged, or cannot be written."""

    exit_code = 3

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where}: {why}")
        self.where = where
        self.why = why


class NoAnswer(BusError):
    """A request got no reply. Unless `reason` is "no responders", it may have been carried out."""

    def __init__(self, subject: str, reason: Literal["timeout", "no responders", "disconnected"]) -> None:
        super().__init__(f"no answer on {subject}: {reason}")
        self.subject = subject
        self.reason = reason


class StorageFull(BusError):
    """A stream, an account or the disk is at its limit; nothing was stored and nothing old was dropped."""

    def __init__(self, stream: str, why: str) -> None:
        super().__init__(f"{stream} takes no more: {why}; remove old runs or raise the limit")
        self.stream = stream
        self.why = why


class FenceRefused(BusError):
    """Another writer appended to the run after the sequence that was expected last."""

    def __init__(self, subject: str, expected: int) -> None:
        super().__init__(f"{subject}: another writer came after sequence {expected}")
        self.subject = subject
        self.expected = expected


class AppendUnknown(BusError):
    """Whether an append was stored could not be found out in time; read the tail before anything else."""

    def __init__(self, subject: str, why: str) -> None:
        super().__init__(f"{subject}: it is not known whether the append was stored: {why}")
        self.subject = subject
        self.why = why


class ServerFailed(BusError):
    """The embedded server could not be started or stopped; `log_tail` is the end of what it wrote."""

    exit_code = 3

    def __init__(self, what: str, log_tail: str = "") -> None:
        super().__init__(f"{what}\n{log_tail}" if log_tail else what)
        self.what = what
        self.log_tail = log_tail
