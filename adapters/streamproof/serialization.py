"""Keys and values to bytes and back: bytes, text, JSON, or a type that msgspec knows."""

from collections.abc import Callable
from typing import Any, is_typeddict

import msgspec

from streamproof.errors import ConfigurationError, SerializationError

Format = str | type[Any] | Any
"""``"bytes"``, ``"text"``, ``"json"``, or a type (dataclass, msgspec Struct, TypedDict, list[int] …)
that is written as JSON and validated when read."""

Encode = Callable[[Any], bytes | None]
Decode = Callable[[bytes | None], Any]


def encoder(format: Format) -> Encode | None:
    """The function that turns a value into bytes; ``None`` means that it is bytes already."""
    if format == "bytes":
        return None
    if format == "text":
        return _encode_text
    if format == "json":
        return _guard_encode(msgspec.json.Encoder().encode, "JSON")
    _require_type(format)
    write = msgspec.json.Encoder().encode
    # A TypedDict is a class that isinstance() refuses; its values are checked when read.
    kind = format if isinstance(format, type) and not is_typeddict(format) else object

    def encode_typed(value: Any) -> bytes:
        if not isinstance(value, kind):
            raise SerializationError(
                f"a {type(value).__name__} is not a {_name(format)}: send what the producer was made for"
            )
        return write(value)

    return _guard_encode(encode_typed, _name(format))


def decoder(format: Format) -> Decode | None:
    """The function that turns bytes into a value; ``None`` means that they stay bytes."""
    if format == "bytes":
        return None
    if format == "text":
        return _decode_text
    if format == "json":
        return _guard_decode(msgspec.json.Decoder().decode, "JSON")
    _require_type(format)
    return _guard_decode(msgspec.json.Decoder(format).decode, _name(format))


def _require_type(format: Format) -> None:
    if isinstance(format, str):
        raise ConfigurationError(
            f"{format!r} is no known format: use 'bytes', 'text', 'json' or a type such as a dataclass"
        )
    try:
        msgspec.json.Decoder(format)
    except TypeError as cause:
        raise ConfigurationError(f"{_name(format)} cannot be read from JSON: {cause}") from cause


def _name(format: Format) -> str:
    return str(getattr(format, "__name__", format))


def _encode_text(value: Any) -> bytes | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise SerializationError(
            f"a {type(value).__name__} is not text: pass a str, or choose another format"
        )
    try:
        return value.encode()
    except UnicodeEncodeError as cause:
        raise SerializationError(f"the text cannot be written as UTF-8: {cause}") from cause


def _decode_text(value: bytes | None) -> str | None:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError as cause:
        raise SerializationError(f"the bytes are not UTF-8 text: {cause}") from cause


def _guard_encode(write: Callable[[Any], bytes], name: str) -> Encode:
    def encode(value: Any) -> bytes | None:
        if value is None:
            return None
        try:
            return write(value)
        except (TypeError, ValueError, OverflowError, RecursionError) as cause:
            raise SerializationError(
                f"a {type(value).__name__} cannot be written as {name}: {cause}"
            ) from cause

    return encode


def _guard_decode(read: Callable[[bytes], Any], name: str) -> Decode:
    def decode(value: bytes | None) -> Any:
        if value is None:
            return None
        try:
            return read(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
            raise SerializationError(f"the bytes are not {name}: {cause}") from cause

    return decode
