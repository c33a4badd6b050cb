"""Reading streams without a group: places, times, ends, what was trimmed."""

import time

import pytest

import streamproof
from streamproof.records import AtTime
from tests.real.drivers.test_rabbitmq.conftest import read_all, wait_until


def test_offsets_begin_at_zero_and_have_no_gaps(bus):
    bus.admin().create_topic("t")
    bus.producer().send_many("t", [b"%d" % number for number in range(10)]).result(10)
    with bus.consumer("t", start="latest") as late, bus.consumer("t") as reader:
        (log,) = reader.assignment()
        assert [record.offset for record in read_all(reader, 10)] == list(range(10))
        assert reader.position(log) == late.position(log) == 10
        assert reader.lag() == {log: 0}


def test_groups_that_are_set_up_leave_marks_that_nobody_reads(bus):
    bus.admin().create_topic("t")
    producer = bus.producer()
    with bus.consumer("t") as reader:
        (log,) = reader.assignment()
        for number in range(5):
            producer.send("t", b"%d" % number).result(10)
            bus.consumer("t", group=f"g{number}").close()
        records = read_all(reader, 5)
        assert [record.value for record in records] == [b"%d" % number for number in range(5)]
        offsets = [record.offset for record in records]
        assert offsets == sorted(set(offsets))
        wait_until(lambda: reader.poll(1, 0.05) == [] and reader.lag() == {log: 0}, "the end is reached")


def test_the_end_is_the_end_however_much_is_written_at_once(bus):
    bus.admin().create_topic("t")
    producer = bus.producer()
    sent = 0
    with bus.consumer("t", start="latest") as reader:
        (log,) = reader.assignment()
        for size in (1, 2, 700, 3, 5000, 1):
            producer.send_many("t", [b"v"] * size).result(30)
            sent += size
            assert reader.lag() == {log: sent}


def test_a_time_is_found_in_any_log(bus):
    bus.admin().create_topic("t")
    producer = bus.producer()
    with bus.consumer("t") as reader:
        reader.seek(AtTime(0))
        assert reader.poll(10, 0.2) == []
        base_ms = 1_700_000_000_000
        for number in range(50):
            producer.send("t", b"%d" % number, timestamp_ms=base_ms + number * 1000)
        producer.flush()
        for moment, expected in ((base_ms, 0), (base_ms + 20_500, 21), (base_ms + 49_000, 49), (0, 0)):
            reader.seek(AtTime(moment))
            assert read_all(reader, 50 - expected)[0].offset == expected
        now_ms = int(time.time() * 1000)
        producer.send("t", b"now").result(10)
        reader.seek(AtTime(now_ms - 1000))
        assert [record.value for record in read_all(reader, 1)] == [b"now"]
        reader.seek(AtTime(now_ms + 86_400_000))
        assert reader.poll(10, 0.2) == []
        (log,) = reader.assignment()
        assert reader.position(log) == 51


def test_offsets_beyond_the_ends_are_out_of_range(bus):
    bus.admin().create_topic("t")
    bus.producer().send_many("t", [b"0", b"1"]).result(10)
    with bus.consumer("t") as reader:
        for offset in (3, 1000):
            with pytest.raises(streamproof.OffsetOutOfRange, match="seek to"):
                reader.seek(offset)
        reader.seek(2)
        assert reader.poll(1, 0.2) == []
        reader.seek(1)
        assert [record.value for record in read_all(reader, 1)] == [b"1"]


def test_a_log_with_a_limit_forgets_and_says_so(bus):
    bus.admin().create_topic("t", retention_bytes=200_000)
    assert bus.admin().describe_topic("t").retention_bytes == 200_000
    producer = bus.producer()
    with bus.consumer("t", prefetch=1) as reader:
        (log,) = reader.assignment()
        producer.send_many("t", [bytes(1000)] * 20).result(10)
        assert reader.poll(1, 10)[0].offset == 0
        reader.pause(log)

        def is_trimmed() -> bool:
            producer.send_many("t", [bytes(1000)] * 200).result(20)
            return bus_begin(reader, log) > 100

        wait_until(is_trimmed, "the beginning goes")
        begin = bus_begin(reader, log)
        with pytest.raises(streamproof.OffsetOutOfRange) as caught:
            reader.seek(1)
        assert caught.value.log_start is not None
        assert caught.value.log_start >= begin
    with bus.consumer("t") as fresh:
        assert read_all(fresh, 1)[0].offset >= begin


def bus_begin(reader, log):
    driver = reader._driver
    return driver.watermarks([log], 10)[log].begin


def test_a_topic_that_is_deleted_while_it_is_read_is_lost(bus):
    bus.admin().create_topic("t")
    bus.admin().create_topic("u")
    bus.producer().send("u", b"1").result(10)
    with bus.consumer("t", "u") as reader:
        bus.admin().delete_topics("t")
        assert [record.value for record in read_all(reader, 1)] == [b"1"]
        wait_until(lambda: reader.poll(1, 0.05) == [] and len(reader.assignment()) == 1, "it is let go")


def test_new_topics_of_a_pattern_are_read_from_their_beginning(bus):
    with bus.consumer(pattern="p.*", start="latest") as reader:
        assert reader.assignment() == ()
        bus.admin().create_topic("p1", 2)
        bus.producer().send("p1", b"1").result(10)
        assert [record.value for record in read_all(reader, 1)] == [b"1"]
        assert len(reader.assignment()) == 2
