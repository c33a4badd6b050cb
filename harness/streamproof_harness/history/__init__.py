"""The history: one file that says what the clients did and saw.

JSON Lines in UTF-8, optionally gzipped. Line 1 is the header, every other line one event. This
module holds the vocabulary, the events as structs, and the rules that one event must keep by
itself; `columns` holds those that need the whole file. The format is documented in
``docs/reference/histories.md``.
"""

import base64
import binascii
import gzip
import zlib
from collections.abc import Iterator, Mapping
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

Type = Literal["invoke", "ok", "fail", "info", "note"]
Op = Literal[
    "send",
    "poll",
    "handle",
    "ack",
    "nack",
    "reject",
    "commit",
    "flush",
    "open",
    "close",
    "crash",
    "topic",
    "trim",
    "init",
    "begin",
    "end",
    "seek",
    "dead-letter",
    "expire",
    "assign",
    "revoke",
    "lost",
    "fault",
    "drained",
]

TYPES: Final[tuple[str, ...]] = Type.__args__  # type: ignore[attr-defined]
OPS: Final[tuple[str, ...]] = Op.__args__  # type: ignore[attr-defined]

NOTES: Final = frozenset(
    {
        "open",
        "crash",
        "topic",
        "trim",
        "dead-letter",
        "expire",
        "assign",
        "revoke",
        "lost",
        "fault",
        "drained",
    }
)
"""Operations without duration; all others are an invocation and its completion."""

_SETTLED = ("group", "topic", "partition", "offset", "id")
REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "send": ("topic", "id", "key", "seq", "crc"),
    "poll": (),
    "handle": (*_SETTLED, "attempt"),
    "ack": _SETTLED,
    "nack": _SETTLED,
    "reject": _SETTLED,
    "commit": ("group", "offsets"),
    "flush": (),
    "open": ("role",),
    "close": (),
    "crash": (),
    "topic": ("topic", "partitions"),
    "trim": ("starts", "cause"),
    "init": ("transactional_id",),
    "begin": ("txn", "transactional_id"),
    "end": ("txn", "transactional_id", "commit"),
    "seek": ("offsets",),
    "dead-letter": ("group", "id", "topic", "attempt", "reason"),
    "expire": ("group", "id"),
    "assign": ("group", "partitions"),
    "revoke": ("group", "partitions"),
    "lost": ("group", "partitions"),
    "fault": ("fault", "target", "phase"),
    "drained": ("complete",),
}
"""Fields that an invocation or note of the operation must have."""

REQUIRED_ON_OK: Final[Mapping[str, tuple[str, ...]]] = {
    "send": ("partition", "offset"),
    "poll": ("records",),
}
MAY_BE_NULL: Final = frozenset({"key", "crc", "offset", "group"})
"""Required fields whose value may be null."""

OPTIONAL: Final[Mapping[str, tuple[str, ...]]] = {
    "send": ("partition", "txn", "due", "not_before", "expires", "amount", "from", "offset"),
    "poll": ("group", "txn", "isolation", "records"),
    "handle": ("effect", "amount"),
    "nack": ("delay_ns", "to"),
    "commit": ("generation", "txn"),
    "open": ("group", "topics", "reset", "prefetch", "transactional_id"),
    "close": ("role", "group", "topics", "reset", "prefetch", "transactional_id"),
    "crash": ("role", "group", "topics", "reset", "prefetch", "transactional_id"),
    "init": ("epoch",),
    "begin": ("consumers",),
    "dead-letter": ("to",),
    "assign": ("generation", "positions"),
    "revoke": ("generation",),
    "lost": ("generation",),
    "drained": ("ends", "stable_ends", "depths", "groups", "oracle"),
}

END_MARK: Final = "end-of-run/"
"""Begins the ids of the records that mark the ends of logs, so that a reader knows it saw all."""

MAX_OFFSET: Final = 2**62
"""Offsets, partitions, times and sequence numbers lie below this."""


