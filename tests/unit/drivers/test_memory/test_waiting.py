"""Waiting, waking and closing, with real threads and event loops on one cluster."""

import asyncio
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import pytest

from streamproof.drivers.memory.cluster import MemoryCluster
from streamproof.errors import Closed, Unreachable, UsageError
from streamproof.options import ConsumerOptions, ProducerOptions
from streamproof.records import Outgoing, TopicSpec

LONG = 15.0
"""Longer than any of these waits takes when it works."""

POLL = 4 * LONG
"""Polls wait longer than the test waits for them: only being woken ends them in time."""


@pytest.fixture
def cluster():
    cluster = MemoryCluster()
    cluster.driver().admin().create_topics([TopicSpec("readings", 4)], 1)
    return cluster


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@pytest.fixture
def in_thread():
    with ThreadPoolExecutor(8) as pool:
        yield pool.submit


def until(condition):
    """Wait for what another thread is about to do."""
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


async def until_async(condition):
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.001)


def is_waiting(consumer):
    return lambda: consumer._reader.is_waiting


def options(group=None, **more):
    return ConsumerOptions(topics=("readings",), group=group, **more)


def started(cluster, ear, group=None, **more):
    consumer = cluster.driver().consumer(options(group, **more))
    consumer.start(ear, 1)
    return consumer


async def started_async(cluster, ear, group=None, **more):
    consumer = await cluster.async_driver().consumer(options(group, **more))
    await consumer.start(ear, 1)
    return consumer


def send(cluster, value=b"value", partition=0):
    producer = cluster.driver().producer(ProducerOptions())
    return producer.send("readings", value, None, (), partition, None, 1).result(0)


# -- one waits, another acts ---------------------------------------------------------------


def test_an_append_ends_the_wait(cluster, make_ear, in_thread):
    consumer = started(cluster, make_ear())
    polled = in_thread(consumer.poll, 10, POLL)
    until(is_waiting(consumer))
    send(cluster, b"now")
    assert [record.value for record in polled.result(LONG)] == [b"now"]


def test_resume_and_seek_end_the_wait(cluster, make_ear, in_thread):
    consumer = started(cluster, make_ear())
    first = consumer.assignment()[:1]
    consumer.pause(first)
    send(cluster)
    polled = in_thread(consumer.poll, 10, POLL)
    until(is_waiting(consumer))
    consumer.resume(first)
    assert len(polled.result(LONG)) == 1
    polled = in_thread(consumer.poll, 10, POLL)
    until(is_waiting(consumer))
    consumer.seek(first, "beginning", 1)
    assert len(polled.result(LONG)) == 1


def test_a_new_topic_ends_the_wait_of_a_pattern(cluster, make_ear, in_thread):
    ear = make_ear()
    consumer = cluster.driver().consumer(ConsumerOptions(pattern="new.*"))
    consumer.start(ear, 1)
    polled = in_thread(consumer.poll, 10, POLL)
    until(is_waiting(consumer))
    cluster.driver().admin().create_topics([TopicSpec("newest")], 1)
    until(lambda: len(ear.heard) == 2)
    producer = cluster.driver().producer(ProducerOptions())
    producer.send("newest", b"value", None, (), None, None, 1)
    assert len(polled.result(LONG)) == 1


def test_waiting_members_rebalance_when_one_joins_and_one_leaves(cluster, make_ear, in_thread):
    ears = [make_ear(), make_ear()]
    first = started(cluster, ears[0], "g")
    polls = [in_thread(first.poll, 10, POLL)]
    until(lambda: len(first.assignment()) == 4)
    second = started(cluster, ears[1], "g")
    polls.append(in_thread(second.poll, 10, POLL))
    until(lambda: len(first.assignment()) == len(second.assignment()) == 2)
    until(is_waiting(first))
    first.close(LONG)
    with pytest.raises(Closed):
        polls[0].result(LONG)
    assert ears[0].heard[-1] == ("revoke", 2, [0, 1])
    until(lambda: len(second.assignment()) == 4)
    send(cluster)
    assert len(polls[1].result(LONG)) == 1


