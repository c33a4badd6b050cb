"""Who serves the reports of a library that hands them out only when polled: here, a queue."""

import logging
import sys
import threading
import time
from collections import deque

import pytest

from streamproof.deliveries import Deliveries, Delivery, Outcome
from streamproof.drivers.kafka.reports import ReportPump, delivery_class
from streamproof.errors import BackendError, TimedOut, UsageError
from streamproof.records import Receipt

BOUND_S = 30.0


class Message:
    def __init__(self, offset):
        self._offset = offset

    def partition(self):
        return 3

    def offset(self):
        return self._offset

    def timestamp(self):
        return (1, 1000)


class Library:
    """Reports wait in it until it is polled; it notes the threads that poll."""

    def __init__(self):
        self.waiting = deque()
        self.pending = 0
        self.pollers = []
        self.inside = 0
        self.most_inside = 0
        self.pump = ReportPump(
            self.poll, lambda: self.pending, lambda error, topic: BackendError(f"{topic}: {error}")
        )
        self.delivery = delivery_class(self.pump)

    def send(self, error=None):
        """A record, and its report at once."""
        if self.pump.is_due:
            self.pump.attend()
        delivery = self.delivery("t")
        self.pending += 1
        self.waiting.append((delivery, error))
        return delivery

    def poll(self, timeout_s):
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        deadline = time.monotonic() + timeout_s
        while not self.waiting and time.monotonic() < deadline:
            time.sleep(0.001)
        served = 0
        while self.waiting:
            delivery, error = self.waiting.popleft()
            self.pollers.append(threading.current_thread())
            delivery(error, Message(served))
            self.pending -= 1
            served += 1
        self.inside -= 1
        return served


@pytest.fixture
def library():
    found = Library()
    yield found
    found.pump.stop(BOUND_S)
    assert not found.pump._thread.is_alive()


def test_whoever_waits_serves(library):
    delivery = library.send()
    assert delivery.result(BOUND_S).topic == "t"


def test_nobody_need_call(library):
    came = threading.Event()
    library.send().add_done_callback(lambda _: came.set())
    assert came.wait(BOUND_S)
    assert {thread.name for thread in library.pollers} == {"streamproof-kafka-reports"}


def test_a_busy_sender_serves_itself(library):
    deadline = time.monotonic() + BOUND_S
    while threading.current_thread() not in library.pollers:
        library.send()
        assert time.monotonic() < deadline


def test_one_thread_at_a_time_polls(library):
    deliveries = [library.send() for _ in range(50)]
    threads = [threading.Thread(target=delivery.result, args=(BOUND_S,)) for delivery in deliveries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(BOUND_S)
    assert all(delivery.is_settled for delivery in deliveries)
    assert library.most_inside == 1


def test_a_report_becomes_a_receipt_or_an_error(library):
    stored, failed = library.send(), library.send("went wrong")
    assert stored.result(BOUND_S) == Receipt("t", 3, 0, 1000)
    with pytest.raises(BackendError, match="t: went wrong"):
        failed.result(BOUND_S)
    assert (stored.error, failed.receipt) == (None, None)
    assert [stored.outcome, failed.outcome] == [Outcome.ACKNOWLEDGED, Outcome.FAILED]
    assert "offset=0" in repr(stored)
    assert "went wrong" in repr(failed)


def test_an_outcome_is_settled_once(library):
    delivery = library.delivery("t")
    assert (delivery.outcome, delivery.is_settled, delivery.receipt) == (Outcome.PENDING, False, None)
    delivery.settle(BackendError("first"))
    delivery.settle(BackendError("second"))
    assert str(delivery.error) == "first"


def test_a_report_may_come_without_an_offset(library):
    delivery = library.delivery("t")
    delivery(None, Message(None))
    assert (delivery.outcome, delivery.receipt) == (Outcome.ACKNOWLEDGED, Receipt("t", 3, None, 1000))


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("settled", ["by its report", "by a refusal"])
def test_callbacks_run_once_each_in_their_order(library, count, settled):
    delivery, other, heard = library.delivery("t"), library.delivery("t"), []
    other.add_done_callback(lambda _: heard.append("another's"))
    for number in range(count):
        delivery.add_done_callback(lambda done, number=number: heard.append((number, done.is_settled)))
    if settled == "by its report":
        delivery(None, Message(5))
    else:
        delivery.settle(BackendError("refused"))
    assert heard == [(number, True) for number in range(count)]
    delivery.add_done_callback(lambda _: heard.append("late"))
    assert heard[count:] == ["late"]


def test_a_callback_added_twice_runs_twice(library):
    delivery, heard = library.delivery("t"), []
    delivery.add_done_callback(heard.append)
    delivery.add_done_callback(heard.append)
    delivery(None, Message(5))
    assert heard == [delivery, delivery]


@pytest.mark.parametrize("count", [1, 2])
def test_a_callback_that_fails_is_logged_and_stops_no_other(library, caplog, count):
    delivery, heard = library.delivery("t"), []
    for _ in range(count):
        delivery.add_done_callback(lambda _: 1 / 0)
    if count > 1:
        delivery.add_done_callback(heard.append)
    with caplog.at_level(logging.ERROR, "streamproof.kafka"):
        delivery(None, Message(5))
        delivery.add_done_callback(lambda _: 1 / 0)
    assert heard == [delivery] * (count > 1)
    assert len(caplog.records) == count + 1


def test_no_callback_is_lost_or_doubled_between_threads(library):
    """Two threads add the same one to each delivery, while a third hands its report out."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(300):
            delivery, heard, gate = library.delivery("t"), [], threading.Barrier(3)

            def add(delivery=delivery, gate=gate, hear=heard.append):
                gate.wait(BOUND_S)
                for _ in range(3):
                    delivery.add_done_callback(hear)

            def report(delivery=delivery, gate=gate):
                gate.wait(BOUND_S)
                delivery(None, Message(5))

            threads = [threading.Thread(target=part) for part in (add, report, add)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(BOUND_S)
            assert heard == [delivery] * 6
            assert not delivery.callbacks
    finally:
        sys.setswitchinterval(before)


def test_deliveries_are_deliveries(library):
    batch = [library.send(), library.send()]
    assert all(isinstance(delivery, Delivery) for delivery in batch)
    assert len(Deliveries(batch).result(BOUND_S)) == 2


def test_a_wait_without_a_report_ends(library):
    delivery = library.delivery("t")
    with pytest.raises(TimedOut) as early:
        delivery.result(0.01)
    assert not early.value.definite


def test_waiting_inside_a_callback_is_refused_not_deadlocked(library):
    refused, other = [], library.delivery("t")

    def wait(_):
        try:
            other.result(BOUND_S)
        except UsageError as error:
            refused.append(error)

    delivery = library.send()
    delivery.add_done_callback(wait)
    delivery.result(BOUND_S)
    assert len(refused) == 1


def test_a_library_that_was_closed_meanwhile_has_nothing_to_serve(library):
    def closed(timeout_s):
        raise RuntimeError("Producer has been closed")

    assert library.pump.serve_by(closed, 0.0, BOUND_S) == 0
    assert not library.pump.is_inside
