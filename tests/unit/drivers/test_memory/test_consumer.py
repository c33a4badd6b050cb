"""Reading an in-memory cluster without a group, and what reading in general means."""

import re

import pytest

from streamproof.errors import (
    Closed,
    ConfigurationError,
    NotAssigned,
    OffsetOutOfRange,
    TimedOut,
    TopicExists,
    UnknownTopic,
    Unreachable,
    Unsupported,
    UsageError,
)
from streamproof.options import ConsumerOptions, ProducerOptions
from streamproof.records import AtTime, TopicSpec, Watermarks


def values(records):
    return [record.value for record in records]


def fill(world, partition=0, count=10):
    """Values 0, 1 … at timestamps 0, 10 …"""
    for number in range(count):
        world.send(b"%d" % number, partition=partition, timestamp_ms=number * 10).result(0)


def test_a_reader_gets_every_partition_before_start_returns(world, log):
    fill(world, 2, 3)
    consumer, ear = world.consumer(group=None)
    assert ear.heard == [("assign", None, [0, 1, 2, 3])]
    assert ear.positions == {log(number): 0 for number in range(4)}
    assert consumer.assignment() == tuple(log(number) for number in range(4))
    assert values(consumer.poll(10, 0)) == [b"0", b"1", b"2"]
    assert consumer.poll(10, 0) == []
    assert ear.heard[1:] == []


@pytest.mark.parametrize("group", [None, "g"])
def test_starts(world, log, group):
    fill(world)
    cases = {"earliest": 0, "latest": 10, AtTime(35): 4, AtTime(40): 4, AtTime(91): 10}
    for number, (start, expected) in enumerate(cases.items()):
        consumer, ear = world.consumer(group and f"{group}{number}", start=start)
        assert len(consumer.poll(100, 0)) == 10 - expected
        assert ear.positions[log(0)] == expected


def test_a_poll_returns_no_more_than_asked_and_goes_on_behind_it(world):
    fill(world)
    consumer, _ = world.consumer(group=None)
    assert [len(consumer.poll(4, 0)) for _ in range(4)] == [4, 4, 2, 0]


def test_a_poll_of_several_logs_returns_no_more_than_asked(world):
    for partition in range(4):
        fill(world, partition, 6)
    consumer, _ = world.consumer(group=None)
    assert [len(consumer.poll(10, 0)) for _ in range(4)] == [10, 10, 4, 0]


def test_a_full_log_does_not_starve_the_others(world):
    for partition in range(4):
        fill(world, partition, 50)
    consumer, _ = world.consumer(group=None)
    seen = [consumer.poll(10, 0)[0].partition for _ in range(4)]
    assert sorted(seen) == [0, 1, 2, 3]


def test_seek_to_offset_beginning_end_and_time(world, log):
    fill(world)
    consumer, _ = world.consumer(group=None)
    consumer.poll(100, 0)
    for place, first in ((7, b"7"), ("beginning", b"0"), (AtTime(31), b"4"), (10, None), ("end", None)):
        consumer.seek([log(0)], place, 1)
        assert consumer.position(log(0), 1) == (10 if first is None else int(first))
        assert values(consumer.poll(1, 0)) == ([] if first is None else [first])


def test_a_time_beyond_the_last_record_is_the_end(world, log):
    fill(world)
    consumer, _ = world.consumer(group=None)
    consumer.seek([log(0)], AtTime(1000), 1)
    world.send(b"new", partition=0, timestamp_ms=1)
    assert values(consumer.poll(100, 0)) == [b"new"]


@pytest.mark.parametrize("place", [3, 11, -1])
def test_a_seek_outside_the_log_is_refused_and_moves_nothing(world, log, place):
    fill(world)
    world.admin.delete_records({log(0): 4}, 1)
    consumer, _ = world.consumer(group=None)
    consumer.seek([log(0)], 6, 1)
    with pytest.raises(OffsetOutOfRange, match=str(place)) as refused:
        consumer.seek([log(1), log(0)], place, 1)
    assert refused.value.log_start is not None
    assert values(consumer.poll(1, 0)) == [b"6"]


def test_a_log_trimmed_under_the_reader_is_told_until_it_seeks(world, log):
    fill(world)
    fill(world, 1)
    consumer, _ = world.consumer(group=None)
    consumer.seek([log(0), log(1)], 2, 1)
    world.admin.delete_records({log(0): 5}, 1)
    for _ in range(2):
        with pytest.raises(OffsetOutOfRange) as refused:
            consumer.poll(100, 0)
        assert refused.value.log_start == 5
    consumer.seek([log(0)], refused.value.log_start, 1)
    found = consumer.poll(100, 0)
    assert sorted((record.partition, int(record.value)) for record in found) == [
        *((0, number) for number in range(5, 10)),
        *((1, number) for number in range(2, 10)),
    ]


