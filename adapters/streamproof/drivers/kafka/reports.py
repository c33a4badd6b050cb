"""Delivery reports of a client library that hands them out only when it is polled.

librdkafka's reports are callbacks that run inside ``poll`` and ``flush``, on whatever thread calls
them, and each takes Python's interpreter lock anew. A thread of its own would therefore starve
beside a busy sender (one report each switch interval), so senders serve the reports themselves,
every few milliseconds; the thread here tells them when, and serves only while nobody sends.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar

import msgspec

from streamproof.deliveries import Deliveries, Delivery, Outcome, Settlement
from streamproof.errors import StreamproofError, TimedOut, UsageError
from streamproof.records import Receipt

_log = logging.getLogger("streamproof.kafka")

_SHORTEST_TICK_S = 0.002
_LONGEST_TICK_S = 0.05
_FEW = 100
_GRACE_S = 0.01
"""How long a busy sender is given to serve before the thread steps in: two that serve and send at
once take the interpreter lock from each other for each report."""

_SLICE_S = 0.05
_PATIENCE_S = 0.005
"""How long a sender waits for another thread that is serving: without a pause it would keep the
interpreter lock from that thread."""

_ACKNOWLEDGED = Outcome.ACKNOWLEDGED
_CALLBACK_FAILED = "a callback of a delivery failed"

_NO_OFFSET = -1
"""Where the backend tells none, as without acknowledgements."""

ExplainFailure = Callable[[Any, str], StreamproofError]


class _Waiting(msgspec.Struct, eq=False, gc=False):
    """A callback, and those of the same delivery that were added before it. The garbage collector
    does not see them: a hundred thousand may wait, and it would look at them all."""

    callback: Callable[[Delivery], object]
    earlier: "_Waiting | None" = None


Callbacks = dict["KafkaDelivery", _Waiting]


class KafkaDelivery(msgspec.Struct, Settlement, eq=False):
    """A :class:`Delivery` that is its own delivery callback. It takes the numbers out of the report
    and lets the message go; the receipt is made when it is asked for.

    A struct, since one is made for each record: that takes a quarter of the time of an object with
    slots, and the garbage collector need not look at it as long as it holds no containers. So the
    pump and the callbacks are in a class of each producer's own: see :func:`delivery_class`. As few
    fields as can be: new memory costs as much as the work done in it.
    """

    _topic: str
    _answer: Any = None
    """Of an acknowledged record its offset, and its receipt once that was asked for."""
    _partition: int = -1
    _timestamp_ms: int = -1

    pump: ClassVar["ReportPump"]
    callbacks: ClassVar[Callbacks]
    """Of the producer's deliveries that are pending. It takes no lock: to put one in and to take it
    out are one call of the dict each, which no other thread can part."""

    def settle(self, answer: Receipt | StreamproofError) -> None:
        """Set the outcome and run the callbacks; a second call is ignored."""
        if self._answer is None:
            self._answer = answer
            self._run_callbacks()

    def add_done_callback(self, callback: Callable[[Delivery], object]) -> None:
        """Call ``callback(delivery)`` once settled; at once if it is. What it raises is logged."""
        mine = _Waiting(callback)
        if self.callbacks.setdefault(self, mine) is not mine:
            self._add_behind(mine)
        # The report writes the answer before it looks for callbacks, so one of the two sees the other.
        if self._answer is not None:
            self._run_callbacks()

    def _add_behind(self, mine: _Waiting) -> None:
        """There is one already: take it out, and put it in again with ours. Meanwhile another thread
        may have put in a new one."""
        first = mine
        while self.callbacks.setdefault(self, mine) is not mine:
            first.earlier = self.callbacks.pop(self, None)
            while first.earlier is not None:
                first = first.earlier

    def _run_callbacks(self) -> None:
        last = self.callbacks.pop(self, None)
        if last is not None:
            self._run(last)

    def _run(self, last: _Waiting) -> None:
        waiting: _Waiting | None = last
        callbacks = []
        while waiting is not None:
            callbacks.append(waiting.callback)
            waiting = waiting.earlier
        for callback in reversed(callbacks):
            try:
                callback(self)  # type: ignore[arg-type]
            except Exception:
                _log.exception(_CALLBACK_FAILED)

    @property
    def outcome(self) -> Outcome:
        """The state now."""
        return _ACKNOWLEDGED if type(self._answer) is int else super().outcome

    @property
    def receipt(self) -> Receipt | None:
        """Where the record stands; ``None`` unless acknowledged."""
        answer = self._answer
        if type(answer) is int:
            offset = None if answer == _NO_OFFSET else answer
            answer = Receipt(self._topic, self._partition, offset, self._timestamp_ms)
            self._answer = answer
        return answer if isinstance(answer, Receipt) else None

    def result(self, timeout_s: float | None = 30.0) -> Receipt:
        """See :meth:`Delivery.result`. Not from inside a delivery's callback, unless it is settled:
        :class:`UsageError`, since reports wait for that callback to end."""
        if self._answer is None:
            self.pump.refuse_inside("result()")
            if not self.pump.drive(lambda: self._answer is not None, timeout_s):
                raise TimedOut(
                    f"no outcome within {timeout_s} s; the send is still under way", definite=False
                )
        if isinstance(self._answer, StreamproofError):
            raise self._answer
        receipt = self.receipt
        assert receipt is not None
        return receipt

    def __repr__(self) -> str:
        return f"<KafkaDelivery {self.outcome.value} {self.receipt or self.error or ''}>"


Delivery.register(KafkaDelivery)


class KafkaDeliveries(Deliveries):
    """The deliveries of one ``send_many``."""

    __slots__ = ()

    @property
    def errors(self) -> list[StreamproofError]:
        """The errors so far of those that failed or became unknown, in order."""
        answers = [delivery._answer for delivery in self._deliveries]
        return [answer for answer in answers if isinstance(answer, StreamproofError)]


def delivery_class(pump: "ReportPump") -> type[KafkaDelivery]:
    """The class of one producer's deliveries."""
    callbacks: Callbacks = {}
    take, explain = callbacks.pop, pump.explain

    class ProducerDelivery(KafkaDelivery, eq=False):
        def __call__(self, error: Any, message: Any) -> None:
            """The report: one call a record, so no line and no call too many. The answer is written
            last, as other threads look at it first."""
            if error is None:
                self._partition = message.partition()
                self._timestamp_ms = message.timestamp()[1]
                offset = message.offset()
                self._answer = _NO_OFFSET if offset is None else offset
            else:
                self._answer = explain(error, self._topic)
            if callbacks:
                last = take(self, None)
                if last is None:
                    return
                if last.earlier is not None:
                    self._run(last)
                    return
                try:
                    last.callback(self)  # type: ignore[arg-type]
                except Exception:
                    _log.exception(_CALLBACK_FAILED)

    ProducerDelivery.pump = pump
    ProducerDelivery.callbacks = callbacks
    return ProducerDelivery


