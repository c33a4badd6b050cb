"""Reading back what a partition of an output topic holds: the state of who takes it over."""

from typing import Any

from streamproof import AsyncBus, AsyncConsumer, TimedOut, TopicPartition
from streamproof.records import Record
from streamproof_harness.clients._async.colour import now_s, pause_s
from streamproof_harness.clients.identity import id_of, is_marker

_PAUSE_S = 0.02


async def outputs_of(bus: AsyncBus, topic: str, partition: int, timeout_s: float) -> list[Record[Any, Any]]:
    """All committed records of one partition, in order.

    Waits until its former owner's last transaction has ended: only then its last stable offset is
    its end. That its offsets are stable does not say so, for the markers of a transaction come to
    each log on their own. Raises :class:`TimedOut`.
    """
    log = TopicPartition(topic, partition)
    deadline = now_s() + timeout_s
    end = await _settled_end(bus, log, deadline)
    found: list[Record[Any, Any]] = []
    if end == 0:
        return found
    async with await bus.consumer(topic, start="earliest") as reader:
        others = [place for place in reader.assignment() if place != log]
        if others:
            await reader.pause(*others)
        while await reader.position(log) < end:
            if now_s() > deadline:
                raise TimedOut(f"{topic}[{partition}] was not read back within {timeout_s} s")
            found.extend(await reader.poll(1000, 0.1))
    return [record for record in found if record.partition == partition and not is_marker(id_of(record))]


async def _settled_end(bus: AsyncBus, log: TopicPartition, deadline: float) -> int:
    async with (
        await bus.consumer(log.topic, start="latest") as stable,
        await bus.consumer(log.topic, start="latest", isolation="read_uncommitted") as whole,
    ):
        while True:
            end = await _end_of(whole, log)
            if await _end_of(stable, log) == end:
                return end
            if now_s() > deadline:
                raise TimedOut(f"a transaction stays open in {log.topic}[{log.partition}]")
            await pause_s(_PAUSE_S)


async def _end_of(reader: AsyncConsumer[Any, Any], log: TopicPartition) -> int:
    return await reader.position(log) + (await reader.lag(log))[log]