def test_a_paused_log_stays_silent_and_loses_nothing(world, log):
    consumer, _ = world.consumer(group=None)
    fill(world, 0, 2)
    fill(world, 1, 2)
    consumer.pause([log(0)])
    assert {record.partition for record in consumer.poll(100, 0)} == {1}
    world.admin.delete_records({log(0): 1}, 1)
    assert consumer.poll(100, 0) == []  # not even what is wrong with it
    consumer.seek([log(0)], "beginning", 1)
    consumer.resume([log(0), log(3)])
    assert values(consumer.poll(100, 0)) == [b"1"]


def test_what_is_not_held_cannot_be_moved_or_asked(world, log):
    consumer, _ = world.consumer(group=None)
    stranger = log(9)
    with pytest.raises(NotAssigned):
        consumer.seek([log(0), stranger], "end", 1)
    with pytest.raises(NotAssigned, match=r"readings\[9\]"):
        consumer.position(stranger, 1)
    consumer.pause([stranger])
    with pytest.raises(UnknownTopic):
        consumer.watermarks([stranger], 1)


def test_watermarks_follow_appends_and_trims(world, log):
    consumer, _ = world.consumer(group=None)
    assert consumer.watermarks([log(0)], 1) == {log(0): Watermarks(0, 0)}
    fill(world)
    world.admin.delete_records({log(0): 4}, 1)
    assert consumer.watermarks([log(0), log(1)], 1) == {log(0): Watermarks(4, 10), log(1): Watermarks(0, 0)}


def test_retention_by_time_follows_the_clock(world, clock, log):
    world.admin.create_topics([TopicSpec("short", 1, retention_ms=1000)], 1)
    consumer, _ = world.consumer(group=None, topics=("short",))
    for _ in range(4):
        world.send(topic="short")
        clock.advance(0.4)
    at = log(0, "short")
    assert consumer.watermarks([at], 1) == {at: Watermarks(2, 4)}
    clock.advance(1)
    with pytest.raises(OffsetOutOfRange) as refused:
        consumer.poll(10, 0)
    assert refused.value.log_start == 4


def test_retention_by_size_keeps_the_newest(world, log):
    world.admin.create_topics([TopicSpec("small", 1, retention_bytes=350)], 1)
    for number in range(20):
        world.send(b"%90d" % number, topic="small")
    at = log(0, "small")
    consumer, _ = world.consumer(group=None, topics=("small",))
    assert consumer.watermarks([at], 1) == {at: Watermarks(16, 20)}
    assert [int(record.value) for record in consumer.poll(100, 0)] == [16, 17, 18, 19]


def test_patterns_match_whole_names_and_find_topics_later(world, log):
    world.admin.create_topics([TopicSpec("readings.hot"), TopicSpec("old.readings")], 1)
    consumer, ear = world.consumer(group=None, pattern=r"readings(\..*)?")
    assert {partition.topic for partition in consumer.assignment()} == {"readings", "readings.hot"}
    world.admin.create_topics([TopicSpec("readings.cold")], 1)
    world.send(b"new", topic="readings.cold")
    assert values(consumer.poll(10, 0)) == [b"new"]
    assert len(ear.heard) == 2
    world.admin.delete_topics(["readings"], 1)
    assert consumer.poll(10, 0) == []
    assert ear.heard[-1] == ("lost", None, [0, 1, 2, 3])
    assert {partition.topic for partition in consumer.assignment()} == {"readings.hot", "readings.cold"}


def test_a_topic_made_anew_is_read_from_its_start(world, log):
    fill(world)
    consumer, ear = world.consumer(group=None)
    assert len(consumer.poll(100, 0)) == 10
    world.admin.delete_topics(["readings"], 1)
    world.admin.create_topics([TopicSpec("readings", 2)], 1)
    world.send(b"anew", partition=0)
    assert values(consumer.poll(100, 0)) == [b"anew"]
    assert [kind for kind, _, _ in ear.heard] == ["assign", "lost", "assign"]
    assert ear.heard[-1] == ("assign", None, [0, 1])


def test_unknown_topics_are_refused_at_the_start(world, make_ear):
    for group in (None, "g"):
        consumer = world.driver.consumer(world.options(group, topics=("readings", "nowhere")))
        with pytest.raises(UnknownTopic, match="'nowhere'"):
            consumer.start(make_ear(), 1)
    assert world.admin.describe_groups(["g"], 1)[0].members == ()
    consumer = world.driver.consumer(world.options(None, pattern="nowhere"))
    consumer.start(make_ear(), 1)
    assert consumer.poll(1, 0) == []


