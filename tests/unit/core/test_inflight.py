"""What is in flight, told case by case. ``test_inflight_model.py`` looks for what these forget."""

from dataclasses import dataclass

import pytest

from streamproof.core.inflight import InFlight
from streamproof.errors import NotAssigned, UsageError
from streamproof.records import RawRecord, Record, TopicPartition

LOG = TopicPartition("readings", 0)
OTHER = TopicPartition("readings", 1)


def record(offset: int, key: bytes | None = None, partition: int = 0) -> RawRecord:
    return Record("readings", partition, offset, key, b"value-%d" % offset)


def records(*offsets: int, key: bytes | None = None, partition: int = 0) -> list[RawRecord]:
    return [record(offset, key, partition) for offset in offsets]


def offsets(found: object) -> list[int | None]:
    return [each.offset for each in found]  # type: ignore[attr-defined]


@pytest.fixture
def in_flight() -> InFlight:
    """Lanes are whole logs."""
    ledger = InFlight("partition")
    ledger.open([LOG, OTHER])
    return ledger


@pytest.fixture
def by_key() -> InFlight:
    """Lanes are keys."""
    ledger = InFlight("key")
    ledger.open([LOG, OTHER])
    return ledger


class TestProgress:
    def test_there_is_none_before_the_first_ack(self, in_flight: InFlight) -> None:
        in_flight.deliver(records(0, 1))
        assert in_flight.progress() == {}

    def test_it_is_the_offset_after_the_acknowledged_ones(self, in_flight: InFlight) -> None:
        in_flight.acknowledge(in_flight.deliver(records(0, 1, 2)))
        assert in_flight.progress() == {LOG: 3}

    def test_it_waits_for_the_lowest(self, in_flight: InFlight) -> None:
        first, *rest = in_flight.deliver(records(0, 1, 2))
        in_flight.acknowledge(rest)
        assert in_flight.progress() == {}
        in_flight.acknowledge([first])
        assert in_flight.progress() == {LOG: 3}

    def test_gaps_in_the_offsets_do_not_hold_it(self, in_flight: InFlight) -> None:
        in_flight.acknowledge(in_flight.deliver(records(3, 7, 40)))
        assert in_flight.progress() == {LOG: 41}

    def test_each_log_has_its_own(self, in_flight: InFlight) -> None:
        in_flight.deliver(records(0, 1) + records(5, 6, partition=1))
        in_flight.acknowledge(records(0) + records(5, 6, partition=1))
        assert in_flight.progress() == {LOG: 1, OTHER: 7}
        assert in_flight.progress([OTHER]) == {OTHER: 7}

    def test_what_is_stored_is_no_progress_any_more(self, in_flight: InFlight) -> None:
        in_flight.deliver(records(0, 1))
        in_flight.acknowledge(records(0))
        in_flight.mark_committed({LOG: 1})
        assert in_flight.progress() == {}
        in_flight.acknowledge(records(1))
        assert in_flight.progress() == {LOG: 2}

    def test_a_record_given_back_holds_it(self, in_flight: InFlight) -> None:
        in_flight.deliver(records(0, 1))
        in_flight.give_back(record(0), 5.0)
        in_flight.acknowledge(records(1))
        assert in_flight.progress() == {}
        in_flight.acknowledge(records(0))
        assert in_flight.progress() == {LOG: 2}

    def test_it_survives_a_seek(self, in_flight: InFlight) -> None:
        in_flight.acknowledge(in_flight.deliver(records(0, 1, 2)))
        in_flight.rewind([LOG])
        assert in_flight.progress() == {LOG: 3}

    def test_it_does_not_go_back_after_a_seek_back(self, in_flight: InFlight) -> None:
        in_flight.acknowledge(in_flight.deliver(records(0, 1, 2)))
        in_flight.rewind([LOG])
        in_flight.acknowledge(in_flight.deliver(records(0)))
        assert in_flight.progress() == {LOG: 3}

    def test_what_a_former_member_stored_is_a_floor_after_a_seek_back(self, in_flight: InFlight) -> None:
        in_flight.rewind([LOG], {LOG: 10, OTHER: None})
        in_flight.acknowledge(in_flight.deliver(records(0, 1)))
        assert in_flight.progress() == {}
        in_flight.acknowledge(in_flight.deliver(records(*range(2, 11))))
        assert in_flight.progress() == {LOG: 11}

    def test_going_back_on_purpose_is_not_undone(self, in_flight: InFlight) -> None:
        in_flight.acknowledge(in_flight.deliver(records(0, 1, 2, 3)))
        in_flight.overrule({LOG: 1})
        assert in_flight.progress() == {}
        in_flight.acknowledge(in_flight.deliver(records(4)))
        assert in_flight.progress() == {LOG: 5}

    def test_records_without_offsets_make_none(self) -> None:
        queues = InFlight("partition")
        queues.open([LOG])
        first: RawRecord = Record("readings", 0, None, None, b"1", token=1)
        second: RawRecord = Record("readings", 0, None, None, b"2", token=2)
        queues.deliver([first, second])
        assert queues.acknowledge([second]) == [second]
        assert len(queues) == 1
        assert queues.acknowledge([first]) == [first]
        assert queues.progress() == {}
        assert len(queues) == 0


