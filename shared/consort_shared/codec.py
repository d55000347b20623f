"""Bytes to models and back: the only place where raw bytes are read.

Consort's own processes speak msgpack; anyone else may speak JSON, and is spoken to
in JSON who asks for it. The header `Content-Type` tells them apart, and no header at
all means JSON, because that is what `nats pub` sends. A message is parsed once, into a model, and refused whole
if it does not fit; the refusal keeps the bytes.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar, TypeVar

import msgpack
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from consort_shared.errors import DecodeError

MSGPACK = "application/msgpack"
JSON = "application/json"

T = TypeVar("T")


class Tagged(BaseModel):
    """One of a closed set of models, told apart by a field with a fixed value.

    Fields that nobody set are left out on the wire; the tag never is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    tag: ClassVar[str]
    """the name of that field, which is the first"""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        cls.tag = next(iter(cls.model_fields))

    def model_post_init(self, context: Any, /) -> None:
        self.__pydantic_fields_set__.add(self.tag)


def plain(model: BaseModel) -> dict[str, Any]:
    """A model as it goes on the wire, before it is packed; whoever asks may change it."""
    return model.model_dump(by_alias=True, exclude_unset=True)


def pack(value: dict[str, Any]) -> bytes:
    """Plain values as msgpack. Raises ValueError or OverflowError for what msgpack cannot hold."""
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed


def encode(model: BaseModel) -> bytes:
    """A model as msgpack. Raises ValueError or OverflowError for values that msgpack cannot hold."""
    return pack(plain(model))


def pack_as(content_type: str, value: dict[str, Any]) -> bytes:
    """Plain values as msgpack or JSON. Raises ValueError, TypeError or OverflowError for what that cannot hold."""
    if content_type == MSGPACK:
        return pack(value)
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def unpack(raw: bytes, content_type: str | None = None) -> Any:
    """Bytes to plain values. Raises DecodeError."""
    try:
        if content_type == MSGPACK:
            return msgpack.unpackb(raw, strict_map_key=True, max_ext_len=0)
        if content_type is None or content_type.split(";")[0].strip() in (
            JSON,
            "text/json",
            "text/plain",
            "",
        ):
            return json.loads(raw, parse_constant=_no_constant)
    except (ValueError, msgpack.UnpackException, RecursionError) as exc:
        raise DecodeError(raw, f"not {content_type or JSON}: {exc}") from exc
    raise DecodeError(raw, f"content type {content_type!r} is neither {MSGPACK} nor {JSON}")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def decode(adapter: TypeAdapter[T], raw: bytes, content_type: str | None = None) -> T:
    """Bytes to a model. Raises DecodeError with every field that does not fit."""
    return decode_value(adapter, unpack(raw, content_type), raw)


def decode_value(adapter: TypeAdapter[T], value: Any, raw: bytes) -> T:
    """Plain values to a model; `raw` is what they were read from. Raises DecodeError."""
    try:
        valid: T = adapter.validator.validate_python(value)
        return valid
    except ValidationError as exc:
        faults = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'message'}: {e['msg']}"
            for e in exc.errors(include_url=False)[:5]
        )
        raise DecodeError(raw, faults) from exc
    except RecursionError as exc:
        raise DecodeError(raw, "nested too deeply") from exc
