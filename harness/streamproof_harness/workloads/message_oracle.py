"""The oracle of all workloads: compares what was handled with what the generator makes.

Because a message can be made again from its number alone, each one that comes is compared with the
one that was sent, and a wrong one is named. What must be remembered is one bit a message and what
the workload adds up (devices, pages, customers).
"""

from collections.abc import Iterator
from threading import Lock
from typing import Generic, Protocol, TypeVar

import msgspec

from streamproof_harness.workloads.answer import Answer
from streamproof_harness.workloads.bits import Bits
from streamproof_harness.workloads.comparison import compare
from streamproof_harness.workloads.oracle import OracleReport, Row

Item = TypeVar("Item", bound=msgspec.Struct)
Added = TypeVar("Added", bound=msgspec.Struct, contravariant=True)

EXAMPLES = 10
"""How many messages of each kind of wrong are named."""

_LONGEST_NUMBER = 18


class Tally(Protocol[Added]):
    """Adds up what one workload asks about."""

    def add(self, item: Added) -> None:
        """Count one message in; it may be a corrupted one, with any content of the right types."""
        ...

    def answer(self) -> Answer:
        """What was added so far."""
        ...


class Source(Protocol[Item]):
    """The content of a workload's messages, by number."""

    @property
    def id_prefix(self) -> str:
        """What every id begins with; the number follows, in decimal."""
        ...

    def items(self) -> Iterator[tuple[int, Item]]:
        """Number and content of every message that is sent, in any order."""
        ...

    def item(self, number: int) -> Item | None:
        """The content of one message; ``None`` if no message of that number is sent."""
        ...

    def key(self, item: Item) -> bytes:
        """The key of a message."""
        ...

    def decode(self, value: bytes) -> Item:
        """The content of a value; ``msgspec.MsgspecError`` if it is not one."""
        ...

    def tally(self) -> Tally[Item]:
        """An empty tally."""
        ...


class MessageOracle(Generic[Item]):
    """See ``Oracle``, whose methods these are."""

    def __init__(self, source: Source[Item]) -> None:
        self._source = source
        self._lock = Lock()
        self._tally = source.tally()
        self._seen = Bits()
        self._excluded: set[int] = set()
        self._doubled = _Findings()
        self._corrupted = _Findings()
        self._foreign = _Findings()

    def receive(self, id: str, key: bytes | None, value: bytes | None) -> None:
        number = self._number_of(id)
        sent = None if number is None or number in self._excluded else self._source.item(number)
        if number is None or sent is None:
            with self._lock:
                self._foreign.add(id, "not sent", "handled")
            return
        got = self._decoded(value)
        is_intact = got == sent and key == self._source.key(sent)
        with self._lock:
            if not self._seen.add(number):
                self._doubled.add(id, "once", "again")
            elif got is not None:
                self._tally.add(got)
            if not is_intact:
                self._corrupted.add(id, *_difference(self._source.key(sent), sent, key, got, value))

    def exclude(self, id: str) -> None:
        number = self._number_of(id)
        if number is None or self._source.item(number) is None:
            raise ValueError(f"{id!r} is no message of this workload")
        with self._lock:
            self._excluded.add(number)

    def expected(self) -> Answer:
        return self._expect()[0]

    def received(self) -> Answer:
        with self._lock:
            return self._tally.answer()

    def report(self) -> OracleReport:
        expected, sent = self._expect()
        with self._lock:
            lost = _Findings()
            for number in sent.minus(self._seen):
                lost.add(f"{self._source.id_prefix}{number}", "once", "never")
            rows = [Row("messages", f"{len(sent):,}", f"{len(self._seen):,}", len(sent) == len(self._seen))]
            rows += lost.rows("lost") + self._doubled.rows("doubled")
            rows += self._corrupted.rows("corrupted") + self._foreign.rows("not of this workload")
            rows += compare(expected, self._tally.answer())
            return OracleReport(
                tuple(rows), lost.count, self._doubled.count, self._corrupted.count, self._foreign.count
            )

    def _expect(self) -> tuple[Answer, Bits]:
        tally, sent = self._source.tally(), Bits()
        with self._lock:
            excluded = frozenset(self._excluded)
        for number, item in self._source.items():
            if number not in excluded:
                sent.add(number)
                tally.add(item)
        return tally.answer(), sent

    def _number_of(self, id: str) -> int | None:
        """The number in an id of this workload, written as this workload writes it; else ``None``."""
        digits = id.removeprefix(self._source.id_prefix)
        if len(digits) == len(id) or len(digits) > _LONGEST_NUMBER or not digits.isdecimal():
            return None
        number = int(digits)
        return number if str(number) == digits else None

    def _decoded(self, value: bytes | None) -> Item | None:
        if value is None:
            return None
        try:
            return self._source.decode(value)
        except msgspec.MsgspecError:
            return None


class _Findings:
    """Wrong messages of one kind: all counted, the first few named."""

    __slots__ = ("_examples", "count")

    def __init__(self) -> None:
        self.count = 0
        self._examples: dict[str, tuple[str, str]] = {}

    def add(self, id: str, expected: str, received: str) -> None:
        self.count += 1
        if len(self._examples) < EXAMPLES:
            self._examples.setdefault(id, (expected, received))

    def rows(self, what: str) -> list[Row]:
        """The count, then the named ones."""
        rows = [Row(what, "0", f"{self.count:,}", self.count == 0)]
        for id, (expected, received) in self._examples.items():
            rows.append(Row(f"{what}: {id}", expected, received, False))
        return rows


def _difference(
    sent_key: bytes, sent: msgspec.Struct, key: bytes | None, got: msgspec.Struct | None, value: bytes | None
) -> tuple[str, str]:
    """What differs between the message sent and the one received, as text for people."""
    expected, received = [], []
    if key != sent_key:
        expected.append(f"key {_text(sent_key)}")
        received.append(f"key {_text(key)}")
    if got is None:
        expected.append(f"value {_text(msgspec.json.encode(sent))}")
        received.append(f"value {_text(value)}")
    elif got != sent:
        names = [name for name in sent.__struct_fields__ if getattr(sent, name) != getattr(got, name)]
        expected += [f"{name} {getattr(sent, name)!r}" for name in names]
        received += [f"{name} {getattr(got, name)!r}" for name in names]
    return ", ".join(expected), ", ".join(received)


def _text(data: bytes | None) -> str:
    return "null" if data is None else data.decode("utf-8", "backslashreplace")
