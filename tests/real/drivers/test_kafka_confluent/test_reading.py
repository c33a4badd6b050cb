"""Places in a log, and the flow: seeks, trimmed logs, pauses, new topics."""

import threading

import pytest

from streamproof.errors import Closed, NotAssigned, OffsetOutOfRange, UnknownTopic
from streamproof.records import AtTime, TopicPartition

BOUND_S = 30.0


def offsets_by_log(records):
    found = {}
    for record in records:
        found.setdefault(record.topic_partition, []).append(record.offset)
    return found


def test_a_reader_has_everything_assigned_and_told_when_it_starts(place, ear):
    topic = place.topic(3)
    place.fill(topic, 4, partition=1)
    reader = place.consumer(topic, ear=ear)
    assert reader.assignment() == place.logs(topic, 3)
    assert ear.heard == [("assign", None, place.logs(topic, 3))]
    assert ear.positions == dict.fromkeys(place.logs(topic, 3), 0)
    assert reader.position(TopicPartition(topic, 1), BOUND_S) == 0
    reader.close(BOUND_S)
    assert ear.said("revoke") == ear.said("lost") == []


def test_a_reader_leaves_no_group_behind(place):
    topic = place.topic()
    place.fill(topic, 1)
    reader = place.consumer(topic)
    place.read(reader, 1)
    reader.close(BOUND_S)
    assert [name for name in place.admin.list_groups(BOUND_S) if name.startswith("streamproof-reader-")] == []


@pytest.mark.parametrize("group", [None, "group"])
def test_an_unknown_topic_is_refused_at_once(place, group):
    with pytest.raises(UnknownTopic):
        place.consumer(place.topic(), place.name("nowhere"), group=group)


@pytest.mark.parametrize("native", [{}, {"partition.assignment.strategy": "range"}, None])
def test_what_was_trimmed_away_is_an_error_until_a_seek(place, native):
    topic = place.topic(2)
    first, second = place.logs(topic, 2)
    for log in (first, second):
        place.fill(topic, 10, partition=log.partition)
    options = {} if native is None else {"group": place.name("group"), "native": native}
    consumer = place.consumer(topic, **options)
    place.wait_for(lambda: len(consumer.assignment()) == 2, "the logs", lambda: consumer.poll(1, 0.1))
    place.admin.delete_records({first: 6}, BOUND_S)
    consumer.seek([first], 2, BOUND_S)
    consumer.seek([second], "end", BOUND_S)
    with pytest.raises(OffsetOutOfRange) as trimmed:
        place.wait_for(lambda: False, "the error", lambda: consumer.poll(10, 0.1))
    assert trimmed.value.log_start == 6
    with pytest.raises(OffsetOutOfRange):
        consumer.poll(10, 0.0)
    consumer.seek([first], "beginning", BOUND_S)
    assert consumer.position(first, BOUND_S) == 6
    assert offsets_by_log(place.read(consumer, 4)) == {first: [6, 7, 8, 9]}
    assert consumer.position(second, BOUND_S) == 10


def test_an_offset_beyond_the_end_is_an_error_too(place):
    topic = place.topic()
    [log] = place.logs(topic, 1)
    place.fill(topic, 2)
    reader = place.consumer(topic)
    reader.seek([log], 100, BOUND_S)
    with pytest.raises(OffsetOutOfRange):
        place.wait_for(lambda: False, "the error", lambda: reader.poll(10, 0.1))


def test_seeks_to_offsets_ends_and_times(place):
    topic = place.topic()
    [log] = place.logs(topic, 1)
    producer = place.producer()
    for number in range(10):
        producer.send(topic, b"%d" % number, None, (), None, 1000 * (number + 1), BOUND_S).result(BOUND_S)
    reader = place.consumer(topic)
    places = [
        ("beginning", 0),
        (7, 7),
        (AtTime(4500), 4),
        (AtTime(5000), 4),
        (AtTime(99_000), 10),
        ("end", 10),
    ]
    for where, expected in places:
        place.read(reader, 1) if reader.position(log, BOUND_S) < 10 else None
        reader.seek([log], where, BOUND_S)
        assert reader.position(log, BOUND_S) == expected
        if expected < 10:
            assert place.read(reader, 1)[0].offset == expected