def test_a_waiting_member_notices_that_another_died(cluster, make_ear, in_thread):
    dying = started(cluster, make_ear(), "g", session_timeout_s=0.05)
    dying.poll(1, 0)
    other = started(cluster, make_ear(), "g")
    polled = in_thread(other.poll, 10, POLL)
    until(is_waiting(other))
    dying.crash()
    until(lambda: len(other.assignment()) == 4)
    send(cluster)
    assert len(polled.result(LONG)) == 1


def test_a_cut_ends_the_wait(cluster, make_ear, in_thread):
    consumer = started(cluster, make_ear())
    polled = in_thread(consumer.poll, 10, POLL)
    until(is_waiting(consumer))
    cluster.faults.cut()
    with pytest.raises(Unreachable):
        polled.result(LONG)


def test_crash_ends_the_wait(cluster, make_ear, in_thread):
    consumer = started(cluster, make_ear(), "g")
    polled = in_thread(consumer.poll, 10, POLL)
    until(is_waiting(consumer))
    consumer.crash()
    with pytest.raises(Closed):
        polled.result(LONG)


def test_closing_the_driver_ends_the_wait(cluster, make_ear, in_thread):
    driver = cluster.driver()
    consumer = driver.consumer(options())
    consumer.start(make_ear(), 1)
    polled = in_thread(consumer.poll, 10, POLL)
    until(is_waiting(consumer))
    driver.close(LONG)
    with pytest.raises(Closed):
        polled.result(LONG)


def test_the_timeout_ends_the_wait(cluster, make_ear):
    consumer = started(cluster, make_ear(), "g")
    assert consumer.poll(10, 0.01) == []
    assert consumer.poll(10, 0) == []


def test_only_one_thread_polls(cluster, make_ear, in_thread):
    consumer = started(cluster, make_ear())
    polled = in_thread(consumer.poll, 10, POLL)
    until(is_waiting(consumer))
    with pytest.raises(UsageError, match="another thread"):
        consumer.poll(1, 0)
    send(cluster)
    assert len(polled.result(LONG)) == 1


def test_close_keeps_its_bound_when_a_listener_hangs(cluster, make_ear, in_thread):
    ear = make_ear()
    consumer = started(cluster, ear, "g")
    consumer.poll(1, 0)
    is_hanging, may_go_on = threading.Event(), threading.Event()

    def hang(partitions):
        is_hanging.set()
        may_go_on.wait(LONG)

    ear.during_revoke = hang
    other = started(cluster, make_ear(), "g")
    polled = in_thread(consumer.poll, 1, POLL)
    is_hanging.wait(LONG)
    consumer.close(0.01)
    other.poll(1, 0)
    assert len(other.assignment()) == 4
    with pytest.raises(Closed):
        consumer.poll(1, 0)
    may_go_on.set()
    with pytest.raises(Closed):
        polled.result(LONG)


# -- coroutines ----------------------------------------------------------------------------


def test_coroutines_wait_and_wake_on_one_loop(cluster, make_async_ear):
    async def main():
        ears = [make_async_ear(), make_async_ear()]
        first = await started_async(cluster, ears[0], "g")
        poll = asyncio.create_task(first.poll(10, POLL))
        await until_async(lambda: len(first.assignment()) == 4)
        second = await started_async(cluster, ears[1], "g")
        polls = [poll, asyncio.create_task(second.poll(10, POLL))]
        await until_async(lambda: len(first.assignment()) == len(second.assignment()) == 2)
        producer = await cluster.async_driver().producer(ProducerOptions())
        for partition in range(4):
            await producer.send("readings", b"value", None, (), partition, None, 1)
        assert all(await asyncio.gather(*polls))
        poll = asyncio.create_task(first.poll(100, POLL))
        await until_async(is_waiting(first))
        with pytest.raises(UsageError, match="another task"):
            await first.poll(1, 0)
        await first.close(LONG)
        with pytest.raises(Closed):
            await poll
        assert ears[0].heard[-1] == ("revoke", 2, [0, 1])
        await second.poll(10, 0)
        assert len(second.assignment()) == 4
        await second.close(1)

    asyncio.run(main())