class HistoryError(Exception):
    """The input is no history, or breaks a rule of the format. Says which line and which rule.

    `line` counts from 1 (the header); None where the error belongs to no line.
    """

    def __init__(self, message: str, *, line: int | None = None) -> None:
        super().__init__(message if line is None else f"line {line}: {message}")
        self.message = message
        self.line = line


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """Line 1. `fields` holds the whole header, also what is not known here."""

    streamproof_history: int
    run: str | None = None
    backend: str | None = None
    seed: int | str | None = None
    contract: dict[str, Any] | str | None = None
    capabilities: dict[str, Any] = {}
    fields: dict[str, Any] = {}


class RecordExtra(msgspec.Struct, gc=False):
    """The optional fifth element of a polled record."""

    crc: int | UnsetType | None = UNSET
    key: str | dict[str, str] | UnsetType | None = UNSET
    redelivered: bool | UnsetType | None = UNSET
    attempt: int | UnsetType | None = UNSET


class PolledRecord(msgspec.Struct, array_like=True, gc=False):
    """``[topic, partition, offset, id]``, optionally with a fifth element."""

    topic: str
    partition: int
    offset: int | None
    id: str
    extra: RecordExtra | None = None


class LogOffset(msgspec.Struct, array_like=True, gc=False):
    """``[topic, partition, offset]``."""

    topic: str
    partition: int
    offset: int


