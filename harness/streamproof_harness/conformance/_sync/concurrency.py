"""Several threads at once. ``_async`` has its own twin."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from streamproof import Closed
from streamproof_harness.conformance._sync.colour import nap_s
from streamproof_harness.conformance._sync.stage import Stage, case, numbered


class Concurrency(Stage):
    """See the module's docstring."""

    @case
    def test_close_wakes_a_waiting_poll(self) -> None:
        topic = self.topic()
        member = self.member(topic, group=self.name())
        member.wait_assigned(self.patience_s)
        with ThreadPoolExecutor(1) as threads:
            poll = threads.submit(member.poll, timeout_s=10 * self.patience_s)
            nap_s(0.05)
            assert not poll.done()
            member.close(self.patience_s)
            with pytest.raises(Closed):
                poll.result(self.patience_s)

    @case
    def test_close_ends_an_iteration(self) -> None:
        topic = self.topic()
        member = self.member(topic, group=self.name())
        self.send(topic, *numbered(3))
        values: list[bytes] = []

        def iterate() -> None:
            for record in member:
                values.append(record.value)

        with ThreadPoolExecutor(1) as threads:
            iteration = threads.submit(iterate)
            deadline = time.monotonic() + self.patience_s
            while len(values) < 3 and time.monotonic() < deadline:
                nap_s(0.01)
            member.close(self.patience_s)
            iteration.result(self.patience_s)
        assert values == numbered(3)

    @case
    def test_threads_share_a_producer(self) -> None:
        topic = self.topic()
        reader = self.reader(topic)
        producer = self.producer(buffer_records=20)

        def send(name: bytes) -> None:
            for value in numbered(50):
                producer.send(topic, value, key=name, timeout_s=self.patience_s)

        names = [b"a", b"b", b"c", b"d"]
        self._at_once(send, names)
        producer.flush(self.patience_s)
        records = self.read(reader, 200)
        for name in names:
            assert [record.value for record in records if record.key == name] == numbered(50)

    @case
    def test_acks_come_from_other_threads(self) -> None:
        topic, group = self.topic(), self.name()
        member = self.member(topic, group=group)
        self.send(topic, *numbered(100))
        records = self.read(member, 100)

        def acknowledge(start: int) -> None:
            for record in reversed(records[start::4]):
                member.ack(record)

        self._at_once(acknowledge, [0, 1, 2, 3])
        member.close(self.patience_s)
        self.send(topic, b"last")
        assert self.read_to(self.member(topic, group=group), b"last") == [b"last"]

    @case
    def test_a_consumer_moves_between_threads(self) -> None:
        topic = self.topic()
        member = self.member(topic, group=self.name())
        self.send(topic, *numbered(20))
        values: list[bytes] = []

        def read_some(_: int) -> None:
            with turn:
                for record in member.poll(max_records=5, timeout_s=0.2):
                    values.append(record.value)
                    member.ack(record)

        turn = threading.Lock()
        deadline = time.monotonic() + self.patience_s
        while len(values) < 20 and time.monotonic() < deadline:
            self._at_once(read_some, [0, 1])
        assert values == numbered(20)

    @case
    def test_a_delivery_is_waited_for_by_several_threads(self) -> None:
        topic = self.topic()
        producer = self.producer(linger_ms=50.0)
        delivery = producer.send(topic, b"v")
        receipts = self._at_once(lambda _: delivery.result(self.patience_s), range(3))
        assert [(receipt.topic, receipt.partition) for receipt in receipts] == [(topic, 0)] * 3

    def _at_once(self, work: Callable[[Any], Any], given: Sequence[Any]) -> list[Any]:
        """Run the work on as many threads as there are things given; raises what one of them raised."""
        with ThreadPoolExecutor(len(given)) as threads:
            return [done.result(self.patience_s * 2) for done in [threads.submit(work, x) for x in given]]
