"""A shop's checkout, step by step: an order is paid, shipped, and its customer notified."""

from collections import Counter
from collections.abc import Iterable
from threading import Lock
from typing import Any

import msgspec

from streamproof.records import Outgoing, Record
from streamproof_harness.workloads.answer import Answer, Table
from streamproof_harness.workloads.comparison import compare
from streamproof_harness.workloads.oracle import OracleReport, Row
from streamproof_harness.workloads.shop import Order
from streamproof_harness.workloads.workload import Workload


class Progress(msgspec.Struct, frozen=True, tag_field="step", tag="progress"):
    """How far an order is: ``done`` names its last step. ``cents`` is what was charged for it."""

    order: str
    done: str
    cents: int


_read_order = msgspec.json.Decoder(Order).decode
_read_progress = msgspec.json.Decoder(Progress).decode
_write = msgspec.json.Encoder().encode


class CheckoutStep:
    """See ``Application``. Keeps no state: what it says follows from the record alone."""

    keeps_state = False

    def __init__(self, step: str, *, is_first: bool = False) -> None:
        self._step = step
        self._is_first = is_first

    def apply(self, record: Record[Any, Any]) -> Outgoing[bytes | None, bytes | None]:
        if self._is_first:
            order = _read_order(record.value)
            done = Progress(order.order, self._step, order.total_cents)
        else:
            done = msgspec.structs.replace(_read_progress(record.value), done=self._step)
        return Outgoing(_write(done), record.key)

    def restore(self, partition: int, outputs: Iterable[Record[Any, Any]]) -> None:
        """Nothing to restore."""


class CheckoutOracle:
    """See ``Oracle``: every order gets to one step once, with what it costs."""

    def __init__(self, orders: Workload, step: str) -> None:
        self._orders = orders
        self._step = step
        self._lock = Lock()
        self._times: Counter[str] = Counter()
        self._charged = 0
        self._foreign = 0
        self._excluded: set[str] = set()

    def receive(self, id: str, key: bytes | None, value: bytes | None) -> None:
        try:
            progress = _read_progress(value or b"")
        except msgspec.MsgspecError:
            progress = None
        with self._lock:
            if progress is None or progress.done != self._step:
                self._foreign += 1
                return
            self._times[progress.order] += 1
            self._charged += progress.cents

    def exclude(self, id: str) -> None:
        with self._lock:
            self._excluded.add(id)

    def expected(self) -> Answer:
        orders = self._sent()
        return _answer(self._step, len(orders), sum(orders.values()))

    def received(self) -> Answer:
        with self._lock:
            return _answer(self._step, len(self._times), self._charged)

    def report(self) -> OracleReport:
        orders = self._sent()
        with self._lock:
            lost = sum(1 for order in orders if order not in self._times)
            doubled = sum(times - 1 for times in self._times.values())
            foreign = self._foreign + sum(1 for order in self._times if order not in orders)
        rows = compare(self.expected(), self.received())
        rows.append(Row("doubled", "0", f"{doubled:,}", doubled == 0))
        return OracleReport(tuple(rows), lost, doubled, corrupted=0, foreign=foreign)

    def _sent(self) -> dict[str, int]:
        """The orders that are there to be handled, with what each costs."""
        found = {}
        for message in self._orders.messages():
            if message.id not in self._excluded:
                order = _read_order(message.value)
                found[order.order] = order.total_cents
        return found


def _answer(step: str, orders: int, cents: int) -> Answer:
    return Answer(
        (
            Table(step, "order", {"orders": orders}),
            Table("charged", "order", {"in all": cents}, decimals=2, unit="€"),
        )
    )
