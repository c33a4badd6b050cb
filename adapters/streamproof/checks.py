"""Arguments of sends, checked and brought into the one form that drivers take."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from streamproof.errors import UsageError
from streamproof.records import Headers, Outgoing, RawOutgoing, Record, TopicPartition
from streamproof.serialization import Encode

HeadersLike = Mapping[str, str | bytes | None] | Sequence[tuple[str, str | bytes | None]]

_TOPIC_LIMIT = 249
TOPIC_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def require_topic_name(topic: object) -> None:
    """Kafka's rule for names, on every backend: 1 to 249 of ``[a-zA-Z0-9._-]``, not ``.`` or ``..``."""
    if not isinstance(topic, str):
        raise UsageError(f"a topic is named by a str, not by a {type(topic).__name__}")
    if not topic or len(topic) > _TOPIC_LIMIT or topic in (".", "..") or set(topic) - TOPIC_CHARACTERS:
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
    if not isinstance(records, list | tuple):
        records = _listed(records)
    if encode_key is None and encode_value is None and _are_raw(records):
        return records
    return [_outgoing(record, encode_key, encode_value) for record in records]


def _are_raw(records: Sequence[Any]) -> bool:
    """Whether drivers can take them as they are; one pass, as batches are large."""
    for record in records:
        if type(record) is not Outgoing or type(record.value) is not bytes or record.headers:
            return False
        if record.key is not None and type(record.key) is not bytes:
            return False
        if record.partition is not None or record.timestamp_ms is not None:
            require_place(record.partition, record.timestamp_ms)
    return True


def plain_columns(records: object) -> tuple[list[bytes | None], list[bytes | None]] | None:
    """The values and the keys of a ``send_many``, if its records are bytes and nothing else."""
    if type(records) is not list:
        return None
    values: list[bytes | None] = []
    keys: list[bytes | None] = []
    for record in records:
        if type(record) is not Outgoing or record.headers:
            return None
        if record.partition is not None or record.timestamp_ms is not None:
            return None
        value, key = record.value, record.key
        if not (type(value) is bytes or value is None) or not (type(key) is bytes or key is None):
            return None
        values.append(value)
        keys.append(key)
    return values, keys


def _listed(records: Any) -> list[Any]:
    if isinstance(records, str | bytes | bytearray | memoryview | Mapping) or not isinstance(
        records, Iterable
    ):
        raise UsageError(f"send_many takes a list of records, not a {type(records).__name__}")
    return list(records)


def _outgoing(record: Any, encode_key: Encode | None, encode_value: Encode | None) -> RawOutgoing:
    if not isinstance(record, Outgoing):
        is_pair = isinstance(record, tuple) and len(record) == 2
        record = Outgoing(value=record[1], key=record[0]) if is_pair else Outgoing(value=record)
    require_place(record.partition, record.timestamp_ms)
    value = record.value if encode_value is None else encode_value(record.value)
    key = record.key if encode_key is None else encode_key(record.key)
    return Outgoing(
        value=None if value is None else as_bytes(value, "value"),
        key=None if key is None else as_bytes(key, "key"),
        headers=as_headers(record.headers) if record.headers else (),
        partition=record.partition,
        timestamp_ms=record.timestamp_ms,
    )


def require_place(partition: object, timestamp_ms: object) -> None:
    """An explicit partition and timestamp are whole numbers that can be."""
    for name, value in (("partition", partition), ("timestamp_ms", timestamp_ms)):
        if value is not None and (type(value) is not int or value < 0):
            raise UsageError(
                f"{name}={value!r} is not possible: give a whole number, 0 or more, or leave it out"
            )


def require_count(name: str, value: object) -> None:
    """A number of records to ask for."""
    if type(value) is not int or value < 1:
        raise UsageError(f"{name}={value!r} is not possible: give a whole number, 1 or more")


def require_record(record: object) -> None:
    """What an application gives back is what it got."""
    if not isinstance(record, Record):
        raise UsageError(f"give a record as poll() returned it, not a {type(record).__name__}")


def as_partitions(partitions: Iterable[Any]) -> tuple[TopicPartition, ...]:
    """Logs as drivers take them; plain ``(topic, partition)`` pairs are welcome."""
    try:
        return tuple([_partition(pair) for pair in partitions])
    except TypeError as cause:
        raise UsageError(f"{partitions!r} are no logs: give TopicPartition(topic, partition)") from cause


def as_offsets(offsets: Mapping[Any, Any]) -> dict[TopicPartition, int]:
    """The offsets of a commit, by log."""
    if not isinstance(offsets, Mapping):
        raise UsageError(
            f"offsets are given as {{TopicPartition: offset}}, not as a {type(offsets).__name__}"
        )
    for partition, offset in offsets.items():
        if type(offset) is not int or offset < 0:
            raise UsageError(f"offset {offset!r} of {partition!r} is not possible: give 0 or more")
    return {_partition(partition): offset for partition, offset in offsets.items()}


def _partition(pair: Any) -> TopicPartition:
    if type(pair) is TopicPartition:
        return pair
    if isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) and isinstance(pair[1], int):
        return TopicPartition(*pair)
    raise UsageError(f"{pair!r} is no log: give TopicPartition(topic, partition)")
