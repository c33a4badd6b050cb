"""Records as AMQP messages, and back. No client library, no I/O.

The body is the value, as it is. Everything else travels in properties that any AMQP client can
read:

=====================  ==============================================================================
``message_id``         ``<origin>-<number>``: unique; numbers of one origin (one channel of one
                       producer) rise in the order of its sends
``delivery_mode``      2, persistent
``timestamp``          seconds, and header ``timestamp_in_ms``, milliseconds: the record's timestamp
header ``sp-key``      the key's bytes; absent for no key
header ``sp-headers``  name and value pairs, in order, duplicates kept, as MessagePack in one binary
                       value: stream queues keep neither arrays nor tables, and no order
header ``sp-null``     true for a tombstone, whose body is empty
header ``sp-mark``     this message is the driver's own and no record
=====================  ==============================================================================

Messages that other clients published are read, too: their headers become the record's.
"""

from collections.abc import Mapping
from struct import Struct
from typing import Any, NamedTuple

import msgspec

from streamproof.records import Headers

_FLAGS_AND_TABLE = Struct(">HI")
_SECONDS = Struct(">Q")
_SIZE = Struct(">I")
_OURS = 1 << 13 | 1 << 12 | 1 << 7 | 1 << 6
"""Flags of headers, delivery mode, message id, timestamp: the properties of our messages."""

MS = "timestamp_in_ms"
KEY = "sp-key"
HEADERS = "sp-headers"
NULL = "sp-null"
MARK = "sp-mark"
STREAM_OFFSET = "x-stream-offset"
DELIVERY_COUNT = "x-delivery-count"
_OWN = frozenset((MS, KEY, HEADERS, NULL, MARK))


def _entry(name: str, kind: bytes) -> bytes:
    raw = name.encode()
    return bytes((len(raw),)) + raw + kind


_MS_ENTRY = Struct(f">{len(_entry(MS, b'l'))}sq")
_MS_NAME = _entry(MS, b"l")
_KEY_NAME = _entry(KEY, b"x")
_HEADERS_NAME = _entry(HEADERS, b"x")
_NULL_ENTRY = _entry(NULL, b"t") + b"\x01"
_MARK_NAME = _entry(MARK, b"x")

_pack_headers = msgspec.msgpack.Encoder().encode
_unpack_headers = msgspec.msgpack.Decoder(tuple[tuple[str, bytes | None], ...]).decode


class Message(NamedTuple):
    """What the properties and the body of one message say."""

    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: Headers
    message_id: str
    stream_offset: int | None
    delivery_count: int
    mark: bytes | None