def test_seek_and_position_are_for_logs_that_are_held(place):
    topic = place.topic()
    reader = place.consumer(topic)
    other = TopicPartition(topic, 7)
    with pytest.raises(NotAssigned):
        reader.seek([other], 0, BOUND_S)
    with pytest.raises(NotAssigned):
        reader.position(other, BOUND_S)


def test_pausing_loses_and_skips_nothing_of_what_was_prefetched(place):
    topic = place.topic(2)
    first, second = place.logs(topic, 2)
    for log in (first, second):
        place.fill(topic, 300, partition=log.partition)
    reader = place.consumer(topic)
    records = place.read(reader, 20)
    turn = 0
    while len(records) < 600:
        held_back, free = (first, second) if turn % 2 else (second, first)
        turn += 1
        reader.resume([free])
        reader.pause([held_back])
        came = reader.poll(37, 0.2)
        assert {record.topic_partition for record in came} <= {free}
        records += came
    assert offsets_by_log(records) == {first: list(range(300)), second: list(range(300))}


def test_another_thread_pauses_and_resumes_a_poll_that_waits(place):
    topic = place.topic()
    logs = place.logs(topic, 1)
    reader = place.consumer(topic)
    came = []
    poller = threading.Thread(target=lambda: came.extend(reader.poll(10, BOUND_S)))
    reader.pause(logs)
    poller.start()
    place.fill(topic, 3)
    # Neither call waits for the poll, which waits for records.
    reader.pause(logs)
    assert poller.is_alive()
    reader.resume(logs)
    poller.join(BOUND_S)
    assert not poller.is_alive()
    came += reader.poll(10, 1.0) if len(came) < 3 else []
    assert [record.offset for record in came] == [0, 1, 2]


def test_a_paused_log_can_be_moved(place):
    topic = place.topic()
    logs = place.logs(topic, 1)
    place.fill(topic, 10)
    reader = place.consumer(topic)
    place.read(reader, 2)
    reader.pause(logs)
    assert reader.poll(10, 0.2) == []
    reader.seek(logs, 8, BOUND_S)
    assert reader.poll(10, 0.2) == []
    reader.resume(logs)
    assert [record.offset for record in place.read(reader, 2)] == [8, 9]


def test_a_pattern_without_a_group_finds_new_topics(place, ear):
    prefix = place.name("p")
    place.create(prefix + "-a")
    reader = place.consumer(pattern=prefix + "-[ab]", ear=ear)
    assert [log.topic for log in reader.assignment()] == [prefix + "-a"]
    place.create(prefix + "-b")
    place.fill(prefix + "-b", 2)
    records = place.read(reader, 2)
    assert {record.topic for record in records} == {prefix + "-b"}
    assert [len(partitions) for _, partitions in ear.said("assign")] == [1, 2]


def test_headers_keys_and_times_come_back_as_they_were_sent(place):
    topic = place.topic()
    producer = place.producer()
    headers = (("a", b"1"), ("a", None), ("b", b""), ("ü", b"\xff"))
    sent = [
        (b"v", b"k", headers, 5),
        (None, b"k", (), None),
        (b"", b"", (), 10**12),
        (b"v", None, (("only", b"x"),), None),
    ]
    for value, key, pairs, timestamp_ms in sent:
        producer.send(topic, value, key, pairs, 0, timestamp_ms, BOUND_S).result(BOUND_S)
    records = place.read(place.consumer(topic), 4)
    assert [(record.value, record.key, record.headers) for record in records] == [row[:3] for row in sent]
    assert [record.timestamp_ms for record in records][::2] == [5, 10**12]
    assert {record.topic for record in records} == {topic}


def test_a_closed_consumer_says_so(place):
    topic = place.topic()
    reader = place.consumer(topic)
    reader.close(BOUND_S)
    reader.close(BOUND_S)
    with pytest.raises(Closed):
        reader.poll(1, 0.1)
