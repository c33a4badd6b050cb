"""What arrived, what was handed out, what may be acknowledged, and how."""

from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from streamproof.drivers.rabbitmq.catalogue import Backlog
from streamproof.drivers.rabbitmq.codec import Message
from streamproof.drivers.rabbitmq.intake import GroupLog, Ledger, QueuePart, StreamPart, serial_of
from streamproof.records import TopicPartition

LOG = TopicPartition("t", 0)


def message(value=b"v", offset=None, mark=None, message_id="", deliveries=0):
    return Message(None, value, 0, (), message_id, offset, deliveries, mark)


class Server:
    """A channel's unacknowledged tags: closes on one it does not expect, as RabbitMQ does."""

    def __init__(self):
        self.open = set()

    def take(self, acks):
        for tag, is_multiple in acks:
            assert tag in self.open, f"unknown delivery tag {tag}"
            self.open -= {lower for lower in self.open if lower <= tag} if is_multiple else {tag}


@given(st.integers(1, 20), st.data())
def test_acks_in_any_order_tell_the_server_exactly_what_was_acknowledged(deliveries, data):
    ledger, server = Ledger(), Server()
    for tag in range(1, deliveries + 1):
        ledger.open[tag] = tag
        server.open.add(tag)
    done = set()
    while server.open:
        batch = data.draw(st.lists(st.integers(1, deliveries), min_size=1, max_size=5))
        server.take(ledger.acknowledge(batch))
        done.update(batch)
        assert server.open == set(range(1, deliveries + 1)) - done
        if len(done) < deliveries and data.draw(st.booleans()):
            server.take(ledger.acknowledge(range(1, deliveries + 1)))
            done.update(range(1, deliveries + 1))


def test_a_stream_part_hands_out_from_its_position_on():
    part = StreamPart(LOG, 1, 5)
    for tag, offset in enumerate(range(3, 9), start=1):
        part.feed(tag, message(offset=offset))
    assert [entry[2].stream_offset for entry in part.take(2)] == [5, 6]
    assert part.position == 7
    assert part.credit() == [(4, True)]
    assert part.credit() == []
    assert [entry[2].stream_offset for entry in part.take(9)] == [7, 8]
    assert part.credit() == [(6, True)]


def test_marks_are_passed_over_and_the_position_with_them():
    part = StreamPart(LOG, 1, 0)
    part.feed(1, message(offset=0, mark=b"m"))
    assert part.place() == 1
    assert not part.has_records
    part.feed(2, message(offset=1))
    part.feed(3, message(offset=2, mark=b"m"))
    assert len(part.take(5)) == 1
    assert part.place() == 3


def test_a_log_that_was_trimmed_says_where_it_begins():
    part = StreamPart(LOG, 1, 5)
    part.feed(1, message(offset=50))
    assert part.trimmed_to == 50


def test_a_backlog_ends_before_its_cut():
    part = StreamPart(LOG, 1, 0, until=2)
    for offset in range(4):
        part.feed(offset + 1, message(offset=offset))
    assert part.is_complete
    assert not part.is_drained
    assert len(part.take(9)) == 2
    assert part.is_drained


def test_what_the_backlog_has_is_passed_over_in_the_queue():
    part = QueuePart(LOG, 1, {"o": 5})
    assert not part.feed(1, False, message(message_id="o-5"))
    assert part.feed(2, False, message(message_id="o-6"))
    assert part.feed(3, False, message(message_id="p-1"))
    assert part.feed(4, False, message(message_id="somebody else's"))
    assert not part.feed(5, False, message(mark=b"m"))
    assert part.acks == [(1, False), (5, False)]
    assert [entry[0] for entry in part.take(2)] == [2, 3]


def opened(backlog=None, progress=None):
    return GroupLog(LOG, backlog, progress, count(1))


def test_without_a_backlog_the_queue_is_read():
    log = opened()
    assert log.stream is None
    assert log.queue is not None
    log.queue.feed(1, True, message(deliveries=2))
    (record,) = log.take(5)
    assert (record.offset, record.attempt, record.is_redelivered) == (None, 3, True)
    assert log.unacknowledged == 1
    assert log.acknowledge(*_split(record))
    assert log.take_acks(log.queue) == [(1, True)]
    assert log.unacknowledged == 0


def _split(record):
    serial, tag = serial_of(record.token)
    return serial, [tag]


def test_the_backlog_comes_before_the_queue_and_its_progress_is_told():
    log = opened(Backlog(0, 3, {}))
    stream = log.stream
    assert stream is not None
    assert log.queue is None
    assert log.progress() is None
    for offset in range(3):
        stream.feed(offset + 1, message(b"%d" % offset, offset))
    assert not log.wants_queue
    stream.feed(4, message(offset=3, mark=b"cut"))
    assert log.wants_queue
    queue = log.open_queue()
    queue.feed(1, False, message(b"live"))
    first = log.take(2)
    assert [record.value for record in first] == [b"0", b"1"]
    log.acknowledge(*_split(first[1]))
    assert log.progress() is None
    log.acknowledge(*_split(first[0]))
    assert log.progress() == 2
    assert log.progress() is None
    rest = log.take(9) + log.take(9)
    assert [record.value for record in rest] == [b"2", b"live"]
    log.acknowledge(*_split(rest[0]))
    assert log.progress() == 3
    assert log.take_acks(stream) == [(2, False), (1, True), (3, True)]


def test_a_successor_goes_on_where_progress_ended():
    log = opened(Backlog(0, 3, {}), progress=2)
    assert log.stream is not None
    assert log.stream.position == 2
    assert opened(Backlog(0, 3, {}), progress=3).stream is None


def test_late_acknowledgements_find_nothing():
    log = opened()
    assert log.queue is not None
    log.queue.feed(1, False, message())
    (record,) = log.take(1)
    assert not opened().acknowledge(99, [1])
    log.is_dead = True
    assert not log.acknowledge(*_split(record))
    assert log.take(1) == []
    assert not log.has_records
    assert serial_of(None) == (-1, 0)
