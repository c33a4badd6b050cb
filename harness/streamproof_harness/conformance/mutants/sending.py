"""Producers that change, lose, double, swap, or tell what is not true."""

import zlib
from collections.abc import Callable, Sequence
from typing import Any

from streamproof import Deliveries, Delivery, Receipt, SerializationError
from streamproof_harness.conformance.mutants.mutant import Mutant, Sending, Through, settled


def changing(name: str, field: str, change: Callable[[Any], Any], *caught_by: str) -> type[Mutant]:
    """A mutant that changes one field of every record that is sent."""

    class Producer(Sending):
        def one(self, topic: str, record: Any) -> Any:
            return self.passed(topic, record, **{field: change(getattr(record, field))})

    return type(name, (Mutant,), {"Producer": Producer, "caught_by": caught_by})


CHANGING = (
    changing(
        "ChangesLineEnds",
        "value",
        lambda value: value and value.replace(b"\r\n", b"\n"),
        "test_values_come_back_unchanged",
    ),
    changing(
        "TruncatesLarge",
        "value",
        lambda value: value and value[:65_536],
        "test_a_megabyte_comes_back",
    ),
    changing(
        "NoneBecomesEmpty",
        "value",
        lambda value: value or b"",
        "test_no_value_is_not_an_empty_value",
        "test_formats_come_back",
    ),
    changing("EmptyKeyBecomesNone", "key", lambda key: key or None, "test_keys_come_back_unchanged"),
    changing(
        "LosesKeys",
        "key",
        lambda key: None,
        "test_send_many_takes_pairs_and_plain_values",
        "test_records_of_a_key_come_in_the_order_they_were_sent",
    ),
    changing(
        "MergesHeaders",
        "headers",
        lambda headers: tuple(dict(headers).items()),
        "test_headers_come_back_in_their_order",
    ),
    changing(
        "RoundsTimestamps",
        "timestamp_ms",
        lambda ms: None if ms is None else ms // 1000 * 1000,
        "test_timestamps_come_back",
    ),
    changing(
        "HasNoClock",
        "timestamp_ms",
        lambda ms: ms or 1,
        "test_without_a_timestamp_it_is_the_time_of_sending",
    ),
    changing(
        "IgnoresPartition",
        "partition",
        lambda partition: None,
        "test_an_explicit_partition_is_used_whatever_the_key",
        "test_an_unknown_partition_fails_for_certain",
    ),
)


class AnotherPartitioner(Mutant):
    caught_by = ("test_keys_choose_partitions_as_in_kafka",)

    class Producer(Sending):
        def one(self, topic: str, record: Any) -> Any:
            if record.key is None or record.partition is not None:
                return self.passed(topic, record)
            return self.passed(topic, record, partition=zlib.crc32(record.key) % 7)


class DropsOne(Mutant):
    caught_by = (
        "test_records_without_a_key_go_to_any_partition",
        "test_a_small_buffer_slows_and_loses_nothing",
        "test_a_log_has_no_gaps_in_small_polls",
        "test_a_consumer_moves_between_threads",
        "test_the_lag_is_what_is_still_to_come",
    )

    class Producer(Sending):
        def one(self, topic: str, record: Any) -> Any:
            return settled(Receipt(topic, 0, 7, 0)) if record.value == b"7" else self.passed(topic, record)


class DoublesEach(Mutant):
    caught_by = (
        "test_a_value_that_cannot_be_written_is_not_sent",
        "test_two_groups_get_everything_each",
        "test_members_share_the_work",
        "test_a_group_reads_several_topics",
    )

    class Producer(Sending):
        def one(self, topic: str, record: Any) -> Any:
            self.passed(topic, record)
            return self.passed(topic, record)


class SwapsTwo(Mutant):
    caught_by = (
        "test_records_of_a_key_come_in_the_order_they_were_sent",
        "test_each_producer_keeps_its_order_within_a_partition",
        "test_send_many_keeps_the_order_and_everything_of_a_record",
        "test_threads_share_a_producer",
    )

    class Producer(Sending):
        kept: tuple[Any, ...] = ()

        def one(self, topic: str, record: Any) -> Any:
            if record.value == b"5":
                self.kept = (topic, record)
                return settled(Receipt(topic, record.partition or 0, 5, 0))
            delivery = self.passed(topic, record)
            if record.value == b"6":
                self.passed(*self.kept)
            return delivery