class TestAcknowledging:
    def test_it_tells_which_were_new(self, in_flight: InFlight) -> None:
        in_flight.deliver(records(0, 1))
        assert offsets(in_flight.acknowledge(records(1))) == [1]
        assert offsets(in_flight.acknowledge(records(0, 1))) == [0]
        assert in_flight.acknowledge(records(0, 1)) == []

    def test_a_log_that_went_away_is_refused_and_the_others_are_taken(self, in_flight: InFlight) -> None:
        in_flight.deliver(records(0) + records(0, partition=1))
        in_flight.drop([LOG])
        with pytest.raises(NotAssigned, match=r"readings\[0\]"):
            in_flight.acknowledge(records(0) + records(0, partition=1))
        assert in_flight.progress() == {OTHER: 1}

    def test_a_log_that_came_again_does_not_know_the_old_records(self, in_flight: InFlight) -> None:
        in_flight.deliver(records(0))
        in_flight.drop([LOG])
        in_flight.open([LOG])
        assert in_flight.acknowledge(records(0)) == []
        assert in_flight.progress() == {}

    def test_what_is_done_takes_no_memory(self, in_flight: InFlight) -> None:
        in_flight.deliver(records(0, 1, 2))
        in_flight.give_back(record(0), 0.0)
        in_flight.due(0.0, 1)
        in_flight.acknowledge(records(2, 1, 0))
        ledger = in_flight._ledgers[LOG]
        kept = (ledger.attempts, ledger.delivered, ledger.held, ledger.lanes, ledger.open, ledger.unseen)
        assert not any(kept)

    @pytest.mark.parametrize("given", [["text"], "text", [None], 7, {"a": 1}, [record(0), "text"]])
    def test_what_is_no_record_is_refused(self, in_flight: InFlight, given: object) -> None:
        with pytest.raises(UsageError, match="poll"):
            in_flight.acknowledge(given)  # type: ignore[arg-type]

    def test_records_of_logs_that_are_not_held_are_dropped(self, in_flight: InFlight) -> None:
        in_flight.drop([OTHER])
        assert offsets(in_flight.deliver(records(0, partition=1) + records(4))) == [4]
        assert len(in_flight) == 1


