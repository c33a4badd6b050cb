"""Transactions and transform as applications hold them, on the in-memory log."""

import asyncio
import threading
from dataclasses import replace

import pytest

import streamproof
from streamproof import Fenced, NotAssigned, Outgoing, TopicPartition, Transform, UsageError
from streamproof._async.bus import AsyncBus
from streamproof.drivers.memory import MemoryCluster
from streamproof.settings import resolve


@pytest.fixture
def bus():
    with streamproof.connect("memory://") as bus:
        bus.admin().create_topic("in", 2)
        bus.admin().create_topic("out", 2)
        yield bus


def numbers(count, start=0):
    return [Outgoing(b"%d" % number, partition=number % 2) for number in range(start, start + count)]


def doubled(record):
    return Outgoing(b"%d" % (2 * int(record.value)), partition=record.partition)


def seen(bus, topic="out", **options):
    with bus.consumer(topic, **options) as reader:
        return sorted(int(record.value) for record in reader.stream(idle_timeout_s=0.2))


def stored(bus, group):
    with bus.consumer("in", group=group) as member:
        member.wait_assigned()
        return sum(offset or 0 for offset in member.committed().values())


def test_each_input_leads_to_its_outputs_and_progress_is_stored_with_them(bus):
    bus.producer().send_many("in", numbers(20)).result()
    with bus.consumer("in", group="g") as consumer, bus.producer(transactional_id="a") as producer:
        assert streamproof.transform(consumer, doubled, producer, to="out", idle_timeout_s=0.3) == 20
    assert seen(bus) == [2 * number for number in range(20)]
    assert stored(bus, "g") == 20


def test_an_exception_of_the_function_aborts_and_the_records_come_again(bus):
    bus.producer().send_many("in", numbers(10)).result()
    failing = [True]

    def fails_once(record):
        if int(record.value) == 7 and failing.pop():
            failing.append(False)
            raise KeyError("seven")
        return doubled(record)

    with bus.consumer("in", group="g") as consumer, bus.producer(transactional_id="a") as producer:
        transform = Transform(consumer, fails_once, producer, to="out")
        with pytest.raises(KeyError, match="seven"):
            transform.run(idle_timeout_s=0.3)
        assert seen(bus) == []
        assert transform.run(idle_timeout_s=0.3) == 10
    assert seen(bus) == [2 * number for number in range(10)]


def test_several_outputs_to_several_topics_keep_their_order_on_many_workers(bus):
    bus.admin().create_topic("other")
    bus.producer().send_many("in", [Outgoing(b"%d" % number, partition=0) for number in range(50)]).result()

    def fan_out(record):
        return [Outgoing(record.value, partition=0), ("other", Outgoing(record.value))]

    with bus.consumer("in", group="g") as consumer, bus.producer(transactional_id="a") as producer:
        streamproof.transform(consumer, fan_out, producer, to="out", workers=4, idle_timeout_s=0.3)
    for topic in ("out", "other"):
        with bus.consumer(topic) as reader:
            values = [int(record.value) for record in reader.stream(idle_timeout_s=0.2)]
            assert values == list(range(50))


@pytest.mark.parametrize(
    ("result", "to", "message"),
    [
        (Outgoing(b"x"), None, "has no topic of its own"),
        (b"x", "out", "returned a bytes"),
        ([Outgoing(b"x"), 5], "out", "returned a int"),
        (("out", b"x"), "out", "returned a "),
        (Outgoing(b"x"), "no/name", "is no topic name"),
    ],
)
def test_a_result_that_is_no_output_is_refused_and_nothing_shows(bus, result, to, message):
    bus.producer().send_many("in", numbers(3)).result()
    with bus.consumer("in", group="g") as consumer, bus.producer(transactional_id="a") as producer:  # noqa: SIM117
        with pytest.raises(UsageError, match=message):
            streamproof.transform(consumer, lambda _: result, producer, to=to)
    assert seen(bus) == []
    assert stored(bus, "g") == 0


def test_what_transform_cannot_work_with_is_refused(bus):
    with bus.producer(transactional_id="a") as producer:
        with bus.consumer("in") as alone, pytest.raises(UsageError, match="group='name'"):
            Transform(alone, doubled, producer, to="out")
        with bus.consumer("in", group="g", isolation="read_uncommitted") as loose:  # noqa: SIM117
            with pytest.raises(UsageError, match="must not read what may still be aborted"):
                Transform(loose, doubled, producer, to="out")
        with bus.consumer("in", group="g") as consumer:
            with bus.producer() as plain, pytest.raises(UsageError, match="transactional_id"):
                Transform(consumer, doubled, plain, to="out")
            with pytest.raises(UsageError, match="workers=0"):
                Transform(consumer, doubled, producer, to="out", workers=0)