def test_threads_wake_coroutines_and_coroutines_wake_threads(cluster, make_ear, make_async_ear, in_thread):
    async def main():
        theirs = started(cluster, make_ear())
        polled = in_thread(theirs.poll, 10, POLL)
        await until_async(is_waiting(theirs))
        producer = await cluster.async_driver().producer(ProducerOptions())
        await producer.send("readings", b"to the thread", None, (), 0, None, 1)
        await until_async(polled.done)
        assert [record.value for record in polled.result()] == [b"to the thread"]
        mine = await started_async(cluster, make_async_ear(), start="latest")
        poll = asyncio.create_task(mine.poll(10, POLL))
        await until_async(is_waiting(mine))
        in_thread(send, cluster, b"to the loop")
        assert [record.value for record in await poll] == [b"to the loop"]

    asyncio.run(main())


def test_a_coroutine_that_never_has_to_wait_lets_others_run(cluster, make_async_ear):
    async def main():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        producer = await cluster.async_driver().producer(ProducerOptions())
        consumer = await started_async(cluster, make_async_ear())
        other = asyncio.create_task(tick())
        for _ in range(100):
            await producer.send_many("readings", [Outgoing(b"value", partition=0)], 1)
        after_sends = ticks
        for _ in range(100):
            assert len(await consumer.poll(1, POLL)) == 1
        other.cancel()
        return after_sends, ticks - after_sends

    sent, polled = asyncio.run(main())
    assert sent >= 50
    assert polled >= 50


def test_a_cancelled_poll_takes_nothing(cluster, make_async_ear):
    async def main():
        consumer = await started_async(cluster, make_async_ear())
        poll = asyncio.create_task(consumer.poll(10, POLL))
        await until_async(is_waiting(consumer))
        poll.cancel()
        send(cluster)
        with pytest.raises(asyncio.CancelledError):
            await poll
        assert len(await consumer.poll(10, 0)) == 1

    asyncio.run(main())


def test_a_loop_that_was_closed_in_a_poll_harms_nobody(cluster, make_ear, make_async_ear, in_thread):
    """It cannot be woken any more; whoever appends must not notice, on its thread or another."""
    loop = asyncio.new_event_loop()
    consumer = loop.run_until_complete(started_async(cluster, make_async_ear()))
    poll = loop.create_task(consumer.poll(10, POLL))
    poll._log_destroy_pending = False
    loop.run_until_complete(until_async(is_waiting(consumer)))
    loop.close()
    send(cluster)
    consumer._reader.is_waiting = True
    in_thread(send, cluster).result(LONG)
    assert len(started(cluster, make_ear()).poll(10, 0)) == 2


def test_an_async_close_keeps_its_bound_and_may_come_from_the_listener(cluster, make_async_ear):
    async def main():
        ear = make_async_ear()
        consumer = await started_async(cluster, ear, "g")
        await consumer.poll(1, 0)
        other = await started_async(cluster, make_async_ear(), "g")

        async def on_revoke(generation, partitions):
            await consumer.close(LONG)

        ear.on_revoke = on_revoke
        with pytest.raises(Closed):
            await consumer.poll(1, POLL)
        await other.poll(1, 0)
        assert len(other.assignment()) == 4
        hanging, is_hanging = asyncio.Event(), asyncio.Event()
        stuck_ear = make_async_ear()

        async def hang(generation, partitions, positions):
            is_hanging.set()
            await hanging.wait()

        stuck_ear.on_assign = hang
        stuck = await started_async(cluster, stuck_ear, "other group")
        poll = asyncio.create_task(stuck.poll(1, POLL))
        await until_async(is_hanging.is_set)
        await stuck.close(0.01)
        assert stuck_ear.heard == []
        with pytest.raises(Closed):
            await stuck.poll(1, 0)
        hanging.set()
        with pytest.raises(Closed):
            await poll

    asyncio.run(main())


def test_a_coroutine_that_reads_alone_closes_without_a_word(cluster, make_async_ear):
    async def main():
        ear = make_async_ear()
        consumer = await started_async(cluster, ear)
        await consumer.close(1)
        await consumer.close(1)
        assert ear.heard == [("assign", None, [0, 1, 2, 3])]
        assert not cluster.waiters
        assert consumer.assignment() == ()

    asyncio.run(main())


def test_coroutines_hear_of_lost_logs(cluster, make_async_ear):
    async def main():
        ear = make_async_ear()
        consumer = await started_async(cluster, ear, "g")
        await consumer.poll(1, 0)
        admin = await cluster.async_driver().admin()
        await admin.delete_topics(["readings"], 1)
        await consumer.poll(1, 0)
        assert ear.heard[1:] == [("lost", 1, [0, 1, 2, 3]), ("assign", 2, [])]

    asyncio.run(main())