class LogName(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """``[topic, partition]``: one log."""

    topic: str
    partition: int


class Event(msgspec.Struct, gc=False, rename={"from_ids": "from"}):
    """One event, with every field that any operation has; what is absent is UNSET."""

    index: int
    time: int
    process: str
    type: Type
    op: Op
    call: int | str | UnsetType | None = UNSET
    topic: str | UnsetType = UNSET
    id: str | UnsetType = UNSET
    key: str | dict[str, str] | UnsetType | None = UNSET
    seq: int | UnsetType = UNSET
    crc: int | UnsetType | None = UNSET
    partition: int | UnsetType | None = UNSET
    offset: int | UnsetType | None = UNSET
    records: list[PolledRecord] | UnsetType = UNSET
    group: str | UnsetType | None = UNSET
    txn: str | UnsetType | None = UNSET
    due: int | UnsetType | None = UNSET
    not_before: int | UnsetType | None = UNSET
    expires: int | UnsetType | None = UNSET
    amount: int | UnsetType | None = UNSET
    from_ids: list[str] | UnsetType | None = UNSET
    error: str | UnsetType | None = UNSET
    isolation: Literal["read_committed", "read_uncommitted"] | UnsetType | None = UNSET
    attempt: int | UnsetType | None = UNSET
    effect: str | UnsetType | None = UNSET
    delay_ns: int | UnsetType | None = UNSET
    to: str | UnsetType | None = UNSET
    offsets: list[LogOffset] | UnsetType = UNSET
    generation: int | str | UnsetType | None = UNSET
    transactional_id: str | UnsetType | None = UNSET
    epoch: int | UnsetType | None = UNSET
    consumers: list[str] | UnsetType | None = UNSET
    commit: bool | UnsetType = UNSET
    reason: str | UnsetType | None = UNSET
    partitions: int | list[LogName] | UnsetType = UNSET
    positions: list[LogOffset] | UnsetType | None = UNSET
    role: Literal["producer", "consumer", "worker"] | UnsetType | None = UNSET
    topics: list[str] | UnsetType | None = UNSET
    reset: str | UnsetType | None = UNSET
    prefetch: int | UnsetType | None = UNSET
    starts: list[LogOffset] | UnsetType = UNSET
    cause: Literal["retention", "delete", "compaction", "overflow"] | UnsetType = UNSET
    fault: str | UnsetType = UNSET
    target: Any = UNSET
    phase: Literal["start", "stop"] | UnsetType = UNSET
    complete: bool | UnsetType = UNSET
    ends: list[LogOffset] | UnsetType | None = UNSET
    stable_ends: list[LogOffset] | UnsetType | None = UNSET
    depths: Any = UNSET
    groups: list[str] | UnsetType | None = UNSET
    oracle: Any = UNSET


_ALWAYS: Final = ("index", "time", "process", "type", "op", "call", "error")
_any_decoder: Final = msgspec.json.Decoder()
_event_decoder: Final = msgspec.json.Decoder(Event)


def decode_header(line: bytes) -> Header:
    """Read line 1. Raises HistoryError if this is no history, or one of another version."""
    try:
        fields = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HistoryError(f"no history: the header does not parse as JSON ({error})", line=1) from error
    if not isinstance(fields, dict) or "streamproof_history" not in fields:
        raise HistoryError('no history: the header must be an object with "streamproof_history": 1', line=1)
    version = fields["streamproof_history"]
    if version != 1 or isinstance(version, bool):
        raise HistoryError(f"streamproof_history is {version!r}: this program reads version 1", line=1)
    try:
        header = msgspec.convert({**fields, "fields": fields}, Header)
    except msgspec.ValidationError as error:
        raise HistoryError(f"the header breaks the format: {error}", line=1) from error
    return header


def decode_event(line: bytes, number: int) -> Event:
    """Read one event line and hold it to the rules that concern it alone.

    `number` is the line's, for the error. Fields that do not belong to the operation are ignored,
    whatever they hold. Raises HistoryError.
    """
    try:
        fields = _any_decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HistoryError(f"does not parse as JSON ({error})", line=number) from error
    if not isinstance(fields, dict):
        raise HistoryError("an event must be a JSON object", line=number)
    op = fields.get("op")
    known = (*_ALWAYS, *REQUIRED.get(op, ()), *OPTIONAL.get(op, ())) if isinstance(op, str) else _ALWAYS
    kept = {name: value for name, value in fields.items() if name in known}
    try:
        event = msgspec.convert(kept, Event)
    except msgspec.ValidationError as error:
        raise HistoryError(f"breaks the format: {error}", line=number) from error
    complaint = complaint_about(event)
    if complaint:
        raise HistoryError(complaint, line=number)
    return event


def complaint_about(event: Event) -> str | None:
    """Say which rule of the format the event breaks by itself, or None."""
    is_note = event.type == "note"
    if is_note != (event.op in NOTES):
        expected = "a note" if event.op in NOTES else "an invoke and its ok, fail or info"
        return f'op "{event.op}" must be {expected}, not "{event.type}"'
    if not is_note and (event.call is UNSET or event.call is None):
        return f'field "call" is missing (required on {event.type})'
    if event.type in ("fail", "info") and not isinstance(event.error, str):
        return f'field "error" is missing (required on {event.type})'
    if event.type in ("invoke", "note"):
        required = REQUIRED[event.op]
    else:
        required = REQUIRED_ON_OK.get(event.op, ()) if event.type == "ok" else ()
    for name in required:
        value = getattr(event, name)
        if value is UNSET:
            return f'field "{name}" is missing (required on {event.op} {event.type})'
        if value is None and not (name in MAY_BE_NULL and not (name == "group" and event.op == "commit")):
            return f'field "{name}" of {event.op} {event.type} must not be null'
    return _complaint_about_values(event)


_COUNTED: Final = ("index", "time", "partition", "offset", "seq", "attempt", "delay_ns", "prefetch")
_BOUNDED: Final = ("crc", "due", "not_before", "expires", "amount", "generation", "epoch")
_numbers_of: Final = attrgetter(*_COUNTED, *_BOUNDED)


def _complaint_about_values(event: Event) -> str | None:
    # Looked through one by one only if something is unusual: many events pass here.
    numbers = [value for value in _numbers_of(event) if value.__class__ is int]
    if min(numbers) < 0 or max(numbers) >= MAX_OFFSET:
        for name in _COUNTED:
            value = getattr(event, name)
            if isinstance(value, int) and not 0 <= value < MAX_OFFSET:
                return f'field "{name}" must lie between 0 and 2**62, is {value}'
        for name in _BOUNDED:
            value = getattr(event, name)
            if isinstance(value, int) and not -MAX_OFFSET < value < MAX_OFFSET:
                return f'field "{name}" is out of range: {value}'
    if isinstance(event.call, int) and not -MAX_OFFSET < event.call < MAX_OFFSET:
        return f'field "call" is out of range: {event.call}'
    for log in _all_logs(event):
        if log.partition < 0 or log.partition >= 2**31:
            return f"a partition must lie between 0 and 2**31, is {log.partition}"
        offset = getattr(log, "offset", 0)
        if offset is not None and not 0 <= offset < MAX_OFFSET:
            return f"an offset must lie between 0 and 2**62, is {offset}"
    if isinstance(event.partitions, int) and (event.op != "topic" or event.partitions < 1):
        return '"partitions" must be a count of at least 1 in topic, and a list of logs elsewhere'
    if event.op == "topic" and not isinstance(event.partitions, int):
        return '"partitions" of topic must be a count'
    return _complaint_about_keys(event)


_lists_of: Final = attrgetter(
    "records", "offsets", "positions", "starts", "ends", "stable_ends", "partitions"
)


def _all_logs(event: Event) -> Iterator[Any]:
    return chain.from_iterable(value for value in _lists_of(event) if value.__class__ is list)


def _complaint_about_keys(event: Event) -> str | None:
    keys = [event.key]
    if isinstance(event.records, list):
        keys += [record.extra.key for record in event.records if record.extra is not None]
    for key in keys:
        if isinstance(key, dict):
            try:
                plain_key(key)
            except ValueError as error:
                return str(error)
    return None


def plain_key(key: str | dict[str, str] | None) -> str | bytes | None:
    """The key itself: text where its bytes are UTF-8, so that both spellings of one key are equal.

    Raises ValueError if it is an object that is not ``{"b64": valid Base64}``.
    """
    if not isinstance(key, dict):
        return key
    encoded = key.get("b64")
    if not isinstance(encoded, str):
        raise ValueError('a key must be a string, null or {"b64": "…"}')
    try:
        content = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"the Base64 of a key is wrong: {error}") from error
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content


