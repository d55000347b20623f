"""Subjects of the server's own requests: to ask about streams and consumers, to read, to change them."""

from __future__ import annotations

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