def test_a_transaction_used_wrongly_says_so(bus):
    with bus.producer() as plain, pytest.raises(UsageError, match="no transactions"):
        plain.transaction()
    with bus.producer(transactional_id="a") as producer:
        with pytest.raises(UsageError, match="inside of transactions only"):
            producer.send("out", b"x")
        with pytest.raises(UsageError, match="inside of transactions only"):
            producer.send_many("out", [b"x"])
        with producer.transaction() as tx:
            with pytest.raises(UsageError, match="do not nest"):
                producer.transaction().__enter__()
            tx.send("out", b"1")
        with pytest.raises(UsageError, match="is over"):
            tx.send("out", b"2")
        with bus.consumer("in") as alone, pytest.raises(UsageError, match="has no group"):
            producer.transaction(alone).__enter__()
        with pytest.raises(UsageError, match="has no progress to store"):
            producer.transaction("consumer").__enter__()
    assert seen(bus) == [1]


def test_a_consumer_named_at_the_beginning_is_committed_and_stores_nothing_by_itself(bus):
    bus.producer().send_many("in", numbers(10)).result()
    with bus.consumer("in", group="g", commit_interval_s=0.01) as consumer:  # noqa: SIM117
        with bus.producer(transactional_id="a") as producer:
            with pytest.raises(ZeroDivisionError), producer.transaction(consumer):  # noqa: PT012
                assert len(consumer.poll(5)) == 5
                raise ZeroDivisionError
            assert set(consumer.committed().values()) == {None}
            with producer.transaction(consumer) as tx:
                records = []
                while len(records) < 10:
                    records += consumer.poll(10)
                tx.send_many("out", [Outgoing(record.value) for record in records])
            assert consumer.committed() == {TopicPartition("in", 0): 5, TopicPartition("in", 1): 5}
    assert seen(bus) == list(range(10))


def test_what_was_given_back_is_not_part_of_the_transaction(bus):
    bus.producer().send_many("in", [Outgoing(b"%d" % number, partition=0) for number in range(4)]).result()
    with bus.consumer("in", group="g") as consumer, bus.producer(transactional_id="a") as producer:
        records = []
        while len(records) < 4:
            records += consumer.poll()
        consumer.nack(records[2])
        with producer.transaction(consumer) as tx:
            tx.send_many("out", [Outgoing(record.value) for record in records[:2]])
        assert consumer.committed(TopicPartition("in", 0)) == {TopicPartition("in", 0): 2}
        again = []
        while len(again) < 2:
            again += consumer.poll()
        assert [record.value for record in again] == [b"2", b"3"]


def test_the_older_of_two_producers_with_one_id_is_fenced_for_good(bus):
    with bus.producer(transactional_id="a") as old:
        with pytest.raises(Fenced), old.transaction() as tx:  # noqa: PT012
            tx.send("out", b"1")
            with bus.producer(transactional_id="a") as new, new.transaction() as newer:
                newer.send("out", b"2")
        with pytest.raises(Fenced), old.transaction():
            raise AssertionError("a fenced producer began a transaction")
    assert seen(bus) == [2]


class Loose:
    """A driver of a backend that fences no member, as aiokafka's."""

    def __init__(self, driver):
        self._driver = driver
        self.capabilities = replace(driver.capabilities, has_member_fencing=False)

    def __getattr__(self, name):
        return getattr(self._driver, name)


def loose_bus(cluster):
    return AsyncBus(Loose(cluster.async_driver()), resolve("memory://", {}))


def test_where_members_are_not_fenced_each_log_has_a_producer_that_moves_with_it():
    cluster = MemoryCluster("loose")

    async def main():
        async with loose_bus(cluster) as bus:
            admin = await bus.admin()
            await admin.create_topic("in", 2)
            await admin.create_topic("out", 2)
            sender = await bus.producer()
            done = {"one": 0, "two": 0}

            async def work(name, stop):
                consumer = await bus.consumer("in", group="g")
                producer = await bus.producer(transactional_id="app")

                async def counted(record):
                    done[name] += 1
                    return doubled(record)

                loop = streamproof.AsyncTransform(consumer, counted, producer, to="out")
                while not stop.is_set():
                    await loop.run_once(0.05)
                await loop.close()
                await consumer.close()

            stops = asyncio.Event(), asyncio.Event()
            first = asyncio.create_task(work("one", stops[0]))
            await sender.send_many("in", numbers(100))
            async with asyncio.timeout(20):
                while done["one"] < 100:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
            second = asyncio.create_task(work("two", stops[1]))
            start = 100
            while not (done["one"] > 100 and done["two"]):
                await sender.send_many("in", numbers(10, start))
                start += 10
                await asyncio.sleep(0.02)
            stops[0].set()
            await first
            await sender.send_many("in", numbers(10, start))
            start += 10
            reader = await bus.consumer("out")
            got = []
            async with asyncio.timeout(20):
                while len(got) < start:
                    got += [int(record.value) for record in await reader.poll(1000, 0.1)]
            stops[1].set()
            await second
            assert sorted(got) == [2 * number for number in range(start)]

    asyncio.run(main())


