"""Runs that are acknowledged as they came, beside such that are not: the books must agree."""

import pytest
from msgspec.structs import replace

from streamproof.core.inflight import InFlight
from streamproof.records import RawRecord, Record, TopicPartition

LOG = TopicPartition("t", 0)
OTHER = TopicPartition("t", 1)
FOREIGN = TopicPartition("u", 0)


def run(first: int, last: int, log: TopicPartition = LOG, key: bytes | None = None) -> list[RawRecord]:
    """Records from one offset up to another, both included."""
    return [Record(*log, offset, key, b"value") for offset in range(first, last + 1)]


@pytest.fixture
def in_flight() -> InFlight:
    ledger = InFlight("key")
    ledger.open([LOG, OTHER, FOREIGN])
    return ledger


def test_whole_runs_move_progress_in_their_order(in_flight):
    first, second = run(0, 4), run(5, 9)
    in_flight.deliver(first)
    in_flight.deliver(second)
    assert len(in_flight) == 10
    assert in_flight.acknowledge(second) == second
    assert in_flight.progress() == {}
    assert len(in_flight) == 5
    assert in_flight.acknowledge(first) == first
    assert in_flight.progress() == {LOG: 10}
    assert len(in_flight) == 0
    assert in_flight.acknowledge(first + second) == []


def test_a_whole_run_after_a_part_does_not_move_progress_over_the_rest(in_flight):
    first, second, third = run(0, 2), run(3, 5), run(6, 8)
    in_flight.deliver(first)
    in_flight.acknowledge(first[:1])
    in_flight.deliver(second)
    assert in_flight.acknowledge(second) == second
    assert in_flight.progress() == {LOG: 1}
    assert len(in_flight) == 2
    in_flight.deliver(third)
    assert in_flight.acknowledge(first[1:]) == first[1:]
    assert in_flight.progress() == {LOG: 6}
    assert in_flight.acknowledge(third) == third
    assert in_flight.progress() == {LOG: 9}


def test_a_part_of_a_run_then_the_run_as_it_came(in_flight):
    records = run(0, 3)
    in_flight.deliver(records)
    assert in_flight.acknowledge(records[1:2]) == records[1:2]
    assert in_flight.acknowledge(records) == [records[0], *records[2:]]
    assert in_flight.progress() == {LOG: 4}


def test_a_run_that_came_while_a_lane_is_held_can_be_acknowledged_as_it_came(in_flight):
    first, second = run(0, 0, key=b"a"), run(1, 2, key=b"a")
    in_flight.deliver(first)
    in_flight.give_back(first[0], 10.0)
    assert list(in_flight.deliver(second)) == []
    assert in_flight.acknowledge(second) == second
    assert in_flight.parked(LOG) == 1
    assert in_flight.first_unseen(LOG) is None
    assert in_flight.progress() == {}
    (again,) = in_flight.due(10.0, 9)
    assert (again.offset, again.attempt) == (0, 2)
    assert in_flight.acknowledge([again]) == [again]
    assert in_flight.progress() == {LOG: 3}
    assert in_flight.due(10.0, 9) == []


def test_giving_back_takes_hold_of_the_whole_runs_behind(in_flight):
    first, second = run(0, 1, key=b"a"), run(2, 3, key=b"a")
    in_flight.deliver(first)
    in_flight.deliver(second)
    in_flight.give_back(first[1], 1.0)
    assert in_flight.parked(LOG) == 3
    assert [record.offset for record in in_flight.due(1.0, 9)] == [1, 2, 3]


def test_what_was_put_back_is_not_part_of_a_whole_run(in_flight):
    records = run(0, 3)
    in_flight.deliver(records)
    in_flight.put_back(records[2:])
    assert in_flight.acknowledge(records) == records
    assert in_flight.due(0.0, 9) == []
    assert in_flight.parked(LOG) == 0
    assert in_flight.progress() == {LOG: 4}


def test_decoded_records_are_the_same_run(in_flight):
    records = run(0, 3)
    in_flight.deliver(records)
    decoded = [replace(record, value="decoded") for record in records]
    assert in_flight.acknowledge(decoded) == decoded
    assert in_flight.progress() == {LOG: 4}


def test_records_without_offsets_are_known_by_their_tokens(in_flight):
    records = [replace(record, offset=None, token=100 + index) for index, record in enumerate(run(0, 3))]
    others = [replace(record, token=record.token + 10) for record in records]
    in_flight.deliver(records)
    assert in_flight.acknowledge(others) == []
    assert in_flight.acknowledge(records) == records
    assert len(in_flight) == 0
    assert in_flight.progress() == {}


def test_the_list_that_was_handed_out_is_the_applications_to_change(in_flight):
    records = run(0, 3)
    handed = in_flight.deliver(records)
    first = list(handed)
    assert isinstance(handed, list)
    handed.clear()
    records.clear()
    assert len(in_flight) == 4
    assert in_flight.acknowledge(first) == first
    assert in_flight.progress() == {LOG: 4}


def test_a_poll_of_several_logs_is_acknowledged_log_by_log(in_flight):
    poll = run(0, 1) + run(7, 8, OTHER) + run(2, 2) + run(0, 0, FOREIGN)
    assert list(in_flight.deliver(poll)) == poll
    assert in_flight.acknowledge(poll) == poll
    assert in_flight.progress() == {LOG: 3, OTHER: 9, FOREIGN: 1}


def test_as_many_records_of_other_logs_are_not_the_last_poll(in_flight):
    in_flight.deliver(run(0, 2, OTHER))
    in_flight.deliver(run(0, 2))
    assert in_flight.acknowledge(run(0, 2, OTHER)) == run(0, 2, OTHER)
    assert in_flight.progress() == {OTHER: 3}


def test_a_seek_and_a_loss_forget_whole_runs(in_flight):
    in_flight.deliver(run(0, 2) + run(0, 2, OTHER))
    in_flight.rewind([LOG])
    in_flight.drop([OTHER])
    assert len(in_flight) == 0
    assert in_flight.acknowledge(run(0, 2)) == []
