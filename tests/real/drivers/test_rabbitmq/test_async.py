"""The async driver under the same harm as the blocking one."""

import asyncio
import os
import signal
import time

import pytest

import streamproof
from streamproof import Outcome
from tests.real.drivers.test_rabbitmq.conftest import PATIENCE_S, Proxy, wait_until
from tests.real.drivers.test_rabbitmq.test_recovery import Listener


async def until(is_so, what: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline_s, f"not within {PATIENCE_S} s: {what}"
        await asyncio.sleep(0.005)


async def read_all(consumer, count, acks=True):
    records = []
    deadline_s = time.monotonic() + PATIENCE_S
    while len(records) < count:
        assert time.monotonic() < deadline_s, f"{len(records)} of {count} records came"
        batch = await consumer.poll(500, 0.5)
        records += batch
        if acks:
            await consumer.ack(batch)
    return records


def test_a_cut_connection_makes_what_was_unconfirmed_unknown_and_sends_nothing_twice(
    bus, proxied_url, proxy: Proxy, namespace
):
    bus.admin().create_topic("t", 2)

    async def send():
        async with await streamproof.aconnect(proxied_url, namespace=namespace) as cut_bus:
            producer = await cut_bus.producer(delivery_timeout_s=20)
            deliveries = []
            for turn in range(5):
                for number in range(500):
                    deliveries.append(
                        await producer.send("t", b"%d-%d" % (turn, number), partition=number % 2)
                    )
                await until(lambda: deliveries[-400].is_settled, "some are confirmed")
                proxy.cut()
            await producer.flush(20)
            after = None
            while after is None or after.outcome is not Outcome.ACKNOWLEDGED:
                after = await producer.send("t", b"after")
                await producer.flush(20)
            return deliveries

    deliveries = asyncio.run(send())
    sent = {b"%d-%d" % (number // 500, number % 500): delivery for number, delivery in enumerate(deliveries)}
    assert {delivery.outcome for delivery in deliveries} <= {Outcome.ACKNOWLEDGED, Outcome.UNKNOWN}
    acknowledged = {value for value, delivery in sent.items() if delivery.outcome is Outcome.ACKNOWLEDGED}
    with bus.consumer("t") as reader:
        count = sum(reader.lag().values())
        values = []
        while len(values) < count:
            values += [record.value for record in reader.poll(500, 10)]
    values = [value for value in values if value != b"after"]
    assert len(values) == len(set(values))
    assert acknowledged <= set(values)


def test_a_reader_goes_on_where_it_was(bus, proxied_url, proxy: Proxy, namespace):
    bus.admin().create_topic("t", 3)
    bus.producer().send_many("t", [b"%d" % number for number in range(3000)]).result(20)

    async def read():
        seen: dict[int, list[int]] = {}
        async with await streamproof.aconnect(proxied_url, namespace=namespace) as cut_bus:
            reader = await cut_bus.consumer("t", prefetch=100)
            count = 0
            while count < 3000:
                for record in await reader.poll(100, 10):
                    seen.setdefault(record.partition, []).append(record.offset)
                    count += 1
                    if count % 700 == 0:
                        proxy.cut()
        return seen

    assert asyncio.run(read()) == {partition: list(range(1000)) for partition in range(3)}


def test_a_member_loses_its_logs_gets_them_back_and_everything_unacknowledged_in_order(
    bus, proxied_url, proxy: Proxy, namespace
):
    bus.admin().create_topic("t")
    listener = Listener()

    async def play():
        async with await streamproof.aconnect(proxied_url, namespace=namespace) as cut_bus:
            member = await cut_bus.consumer(
                "t", group="g", observer=listener, session_timeout_s=3, prefetch=20
            )
            await member.wait_assigned()
            producer = await cut_bus.producer()
            await (await producer.send_many("t", [b"%d" % number for number in range(20)])).result(10)
            first = await read_all(member, 20, acks=False)
            await member.ack(first[:5])
            # With a prefetch of 20, five more come only when all five acks have arrived.
            await (await producer.send_many("t", [b"%d" % number for number in range(20, 25)])).result(10)
            await read_all(member, 5, acks=False)
            proxy.cut()
            again = await read_all(member, 20)
            with pytest.raises(streamproof.NotAssigned):
                await member._driver._driver.ack(first[-1:])
            return again

    again = asyncio.run(play())
    assert [what for what, _, _ in listener.heard][:3] == ["assigned", "lost", "assigned"]
    assert [record.value for record in again] == [b"%d" % number for number in range(5, 25)]
    assert {record.attempt for record in again} == {2}


def test_members_come_and_go_under_traffic_and_nothing_is_lost_doubled_or_out_of_order(
    bus, rabbitmq_url, namespace
):
    bus.admin().create_topic("t", 6)
    values: dict[int, list[int]] = {}

    async def work(member, stop):
        while not stop.is_set():
            for record in await member.poll(20, 0.05):
                values.setdefault(record.partition, []).append(int(record.value))
                await member.ack(record)
        await member.close()

    async def play():
        async with await streamproof.aconnect(rabbitmq_url, namespace=namespace) as main:
            producer = await main.producer()
            workers = []
            sent = 0
            for step in range(8):
                if step in (0, 1, 2, 4):
                    stop = asyncio.Event()
                    member = await main.consumer("t", group="g")
                    workers.append((stop, asyncio.create_task(work(member, stop))))
                elif len(workers) > 1:
                    stop, task = workers.pop(step % 2)
                    stop.set()
                    await task
                for _ in range(300):
                    await producer.send("t", b"%d" % sent, partition=sent % 6)
                    sent += 1
                await producer.flush()
            await until(lambda: sum(map(len, values.values())) >= sent, "everything is handled")
            for stop, task in workers:
                stop.set()
                await task
            return sent

    sent = asyncio.run(play())
    assert values == {partition: list(range(partition, sent, 6)) for partition in range(6)}


def test_members_of_both_colours_share(bus, rabbitmq_url, namespace, start_member):
    """And when the blocking one, a process of its own, dies, the async one has everything."""
    bus.admin().create_topic("t", 2)
    other = start_member("t", "g", session_s=30)

    async def play():
        async with await streamproof.aconnect(rabbitmq_url, namespace=namespace) as main:
            member = await main.consumer("t", group="g", session_timeout_s=30)
            while len(member.assignment()) != 1:
                await member.poll(1, 0.1)
            wait_until(lambda: len(bus.admin().describe_group("g").members) == 2, "both are in")
            os.kill(other.process.pid, signal.SIGKILL)
            while len(member.assignment()) != 2:
                await member.poll(1, 0.1)
            producer = await main.producer()
            await (await producer.send_many("t", [b"1", b"2"])).result(10)
            return [record.value for record in await read_all(member, 2)]

    assert sorted(asyncio.run(asyncio.wait_for(play(), 60))) == [b"1", b"2"]


def test_a_cancelled_call_harms_nothing(bus, rabbitmq_url, namespace):
    bus.admin().create_topic("t")

    async def play():
        async with await streamproof.aconnect(rabbitmq_url, namespace=namespace) as main:
            member = await main.consumer("t", group="g")
            await member.wait_assigned()
            for pause_s in (0, 0.001, 0.01):
                task = asyncio.create_task(member.poll(10, 10))
                await asyncio.sleep(pause_s)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            admin = await main.admin()
            for pause_s in (0, 0.002, 0.01):
                task = asyncio.create_task(admin.create_topic(f"cancelled-{pause_s}"))
                await asyncio.sleep(pause_s)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            producer = await main.producer()
            await (await producer.send("t", b"v")).result(10)
            return await read_all(member, 1)

    (record,) = asyncio.run(play())
    assert record.value == b"v"


def test_wrong_credentials_and_hosts_are_told_apart(rabbitmq_url):
    address = rabbitmq_url.partition("@")[2]
    host = address.partition("/")[0]

    async def fail(url, error, complaint):
        with pytest.raises(error, match=complaint):
            await streamproof.aconnect(url)

    asyncio.run(fail(f"amqp://guest:wrong@{address}", streamproof.AccessDenied, "password"))
    asyncio.run(fail(f"amqp://guest:guest@{host}/no-such-vhost", streamproof.AccessDenied, "virtual host"))
    asyncio.run(fail("amqp://127.0.0.1:1/", streamproof.Unreachable, "is it running"))
