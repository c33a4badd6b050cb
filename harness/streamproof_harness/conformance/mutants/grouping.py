"""Groups that share badly, forget, or commit what was not handled; acks and nacks that do not count."""

import itertools
from dataclasses import replace
from typing import Any

import msgspec

from streamproof import ConsumerOptions, TopicPartition
from streamproof_harness.conformance.mutants.mutant import Mutant, Through

_numbers = itertools.count()


class EverybodyGetsEverything(Mutant):
    caught_by = (
        "test_members_share_the_work",
        "test_a_member_without_a_log_waits_in_vain_until_one_is_free",
        "test_groups_are_listed_and_described",
    )

    def reading(self, options: ConsumerOptions) -> ConsumerOptions:
        return replace(options, group=options.group and f"{options.group}-{next(_numbers)}")


class OneGroupForAll(Mutant):
    caught_by = ("test_two_groups_get_everything_each",)

    def reading(self, options: ConsumerOptions) -> ConsumerOptions:
        return replace(options, group=options.group and "everybody")


class IgnoresCommit(Mutant):
    caught_by = (
        "test_a_group_goes_on_where_it_stopped",
        "test_a_member_that_joins_gets_its_share_and_nothing_is_lost_or_doubled",
        "test_a_member_that_leaves_hands_its_logs_over_and_nothing_is_lost_or_doubled",
        "test_a_group_that_has_progress_ignores_the_start",
        "test_progress_is_stored_when_commit_returns",
        "test_progress_is_stored_while_polling",
        "test_without_an_interval_it_is_stored_on_close",
        "test_acks_come_from_other_threads",
        "test_iterating_acknowledges_what_was_handled",
    )

    class Consumer(Through):
        def commit(self, *arguments: Any) -> None:
            """Nothing."""


class CommitsWhatItPolled(Mutant):
    caught_by = (
        "test_what_was_not_acknowledged_comes_again_to_the_next_member",
        "test_acks_out_of_order_lose_nothing",
        "test_a_second_ack_does_nothing",
        "test_a_record_given_back_survives_its_member",
        "test_nothing_is_stored_before_it_is_acknowledged",
        "test_iterating_acknowledges_what_was_handled",
        "test_closing_the_bus_closes_its_parts_and_keeps_progress",
    )

    class Consumer(Through):
        def poll(self, *bounds: Any) -> Any:
            found = self.inner.poll(*bounds)
            if self.options.group:
                self.inner.commit({record.topic_partition: record.offset + 1 for record in found}, 1.0)
            return found

        def commit(self, *arguments: Any) -> None:
            """Nothing: it is stored already."""


class CommitsOneTooFar(Mutant):
    caught_by = (
        "test_what_was_not_acknowledged_comes_again_to_the_next_member",
        "test_a_second_ack_does_nothing",
        "test_a_group_goes_on_where_it_stopped",
    )

    class Consumer(Through):
        def commit(self, offsets: Any, timeout_s: float) -> None:
            self.inner.commit({log: offset + 1 for log, offset in offsets.items()}, timeout_s)


class NeverCommitsBack(Mutant):
    caught_by = ("test_chosen_offsets_are_stored_also_backwards",)

    class Consumer(Through):
        def commit(self, offsets: Any, timeout_s: float) -> None:
            stored = self.inner.committed(tuple(offsets), timeout_s)
            further = {log: max(offset, stored[log] or 0) for log, offset in offsets.items()}
            self.inner.commit(further, timeout_s)


class ForgetsWhatIsStored(Mutant):
    caught_by = (
        "test_moving_back_does_not_take_stored_progress_back",
        "test_progress_is_stored_when_commit_returns",
    )

    class Consumer(Through):
        def committed(self, partitions: Any, timeout_s: float) -> Any:
            return dict.fromkeys(partitions)


class NeverLeaves(Mutant):
    caught_by = (
        "test_a_member_that_leaves_hands_its_logs_over_and_nothing_is_lost_or_doubled",
        "test_a_member_without_a_log_waits_in_vain_until_one_is_free",
        "test_many_owners_that_leave_it_lose_nothing",
    )

    class Consumer(Through):
        def close(self, timeout_s: float) -> None:
            """Nothing."""


class TellsOfNoRevoke(Mutant):
    caught_by = (
        "test_an_observer_hears_of_every_change",
        "test_an_ack_for_a_log_that_went_away_is_refused",
    )

    class Consumer(Through):
        def start(self, listener: Any, timeout_s: float) -> None:
            self.inner.start(_Deaf(listener, self.mutant), timeout_s)