class ReportPump:
    """Has the reports of one producer served: by senders, by whoever waits, or by its own thread.

    ``poll(timeout_s)`` of the client library serves reports; ``pending()`` counts the records
    without one. Only one thread at a time is inside ``poll``.
    """

    def __init__(
        self, poll: Callable[[float], int], pending: Callable[[], int], explain: ExplainFailure
    ) -> None:
        self.is_due = True
        """Senders look here before each record, and call ``attend`` when it is set."""
        self.explain = explain
        self._poll = poll
        self._pending = pending
        self._serving = threading.Lock()
        self._server: int | None = None
        self._wake = threading.Event()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="streamproof-kafka-reports", daemon=True)
        self._thread.start()

    def attend(self) -> None:
        """For senders: wake the thread if it rests, and serve what is ready."""
        self.is_due = False
        if not self._wake.is_set():
            self._wake.set()
        self.serve(0.0, _PATIENCE_S)

    def serve(self, timeout_s: float, patience_s: float) -> int:
        """Serve reports, waiting up to ``timeout_s`` for the first; -1 when another thread was at
        it for all of ``patience_s``, or when this is called from inside a report."""
        return self.serve_by(self._poll, timeout_s, patience_s)

    def serve_by(self, call: Callable[[float], int], timeout_s: float, patience_s: float) -> int:
        """The same with another call of the library that serves reports."""
        me = threading.get_ident()
        if self._server == me or not self._serving.acquire(timeout=patience_s):
            return -1
        self._server = me
        try:
            return call(timeout_s)
        except RuntimeError:
            # The library's word for a producer that was closed meanwhile: its reports are all in.
            return 0
        finally:
            self._server = None
            self._serving.release()

    def drive(self, is_done: Callable[[], bool], timeout_s: float | None) -> bool:
        """Serve until ``is_done`` or the bound passes; whether it is done."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not is_done():
            left = _SLICE_S if deadline is None else min(_SLICE_S, deadline - time.monotonic())
            if left <= 0:
                return is_done()
            self.serve(left, min(left, _PATIENCE_S))
        return True

    @property
    def is_inside(self) -> bool:
        """Whether this is called from inside a report, that is, from a delivery's callback."""
        return self._server == threading.get_ident()

    def refuse_inside(self, what: str) -> None:
        """Raise :class:`UsageError` from inside a report: waiting there would wait for itself."""
        if self.is_inside:
            raise UsageError(f"{what} inside a delivery's callback would wait for itself: call it outside")

    def stop(self, timeout_s: float) -> None:
        """End the thread."""
        self._is_stopping = True
        self._wake.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        tick_s = _SHORTEST_TICK_S
        while not self._is_stopping:
            pending = self._pending()
            if pending == 0:
                self._rest()
                tick_s = _SHORTEST_TICK_S
            elif not self.is_due:
                # A sender was here since: it shall serve again, at its next record.
                self.is_due = True
                tick_s = _SHORTEST_TICK_S
                time.sleep(tick_s if pending < _FEW else _GRACE_S)
            else:
                self._wake.clear()
                served = self.serve(0.0, _PATIENCE_S)
                tick_s = _SHORTEST_TICK_S if served else min(_LONGEST_TICK_S, tick_s * 1.5)
                self._wake.wait(tick_s)

    def _rest(self) -> None:
        """Sleep until the next record is sent: its sender sees that it is due."""
        self._wake.clear()
        self.is_due = True
        # A sender may have looked just before that, and send just now: look once more soon.
        nap_s = _LONGEST_TICK_S
        while not self._is_stopping and self._pending() == 0 and not self._wake.wait(nap_s):
            nap_s = 1.0
