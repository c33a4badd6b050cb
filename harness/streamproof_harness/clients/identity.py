"""How the harness tells records apart: ids travel in a header, and derived records name their root."""

import zlib
from typing import Any, Final

from streamproof.records import Record
from streamproof_harness.history import END_MARK
from streamproof_harness.history.recorder import key_field
from streamproof_harness.workloads.workload import ID_HEADER

AMOUNT_HEADER: Final = "amount"
"""The header that carries what the message adds to the sum that a run conserves."""

AGAIN: Final = "~"
"""Separates a message's id from the number of its further sends: ``id~2`` is the second."""

BURIED: Final = "@"
"""Separates a message's id from what makes its dead letter's id unique."""

BURIAL_HEADER: Final = "burial-id"
"""The header that carries a dead letter's own id; its ``id`` header stays that of the dead message."""

MARKER: Final = END_MARK
"""Begins the ids of the records that mark the ends of logs, so that a reader knows it saw all."""


def id_of(record: Record[Any, Any]) -> str:
    """The id under which this record was sent; a dead letter has one of its own."""
    raw = record.header(BURIAL_HEADER) or record.header(ID_HEADER)
    if raw is None:
        return f"unidentified/{record.topic}/{record.partition}/{record.offset}"
    return raw.decode()


def root_of(id: str) -> str:
    """The id of the message that this one was sent again for, or is the dead letter of."""
    return id.partition(BURIED)[0].partition(AGAIN)[0]


def is_marker(id: str) -> bool:
    """Whether this id belongs to the harness' own end marks."""
    return id.startswith(MARKER)


def polled_fields(record: Record[Any, Any]) -> tuple[Any, ...]:
    """The record as a history's ``poll`` holds it."""
    value = record.value
    details: dict[str, Any] = {
        "crc": None if value is None else zlib.crc32(value),
        "key": key_field(record.key),
    }
    if record.is_redelivered:
        details["redelivered"] = True
        details["attempt"] = record.attempt
    return record.topic, record.partition, record.offset, id_of(record), details
