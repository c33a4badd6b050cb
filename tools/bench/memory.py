"""How fast the in-memory driver is, below the Producer and Consumer that applications hold.

Keyed records of 100 bytes into 8 partitions, read by one group member that commits each poll:

    python tools/bench/memory.py [--records 1000000] [--runs 3] [--json]
"""

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from streamproof.drivers.memory_cluster import MemoryCluster
from streamproof.drivers.memory_sync import MemoryConsumer, MemoryProducer
from streamproof.options import ConsumerOptions, ProducerOptions
from streamproof.records import Outgoing, RawOutgoing, TopicPartition, TopicSpec

PARTITIONS = 8
BATCH = 1000
VALUE = bytes(100)


class Quiet:
    """A listener with nothing to say."""

    def on_assign(
        self,
        generation: int | None,
        partitions: Sequence[TopicPartition],
        positions: Mapping[TopicPartition, int],
    ) -> None:
        """Nothing."""

    def on_revoke(self, generation: int | None, partitions: Sequence[TopicPartition]) -> None:
        """Nothing."""

    def on_lost(self, generation: int | None, partitions: Sequence[TopicPartition]) -> None:
        """Nothing."""


def outgoing(count: int, distinct: int) -> list[RawOutgoing]:
    """Records with keys device-0000000 and on, each key object made anew as an application would."""
    return [Outgoing(value=VALUE, key=b"device-%07d" % (number % distinct)) for number in range(count)]


def rate(count: int, work: Callable[[], None]) -> float:
    """Records a second."""
    gc.collect()
    begin = time.perf_counter()
    work()
    return count / (time.perf_counter() - begin)


def send_many(producer: MemoryProducer, records: list[RawOutgoing]) -> None:
    """In batches, looking at the outcome of each."""
    for start in range(0, len(records), BATCH):
        assert not producer.send_many("bench", records[start : start + BATCH], 1).errors


def send(producer: MemoryProducer, records: list[RawOutgoing]) -> None:
    """One by one, looking at the outcome of each."""
    for record in records:
        assert producer.send("bench", record.value, record.key, (), None, None, 1).is_settled


def consume(consumer: MemoryConsumer, count: int) -> None:
    """Poll, read key, value and offset, and commit the next offsets."""
    seen = 0
    read = 0
    while seen < count:
        records = consumer.poll(1000, 5)
        following: dict[TopicPartition, int] = {}
        for record in records:
            assert record.value is not None
            assert record.key is not None
            read += len(record.key) + len(record.value)
        for record in records[:1] + records[-1:]:
            assert record.offset is not None
            following[record.topic_partition] = record.offset + 1
        consumer.commit(following, 5)
        seen += len(records)
    assert seen == count
    assert read == count * 114


def one_run(count: int) -> dict[str, float]:
    """Every figure once, each on a cluster of its own."""
    found: dict[str, float] = {}
    for distinct in (10_000, 1_000_000):
        records = outgoing(count, distinct)
        for name, writing in (("send_many", send_many), ("send", send)):
            driver = MemoryCluster().driver()
            driver.admin().create_topics([TopicSpec("bench", PARTITIONS)], 1)
            producer = driver.producer(ProducerOptions())
            found[f"{name}, {distinct:,} keys"] = rate(count, partial(writing, producer, records))
            consumer = driver.consumer(ConsumerOptions(topics=("bench",), group="bench"))
            consumer.start(Quiet(), 1)
            reading = rate(count, partial(consume, consumer, count))
            found[f"poll(1000) and commit after {name}, {distinct:,} keys"] = reading
            driver.close(1)
    return found


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    runs = [one_run(arguments.records) for _ in range(arguments.runs)]
    medians = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    if arguments.json:
        print(json.dumps(medians))
        return
    for name, value in medians.items():
        print(f"{name:<52} {value:>12,.0f} records/s")


if __name__ == "__main__":
    main()
