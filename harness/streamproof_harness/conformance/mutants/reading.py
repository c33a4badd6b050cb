"""Consumers that begin elsewhere, skip, repeat, go on where they should stop, or know too little."""

import threading
from collections import Counter
from dataclasses import replace
from typing import Any

import msgspec

from streamproof import AtTime, Closed, ConsumerOptions, Record, SerializationError, Unsupported
from streamproof_harness.conformance.mutants.mutant import Mutant, Through


class ReversesForSome(Mutant):
    caught_by = ("test_two_groups_see_one_order_of_one_partition",)

    class Consumer(Through):
        def poll(self, *bounds: Any) -> Any:
            found = self.inner.poll(*bounds)
            return found[::-1] if str(self.options.group).endswith("3") else found


class TakesNoBound(Mutant):
    caught_by = ("test_a_log_has_no_gaps_in_small_polls",)

    class HeldConsumer(Through):
        def poll(self, max_records: int = 500, timeout_s: float = 1.0) -> Any:
            return self.inner.poll(500, timeout_s)


class InventsRecords(Mutant):
    caught_by = ("test_iterating_ends_when_nothing_comes", "test_a_poll_without_records_ends_empty")

    class Consumer(Through):
        offset = 1_000_000

        def poll(self, *bounds: Any) -> Any:
            found = self.inner.poll(*bounds)
            held = self.inner.assignment()
            if found or not held:
                return found
            self.offset += 1
            return [Record(held[0].topic, held[0].partition, self.offset, None, b"phantom")]


class HidesWhatItCannotRead(Mutant):
    caught_by = ("test_a_record_that_cannot_be_read_is_told_and_the_others_come",)

    class HeldConsumer(Through):
        def poll(self, *bounds: Any, **more: Any) -> Any:
            try:
                return self.inner.poll(*bounds, **more)
            except SerializationError:
                return []


class RefusesReaders(Mutant):
    caught_by = (
        "test_it_needs_a_log",
        "test_a_reader_holds_every_log_at_once",
        "test_a_reader_keeps_no_progress",
    )

    def reading(self, options: ConsumerOptions) -> ConsumerOptions:
        if options.group is None:
            raise Unsupported("this one keeps no log: whatever it says")
        return options


class ReadersShare(Mutant):
    caught_by = ("test_readers_do_not_share", "test_a_reader_holds_every_log_at_once")

    def reading(self, options: ConsumerOptions) -> ConsumerOptions:
        return replace(options, group=options.group or "readers")


class StartsAtTheEnd(Mutant):
    caught_by = ("test_the_earliest_is_the_default",)

    def reading(self, options: ConsumerOptions) -> ConsumerOptions:
        return replace(options, start="latest")


class StartsAtTheBeginning(Mutant):
    caught_by = (
        "test_the_latest_is_what_comes_once_a_log_is_assigned",
        "test_a_time_begins_at_the_first_record_from_then_on",
    )

    def reading(self, options: ConsumerOptions) -> ConsumerOptions:
        return replace(options, start="earliest")


class StartsALittleLate(Mutant):
    caught_by = ("test_a_time_begins_at_the_first_record_from_then_on",)

    def reading(self, options: ConsumerOptions) -> ConsumerOptions:
        is_time = isinstance(options.start, AtTime)
        return replace(options, start=AtTime(options.start.timestamp_ms + 1)) if is_time else options  # type: ignore[union-attr]


class MatchesBeginnings(Mutant):
    caught_by = ("test_a_pattern_matches_whole_names",)

    def reading(self, options: ConsumerOptions) -> ConsumerOptions:
        return replace(options, pattern=options.pattern and options.pattern + ".*")


class LooksForTopicsOnce(Mutant):
    caught_by = ("test_a_pattern_finds_topics_that_come_later",)

    class Consumer(Through):
        known: frozenset[str] | None = None

        def poll(self, *bounds: Any) -> Any:
            found = self.inner.poll(*bounds)
            if self.known is None:
                self.known = frozenset(log.topic for log in self.inner.assignment())
            return [r for r in found if self.options.pattern is None or r.topic in self.known]


class GivesUpAfterTwo(Mutant):
    caught_by = ("test_many_owners_that_leave_it_lose_nothing",)

    def __init__(self) -> None:
        self.deliveries: Counter[tuple[str, int | None]] = Counter()

    class Consumer(Through):
        def poll(self, *bounds: Any) -> Any:
            found = self.inner.poll(*bounds)
            self.mutant.deliveries.update((record.topic, record.offset) for record in found)
            return [r for r in found if self.mutant.deliveries[r.topic, r.offset] <= 2]


class BelongsToOneThread(Mutant):
    caught_by = ("test_a_consumer_moves_between_threads",)

    class HeldConsumer(Through):
        owner: threading.Thread | None = None

        def poll(self, *bounds: Any, **more: Any) -> Any:
            self.owner = self.owner or threading.current_thread()
            return self.inner.poll(*bounds, **more) if self.owner is threading.current_thread() else []


class ClosesInSilence(Mutant):
    caught_by = ("test_close_wakes_a_waiting_poll",)

    class HeldConsumer(Through):
        def poll(self, *bounds: Any, **more: Any) -> Any:
            try:
                return self.inner.poll(*bounds, **more)
            except Closed:
                return []


class IteratesIntoTheClose(Mutant):
    caught_by = ("test_close_ends_an_iteration",)

    class HeldConsumer(Through):
        def stream(self) -> Any:
            yield from self.inner.stream()
            raise Closed("while it iterated")


class IgnoresPause(Mutant):
    caught_by = (
        "test_a_paused_log_gives_nothing_while_the_others_go_on",
        "test_what_is_given_back_waits_while_its_log_is_paused",
    )

    class HeldConsumer(Through):
        def pause(self, *partitions: Any) -> None:
            """Nothing."""


class ResumesOneTooFar(Mutant):
    caught_by = ("test_pause_and_resume_lose_and_skip_nothing",)

    class Consumer(Through):
        def resume(self, partitions: Any) -> None:
            for log in partitions:
                self.inner.seek((log,), self.inner.position(log, 1.0) + 1, 1.0)
            self.inner.resume(partitions)


class PositionIsTheLast(Mutant):
    caught_by = (
        "test_the_position_is_the_next_offset_to_come",
        "test_the_lag_is_what_is_still_to_come",
    )

    class Consumer(Through):
        def position(self, partition: Any, timeout_s: float) -> int:
            return int(self.inner.position(partition, timeout_s)) - 1


class LosesTheTimeOfDay(Mutant):
    caught_by = ("test_timestamps_come_back",)

    class Consumer(Through):
        def poll(self, *bounds: Any) -> Any:
            day_ms = 86_400_000
            return [
                msgspec.structs.replace(record, timestamp_ms=record.timestamp_ms // day_ms * day_ms)
                for record in self.inner.poll(*bounds)
            ]


class OnlyTheFirstTopic(Mutant):
    caught_by = ("test_a_group_reads_several_topics", "test_a_reader_holds_every_log_at_once")

    def reading(self, options: ConsumerOptions) -> ConsumerOptions:
        return replace(options, topics=options.topics[:1])