def read_bytes(path: Path | str) -> bytes:
    """The content of a history file, decompressed if its first bytes say gzip.

    Raises HistoryError if the file cannot be read or its compressed stream is cut or damaged.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise HistoryError(f"cannot read {path}: {error.strerror or error}") from error
    return inflate(content) if content[:2] == b"\x1f\x8b" else content


def inflate(content: bytes) -> bytes:
    """Decompress gzip. A cut or damaged stream is a HistoryError naming the line it ends in."""
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        plain = _inflated_part(content)
        number = plain.count(b"\n") + 1
        raise HistoryError(
            f"the compressed file is cut off or damaged here ({error}): "
            "record it again, or check an undamaged copy",
            line=number,
        ) from error


def _inflated_part(content: bytes) -> bytes:
    engine = zlib.decompressobj(wbits=31)
    plain = bytearray()
    for start in range(0, len(content), 4096):
        try:
            plain += engine.decompress(content[start : start + 4096])
        except zlib.error:
            break
    return bytes(plain)


def read_events(path: Path | str) -> Iterator[dict[str, Any]]:
    """Yield every line as a plain dict, the header first, with all fields, also unknown ones.

    For reports and tools; it parses, and validates nothing. Raises HistoryError.
    """
    for number, line in enumerate(read_bytes(path).splitlines(), start=1):
        try:
            yield msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise HistoryError(f"does not parse as JSON ({error})", line=number) from error