def test_a_broken_pattern_and_native_settings_are_refused(world):
    with pytest.raises(ConfigurationError, match=re.escape("'read('")):
        world.driver.consumer(ConsumerOptions(pattern="read("))
    with pytest.raises(ConfigurationError, match=re.escape("fetch.min.bytes")):
        world.driver.consumer(world.options(native={"fetch.min.bytes": 1}))


def test_verbs_that_need_a_group_or_messages_are_refused(world, log):
    consumer, _ = world.consumer(group=None)
    with pytest.raises(UsageError, match="group"):
        consumer.commit({log(0): 1}, 1)
    assert consumer.committed([log(0)], 1) == {log(0): None}
    with pytest.raises(Unsupported):
        consumer.ack([])


def test_order_of_calls(world, make_ear, log):
    consumer = world.driver.consumer(world.options(None))
    with pytest.raises(UsageError, match="start"):
        consumer.poll(1, 0)
    consumer.start(make_ear(), 1)
    with pytest.raises(UsageError, match="started already"):
        consumer.start(make_ear(), 1)
    consumer.close(1)
    consumer.close(1)
    for call in (
        lambda: consumer.poll(1, 0),
        lambda: consumer.start(make_ear(), 1),
        lambda: consumer.seek([log(0)], "end", 1),
        lambda: consumer.position(log(0), 1),
        lambda: consumer.watermarks([log(0)], 1),
        lambda: consumer.commit({log(0): 1}, 1),
        lambda: consumer.committed([log(0)], 1),
    ):
        with pytest.raises(Closed):
            call()
    assert consumer.assignment() == ()


def test_a_closed_reader_leaves_nothing_behind_in_the_cluster(world):
    consumer, ear = world.consumer(group=None)
    other, _ = world.consumer(group="g")
    world.settle(other)
    consumer.close(1)
    other.close(1)
    world.producer.close(1)
    assert not world.driver._clients
    assert not world.cluster.waiters
    assert not world.cluster.members
    assert all(not log.watchers for log in world.cluster.topics.topic("readings").logs)
    assert ear.heard == [("assign", None, [0, 1, 2, 3])]


def test_a_driver_closes_what_it_made_and_makes_no_more(world):
    consumer, ear = world.consumer(group="g")
    consumer.poll(1, 0)
    world.driver.close(1)
    world.driver.close(1)
    assert ear.heard[-1] == ("revoke", 1, [0, 1, 2, 3])
    with pytest.raises(Closed):
        consumer.poll(1, 0)
    with pytest.raises(Closed):
        world.send()
    for late in (
        world.driver.admin,
        lambda: world.driver.consumer(world.options()),
        lambda: world.driver.producer(ProducerOptions()),
    ):
        with pytest.raises(Closed):
            late()


def test_fetch_faults_reach_the_poll_and_take_nothing(world):
    fill(world, 0, 3)
    consumer, _ = world.consumer(group=None)
    rejected = world.cluster.faults.reject("fetch", TimedOut)
    with pytest.raises(TimedOut):
        consumer.poll(10, 0)
    assert rejected.hits == 1
    world.cluster.faults.cut()
    with pytest.raises(Unreachable):
        consumer.poll(10, 0)
    with pytest.raises(Unreachable):
        world.consumer(group=None)
    world.cluster.faults.heal()
    assert values(consumer.poll(10, 0)) == [b"0", b"1", b"2"]


def test_admin_verbs_name_what_is_wrong(world, log):
    with pytest.raises(TopicExists, match="'readings'"):
        world.admin.create_topics([TopicSpec("first"), TopicSpec("readings"), TopicSpec("third")], 1)
    assert world.admin.list_topics(1) == ["first", "readings"]
    for spec in (
        TopicSpec("", 1),
        TopicSpec("no spaces"),
        TopicSpec(".."),
        TopicSpec("x" * 250),
        TopicSpec("none", 0),
        TopicSpec("none", retention_ms=-5),
        TopicSpec("none", replication=0),
    ):
        with pytest.raises(ConfigurationError):
            world.admin.create_topics([spec], 1)
    world.admin.create_topics([TopicSpec("copied", replication=1), TopicSpec("empty", retention_ms=0)], 1)
    with pytest.raises(Unsupported, match="compacted"):
        world.admin.create_topics([TopicSpec("none", is_compacted=True)], 1)
    with pytest.raises(UnknownTopic, match="'none'"):
        world.admin.describe_topics(["readings", "none"], 1)
    with pytest.raises(UnknownTopic, match="'none'"):
        world.admin.delete_topics(["none"], 1)
    with pytest.raises(UnknownTopic):
        world.admin.delete_records({log(7): 1}, 1)
    with pytest.raises(OffsetOutOfRange):
        world.admin.delete_records({log(0): 1}, 1)
    [described] = world.admin.describe_topics(["readings"], 1)
    assert (described.name, described.partitions, described.retention_ms) == ("readings", 4, None)