class BatchesOvertake(Mutant):
    caught_by = ("test_single_sends_and_batches_share_one_order",)

    class Producer(Sending):
        kept: tuple[Any, ...] = ()

        def one(self, topic: str, record: Any) -> Any:
            self.kept = (*self.kept, (topic, record))
            return settled(Receipt(topic, 0, 0, 0))

        def send_many(self, topic: str, records: Sequence[Any], timeout_s: float) -> Any:
            sent = self.inner.send_many(topic, records, timeout_s)
            kept, self.kept = self.kept, ()
            for topic_and_record in kept:
                self.passed(*topic_and_record)
            return sent


class NeverSettles(Mutant):
    caught_by = (
        "test_flush_settles_everything_sent_before",
        "test_close_settles_everything",
        "test_a_delivery_is_waited_for_by_several_threads",
        "test_send_many_of_nothing_is_settled",
        "test_receipts_tell_the_topic_and_the_partition",
    )

    class Producer(Sending):
        def one(self, topic: str, record: Any) -> Any:
            self.passed(topic, record)
            return Delivery()

        def send_many(self, topic: str, records: Sequence[Any], timeout_s: float) -> Any:
            return Deliveries([self.one(topic, record) for record in records] or [Delivery()])


class CallsBackTwice(Mutant):
    caught_by = ("test_callbacks_run_once_for_each_delivery",)

    class Producer(Sending):
        def one(self, topic: str, record: Any) -> Any:
            delivery = _TwiceTold()
            delivery.settle(self.passed(topic, record).result())
            return delivery


class _TwiceTold(Delivery):
    __slots__ = ()

    def add_done_callback(self, callback: Callable[[Delivery], object]) -> None:
        super().add_done_callback(callback)
        super().add_done_callback(callback)


class TakesLeaderForNobody(Mutant):
    caught_by = ("test_weaker_acknowledgement_is_honoured_or_refused",)

    class Producer(Sending):
        def one(self, topic: str, record: Any) -> Any:
            changed = {} if self.options.acks == "all" else {"partition": 99}
            return self.passed(topic, record, **changed)


class TakesAnyTopic(Mutant):
    caught_by = ("test_an_unknown_topic_fails_for_certain", "test_a_topic_nobody_made_is_unknown")

    def url(self, url: str) -> str:
        return url + "?auto_create=on"


class WrapsPartitions(Mutant):
    caught_by = ("test_an_unknown_partition_fails_for_certain",)

    class Producer(Sending):
        def one(self, topic: str, record: Any) -> Any:
            return self.passed(topic, record, partition=(record.partition or 0) % 2)


class TakesAnySize(Mutant):
    caught_by = ("test_an_oversized_record_fails_for_certain_and_alone",)

    def url(self, url: str) -> str:
        return url + "?max_message_bytes=100000000"


class TakesAnyType(Mutant):
    caught_by = ("test_arguments_of_a_wrong_type_are_refused_and_not_sent",)

    class HeldProducer(Through):
        def send(self, topic: Any, value: Any, **options: Any) -> Any:
            return self.inner.send(topic, str(value).encode() if value == "text" else value, **options)


class WritesWhatItCannot(Mutant):
    caught_by = ("test_a_value_that_cannot_be_written_is_not_sent",)

    class HeldProducer(Through):
        def send(self, topic: Any, value: Any, **options: Any) -> Any:
            try:
                return self.inner.send(topic, value, **options)
            except SerializationError:
                return self.inner.send(topic, None, **options)


class ReceiptsWithoutOffsets(Mutant):
    caught_by = ("test_receipts_tell_the_topic_and_the_partition", "test_records_know_their_places")

    class Producer(Sending):
        def one(self, topic: str, record: Any) -> Any:
            return settled(self.passed(topic, record).result()._replace(offset=None))
