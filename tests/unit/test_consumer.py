"""What the consumer does above the seam, on the in-memory backend whose driver is listened to."""

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from streamproof import (
    AsyncBus,
    Bus,
    SerializationError,
    TopicPartition,
    UsageError,
    connect,
)
from streamproof.drivers import memory
from streamproof.settings import resolve
from streamproof.url import parse_address

_numbers = itertools.count()


class Through:
    """Passes everything on and keeps what was called."""

    def __init__(self, inner: Any, **overrides: Any) -> None:
        self.inner, self.calls, self.overrides = inner, list[tuple[str, tuple[Any, ...]]](), overrides
        self.made: list[Through] = []

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self.inner, name)
        if not callable(verb):
            return verb

        def listened(*arguments: Any) -> Any:
            self.calls.append((name, arguments))
            if name in self.overrides:
                return self.overrides[name](self.inner, *arguments)
            return verb(*arguments)

        return listened

    def called(self, name: str) -> list[tuple[Any, ...]]:
        return [arguments for called, arguments in self.calls if called == name]


class ListenedDriver(Through):
    def consumer(self, options: Any) -> Any:
        self.made.append(Through(self.inner.consumer(options), **self.overrides))
        return self.made[-1]


@pytest.fixture
def url() -> Iterator[str]:
    name = f"consumer-{next(_numbers)}"
    yield f"memory://{name}"
    memory.forget(name)


def listened_bus(url: str, **overrides: Any) -> tuple[Bus, ListenedDriver]:
    driver = ListenedDriver(memory.open_driver(parse_address(url), 1.0), **overrides)
    return Bus(driver, resolve(url, {})), driver


def fill(url: str, count: int, partitions: int = 1, key: bytes | None = None) -> None:
    with connect(url) as bus:
        bus.admin().create_topic("topic", partitions)
        producer = bus.producer()
        for number in range(count):
            producer.send("topic", b"%d" % number, key=key, partition=number % partitions)


LOG = TopicPartition("topic", 0)


