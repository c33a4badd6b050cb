"""Arguments of sends, checked and brought into the one form that drivers take."""

from collections.abc import Mapping, Sequence
from typing import Any

from streamproof.errors import UsageError
from streamproof.records import Headers, Outgoing, RawOutgoing
from streamproof.serialization import Encode

_TOPIC_LIMIT = 249
_TOPIC_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def require_topic_name(topic: object) -> None:
    """Kafka's rule for names, on every backend: 1 to 249 of ``[a-zA-Z0-9._-]``, not ``.`` or ``..``."""
    if not isinstance(topic, str):
        raise UsageError(f"a topic is named by a str, not by a {type(topic).__name__}")
    if not topic or len(topic) > _TOPIC_LIMIT or topic in (".", "..") or set(topic) - _TOPIC_CHARACTERS:
        raise UsageError(f"{topic!r} is no topic name: use at most {_TOPIC_LIMIT} letters, digits and . _ -")


def as_bytes(value: object, what: str) -> bytes:
    """``bytes`` from what holds bytes; anything else is refused."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise UsageError(
        f"the {what} is a {type(value).__name__}, not bytes: encode it, or choose a format for it, "
        f"e.g. bus.producer({what}='json')"
    )


def as_headers(headers: Mapping[str, Any] | Sequence[tuple[str, Any]]) -> Headers:
    """Headers as pairs of name and bytes; text is written as UTF-8."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    try:
        return tuple([_header(name, value) for name, value in pairs])
    except (TypeError, ValueError) as cause:
        raise UsageError(f"headers={headers!r} are neither a mapping nor (name, value) pairs") from cause


def _header(name: object, value: object) -> tuple[str, bytes | None]:
    if not isinstance(name, str):
        raise UsageError(f"a header's name is a str, not a {type(name).__name__}")
    if value is None or type(value) is bytes:
        return name, value
    if isinstance(value, str):
        return name, value.encode()
    return name, as_bytes(value, f"header {name!r}")


def as_outgoing(
    records: Sequence[Any], encode_key: Encode | None, encode_value: Encode | None
) -> Sequence[RawOutgoing]:
    """The records of a ``send_many`` as drivers take them; checked ones pass through uncopied."""
    if encode_key is None and encode_value is None and all(map(_is_raw, records)):
        return records
    return [_outgoing(record, encode_key, encode_value) for record in records]


def _is_raw(record: object) -> bool:
    return (
        type(record) is Outgoing
        and type(record.value) is bytes
        and (record.key is None or type(record.key) is bytes)
        and not record.headers
    )


def _outgoing(record: Any, encode_key: Encode | None, encode_value: Encode | None) -> RawOutgoing:
    if not isinstance(record, Outgoing):
        is_pair = isinstance(record, tuple) and len(record) == 2
        record = Outgoing(value=record[1], key=record[0]) if is_pair else Outgoing(value=record)
    value = record.value if encode_value is None else encode_value(record.value)
    key = record.key if encode_key is None else encode_key(record.key)
    return Outgoing(
        value=None if value is None else as_bytes(value, "value"),
        key=None if key is None else as_bytes(key, "key"),
        headers=as_headers(record.headers) if record.headers else (),
        partition=record.partition,
        timestamp_ms=record.timestamp_ms,
    )