class TestGivingBack:
    def test_the_record_comes_again_when_it_is_due(self, in_flight: InFlight) -> None:
        in_flight.deliver(records(0))
        in_flight.give_back(record(0), 5.0)
        assert in_flight.due(4.9, 10) == []
        assert in_flight.next_due_s() == 5.0
        [again] = in_flight.due(5.0, 10)
        assert (again.offset, again.attempt, again.is_redelivered) == (0, 2, True)
        assert in_flight.next_due_s() is None

    def test_those_behind_it_come_again_after_it(self, in_flight: InFlight) -> None:
        in_flight.deliver(records(0, 1, 2))
        in_flight.acknowledge(records(0))
        in_flight.give_back(record(1), 0.0)
        again = in_flight.due(0.0, 10)
        assert offsets(again) == [1, 2]
        assert [each.attempt for each in again] == [2, 1]
        assert [each.is_redelivered for each in again] == [True, True]

    def test_those_handled_meanwhile_do_not(self, in_flight: InFlight) -> None:
        in_flight.deliver(records(0, 1, 2))
        in_flight.give_back(record(0), 1.0)
        in_flight.acknowledge(records(1))
        assert offsets(in_flight.due(1.0, 10)) == [0, 2]

    def test_new_records_of_the_lane_wait_behind_it(self, in_flight: InFlight) -> None:
        in_flight.deliver(records(0))
        in_flight.give_back(record(0), 1.0)
        assert in_flight.deliver(records(1, 2)) == []
        assert in_flight.parked(LOG) == 3
        again = in_flight.due(1.0, 10)
        assert offsets(again) == [0, 1, 2]
        assert [each.is_redelivered for each in again] == [True, False, False]
        assert in_flight.parked(LOG) == 0

    def test_other_logs_go_on(self, in_flight: InFlight) -> None:
        in_flight.deliver(records(0))
        in_flight.give_back(record(0), 1.0)
        assert offsets(in_flight.deliver(records(0, 1, partition=1))) == [0, 1]

    def test_other_keys_go_on(self, by_key: InFlight) -> None:
        by_key.deliver([record(0, b"a"), record(1, b"b"), record(2, b"a")])
        by_key.give_back(record(0, b"a"), 1.0)
        assert offsets(by_key.deliver([record(3, b"b"), record(4, b"a"), record(5, None)])) == [3, 5]
        assert offsets(by_key.due(1.0, 10)) == [0, 2, 4]

    def test_the_lane_is_that_of_the_bytes_also_for_a_decoded_key(self, by_key: InFlight) -> None:
        @dataclass(frozen=True)
        class Device:
            name: str

        by_key.deliver([record(0, b'{"name":"a"}'), record(1, b'{"name":"a"}')])
        decoded = Record("readings", 0, 0, Device("a"), "value")
        by_key.give_back(decoded, 0.0)
        assert offsets(by_key.due(0.0, 10)) == [0, 1]

    def test_room_is_respected_and_the_rest_stays_in_order(self, in_flight: InFlight) -> None:
        in_flight.deliver(records(0, 1, 2))
        in_flight.give_back(record(0), 0.0)
        assert offsets(in_flight.due(0.0, 2)) == [0, 1]
        assert in_flight.deliver(records(3)) == []
        assert offsets(in_flight.due(0.0, 9)) == [2, 3]

    def test_paused_logs_wait(self, in_flight: InFlight) -> None:
        in_flight.deliver(records(0))
        in_flight.give_back(record(0), 0.0)
        assert in_flight.due(0.0, 10, {LOG}) == []
        assert in_flight.next_due_s({LOG}) is None
        assert offsets(in_flight.due(0.0, 10)) == [0]

    def test_the_longest_delay_holds(self, in_flight: InFlight) -> None:
        in_flight.deliver(records(0, 1))
        in_flight.give_back(record(0), 9.0)
        in_flight.give_back(record(1), 1.0)
        assert in_flight.due(8.9, 10) == []
        assert offsets(in_flight.due(9.0, 10)) == [0, 1]

    def test_attempts_count_nacks_of_the_record_itself(self, in_flight: InFlight) -> None:
        in_flight.deliver(records(0, 1))
        for attempt in (1, 2, 3):
            in_flight.give_back(record(0), 0.0)
            again = in_flight.due(0.0, 10)
            assert [each.attempt for each in again] == [attempt + 1, 1]
        in_flight.acknowledge(records(0))
        in_flight.give_back(record(1), 0.0)
        assert [each.attempt for each in in_flight.due(0.0, 10)] == [2]

    def test_given_back_twice_it_was_still_delivered_once(self, in_flight: InFlight) -> None:
        in_flight.deliver(records(0))
        in_flight.give_back(record(0), 0.0)
        in_flight.give_back(record(0), 0.0)
        [again] = in_flight.due(0.0, 10)
        assert again.attempt == 2

    def test_attempts_of_the_broker_are_counted_on(self, in_flight: InFlight) -> None:
        tried: RawRecord = Record("readings", 0, 0, None, b"", attempt=4, is_redelivered=True)
        in_flight.deliver([tried])
        in_flight.give_back(tried, 0.0)
        [again] = in_flight.due(0.0, 10)
        assert again.attempt == 5

    def test_a_done_or_foreign_record_is_refused(self, in_flight: InFlight) -> None:
        in_flight.acknowledge(in_flight.deliver(records(0)))
        with pytest.raises(NotAssigned):
            in_flight.give_back(record(0), 0.0)
        in_flight.drop([OTHER])
        with pytest.raises(NotAssigned):
            in_flight.give_back(record(0, partition=1), 0.0)

    def test_is_held_tells_until_it_is_handed_out(self, in_flight: InFlight) -> None:
        in_flight.deliver(records(0, 1))
        in_flight.give_back(record(0), 0.0)
        assert in_flight.is_held(record(0))
        assert in_flight.is_held(record(1))
        in_flight.due(0.0, 10)
        assert not in_flight.is_held(record(0))