def test_an_async_driver_closes_what_it_made(cluster, make_async_ear):
    async def main():
        driver = cluster.async_driver()
        assert driver.native is cluster
        consumer = await driver.consumer(options("g"))
        await consumer.start(make_async_ear(), 1)
        producer = await driver.producer(ProducerOptions())
        poll = asyncio.create_task(consumer.poll(1, POLL))
        await until_async(is_waiting(consumer))
        await driver.close(LONG)
        await driver.close(LONG)
        with pytest.raises(Closed):
            await poll
        assert not driver._clients
        for late in (
            lambda: producer.flush(1),
            lambda: driver.producer(ProducerOptions()),
            lambda: driver.consumer(options("g")),
            driver.admin,
        ):
            with pytest.raises(Closed):
                await late()
        admin = await cluster.async_driver().admin()
        assert (await admin.describe_groups(["g"], 1))[0].members == ()
        doomed = cluster.async_driver()
        consumer = await doomed.consumer(options("g"))
        await consumer.start(make_async_ear(), 1)
        doomed.crash()
        with pytest.raises(Closed):
            await consumer.poll(1, 0)
        assert not doomed._clients
        assert len((await admin.describe_groups(["g"], 1))[0].members) == 1

    asyncio.run(main())


# -- everybody at once ---------------------------------------------------------------------

RECORDS = 2000


def produce(cluster, name):
    producer = cluster.driver().producer(ProducerOptions())
    for start in range(0, RECORDS, 10):
        numbers = range(start, start + 10)
        batch = [Outgoing(b"%s-%d" % (name, number), b"key-%d" % (number % 20)) for number in numbers]
        assert not producer.send_many("readings", batch, 1).errors


def test_threads_and_loops_share_a_group_and_lose_and_double_nothing(
    cluster, make_ear, make_async_ear, in_thread
):
    """Two threads and a loop produce; two threads and a loop consume, one member joining late and
    one leaving early. With progress committed in every revocation each record comes once."""
    seen = defaultdict(list)
    total = 3 * RECORDS
    end = time.monotonic() + LONG

    def is_over():
        return sum(map(len, list(seen.values()))) >= total or time.monotonic() > end

    def progress(consumer, partitions):
        return {partition: consumer.position(partition, 1) for partition in partitions}

    def consume(name, polls=None):
        ear = make_ear()
        consumer = started(cluster, ear, "g")
        ear.during_revoke = lambda partitions: consumer.commit(progress(consumer, partitions), 1)
        while not is_over() and (polls is None or len(seen[name]) < polls):
            seen[name] += consumer.poll(17, 0.02)
        consumer.close(LONG)

    async def consume_and_produce():
        ear = make_async_ear()
        consumer = await started_async(cluster, ear, "g")

        async def on_revoke(generation, partitions):
            held = {partition: await consumer.position(partition, 1) for partition in partitions}
            await consumer.commit(held, 1)

        ear.on_revoke = on_revoke

        async def produce_here():
            producer = await cluster.async_driver().producer(ProducerOptions())
            for number in range(RECORDS):
                key = b"key-%d" % (number % 20)
                delivery = await producer.send("readings", b"loop-%d" % number, key, (), None, None, 1)
                assert delivery.receipt

        producing = asyncio.create_task(produce_here())
        while not is_over():
            seen["loop"] += await consumer.poll(17, 0.02)
        await producing
        await consumer.close(LONG)

    work = [
        in_thread(consume, "first", 300),
        in_thread(asyncio.run, consume_and_produce()),
        in_thread(produce, cluster, b"one"),
        in_thread(produce, cluster, b"two"),
        in_thread(consume, "second"),
    ]
    for job in work:
        job.result(LONG)
    everything = [(record.partition, record.offset) for records in seen.values() for record in records]
    assert len(everything) == len(set(everything)) == total
    for records in seen.values():
        for partition in range(4):
            offsets = [record.offset for record in records if record.partition == partition]
            assert offsets == sorted(offsets)
    stored = cluster.driver().admin().describe_groups(["g"], 1)[0]
    assert not stored.members
