"""Paused logs and kept records."""

from streamproof.drivers.kafka.flow import Flow, KeptRecords
from streamproof.records import Record, TopicPartition

A, B = TopicPartition("t", 0), TopicPartition("t", 1)


def record(log, offset):
    return Record(log.topic, log.partition, offset, None, b"v")


def test_wishes_are_carried_out_as_they_were_wished_last():
    flow = Flow()
    flow.pause([A, B])
    flow.resume([B])
    assert flow.paused == {A}
    assert flow.has_wishes
    assert flow.take_wishes() == ([A], [B])
    assert not flow.has_wishes
    assert flow.take_wishes() == ([], [])


def test_pausing_twice_is_one_wish_and_resuming_what_runs_is_none():
    flow = Flow()
    flow.resume([A])
    assert not flow.has_wishes
    flow.pause([A])
    flow.pause([A])
    assert flow.take_wishes() == ([A], [])
    flow.pause([A])
    assert not flow.has_wishes


def test_logs_that_went_are_not_paused_when_they_come_again():
    flow = Flow()
    flow.pause([A, B])
    flow.forget([A])
    assert flow.paused == {B}
    assert flow.take_wishes() == ([B], [])


def test_kept_records_come_in_their_order_without_those_of_paused_logs():
    kept = KeptRecords()
    kept.keep([record(A, 0), record(B, 0), record(A, 1)])
    kept.keep([record(A, 2)])
    assert [found.offset for found in kept.take(2, frozenset({B}))] == [0, 1]
    assert (kept.first_offset(A), kept.first_offset(B)) == (2, 0)
    assert [found.topic_partition for found in kept.take(9, frozenset())] == [B, A]
    assert not kept
    assert kept.first_offset(A) is None


def test_kept_records_of_logs_that_went_are_dropped():
    kept = KeptRecords()
    kept.keep([record(A, 0), record(B, 0)])
    kept.drop([A])
    assert [found.topic_partition for found in kept.take(9, frozenset())] == [B]
