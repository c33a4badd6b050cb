"""The average temperature of each zone in each minute of event time, as it stands after each reading."""

from collections import Counter
from collections.abc import Hashable, Iterable
from threading import Lock
from typing import Any

import msgspec

from streamproof.records import Outgoing, Record
from streamproof_harness.workloads.answer import Answer, Figure, Mean, Table
from streamproof_harness.workloads.city import Reading
from streamproof_harness.workloads.comparison import compare
from streamproof_harness.workloads.oracle import OracleReport, Row
from streamproof_harness.workloads.workload import Workload

_MINUTE_S = 60

_read = msgspec.json.Decoder(Reading).decode


class Average(msgspec.Struct, frozen=True):
    """What the readings of one zone, one minute and one partition add up to so far."""

    zone: str
    minute: int
    total: int
    count: int


_read_average = msgspec.json.Decoder(Average).decode


class MinuteAverages:
    """See ``Application``. An output's key is ``zone/minute``, its value an :class:`Average`."""

    keeps_state = True

    def __init__(self) -> None:
        self._states: dict[int, dict[tuple[str, int], Average]] = {}

    def apply(self, record: Record[Any, Any]) -> Outgoing[bytes | None, bytes | None]:
        reading = _read(record.value)
        place = reading.zone, reading.second // _MINUTE_S
        state = self._states.setdefault(record.partition, {})
        former = state.get(place) or Average(*place, 0, 0)
        average = state[place] = Average(*place, former.total + reading.temperature, former.count + 1)
        return Outgoing(
            msgspec.json.encode(average),
            f"{average.zone}/{average.minute}".encode(),
            partition=record.partition,
        )

    def restore(self, partition: int, outputs: Iterable[Record[Any, Any]]) -> None:
        state = self._states[partition] = {}
        for record in outputs:
            average = _read_average(record.value)
            state[average.zone, average.minute] = average


class MinuteAveragesOracle:
    """See ``Oracle``: the averages of all readings that were sent, beside the last ones that came out.

    An output says how many readings it is made of; one made of fewer comes too late to count.
    """

    def __init__(self, readings: Workload) -> None:
        self._readings = readings
        self._lock = Lock()
        self._last: dict[tuple[int, str, int], Average] = {}
        self._excluded: set[str] = set()
        self._outputs = 0
        self._foreign = 0

    def receive(self, id: str, key: bytes | None, value: bytes | None) -> None:
        try:
            average = _read_average(value or b"")
        except msgspec.MsgspecError:
            with self._lock:
                self._foreign += 1
            return
        # An output's id begins with the partition that it was computed for.
        place = int(id.partition("/")[0]), average.zone, average.minute
        with self._lock:
            self._outputs += 1
            former = self._last.get(place)
            if former is None or average.count > former.count:
                self._last[place] = average

    def exclude(self, id: str) -> None:
        with self._lock:
            self._excluded.add(id)

    def expected(self) -> Answer:
        totals: Counter[str] = Counter()
        counts: Counter[str] = Counter()
        for message in self._readings.messages():
            if message.id not in self._excluded:
                reading = _read(message.value or b"")
                place = f"{reading.zone}/{reading.second // _MINUTE_S}"
                totals[place] += reading.temperature
                counts[place] += 1
        return _answer(totals, counts)

    def received(self) -> Answer:
        totals: Counter[str] = Counter()
        counts: Counter[str] = Counter()
        with self._lock:
            for (_, zone, minute), average in self._last.items():
                totals[f"{zone}/{minute}"] += average.total
                counts[f"{zone}/{minute}"] += average.count
        return _answer(totals, counts)

    def report(self) -> OracleReport:
        expected, received = self.expected(), self.received()
        sent, counted = _count(expected), _count(received)
        rows = [Row("readings counted", f"{sent:,}", f"{counted:,}", sent == counted)]
        rows += compare(expected, received)
        return OracleReport(
            tuple(rows), max(0, sent - counted), max(0, counted - sent), corrupted=0, foreign=self._foreign
        )


def _answer(totals: Counter[str], counts: Counter[str]) -> Answer:
    means: dict[Hashable, Figure] = {place: Mean(totals[place], counts[place]) for place in sorted(counts)}
    return Answer((Table("average temperature", "zone and minute", means, decimals=2, unit="°C"),))


def _count(answer: Answer) -> int:
    table = answer["average temperature"]
    assert isinstance(table, Table)
    return sum(figure.count for figure in table.values.values() if isinstance(figure, Mean))
