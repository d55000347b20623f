"""A span as a value: what derives it, what reads it back, and what compares the two.

Read from OTLP in its JSON form, which files and Jaeger's query API share. What is
malformed in it is left out: it is evidence, and a hole in evidence is found by whoever
looks for what should be there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeAlias

Kind: TypeAlias = Literal["internal", "server", "client", "producer", "consumer"]
Attribute: TypeAlias = str | int | float | bool | tuple[str, ...]

MOMENT = 1000
"""Nanoseconds that a span has at least: stores count in microseconds, and take none for a mistake."""

_KINDS: tuple[Kind, ...] = ("internal", "internal", "server", "client", "producer", "consumer")
"""By their number in OTLP; 0 says nothing and is taken as internal."""
_ERROR = 2


class Link(NamedTuple):
    """To another span, perhaps of another trace; `what` says what it is to this one."""

    trace: str
    span: str
    what: str = ""


class SpanRecord(NamedTuple):
    """One span. Times are nanoseconds since 1970; ids are hex digits, `parent` is empty for a root.

    A tuple, because several are made for each task.
    """

    trace: str
    span: str
    parent: str
    name: str
    kind: Kind
    start: int
    end: int
    attributes: Mapping[str, Attribute] = MappingProxyType({})
    links: tuple[Link, ...] = ()
    error: str | None = None
    """what went wrong, if its status is error"""
    service: str = ""
    instance: str = ""
    host: str = ""

    @property
    def seconds(self) -> float:
        """Its duration, never negative."""
        return max(self.end - self.start, 0) / 1e9


def records_of(told: object) -> Iterator[SpanRecord]:
    """The spans of an OTLP message in JSON form."""
    if not isinstance(told, Mapping):
        return
    for group in _each(told, "resourceSpans"):
        resource = _attributes(group.get("resource"))
        for scope in _each(group, "scopeSpans"):
            for span in _each(scope, "spans"):
                record = _record(span, resource)
                if record is not None:
                    yield record


def _record(span: Mapping[str, Any], resource: Mapping[str, Attribute]) -> SpanRecord | None:
    try:
        kind = span.get("kind", 0)
        number = kind if isinstance(kind, int) else _KINDS_BY_NAME.get(str(kind), 0)
        status = span.get("status") or {}
        failed = status.get("code") in (_ERROR, "STATUS_CODE_ERROR")
        return SpanRecord(
            trace=str(span["traceId"]).lower(),
            span=str(span["spanId"]).lower(),
            parent=str(span.get("parentSpanId") or "").lower(),
            name=str(span["name"]),
            kind=_KINDS[number],
            start=int(span["startTimeUnixNano"]),
            end=int(span["endTimeUnixNano"]),
            attributes=_attributes(span),
            links=tuple(
                Link(
                    str(link["traceId"]).lower(),
                    str(link["spanId"]).lower(),
                    str(_attributes(link).get("consort.link", "")),
                )
                for link in _each(span, "links")
            ),
            error=str(status.get("message", "")) if failed else None,
            service=str(resource.get("service.name", "")),
            instance=str(resource.get("service.instance.id", "")),
            host=str(resource.get("host.name", "")),
        )
    except (KeyError, ValueError, TypeError, IndexError, AttributeError):
        return None


_KINDS_BY_NAME = {f"SPAN_KIND_{kind.upper()}": number for number, kind in enumerate(_KINDS) if number}


def _attributes(of: object) -> dict[str, Attribute]:
    found: dict[str, Attribute] = {}
    if not isinstance(of, Mapping):
        return found
    for pair in _each(of, "attributes"):
        value = _value(pair.get("value"))
        if value is not None:
            found[str(pair.get("key", ""))] = value
    return found


def _value(told: object) -> Attribute | None:
    if not isinstance(told, Mapping):
        return None
    for name, value in told.items():
        match name:
            case "stringValue":
                return str(value)
            case "intValue":
                return int(value)
            case "doubleValue":
                return float(value)
            case "boolValue":
                return bool(value)
            case "arrayValue":
                return tuple(str(_value(one)) for one in _each(value, "values"))
    return None


def _each(of: object, name: str) -> Iterator[Mapping[str, Any]]:
    found = of.get(name) if isinstance(of, Mapping) else None
    if isinstance(found, list):
        yield from (one for one in found if isinstance(one, Mapping))