def properties_bytes(
    key: bytes | None,
    is_null: bool,
    headers: Headers,
    timestamp_ms: int,
    message_id: bytes,
    mark: bytes | None = None,
) -> bytes:
    """The property section of a header frame: flags, then the properties in their fixed order."""
    table = _MS_ENTRY.pack(_MS_NAME, timestamp_ms)
    if key is not None:
        table += _KEY_NAME + _SIZE.pack(len(key)) + key
    if headers:
        packed = _pack_headers(headers)
        table += _HEADERS_NAME + _SIZE.pack(len(packed)) + packed
    if is_null:
        table += _NULL_ENTRY
    if mark is not None:
        table += _MARK_NAME + _SIZE.pack(len(mark)) + mark
    return b"".join(
        (
            _FLAGS_AND_TABLE.pack(_OURS, len(table)),
            table,
            b"\x02",
            bytes((len(message_id),)),
            message_id,
            _SECONDS.pack(max(0, timestamp_ms) // 1000),
        )
    )


def header_table(
    key: bytes | None, is_null: bool, headers: Headers, timestamp_ms: int, mark: bytes | None = None
) -> dict[str, Any]:
    """The same headers as a mapping, for a client library that encodes them itself."""
    table: dict[str, Any] = {MS: timestamp_ms}
    if key is not None:
        table[KEY] = key
    if headers:
        table[HEADERS] = _pack_headers(headers)
    if is_null:
        table[NULL] = True
    if mark is not None:
        table[MARK] = mark
    return table


def message_of(table: Mapping[str, Any], message_id: str, timestamp_s: int | None, body: bytes) -> Message:
    """The message that these headers and properties describe."""
    timestamp_ms = table.get(MS)
    if not isinstance(timestamp_ms, int):
        timestamp_ms = timestamp_s * 1000 if timestamp_s is not None else 0
    packed = _as_bytes(table.get(HEADERS))
    foreign = [name for name in table if name not in _OWN and not name.startswith("x-")]
    headers: Headers = ()
    if packed is not None:
        try:
            headers = _unpack_headers(packed)
        except msgspec.DecodeError:
            # Somebody else's header of that name: a record must not be able to stop its readers.
            foreign.append(HEADERS)
    if foreign:
        headers += tuple((name, _as_bytes(table[name])) for name in foreign)
    return Message(
        key=_as_bytes(table.get(KEY)),
        value=None if table.get(NULL) else body,
        timestamp_ms=int(timestamp_ms),
        headers=headers,
        message_id=message_id,
        stream_offset=table.get(STREAM_OFFSET),
        delivery_count=table.get(DELIVERY_COUNT, 0),
        mark=_as_bytes(table.get(MARK)),
    )


def read_message(properties: bytes, body: bytes) -> Message:
    """The message of a raw property section and a body."""
    table, message_id, timestamp_s = read_properties(properties)
    return message_of(table, message_id, timestamp_s, body)


def sequence_of(message_id: str) -> tuple[str, int] | None:
    """Origin and number of a message id of ours; ``None`` for another's."""
    origin, dash, number = message_id.rpartition("-")
    if not dash:
        return None
    try:
        return origin, int(number, 16)
    except ValueError:
        return None


def _as_bytes(value: Any) -> bytes | None:
    if value is None or type(value) is bytes:
        return value
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    return str(value).encode()


# -- reading the property section ----------------------------------------------------------------

_BEFORE_TABLE = (15, 14)
"""Short strings before the headers: content type, content encoding."""
_AFTER_MODE = ((11, "B"), (10, "s"), (9, "s"), (8, "s"))
"""Priority, correlation id, reply-to, expiration."""


def read_properties(raw: bytes) -> tuple[dict[str, Any], str, int | None]:
    """Headers, message id and timestamp in seconds; other properties are passed over."""
    flags = raw[0] << 8 | raw[1]
    at = 2
    for bit in _BEFORE_TABLE:
        if flags >> bit & 1:
            at += 1 + raw[at]
    table: dict[str, Any] = {}
    if flags >> 13 & 1:
        size = _SIZE.unpack_from(raw, at)[0]
        table = _read_table(raw, at + 4, at + 4 + size)
        at += 4 + size
    if flags >> 12 & 1:
        at += 1
    if flags & 0x0F00:
        for bit, kind in _AFTER_MODE:
            if flags >> bit & 1:
                at += 1 if kind == "B" else 1 + raw[at]
    message_id = ""
    if flags >> 7 & 1:
        end = at + 1 + raw[at]
        message_id = raw[at + 1 : end].decode("utf-8", "replace")
        at = end
    return table, message_id, _SECONDS.unpack_from(raw, at)[0] if flags >> 6 & 1 else None


_FIXED = {
    kind: (Struct(f">{code}").unpack_from, Struct(f">{code}").size)
    for kind, code in {
        ord("t"): "?", ord("b"): "b", ord("B"): "B", ord("s"): "h", ord("u"): "H", ord("I"): "i",
        ord("i"): "I", ord("l"): "q", ord("L"): "q", ord("f"): "f", ord("d"): "d", ord("T"): "Q",
    }.items()
}  # fmt: skip
_LONG_STRING, _BINARY, _VOID, _TABLE, _ARRAY, _DECIMAL = map(ord, "SxVFAD")
_SIZED = (_LONG_STRING, _BINARY, _TABLE, _ARRAY)


def _read_table(raw: bytes, at: int, end: int) -> dict[str, Any]:
    table: dict[str, Any] = {}
    while at < end:
        stop = at + 1 + raw[at]
        name = raw[at + 1 : stop].decode("utf-8", "replace")
        table[name], at = _read_value(raw, stop)
    return table


def _read_value(raw: bytes, at: int) -> tuple[Any, int]:
    kind = raw[at]
    at += 1
    fixed = _FIXED.get(kind)
    if fixed is not None:
        return fixed[0](raw, at)[0], at + fixed[1]
    if kind == _VOID:
        return None, at
    if kind == _DECIMAL:
        return _SIZE.unpack_from(raw, at + 1)[0] / 10 ** raw[at], at + 5
    if kind not in _SIZED:
        raise ValueError(f"an AMQP table has a value of the unknown type {chr(kind)!r}")
    size = _SIZE.unpack_from(raw, at)[0]
    at += 4
    end = at + size
    if kind in (_LONG_STRING, _BINARY):
        return raw[at:end], end
    if kind == _TABLE:
        return _read_table(raw, at, end), end
    items = []
    while at < end:
        item, at = _read_value(raw, at)
        items.append(item)
    return items, end
