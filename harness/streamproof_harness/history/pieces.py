"""Turn the events of one piece of a history into arrays.

Every function here either returns a column or raises: `BrokenRule`, struct.error or TypeError mean
that some event of the piece breaks a rule of the format. Which one is found out elsewhere.
"""

import contextlib
import struct
from itertools import compress
from typing import Any, Final, Literal, cast

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from streamproof_harness.history import (
    MAX_OFFSET,
    Event,
    Op,
    PolledRecord,
    RecordExtra,
    Type,
    complaint_about,
    plain_key,
)
from streamproof_harness.history.codes import (
    ABSENT,
    FAIL,
    KIND,
    NOTE,
    NULL,
    OK,
    OP,
    SETTLING,
    Array,
    Interned,
    Ints,
    key_hash,
)

_HANDLED: Final = tuple(OP[op] for op in ("handle", *SETTLING))
_UNSET_HASH: Final = hash(UNSET)
_NONE_HASH: Final = hash(None)
_NO_EXTRA: Final = RecordExtra()


class BrokenRule(Exception):
    """Somewhere in this piece an event breaks a rule."""


class Traffic(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """An event of plain sends and polls: fewer fields are faster to decode, and to look through.

    A line with any other field is refused; then its whole piece is decoded as `AnyTraffic`.
    """

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
    due: int | UnsetType | None = UNSET
    error: str | UnsetType | None = UNSET


class AnyTraffic(Traffic, gc=False, forbid_unknown_fields=False, rename={"from_ids": "from"}):
    """An event as far as sends and polls need it, whatever else it has.

    A struct with the fields of all operations would take twice the time.
    """

    txn: str | UnsetType | None = UNSET
    not_before: int | UnsetType | None = UNSET
    expires: int | UnsetType | None = UNSET
    amount: int | UnsetType | None = UNSET
    from_ids: list[str] | UnsetType | None = UNSET
    isolation: Literal["read_committed", "read_uncommitted"] | UnsetType | None = UNSET


class Tables:
    """What the strings of a part were interned into; shared by its pieces."""

    def __init__(self) -> None:
        self.topics = Interned()
        self.processes = Interned()
        self.groups = Interned()
        self.txns = Interned()
        self.errors = Interned()


class Piece:
    """The columns of one piece: its sends and polls, and, from `others`, everything else.

    `first` is the index of its first event; `sends_before` counts the sends of the pieces before
    it, because optional fields name their rows. Column names are ``table.field``; ``table.at``
    holds event indexes.
    """

    def __init__(
        self, events: list[Traffic], kinds: Array, first: int, tables: Tables, sends_before: int
    ) -> None:
        self.columns: dict[str, Array] = {}
        self.rare: list[Event] = []
        self._events = events
        self._kinds = kinds
        self._ops = kinds & 31
        self._first = first
        self._tables = tables
        self._sends_before = sends_before

    def others(self) -> Array:
        """Which events are neither of a send nor of a poll."""
        return self._ops > OP["poll"]

    # -- sends ---------------------------------------------------------------------------------

    def decode_sends(self) -> None:
        sent = self._select("sent", KIND["invoke", "send"])
        if sent:
            self._decode_sent(sent)
        acked = self._select("acked", KIND["ok", "send"])
        if acked:
            self._add_bounded("acked.partition", numbers([e.partition for e in acked]))
            self._add_bounded("acked.offset", _nullable([e.offset for e in acked], -1), least=-1)
        unsure = self._select("unsure", KIND["info", "send"])
        if unsure:
            for name in ("partition", "offset"):
                values = [getattr(e, name) for e in unsure]
                known = numbers([v if isinstance(v, int) else -1 for v in values])
                self._add_bounded(f"unsure.{name}", known, least=-1)
            _require_errors(unsure)
        _require_errors(self._select("", KIND["fail", "send"]))

    def _decode_sent(self, sent: list[Traffic]) -> None:
        topics = self._tables.topics
        self.columns["sent.topic"] = interned([e.topic for e in sent], topics)
        self.columns["sent.id"] = _hashes([e.id for e in sent])
        self._add_bounded("sent.seq", numbers([e.seq for e in sent]))
        self.columns["sent.crc"] = _nullable([e.crc for e in sent], NULL)
        keys = _key_hashes([e.key for e in sent])
        self.columns["sent.key"] = keys
        if UNSET in topics or bool((keys == ABSENT).any()):
            raise BrokenRule("topic or key")
        self._add_optional("sent.chosen", [e.partition for e in sent], least=0)
        self._add_optional("sent.due", [e.due for e in sent])
        if isinstance(sent[0], AnyTraffic):  # then all of the piece are
            rich = cast("list[AnyTraffic]", sent)
            self._add_optional("sent.not_before", [e.not_before for e in rich])
            self._add_optional("sent.expires", [e.expires for e in rich])
            self._add_optional("sent.amount", [e.amount for e in rich])
            self._decode_links([e.txn for e in rich], [e.from_ids for e in rich])

    def _decode_links(self, in_txn: list[Any], derived: list[Any]) -> None:
        """The transactions that sends belong to, and the ids they derive from."""
        before, txns = self._sends_before, self._tables.txns
        if not _is_absent(in_txn):
            rows = [row for row, txn in enumerate(in_txn, before) if isinstance(txn, str)]
            self.columns["sent.txn.rows"] = numbers(rows)
            self.columns["sent.txn"] = numbers([txns[txn] for txn in in_txn if isinstance(txn, str)])
        if not _is_absent(derived):
            links = [(row, hash(id_)) for row, ids in enumerate(derived, before) if ids for id_ in ids]
            self.columns["sent.from.rows"] = numbers([row for row, _ in links])
            self.columns["sent.from"] = numbers([source for _, source in links])

    # -- polls ---------------------------------------------------------------------------------

    def decode_polls(self) -> None:
        polled = self._select("polled", KIND["invoke", "poll"])
        if polled:
            groups, txns = self._tables.groups, self._tables.txns
            named = [groups[e.group] if isinstance(e.group, str) else -1 for e in polled]
            self.columns["polled.group"] = numbers(named)
            self.columns["polled.txn"] = np.full(len(polled), -1)
            self.columns["polled.uncommitted"] = np.zeros(len(polled), np.bool_)
            if isinstance(polled[0], AnyTraffic):
                rich = cast("list[AnyTraffic]", polled)
                in_txn = [txns[e.txn] if isinstance(e.txn, str) else -1 for e in rich]
                self.columns["polled.txn"] = numbers(in_txn)
                loose = [e.isolation == "read_uncommitted" for e in rich]
                self.columns["polled.uncommitted"] = np.array(loose, np.bool_)
        # A poll of which nobody knows whether it happened may still tell what it returned.
        received = self._select("received", KIND["ok", "poll"], KIND["info", "poll"])
        if received:
            batches = [_records_of(e) for e in received]
            self.columns["received.count"] = numbers(list(map(len, batches)))
            records = [record for batch in batches for record in batch]
            if records:
                self._decode_records(records)
        _require_errors([e for e in received if e.type == "info"])
        _require_errors(self._select("", KIND["fail", "poll"]))

    def _decode_records(self, records: list[PolledRecord]) -> None:
        columns, count = self.columns, len(records)
        columns["records.topic"] = interned([r.topic for r in records], self._tables.topics)
        self._add_bounded("records.partition", numbers([r.partition for r in records]))
        self._add_bounded("records.offset", _nullable([r.offset for r in records], -1), least=-1)
        columns["records.id"] = numbers([hash(r.id) for r in records])
        extras: list[Any] = [r.extra for r in records]
        without = extras.count(None)
        if without == count:
            columns["records.crc"] = columns["records.key"] = np.full(count, ABSENT)
            return
        if without:
            extras = [_NO_EXTRA if extra is None else extra for extra in extras]
        columns["records.key"] = _key_hashes([x.key for x in extras])
        columns["records.crc"] = _optional_numbers([x.crc for x in extras])

    # -- the other operations --------------------------------------------------------------------

    def decode_others(self, events: list[Event]) -> None:
        """`events`: those under `others`, decoded with all fields."""
        kinds = self._kinds[self.others()]
        at = np.flatnonzero(self.others()) + self._first
        handled = np.isin(kinds & 31, _HANDLED)
        begun = handled & (kinds < OK * 32)
        ended = handled & (kinds >= OK * 32)
        if begun.any():
            self.columns["handled.at"] = at[begun]
            self._decode_begun(list(compress(events, begun.tolist())))
        if ended.any():
            self.columns["settled.at"] = at[ended]
            self._decode_ended(list(compress(events, ended.tolist())), kinds[ended])
        self.rare = list(compress(events, (~handled).tolist()))
        if any(map(complaint_about, self.rare)):
            raise BrokenRule("an event of its own")

    def _decode_begun(self, begun: list[Event]) -> None:
        """`handle`, `ack`, `nack` and `reject` stand in one table."""
        columns, groups, topics = self.columns, self._tables.groups, self._tables.topics
        columns["handled.group"] = numbers([-1 if e.group is None else groups[e.group] for e in begun])
        columns["handled.topic"] = interned([e.topic for e in begun], topics)
        if UNSET in groups or UNSET in topics:
            raise BrokenRule("group or topic")
        self._add_bounded("handled.partition", numbers([e.partition for e in begun]))
        self._add_bounded("handled.offset", _nullable([e.offset for e in begun], -1), least=-1)
        columns["handled.id"] = _hashes([e.id for e in begun])
        attempts = numbers([e.attempt if e.op == "handle" else 0 for e in begun])
        self._add_bounded("handled.attempt", attempts)
        to = [topics[e.to] if e.op == "nack" and isinstance(e.to, str) else -1 for e in begun]
        columns["handled.to"] = numbers(to)
        delays = numbers([e.delay_ns if isinstance(e.delay_ns, int) else ABSENT for e in begun])
        columns["handled.delay"] = delays

    def _decode_ended(self, ended: list[Event], kinds: Array) -> None:
        columns, errors = self.columns, self._tables.errors
        if bool((kinds >= NOTE * 32).any()):
            raise BrokenRule("no note")
        _require_errors(list(compress(ended, (kinds >= FAIL * 32).tolist())))
        effects = [hash(e.effect) if isinstance(e.effect, str) else ABSENT for e in ended]
        columns["settled.effect"] = numbers(effects)
        amounts = [e.amount if isinstance(e.amount, int) else ABSENT for e in ended]
        columns["settled.amount"] = numbers(amounts)
        named = [errors[e.error] if isinstance(e.error, str) else -1 for e in ended]
        columns["settled.error"] = numbers(named)

    # -- inside ------------------------------------------------------------------------------------

    def _select(self, table: str, kind: int, or_kind: int = 255) -> list[Traffic]:
        """The events of a kind; their indexes become the column ``table.at``."""
        mask = self._kinds == kind
        if or_kind != 255:
            mask |= self._kinds == or_kind
        rows = np.flatnonzero(mask)
        if not len(rows):
            return []
        if table:
            self.columns[f"{table}.at"] = rows + self._first
        return list(compress(self._events, mask.tolist()))

    def _add_bounded(self, name: str, column: Ints, least: int = 0) -> None:
        if column.min() < least or column.max() >= MAX_OFFSET:
            raise BrokenRule(name)
        self.columns[name] = column

    def _add_optional(self, name: str, values: list[Any], least: int = 1 - MAX_OFFSET) -> None:
        """A column with rows of its own: most histories do not have most of these fields."""
        if _is_absent(values):
            return
        before = self._sends_before
        try:
            column, rows = numbers(values), np.arange(before, before + len(values))
        except struct.error:  # some have it and some do not
            column = numbers([value for value in values if isinstance(value, int)])
            rows = numbers([row for row, value in enumerate(values, before) if isinstance(value, int)])
        if len(rows):
            self._add_bounded(name, column, least)
            self.columns[f"{name}.rows"] = rows


def numbers(values: list[Any]) -> Ints:
    """Integers as a column. struct.error where one is absent, null, no integer or too large."""
    return np.frombuffer(struct.pack(f"{len(values)}q", *values), np.int64)


def calls_of(events: list[Traffic], kinds: Array) -> Ints:
    """The calls as numbers: text is hashed; notes have none (ABSENT)."""
    calls: list[Any] = [e.call for e in events]
    with contextlib.suppress(struct.error):
        return numbers(calls)
    known = [c if type(c) is int else hash(c) if isinstance(c, str) else ABSENT for c in calls]
    column = numbers(known)
    if bool(((column == ABSENT) & (kinds < NOTE * 32)).any()):
        raise BrokenRule("call")
    return column


def interned(values: list[Any], table: Interned) -> Array:
    """Names as numbers."""
    first = values[0]
    if first == values[len(values) // 2] == values[-1] and values.count(first) == len(values):
        return np.full(len(values), table[first], np.int32)  # one topic only, say: looked up once
    known = [table[value] for value in values]
    if len(table) <= 256:  # the usual case, and the fastest way
        return np.frombuffer(bytes(known), np.uint8).astype(np.int32)
    return np.array(known, np.int32)


def _hashes(values: list[Any]) -> Ints:
    """Hashes of a text field that must be there."""
    column = numbers(list(map(hash, values)))
    if bool((column == _UNSET_HASH).any()):
        raise BrokenRule("text")
    return column


def _nullable(values: list[Any], null: int) -> Ints:
    """A number that may be null. struct.error where it is absent."""
    with contextlib.suppress(struct.error):
        return numbers(values)
    return numbers([null if value is None else value for value in values])


def _optional_numbers(values: list[Any]) -> Ints:
    if _is_absent(values):
        return np.full(len(values), ABSENT)
    with contextlib.suppress(struct.error):
        return numbers(values)
    return numbers([ABSENT if v is UNSET else NULL if v is None else v for v in values])


def _key_hashes(keys: list[Any]) -> Ints:
    """Hashes of keys; ABSENT where there is none, NULL where it is null."""
    try:
        column = numbers(list(map(hash, keys))).copy()
    except TypeError:  # a key in Base64 is an object, which has no hash
        return numbers([ABSENT if key is UNSET else key_hash(plain_key(key)) for key in keys])
    column[column == _UNSET_HASH] = ABSENT
    column[column == _NONE_HASH] = NULL
    return column


def _is_absent(values: list[Any]) -> bool:
    """Whether the field stands in no event at all."""
    return values[0] is UNSET and values.count(UNSET) == len(values)


def _records_of(event: Traffic) -> list[PolledRecord]:
    if event.records is UNSET:
        if event.type == "ok":
            raise BrokenRule("records")
        return []
    return event.records


def _require_errors(events: list[Any]) -> None:
    if not all(isinstance(e.error, str) for e in events):
        raise BrokenRule("error")