def test_a_log_that_was_taken_over_is_read_from_the_progress_that_stands_then():
    """The former owner commits after the new one read the stored progress and before it fenced it."""
    cluster = MemoryCluster("taken")

    async def main():
        async with loose_bus(cluster) as bus:
            admin = await bus.admin()
            await admin.create_topic("in")
            await admin.create_topic("out")
            sender = await bus.producer()
            await (await sender.send_many("in", [b"%d" % number for number in range(10)])).result()
            consumer = await bus.consumer("in", group="g")
            assert len(await consumer.poll(10)) == 10
            # As the former owner, late: these two are done.
            with cluster.lock:
                cluster.groups.commit(
                    "g",
                    next(iter(cluster.groups.find("g").members)),
                    cluster.groups.find("g").epoch,
                    {TopicPartition("in", 0): streamproof.core.offsets.CommittedOffset(2)},
                    0,
                )
            producer = await bus.producer(transactional_id="app")
            loop = streamproof.AsyncTransform(
                consumer, lambda record: Outgoing(record.value), producer, to="out"
            )
            done = 0
            async with asyncio.timeout(20):
                while done < 8:
                    done += await loop.run_once(0.05)
            await loop.close()
            reader = await bus.consumer("out")
            got = []
            async with asyncio.timeout(20):
                while len(got) < 8:
                    got += [int(record.value) for record in await reader.poll(100, 0.1)]
            assert got == list(range(2, 10))

    asyncio.run(main())


def test_a_log_whose_turn_never_came_because_another_failed_is_read_again():
    cluster = MemoryCluster("turns")

    async def main():
        async with loose_bus(cluster) as bus:
            admin = await bus.admin()
            await admin.create_topic("in", 2)
            await admin.create_topic("out")
            sender = await bus.producer()
            for partition in (0, 1):
                batch = [Outgoing(b"%d" % number, partition=partition) for number in range(10)]
                await (await sender.send_many("in", batch)).result()
            failures = []

            def fails_once(record):
                if record.value == b"5" and not failures:
                    failures.append(record.partition)
                    raise ValueError("once")
                return Outgoing(b"%d" % (record.partition * 100 + int(record.value)))

            consumer = await bus.consumer("in", group="g")
            producer = await bus.producer(transactional_id="app")
            loop = streamproof.AsyncTransform(consumer, fails_once, producer, to="out")
            done = 0
            async with asyncio.timeout(20):
                while done < 20:
                    try:
                        done += await loop.run_once(0.05)
                    except ValueError:
                        await sender.send("in", b"10", partition=1 - failures[0])
                while done < 21:
                    done += await loop.run_once(0.05)
            await loop.close()
            reader = await bus.consumer("out")
            got = []
            async with asyncio.timeout(20):
                while len(got) < 21:
                    got += [int(record.value) for record in await reader.poll(100, 0.1)]
            late = 100 * (1 - failures[0]) + 10
            assert sorted(got) == sorted([*range(10), *range(100, 110), late])

    asyncio.run(main())


def test_stop_ends_a_transform_on_another_thread(bus):
    with bus.consumer("in", group="g") as consumer, bus.producer(transactional_id="a") as producer:
        transform = Transform(consumer, doubled, producer, to="out")
        results = []
        thread = threading.Thread(target=lambda: results.append(transform.run()))
        thread.start()
        bus.producer().send_many("in", numbers(4)).result()
        assert len(read_all(bus, 4)) == 4
        transform.stop()
        thread.join(20)
    assert results == [4]


def read_all(bus, count):
    with bus.consumer("out") as reader:
        found = []
        while len(found) < count:
            found += reader.poll(10, 5)
        return found


def test_a_member_that_lost_its_log_commits_nothing(bus):
    bus.producer().send_many("in", numbers(4)).result()
    consumer = bus.consumer("in", group="g", max_poll_interval_s=0.2)
    with bus.producer(transactional_id="a") as producer:
        polled = consumer.poll(1, 5)
        with bus.consumer("in", group="g") as other:
            held = []
            while len(other.assignment()) < 2:
                held += other.poll(1, 0.05)
            with pytest.raises(NotAssigned), producer.transaction(consumer) as tx:
                tx.send("out", polled[0].value)
    assert seen(bus) == []
    consumer.close()


def test_a_log_that_goes_while_its_transaction_polls_on_takes_the_transaction_with_it(bus):
    bus.producer().send_many("in", numbers(4)).result()
    consumer = bus.consumer("in", group="g")
    with bus.producer(transactional_id="a") as producer:
        polled = []
        while len(polled) < 4:
            polled += consumer.poll(4, 1)
        other = bus.consumer("in", group="g")
        with pytest.raises(NotAssigned, match="went to another member"), producer.transaction(consumer) as tx:  # noqa: PT012
            tx.send("out", polled[0].value)
            while len(consumer.assignment()) == 2 or not other.assignment():
                consumer.poll(4, 0.05)
                other.poll(1, 0.05)
        other.close()
    assert seen(bus) == []
    consumer.close()