class Clock:
    """Stands in for the consumer's clock."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("streamproof._sync.consumer.now_s", clock)
    return clock


def test_it_reads_ahead_and_does_not_call_the_driver_for_each_record(url: str, clock: Clock) -> None:
    fill(url, 50)
    bus, driver = listened_bus(url)
    with bus, bus.consumer("topic", group="group") as consumer:
        assert [consumer.poll(1)[0].value for _ in range(50)] == [b"%d" % number for number in range(50)]
        assert len(driver.made[0].called("poll")) <= 3


def test_it_calls_the_driver_often_enough_though_it_has_read_ahead(url: str, clock: Clock) -> None:
    """Else a slow handler would keep rebalances waiting, and be thrown out of its group."""
    fill(url, 50)
    bus, driver = listened_bus(url)
    with bus, bus.consumer("topic", group="group") as consumer:
        consumer.poll(1)
        for _ in range(10):
            before = len(driver.made[0].called("poll"))
            clock.now_s += 1.0
            assert len(consumer.poll(1)) == 1
            assert len(driver.made[0].called("poll")) == before + 1


def test_no_call_of_the_driver_waits_longer_than_a_close_may(url: str, clock: Clock) -> None:
    fill(url, 0)
    bus, driver = listened_bus(url)

    def passes_time(_: Any, max_records: int, timeout_s: float) -> list[Any]:
        clock.now_s += max(timeout_s, 0.001)
        return []

    driver.overrides["poll"] = passes_time
    with bus, bus.consumer("topic", group="group") as consumer:
        assert consumer.poll(timeout_s=3.0) == []
        assert max(timeout_s for _, timeout_s in driver.made[0].called("poll")) <= 0.25


def test_a_pause_ends_with_the_assignment(url: str) -> None:
    """A log that comes again is neither paused nor throttled, as in Kafka."""
    fill(url, 10, partitions=2)
    bus, _ = listened_bus(url)
    with bus:
        first = bus.consumer("topic", group="group")
        first.wait_assigned()
        first.pause()
        second = bus.consumer("topic", group="group")
        for _ in range(50):
            if first.assignment() and second.assignment():
                break
            first.poll(timeout_s=0.01)
            second.poll(timeout_s=0.01)
        gone = second.assignment()[0]
        second.close()
        values: list[bytes] = []
        for _ in range(50):
            values += [record.value for record in first.poll(timeout_s=0.01) if record.partition == gone[1]]
            if len(values) == 5:
                break
        assert sorted(values) == [b"%d" % number for number in range(gone.partition, 10, 2)]


def test_a_nacked_log_is_not_fetched_further_until_it_is_handed_out_again(url: str) -> None:
    fill(url, 3)
    bus, driver = listened_bus(url)
    with bus, bus.consumer("topic", group="group") as consumer:
        records = consumer.poll()
        consumer.nack(records[0])
        assert driver.made[0].called("pause") == [((LOG,),)]
        assert [record.value for record in consumer.poll()] == [b"0", b"1", b"2"]
        consumer.poll(timeout_s=0)
        assert driver.made[0].called("resume") == [((LOG,),)]


def test_resume_does_not_lift_the_hold_of_a_nack(url: str) -> None:
    fill(url, 3)
    bus, driver = listened_bus(url)
    with bus, bus.consumer("topic", group="group") as consumer:
        consumer.nack(consumer.poll()[0], delay_s=3600)
        consumer.pause()
        consumer.resume()
        assert driver.made[0].called("resume") == [([],)]
        assert consumer.poll(timeout_s=0) == []


class TestUndecodable:
    def test_the_rest_of_the_batch_comes_after_it_once(self, url: str) -> None:
        with connect(url) as bus:
            bus.admin().create_topic("topic")
            for value in (b"0", b"{", b"2", b"{", b"4"):
                bus.producer().send("topic", value)
            consumer = bus.consumer("topic", group="group", value="json")
            seen: list[object] = []
            while len(seen) < 5:
                try:
                    seen.extend(record.value for record in consumer.poll(timeout_s=5))
                except SerializationError as error:
                    seen.append(error.record.offset)
                    consumer.ack(error.record)
            assert seen == [0, 1, 2, 3, 4]

    def test_given_back_with_its_lane_it_is_told_again(self, url: str) -> None:
        with connect(url) as bus:
            bus.admin().create_topic("topic")
            for value in (b"0", b"{", b"2"):
                bus.producer().send("topic", value)
            consumer = bus.consumer("topic", group="group", value="json")
            [first] = consumer.poll()
            with pytest.raises(SerializationError):
                consumer.poll()
            assert consumer.position(LOG) == 2
            consumer.nack(first)
            [again] = consumer.poll(timeout_s=5)
            assert (again.value, again.attempt) == (0, 2)
            with pytest.raises(SerializationError) as told:
                consumer.poll(timeout_s=5)
            consumer.ack(again, told.value.record)
            [last] = consumer.poll(timeout_s=5)
            assert (last.value, last.attempt, last.is_redelivered) == (2, 1, False)
            consumer.ack(last)
            consumer.commit()
            assert consumer.committed() == {LOG: 3}

    def test_without_a_group_it_is_passed_over(self, url: str) -> None:
        with connect(url) as bus:
            bus.admin().create_topic("topic")
            for value in (b"0", b"{", b"2"):
                bus.producer().send("topic", value)
            consumer = bus.consumer("topic", value="json")
            assert [record.value for record in consumer.poll()] == [0]
            with pytest.raises(SerializationError, match=r"topic\[0\] at offset 1"):
                consumer.poll()
            assert consumer.position(LOG) == 2
            assert [record.value for record in consumer.poll()] == [2]


def test_wrong_arguments_are_one_error(url: str) -> None:
    fill(url, 1)
    with connect(url) as bus, bus.consumer("topic", group="group") as consumer:
        [record] = consumer.poll()
        for wrong in (None, "text", 7, b"v"):
            with pytest.raises(UsageError):
                consumer.ack(wrong)  # type: ignore[arg-type]
            with pytest.raises(UsageError):
                consumer.nack(wrong)  # type: ignore[arg-type]
        with pytest.raises(UsageError):
            consumer.pause("topic")  # type: ignore[arg-type]
        consumer.ack((record,), [record])
        consumer.pause(("topic", 0))  # type: ignore[arg-type]
        consumer.commit({("topic", 0): 1})  # type: ignore[dict-item]


def test_a_poll_cancelled_while_it_stores_progress_loses_nothing(url: str) -> None:
    fill(url, 0)

    async def main() -> None:
        storing = asyncio.Event()

        async def commit_slowly(inner: Any, *arguments: Any) -> None:
            storing.set()
            await asyncio.sleep(0.01)
            await inner.commit(*arguments)

        class Driver(Through):
            async def consumer(self, options: Any) -> Any:
                return Through(await self.inner.consumer(options), commit=commit_slowly)

        driver = Driver(await memory.open_async_driver(parse_address(url), 1.0))
        async with AsyncBus(driver, resolve(url, {})) as bus:
            producer = await bus.producer()
            consumer = await bus.consumer("topic", group="group", commit_interval_s=1e-6)
            values: list[bytes] = []
            for number in range(6):
                await producer.send("topic", b"%d" % number)
                poll = asyncio.create_task(consumer.poll(1, timeout_s=5.0))
                if number > 0:  # then there is progress to store
                    await asyncio.wait_for(storing.wait(), 10.0)
                    poll.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await poll
                    poll = asyncio.create_task(consumer.poll(1, timeout_s=5.0))
                records = await poll
                values += [record.value for record in records]
                await consumer.ack(records)
                storing.clear()
            assert values == [b"%d" % number for number in range(6)]

    asyncio.run(main())
