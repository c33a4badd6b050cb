"""Records between the threads that send them and the I/O thread that writes them."""

import threading
from collections import deque
from collections.abc import Callable, Sequence

from streamproof.deliveries import Delivery
from streamproof.drivers.rabbitmq.catalogue import TopicCreated
from streamproof.drivers.rabbitmq_pika.link import Link, left_s
from streamproof.errors import BufferFull, Closed
from streamproof.records import Headers


class Publish(Delivery):
    """One record on its way, and its outcome."""

    __slots__ = ("due_s", "headers", "key", "number", "partition", "size", "timestamp_ms", "topic", "value")

    topic: TopicCreated
    value: bytes | None
    key: bytes | None

    def __init__(
        self,
        topic: TopicCreated,
        partition: int,
        value: bytes | None,
        key: bytes | None,
        headers: Headers,
        timestamp_ms: int,
        due_s: float,
    ) -> None:
        self._answer = None
        self._callbacks = None
        self.topic = topic
        self.partition = partition
        self.value = value
        self.key = key
        self.headers = headers
        self.timestamp_ms = timestamp_ms
        self.due_s = due_s
        self.number = 0
        self.size = len(value) if value is not None else 0


class SendBuffer:
    """At most ``limit`` records that were taken and are not settled; those not yet written, in order.

    ``changed`` guards it. ``is_awake`` says that the I/O thread knows of waiting records: only the
    first one after a pause must wake it. ``floor`` is the number below and at which all records
    are settled, kept only while somebody waits.
    """

    def __init__(self, limit: int, link: Link) -> None:
        self.changed = threading.Condition()
        self.waiting: deque[Publish] = deque()
        self.is_awake = False
        self.is_closed = False
        self.waiters = 0
        self.floor = 0
        self.outstanding = 0
        self.taken = 0
        self._limit = limit
        self._link = link

    def put(self, publishes: Sequence[Publish], deadline_s: float, timeout_s: float) -> tuple[int, bool]:
        """Take as many as there is room for, once there is room for one; how many, and whether the
        I/O thread must be woken. Raises :class:`BufferFull`, :class:`Closed`."""
        with self.changed:
            if self.outstanding >= self._limit:
                self._wait_for_room(deadline_s, timeout_s)
            if self.is_closed:
                raise Closed("the producer is closed")
            chosen = publishes[: self._limit - self.outstanding]
            for number, publish in enumerate(chosen, start=self.taken + 1):
                publish.number = number
            self.taken += len(chosen)
            self.outstanding += len(chosen)
            self.waiting.extend(chosen)
            must_wake, self.is_awake = not self.is_awake, True
        return len(chosen), must_wake

    def wait_settled(self, deadline_s: float, tell_floor: Callable[[], None]) -> bool:
        """Wait until everything taken so far is settled. The I/O thread runs ``tell_floor`` once,
        and keeps the floor from now on."""
        with self.changed:
            wanted = self.taken
            self.waiters += 1
            self._link.call(tell_floor)
            try:
                return self.changed.wait_for(
                    lambda: self.floor >= wanted or self.is_closed, left_s(deadline_s)
                )
            finally:
                self.waiters -= 1

    def close(self) -> None:
        """Take nothing more."""
        with self.changed:
            self.is_closed = True
            self.changed.notify_all()

    def _wait_for_room(self, deadline_s: float, timeout_s: float) -> None:
        full = BufferFull(
            f"the send buffer held {self._limit} records for {timeout_s:g} s: RabbitMQ takes no more now"
        )
        if self._link.is_own_thread:
            # A callback that sends must not wait for the thread it runs on.
            raise full
        self.waiters += 1
        try:
            has_room = self.changed.wait_for(
                lambda: self.outstanding < self._limit or self.is_closed, left_s(deadline_s)
            )
        finally:
            self.waiters -= 1
        if not has_room:
            raise full
