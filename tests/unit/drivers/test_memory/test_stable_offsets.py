"""Where reading begins while a transaction holds the group's offsets (KIP-447): nobody begins from
progress that is about to move. With real threads and event loops where somebody waits."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from streamproof.drivers.memory.cluster import MemoryCluster
from streamproof.errors import TimedOut
from streamproof.options import ConsumerOptions, ProducerOptions
from streamproof.records import Outgoing, TopicPartition, TopicSpec

LONG = 15.0
POLL = 4 * LONG
"""Polls wait longer than the test waits for them: only being woken ends them in time."""

LOGS = [TopicPartition("in", 0), TopicPartition("in", 1)]


@pytest.fixture
def cluster(clock):
    return populated(MemoryCluster("still", clock=clock))


@pytest.fixture
def live():
    """One whose time passes by itself."""
    return populated(MemoryCluster())


def populated(cluster):
    cluster.create_topics([TopicSpec("in", 2), TopicSpec("out", 1)])
    records = [Outgoing(b"value", partition=at % 2) for at in range(20)]
    cluster.driver().producer(ProducerOptions()).send_many("in", records, 1)
    return cluster


@pytest.fixture
def in_thread():
    with ThreadPoolExecutor(4) as pool:
        yield pool.submit


def consumer_of(cluster, ear, **options):
    consumer = cluster.driver().consumer(ConsumerOptions(topics=("in",), group="g", **options))
    consumer.start(ear, 1)
    return consumer


def holding(cluster, consumer, offsets, name="x", timeout_s=60.0):
    """A producer whose open transaction holds these offsets."""
    producer = cluster.driver().producer(
        ProducerOptions(transactional_id=name, transaction_timeout_s=timeout_s)
    )
    producer.init_transactions(1)
    producer.begin_transaction()
    producer.commit_offsets(offsets, consumer.membership(), 1)
    return producer


def until(condition):
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def waits(consumer):
    return lambda: consumer._reader.is_waiting


def places(records):
    return {(record.partition, record.offset) for record in records}


@pytest.mark.parametrize("end", ["commit", "abort"])
def test_a_new_owner_takes_a_log_when_the_transaction_that_moves_its_offset_ended(
    cluster, clock, make_ear, end
):
    first, ear = consumer_of(cluster, make_ear(), session_timeout_s=1.0), make_ear()
    first.poll(1, 0)
    first.commit({LOGS[0]: 1, LOGS[1]: 1}, 1)
    producer = holding(cluster, first, {LOGS[0]: 4})
    first.crash()
    clock.advance(1)
    second = consumer_of(cluster, ear)
    assert {record.partition for record in second.poll(100, 0)} == {1}
    assert second.assignment() == (LOGS[1],)
    assert second.poll(100, 0) == []
    getattr(producer, f"{end}_transaction")(1)
    begins = 4 if end == "commit" else 1
    assert places(second.poll(100, 0)) == {(0, offset) for offset in range(begins, 10)}
    assert ear.positions == {LOGS[0]: begins, LOGS[1]: 1}
    assert [kind for kind, _, _ in ear.heard] == ["assign", "assign"]


def test_nothing_is_told_while_no_log_can_be_taken(cluster, clock, make_ear):
    first, ear = consumer_of(cluster, make_ear(), session_timeout_s=1.0), make_ear()
    first.poll(1, 0)
    producer = holding(cluster, first, dict.fromkeys(LOGS, 4))
    first.crash()
    clock.advance(1)
    second = consumer_of(cluster, ear)
    assert (second.poll(100, 0), ear.heard, second.assignment()) == ([], [], ())
    producer.commit_transaction(1)
    second.poll(100, 0)
    assert ear.heard == [("assign", ear.heard[0][1], [0, 1])]


def test_a_log_that_goes_again_before_it_was_taken_is_never_told(cluster, clock, make_ear):
    first = consumer_of(cluster, make_ear(), session_timeout_s=1.0)
    first.poll(1, 0)
    producer = holding(cluster, first, {LOGS[0]: 4})
    first.crash()
    clock.advance(1)
    ears = [make_ear(), make_ear()]
    second = consumer_of(cluster, ears[0])
    second.poll(100, 0)
    third = consumer_of(cluster, ears[1])
    for _ in range(4):
        third.poll(100, 0)
        second.poll(100, 0)
    producer.commit_transaction(1)
    found = [places(third.poll(100, 0)) for _ in range(3)] + [places(second.poll(100, 0)) for _ in range(3)]
    assert set().union(*found) >= {(0, 4), (0, 9)}
    assert sorted(second.assignment() + third.assignment()) == LOGS
    for ear in ears:
        held = set()
        for kind, _, partitions in ear.heard:
            assert kind in ("assign", "revoke")
            assert kind == "assign" or held >= set(partitions)
            held = set(partitions) if kind == "assign" else held - set(partitions)


def test_the_timeout_of_the_transaction_bounds_the_wait(cluster, clock, make_ear):
    first = consumer_of(cluster, make_ear(), session_timeout_s=1.0)
    first.poll(1, 0)
    producer = holding(cluster, first, dict.fromkeys(LOGS, 4), timeout_s=5.0)
    producer.crash()
    first.crash()
    clock.advance(1)
    second = consumer_of(cluster, make_ear())
    assert second.poll(100, 0) == []
    clock.advance(4)
    assert len(second.poll(100, 0)) == 20


def test_a_waiting_poll_is_woken_by_the_end_of_the_transaction(live, make_ear, in_thread):
    first = consumer_of(live, make_ear())
    first.poll(1, 0)
    producer = holding(live, first, dict.fromkeys(LOGS, 4))
    first.close(1)
    second = consumer_of(live, make_ear())
    polled = in_thread(second.poll, 100, POLL)
    until(waits(second))
    producer.commit_transaction(1)
    assert len(polled.result(LONG)) == 12


def test_a_waiting_poll_aborts_a_transaction_whose_time_is_over(live, make_ear, in_thread):
    first = consumer_of(live, make_ear())
    first.poll(1, 0)
    producer = holding(live, first, dict.fromkeys(LOGS, 4), timeout_s=0.05)
    producer.crash()
    first.close(1)
    second = consumer_of(live, make_ear())
    assert len(in_thread(second.poll, 100, POLL).result(LONG)) == 20


def test_whoever_comes_after_the_timeout_wakes_those_who_wait(cluster, clock, make_ear, in_thread):
    first = consumer_of(cluster, make_ear())
    first.poll(1, 0)
    holding(cluster, first, dict.fromkeys(LOGS, 4), timeout_s=600.0).crash()
    first.close(1)
    second = consumer_of(cluster, make_ear())
    polled = in_thread(second.poll, 100, POLL)
    until(waits(second))
    clock.advance(600)
    cluster.list_groups()
    assert len(polled.result(LONG)) == 20


def test_a_waiting_reader_aborts_a_transaction_whose_time_is_over(live, make_ear, in_thread):
    producer = live.driver().producer(ProducerOptions(transactional_id="x", transaction_timeout_s=0.05))
    producer.init_transactions(1)
    producer.begin_transaction()
    producer.send("out", b"hangs", None, (), 0, None, 1)
    producer.crash()
    live.driver().producer(ProducerOptions()).send("out", b"behind", None, (), 0, None, 1)
    reader = live.driver().consumer(ConsumerOptions(topics=("out",)))
    reader.start(make_ear(), 1)
    assert [record.value for record in in_thread(reader.poll, 100, POLL).result(LONG)] == [b"behind"]


def test_a_deleted_topic_ends_the_wait(live, make_ear, in_thread):
    first = consumer_of(live, make_ear())
    first.poll(1, 0)
    holding(live, first, dict.fromkeys(LOGS, 4))
    first.close(1)
    second = consumer_of(live, make_ear())
    polled = in_thread(second.poll, 100, POLL)
    until(waits(second))
    live.delete_topics(["in"])
    populated_again = [TopicSpec("in", 1)]
    live.create_topics(populated_again)
    live.driver().producer(ProducerOptions()).send("in", b"new", None, (), 0, None, 1)
    assert [record.value for record in polled.result(LONG)] == [b"new"]


# -- committed ------------------------------------------------------------------------------------


def test_committed_waits_until_the_transaction_ended(live, make_ear, in_thread):
    consumer = consumer_of(live, make_ear())
    consumer.poll(1, 0)
    consumer.commit({LOGS[0]: 1}, 1)
    producer = holding(live, consumer, {LOGS[0]: 4})
    assert consumer.committed([LOGS[1]], 1) == {LOGS[1]: None}
    asked = in_thread(consumer.committed, LOGS, POLL)
    until(waits(consumer))
    producer.commit_transaction(1)
    assert asked.result(LONG) == {LOGS[0]: 4, LOGS[1]: None}


def test_committed_waits_no_longer_than_it_was_told(cluster, make_ear):
    consumer = consumer_of(cluster, make_ear())
    consumer.poll(1, 0)
    producer = holding(cluster, consumer, {LOGS[0]: 4})
    with pytest.raises(TimedOut, match="an open transaction held offsets of the group"):
        consumer.committed(LOGS, 0.01)
    producer.abort_transaction(1)
    assert consumer.committed(LOGS, 0.01) == {LOGS[0]: None, LOGS[1]: None}


def test_committed_of_a_crashed_producer_comes_with_its_timeout(cluster, clock, make_ear):
    consumer = consumer_of(cluster, make_ear())
    consumer.poll(1, 0)
    holding(cluster, consumer, {LOGS[0]: 4}, timeout_s=5.0).crash()
    clock.advance(5)
    assert consumer.committed(LOGS, 0.01) == {LOGS[0]: None, LOGS[1]: None}


def test_async_polls_and_committed_wait_for_the_end_too(live, make_async_ear):
    asyncio.run(scenario(live, make_async_ear))


async def scenario(cluster, make_ear):
    driver = cluster.async_driver()

    async def consumer_of_group():
        consumer = await driver.consumer(ConsumerOptions(topics=("in",), group="g"))
        await consumer.start(make_ear(), 1)
        return consumer

    first = await consumer_of_group()
    await first.poll(1, 0)
    producer = await driver.producer(ProducerOptions(transactional_id="x"))
    await producer.init_transactions(1)
    await producer.begin_transaction()
    await producer.commit_offsets(dict.fromkeys(LOGS, 4), first.membership(), 1)
    with pytest.raises(TimedOut):
        await first.committed(LOGS, 0.01)
    asked = asyncio.create_task(first.committed(LOGS, POLL))
    await wait_for(lambda: first._reader.is_waiting)
    await producer.commit_transaction(1)
    assert await asyncio.wait_for(asked, LONG) == dict.fromkeys(LOGS, 4)
    await producer.begin_transaction()
    await producer.commit_offsets(dict.fromkeys(LOGS, 7), first.membership(), 1)
    await first.close(1)
    second = await consumer_of_group()
    polled = asyncio.create_task(second.poll(100, POLL))
    await wait_for(lambda: second._reader.is_waiting)
    await producer.commit_transaction(1)
    assert len(await asyncio.wait_for(polled, LONG)) == 6
    await driver.close(1)


async def wait_for(condition):
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.001)
