"""Consumers as applications hold them, workers, applications and burials that break a promise.

A client stands beneath what records its calls: the history shows what the application asked for.
A source stands above: the history shows what a broken worker did.
"""

from typing import Any, Final

from msgspec.structs import replace

from streamproof import AsyncDelivery
from streamproof.records import Headers, Outgoing, Receipt, Record
from streamproof_harness.mutants._async.parts import AsyncBrokenClient, settled

_BACK = 20


class AsyncTakesNackForAck(AsyncBrokenClient):
    async def nack(self, record: Record[Any, Any], delay_s: float) -> None:
        if self.harms(record.headers):
            await self.inner.ack(record)
        else:
            await self.inner.nack(record, delay_s)


class AsyncForgetsAnAttempt(AsyncBrokenClient):
    async def poll(self, max_records: int, timeout_s: float) -> list[Record[Any, Any]]:
        records = await self.inner.poll(max_records, timeout_s)
        return [
            replace(record, attempt=1) if self.harms(record.headers, is_fit=record.attempt == 2) else record
            for record in records
        ]


class AsyncCommitsTheNext(AsyncBrokenClient):
    async def ack(self, record: Record[Any, Any]) -> None:
        await self.inner.ack(record)
        if self.harms(record.headers):
            await self.inner.commit({record.topic_partition: (record.offset or 0) + 2})


class AsyncCommitsAnOldOffset(AsyncBrokenClient):
    async def ack(self, record: Record[Any, Any]) -> None:
        await self.inner.ack(record)
        offset = record.offset or 0
        if self.harms(record.headers, is_fit=offset > _BACK):
            await self.inner.commit()
            await self.inner.commit({record.topic_partition: offset - _BACK})


CLIENTS: Final[dict[str, Any]] = {
    "takes-nack-for-ack": AsyncTakesNackForAck,
    "forgets-an-attempt": AsyncForgetsAnAttempt,
    "commits-the-next": AsyncCommitsTheNext,
    "commits-an-old-offset": AsyncCommitsAnOldOffset,
}


class AsyncCommitsOnPoll(AsyncBrokenClient):
    async def poll(self, max_records: int, timeout_s: float) -> list[Record[Any, Any]]:
        records: list[Record[Any, Any]] = await self.inner.poll(max_records, timeout_s)
        if any(self.harms(record.headers) for record in records):
            for record in records:
                await self.inner.ack(record)
            await self.inner.commit()
        return records


class AsyncDropsWhatItAcknowledges(AsyncBrokenClient):
    async def poll(self, max_records: int, timeout_s: float) -> list[Record[Any, Any]]:
        records: list[Record[Any, Any]] = await self.inner.poll(max_records, timeout_s)
        for at, record in enumerate(records):
            if self.harms(record.headers):
                await self.inner.ack(record)
                return records[:at] + records[at + 1 :]
        return records


class AsyncHandlesTwice(AsyncBrokenClient):
    async def poll(self, max_records: int, timeout_s: float) -> list[Record[Any, Any]]:
        records: list[Record[Any, Any]] = await self.inner.poll(max_records, timeout_s)
        return [record for record in records for _ in range(2 if self.harms(record.headers) else 1)]


class AsyncHandlesNewestFirst(AsyncBrokenClient):
    async def poll(self, max_records: int, timeout_s: float) -> list[Record[Any, Any]]:
        records: list[Record[Any, Any]] = await self.inner.poll(max_records, timeout_s)
        self.turn.count(record.headers for record in records)
        has_lane = len({(record.topic_partition, record.key) for record in records}) < len(records)
        if not self.turn.is_due or not has_lane:
            return records
        self.turn.strike()
        return records[::-1]


class AsyncBuriesTwice(AsyncBrokenClient):
    async def ack(self, record: Record[Any, Any]) -> None:
        if self.harms(record.headers, is_fit=record.attempt == 3):
            await self.inner.nack(record, 0.0)
        else:
            await self.inner.ack(record)


class AsyncIgnoresHeldLanes(AsyncBrokenClient):
    def is_held(self, record: Record[Any, Any]) -> bool:
        if self.inner.is_held(record) and self.turn.is_due:
            self.turn.strike()
        return False


SOURCES: Final[dict[str, Any]] = {
    "commits-on-poll": AsyncCommitsOnPoll,
    "drops-what-it-acknowledges": AsyncDropsWhatItAcknowledges,
    "handles-twice": AsyncHandlesTwice,
    "handles-newest-first": AsyncHandlesNewestFirst,
    "ignores-held-lanes": AsyncIgnoresHeldLanes,
    "buries-twice": AsyncBuriesTwice,
}


class AsyncForgetsAnOutput(AsyncBrokenClient):
    """An application that makes nothing of one record."""

    def apply(self, record: Record[Any, Any]) -> Outgoing[bytes | None, bytes | None]:
        output: Outgoing[bytes | None, bytes | None] = self.inner.apply(record)
        return replace(output, value=None) if self.harms(record.headers) else output


APPLICATIONS: Final[dict[str, Any]] = {
    "forgets-an-output": AsyncForgetsAnOutput,
}


class AsyncLosesADeadLetter(AsyncBrokenClient):
    async def send(self, topic: str, value: Any, *, key: Any = None, headers: Headers = ()) -> AsyncDelivery:
        if self.harms(headers):
            return settled(Receipt(topic, 0, None, 0))
        delivery: AsyncDelivery = await self.inner.send(topic, value, key=key, headers=headers)
        return delivery


class AsyncChangesADeadLetter(AsyncBrokenClient):
    async def send(self, topic: str, value: Any, *, key: Any = None, headers: Headers = ()) -> AsyncDelivery:
        sent = b"[removed]" if self.harms(headers) else value
        delivery: AsyncDelivery = await self.inner.send(topic, sent, key=key, headers=headers)
        return delivery


SINKS: Final[dict[str, Any]] = {
    "loses-a-dead-letter": AsyncLosesADeadLetter,
    "changes-a-dead-letter": AsyncChangesADeadLetter,
}
