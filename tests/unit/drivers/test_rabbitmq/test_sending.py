"""When a blocking producer writes what was sent: at once, or a moment later, together with others."""

import pytest

from streamproof.drivers.rabbitmq.catalogue import Catalogue
from streamproof.drivers.rabbitmq.topology import endpoint_of
from streamproof.drivers.rabbitmq_pika.buffer import Publish
from streamproof.drivers.rabbitmq_pika.sending import Sending
from streamproof.options import ProducerOptions
from streamproof.url import parse_address


class Timers:
    """The link, as far as it keeps time: it notes what is to run later, and runs it when told."""

    is_own_thread = True

    def __init__(self):
        self.planned = []

    def later(self, delay_s, function):
        self.planned.append((delay_s, function))

    def elapse(self):
        planned, self.planned = self.planned, []
        for _, function in planned:
            function()


class Heard(Sending):
    """Writes nothing, and counts how often it would."""

    def __init__(self, **options):
        super().__init__(
            endpoint_of(parse_address("amqp://127.0.0.1:1")), Catalogue(), ProducerOptions(**options)
        )
        self.link = Timers()
        self.writes = 0

    def drain(self):
        self.writes += 1
        super().drain()


def record():
    return Publish(None, 0, b"v", None, (), 0, float("inf"))


def send(sending, count=1):
    """What a sending thread does; the writing is asleep, since it wrote all there was."""
    sending.buffer.waiting.extend(record() for _ in range(count))
    sending.wake()


def test_with_nothing_under_way_a_record_is_written_at_once():
    sending = Heard()
    send(sending)
    assert (sending.writes, sending.link.planned) == (1, [])


def test_with_others_under_way_records_wait_for_each_other():
    sending = Heard()
    sending._unconfirmed[1] = record()
    send(sending)
    send(sending)
    assert sending.writes == 0
    ((delay_s, _),) = sending.link.planned
    assert 0 < delay_s <= 0.002
    sending.link.elapse()
    assert (sending.writes, sending.link.planned) == (1, [])
    send(sending)
    assert len(sending.link.planned) == 1


@pytest.mark.parametrize(
    ("options", "before", "count"),
    [
        ({"linger_ms": 0.0}, lambda sending: None, 1),
        ({}, lambda sending: setattr(sending.buffer, "waiters", 1), 1),
        ({}, lambda sending: None, 500),
    ],
    ids=["no linger wanted", "somebody waits for the end", "a batch is full"],
)
def test_nothing_waits_without_need(options, before, count):
    sending = Heard(**options)
    sending._unconfirmed[1] = record()
    before(sending)
    send(sending, count)
    assert sending.writes == 1


def test_a_shorter_linger_is_kept():
    sending = Heard(linger_ms=0.5)
    sending._unconfirmed[1] = record()
    send(sending)
    assert [delay_s for delay_s, _ in sending.link.planned] == [0.0005]


def test_who_begins_to_wait_ends_the_linger():
    sending = Heard()
    sending._unconfirmed[1] = record()
    send(sending)
    sending.tell_floor()
    assert sending.writes == 1
    sending.tell_floor()
    assert sending.writes == 1