class _Deaf(Through):
    def on_revoke(self, *arguments: Any) -> None:
        """Nothing."""

    def on_lost(self, *arguments: Any) -> None:
        """Nothing."""


class GenerationsStandStill(Mutant):
    caught_by = ("test_an_observer_hears_of_every_change",)

    class Consumer(Through):
        def start(self, listener: Any, timeout_s: float) -> None:
            self.inner.start(_SameGeneration(listener, self.mutant), timeout_s)


class _SameGeneration(Through):
    def on_assign(self, generation: Any, *arguments: Any) -> None:
        self.inner.on_assign(1, *arguments)


class NackIsAck(Mutant):
    caught_by = (
        "test_a_record_given_back_comes_again_and_those_behind_it_after_it",
        "test_what_the_loop_gave_back_is_not_acknowledged",
        "test_giving_back_waits_for_the_delay",
        "test_thirty_redeliveries_lose_nothing",
    )

    class HeldConsumer(Through):
        def nack(self, record: Any, delay_s: float = 0.0) -> None:
            self.inner.ack(record)


class NackKnowsNoDelay(Mutant):
    caught_by = ("test_giving_back_waits_for_the_delay",)

    class HeldConsumer(Through):
        def nack(self, record: Any, delay_s: float = 0.0) -> None:
            self.inner.nack(record)


class CountsNoAttempts(Mutant):
    caught_by = (
        "test_a_record_given_back_comes_again_and_those_behind_it_after_it",
        "test_thirty_redeliveries_lose_nothing",
        "test_what_the_loop_gave_back_is_not_acknowledged",
    )

    class HeldConsumer(Through):
        def poll(self, *bounds: Any, **more: Any) -> Any:
            return [msgspec.structs.replace(r, attempt=1) for r in self.inner.poll(*bounds, **more)]

        def stream(self) -> Any:
            for record in self.inner.stream():
                yield msgspec.structs.replace(record, attempt=1)


class CountsTheLane(Mutant):
    caught_by = ("test_a_record_given_back_comes_again_and_those_behind_it_after_it",)

    class HeldConsumer(Through):
        def poll(self, *bounds: Any, **more: Any) -> Any:
            found = self.inner.poll(*bounds, **more)
            return [
                msgspec.structs.replace(r, attempt=max(r.attempt, 2) if r.is_redelivered else 1)
                for r in found
            ]


class OneLaneForAll(Mutant):
    caught_by = (
        "test_other_keys_go_on_while_one_waits",
        "test_a_record_given_back_without_end_does_not_starve_the_others",
    )

    def asked(self, options: dict[str, Any]) -> dict[str, Any]:
        return {**options, "order": "partition"}


class IteratesAheadOfTheHandler(Mutant):
    caught_by = ("test_iterating_acknowledges_what_was_handled",)

    class HeldConsumer(Through):
        def stream(self) -> Any:
            for record in self.inner.stream():
                self.inner.ack(record)
                yield record


class StoresOnlyOnClose(Mutant):
    caught_by = ("test_progress_is_stored_while_polling",)

    def asked(self, options: dict[str, Any]) -> dict[str, Any]:
        return {**options, "commit_interval_s": None}


class TellsOfCommitsTwice(Mutant):
    caught_by = ("test_progress_is_stored_when_commit_returns",)

    class HeldConsumer(Through):
        def commit(self, offsets: Any = None, timeout_s: float = 10.0) -> None:
            self.inner.commit(offsets, timeout_s)
            self.inner.commit(offsets or self.inner.committed(), timeout_s)


class GroupsLookDead(Mutant):
    caught_by = ("test_groups_are_listed_and_described",)

    class Admin(Through):
        def describe_groups(self, names: Any, timeout_s: float) -> Any:
            found = self.inner.describe_groups(names, timeout_s)
            return [replace(group, state="dead", members=()) for group in found]


class GroupsAreNotListed(Mutant):
    caught_by = ("test_groups_are_listed_and_described", "test_namespaces_do_not_meet")

    class Admin(Through):
        def list_groups(self, timeout_s: float) -> list[str]:
            return []


class HoldsAnotherLog(Mutant):
    caught_by = ("test_a_reader_holds_every_log_at_once", "test_a_group_reads_several_topics")

    class Consumer(Through):
        def assignment(self) -> tuple[TopicPartition, ...]:
            return tuple(self.inner.assignment()[1:])
