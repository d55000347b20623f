"""Subjects of the server's own requests: to ask about streams and consumers, to read, to change them."""

from __future__ import annotations

from dataclasses import dataclass

ACCOUNT_INFO = "$JS.API.INFO"
STREAM_NAMES = "$JS.API.STREAM.NAMES"


def stream_snapshot(stream: str) -> str:
    return f"$JS.API.STREAM.SNAPSHOT.{stream}"


def stream_restore(stream: str) -> str:
    return f"$JS.API.STREAM.RESTORE.{stream}"


def stream_delete(stream: str) -> str:
    return f"$JS.API.STREAM.DELETE.{stream}"


def stream_create(stream: str) -> str:
    return f"$JS.API.STREAM.CREATE.{stream}"


def stream_update(stream: str) -> str:
    return f"$JS.API.STREAM.UPDATE.{stream}"


def stream_info(stream: str) -> str:
    return f"$JS.API.STREAM.INFO.{stream}"


def message_get(stream: str) -> str:
    """Read from the stream's leader: what the tail of a run must be read by."""
    return f"$JS.API.STREAM.MSG.GET.{stream}"


def direct_get(stream: str, last_of: str | None = None) -> str:
    """Read from any replica: by the request's body, or the last message of one subject."""
    return f"$JS.API.DIRECT.GET.{stream}" + (f".{last_of}" if last_of else "")


def consumer_create(stream: str, consumer: str, only_filter: str | None = None) -> str:
    """With one filter the server wants it in the subject too; with several it wants none there."""
    return f"$JS.API.CONSUMER.CREATE.{stream}.{consumer}" + (f".{only_filter}" if only_filter else "")


def consumer_info(stream: str, consumer: str) -> str:
    return f"$JS.API.CONSUMER.INFO.{stream}.{consumer}"


def consumer_list(stream: str) -> str:
    return f"$JS.API.CONSUMER.LIST.{stream}"


def consumer_unpin(stream: str, consumer: str) -> str:
    return f"$JS.API.CONSUMER.UNPIN.{stream}.{consumer}"


def consumer_pause(stream: str, consumer: str) -> str:
    return f"$JS.API.CONSUMER.PAUSE.{stream}.{consumer}"


def consumer_delete(stream: str, consumer: str) -> str:
    return f"$JS.API.CONSUMER.DELETE.{stream}.{consumer}"


def stream_purge(stream: str) -> str:
    return f"$JS.API.STREAM.PURGE.{stream}"


def next_message(stream: str, consumer: str) -> str:
    return f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"


@dataclass(frozen=True, slots=True)
class AckSubject:
    """Where a delivery is acknowledged: how often it has been delivered, this time included, and its sequence."""

    delivered: int
    seq: int

    @classmethod
    def parse(cls, subject: str) -> AckSubject | None:
        """Of both forms, which differ in what comes before."""
        tokens = subject.split(".")
        if tokens[:2] != ["$JS", "ACK"] or len(tokens) < 9:
            return None
        at = 4 if len(tokens) == 9 else 6
        try:
            return cls(int(tokens[at]), int(tokens[at + 1]))
        except ValueError:
            return None