class TestPuttingBack:
    """Records that were taken and then not handed out after all."""

    def test_they_come_next_as_if_they_were_new(self, in_flight: InFlight) -> None:
        handed = in_flight.deliver(records(0, 1, 2))
        in_flight.put_back(handed[1:])
        assert in_flight.deliver(records(3)) == []
        again = in_flight.due(0.0, 10)
        assert offsets(again) == [1, 2, 3]
        assert not any(each.is_redelivered for each in again)

    def test_they_are_first_in_a_lane_that_is_held_already(self, by_key: InFlight) -> None:
        by_key.deliver([record(0, b"a"), record(1, b"a"), record(2, b"a")])
        by_key.give_back(record(0, b"a"), 0.0)
        taken = by_key.due(0.0, 2)
        by_key.put_back(taken[1:])
        assert offsets(by_key.due(0.0, 10)) == [1, 2]

    def test_redelivered_ones_stay_so(self, in_flight: InFlight) -> None:
        in_flight.deliver(records(0, 1))
        in_flight.give_back(record(0), 0.0)
        in_flight.put_back(in_flight.due(0.0, 10))
        again = in_flight.due(0.0, 10)
        assert [(each.offset, each.attempt, each.is_redelivered) for each in again] == [
            (0, 2, True),
            (1, 1, True),
        ]

    def test_progress_does_not_skip_them(self, in_flight: InFlight) -> None:
        handed = in_flight.deliver(records(0, 1, 2))
        in_flight.put_back(handed[1:])
        in_flight.acknowledge(records(0))
        assert in_flight.progress() == {LOG: 1}

    def test_the_first_unseen_offset_is_theirs(self, in_flight: InFlight) -> None:
        handed = in_flight.deliver(records(0, 1, 2))
        assert in_flight.first_unseen(LOG) is None
        in_flight.put_back(handed[1:])
        assert in_flight.first_unseen(LOG) == 1
        in_flight.due(0.0, 10)
        assert in_flight.first_unseen(LOG) is None


class TestLogsThatComeAndGo:
    def test_a_dropped_log_forgets_everything(self, in_flight: InFlight) -> None:
        in_flight.deliver(records(0, 1) + records(0, partition=1))
        in_flight.give_back(record(1), 0.0)
        in_flight.drop([LOG])
        assert in_flight.due(0.0, 10) == []
        assert in_flight.progress() == {}
        assert len(in_flight) == 1

    def test_a_log_that_stays_keeps_everything(self, in_flight: InFlight) -> None:
        in_flight.deliver(records(0, 1))
        in_flight.acknowledge(records(0))
        in_flight.open([LOG, OTHER])
        assert in_flight.progress() == {LOG: 1}
        assert len(in_flight) == 1

    def test_a_rewound_log_forgets_what_was_in_flight(self, in_flight: InFlight) -> None:
        in_flight.deliver(records(4, 5))
        in_flight.give_back(record(4), 0.0)
        in_flight.rewind([LOG, TopicPartition("never held", 0)])
        assert in_flight.due(0.0, 10) == []
        assert len(in_flight) == 0
        again = in_flight.deliver(records(4, 5))
        assert [(each.offset, each.attempt) for each in again] == [(4, 1), (5, 1)]
