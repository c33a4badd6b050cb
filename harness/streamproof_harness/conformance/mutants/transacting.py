"""Transactions that leak, tear, stay open, lose progress, or let in whom they should not."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from streamproof import (
    ConsumerOptions,
    Delivery,
    NotAssigned,
    ProducerOptions,
    Receipt,
    StreamproofError,
    Unsupported,
)
from streamproof_harness.conformance.mutants.mutant import Mutant, Sending, Through, settled

_numbers = itertools.count()


class SaysItTransacts(Mutant):
    caught_by = ("test_transactions_are_there_or_refused",)

    def sending(self, options: ProducerOptions) -> ProducerOptions:
        if options.transactional_id is not None:
            raise Unsupported("not here")
        return options


class CommitsHalf(Mutant):
    caught_by = (
        "test_a_commit_shows_everything_and_nothing_was_seen_before",
        "test_interleaved_transactions_are_told_apart",
    )

    class Producer(Sending):
        sent = 0

        def one(self, topic: str, record: Any) -> Any:
            self.sent += 1
            if self.options.transactional_id is None or self.sent % 2:
                return self.passed(topic, record)
            return settled(Receipt(topic, 0, 0, 0))


class ForgetsToAbort(Mutant):
    """Both ends are commits."""

    caught_by = (
        "test_an_abort_is_never_seen_by_readers_of_committed_records",
        "test_an_abort_stores_no_progress_and_the_records_come_again",
        "test_readers_of_committed_records_wait_behind_an_open_transaction",
        "test_interleaved_transactions_are_told_apart",
    )

    class Producer(Through):
        def abort_transaction(self, timeout_s: float) -> None:
            self.inner.commit_transaction(timeout_s)


class LeavesItOpen(Mutant):
    """Closing lets go, and the broker may wait for the end until the time for it is over."""

    caught_by = ("test_closing_aborts_what_is_open",)

    class Producer(Through):
        def close(self, timeout_s: float) -> None:
            self.inner.crash()


class ReadsEverything(Mutant):
    caught_by = (
        "test_a_commit_shows_everything_and_nothing_was_seen_before",
        "test_an_abort_is_never_seen_by_readers_of_committed_records",
        "test_readers_of_committed_records_wait_behind_an_open_transaction",
        "test_a_newer_producer_of_the_id_ends_the_transaction_of_the_older",
    )

    def reading(self, options: ConsumerOptions) -> ConsumerOptions:
        return replace(options, isolation="read_uncommitted")


class HidesTheUncommitted(Mutant):
    caught_by = ("test_an_abort_is_never_seen_by_readers_of_committed_records",)

    def reading(self, options: ConsumerOptions) -> ConsumerOptions:
        return replace(options, isolation="read_committed")


class ForgetsItsSends(Mutant):
    caught_by = ("test_the_end_of_a_transaction_settles_its_sends",)

    class Producer(Sending):
        def one(self, topic: str, record: Any) -> Any:
            self.passed(topic, record)
            return Delivery()


class LosesProgress(Mutant):
    caught_by = ("test_progress_is_stored_with_a_commit",)

    class Producer(Through):
        def commit_offsets(self, *arguments: Any) -> None:
            """Nothing."""


class NeverGoesBack(Mutant):
    caught_by = ("test_an_abort_stores_no_progress_and_the_records_come_again",)

    class Consumer(Through):
        def seek(self, *arguments: Any) -> None:
            """Nothing."""


class TakesFormerMembers(Mutant):
    caught_by = ("test_progress_of_a_member_that_lost_its_logs_is_refused",)

    class Producer(Through):
        def commit_offsets(self, *arguments: Any) -> None:
            with suppress(NotAssigned):
                self.inner.commit_offsets(*arguments)

        def commit_transaction(self, timeout_s: float) -> None:
            with suppress(NotAssigned):
                self.inner.commit_transaction(timeout_s)


class KeepsMishapsToItself(Mutant):
    caught_by = ("test_what_the_block_raises_goes_on_as_it_is",)

    class HeldProducer(Through):
        @contextmanager
        def transaction(self, *consumers: Any, **options: Any) -> Iterator[Any]:
            with super().transaction(*consumers, **options) as tx:
                try:
                    yield tx
                except Exception as error:
                    raise RuntimeError("the transaction failed") from error


class CommitsInSpiteOfFailures(Mutant):
    caught_by = ("test_a_send_that_fails_aborts_its_transaction",)

    class Producer(Through):
        def commit_transaction(self, timeout_s: float) -> None:
            try:
                self.inner.commit_transaction(timeout_s)
            except StreamproofError:
                self.inner.abort_transaction(timeout_s)


class OpensOneOfItself(Mutant):
    caught_by = ("test_sends_outside_and_transactions_inside_of_one_are_refused",)

    class HeldProducer(Through):
        def send(self, topic: str, value: Any, **options: Any) -> Any:
            if self.inner.transactional_id is None:
                return self.inner.send(topic, value, **options)
            with self.transaction() as tx:
                return tx.send(topic, value, **options)


class TakesAnyReader(Mutant):
    caught_by = ("test_a_consumer_without_a_group_cannot_take_part",)

    class HeldProducer(Through):
        def transaction(self, *consumers: Any, **options: Any) -> Any:
            members = [one for one in consumers if one.options["group"]]
            return super().transaction(*members, **options)


class ForgetsToFence(Mutant):
    """As if each producer had an id of its own."""

    caught_by = (
        "test_a_newer_producer_of_the_id_fences_the_older",
        "test_a_newer_producer_of_the_id_ends_the_transaction_of_the_older",
    )

    def sending(self, options: ProducerOptions) -> ProducerOptions:
        if options.transactional_id is None:
            return options
        return replace(options, transactional_id=f"{options.transactional_id}-{next(_numbers)}")
