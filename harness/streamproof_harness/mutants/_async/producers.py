"""Drivers' producers that break a promise."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from streamproof import AsyncDelivery, BackendError
from streamproof.core.partitioner import partition_for
from streamproof.deliveries import AsyncDeliveries
from streamproof.driver import AsyncProducerDriver
from streamproof.records import RawOutgoing, Receipt
from streamproof_harness.clients._async.colour import pause_s
from streamproof_harness.mutants._async.parts import (
    AsyncBrokenBatches,
    AsyncBrokenProducer,
    Sending,
    changed,
    settled,
)
from streamproof_harness.mutants.mutant import Turn
from streamproof_harness.workloads.workload import ID_HEADER

_HELD_BACK_FOR = 8
_BETWEEN_GOES_S = 0.01
_LOGS = 2
"""Of the topic that is written to in goes."""


class AsyncKnowsKeys(AsyncBrokenProducer):
    """Harms a send whose key it has seen before, and knows where that record went to."""

    def __init__(self, inner: AsyncProducerDriver, turn: Turn) -> None:
        super().__init__(inner, turn)
        self.former: dict[bytes | None, Receipt] = {}

    async def store(self, sending: Sending) -> AsyncDelivery:
        delivery = await super().store(sending)

        def learn(ended: AsyncDelivery) -> None:
            if ended.receipt is not None:
                self.former[sending.key] = ended.receipt

        delivery.add_done_callback(learn)
        return delivery

    def fits(self, sending: Sending) -> bool:
        return sending.key is not None and sending.key in self.former

    def strange(self, sending: Sending) -> int:
        """A partition that is not the key's."""
        return 0 if self.former[sending.key].partition else 1


class AsyncAcksUnsent(AsyncKnowsKeys):
    async def strike(self, sending: Sending) -> AsyncDelivery:
        return settled(Receipt(sending.topic, self.former[sending.key].partition, None, 0))


class AsyncDeduplicatesByKey(AsyncKnowsKeys):
    """Takes a record for the last one of its key, come again, and answers with that one's place."""

    async def strike(self, sending: Sending) -> AsyncDelivery:
        return settled(self.former[sending.key])


class AsyncStoresAStranger(AsyncBrokenProducer):
    async def strike(self, sending: Sending) -> AsyncDelivery:
        await self.store(sending._replace(headers=((ID_HEADER, b"nobody's"),)))
        return await self.store(sending)


class AsyncFlipsABit(AsyncBrokenProducer):
    async def strike(self, sending: Sending) -> AsyncDelivery:
        value = sending.value or b"?"
        return await self.store(sending._replace(value=bytes([value[0] ^ 1]) + value[1:]))


class AsyncNamesAnotherPartition(AsyncKnowsKeys):
    async def strike(self, sending: Sending) -> AsyncDelivery:
        strange = self.strange(sending)
        # Its offset would be another record's there: that is a defect of its own.
        return changed(await self.store(sending), lambda told: told._replace(partition=strange, offset=None))


class AsyncIgnoresTheKey(AsyncKnowsKeys):
    async def strike(self, sending: Sending) -> AsyncDelivery:
        return await self.store(sending._replace(partition=self.strange(sending)))


class AsyncStoresTwice(AsyncBrokenProducer):
    async def strike(self, sending: Sending) -> AsyncDelivery:
        await self.store(sending)
        return await self.store(sending)


class AsyncNamesTheNextOffset(AsyncBrokenProducer):
    async def strike(self, sending: Sending) -> AsyncDelivery:
        return changed(await self.store(sending), lambda told: told._replace(offset=(told.offset or 0) + 1))


class AsyncFailsWhatItStored(AsyncBrokenProducer):
    async def strike(self, sending: Sending) -> AsyncDelivery:
        return changed(
            await self.store(sending), lambda _: BackendError("certainly not stored", definite=True)
        )


class AsyncTwiceTold(AsyncDelivery):
    """Runs every callback twice."""

    __slots__ = ()

    def add_done_callback(self, callback: Callable[[AsyncDelivery], object]) -> None:
        super().add_done_callback(callback)
        super().add_done_callback(callback)


class AsyncAnswersTwice(AsyncBrokenProducer):
    async def strike(self, sending: Sending) -> AsyncDelivery:
        return changed(await self.store(sending), lambda told: told, AsyncTwiceTold())


class AsyncLetsOthersPass(AsyncBrokenProducer):
    """Holds one record back until others of its producer, not of its key, went past it."""

    def __init__(self, inner: AsyncProducerDriver, turn: Turn) -> None:
        super().__init__(inner, turn)
        self._held: tuple[Sending, AsyncDelivery] | None = None
        self._left = _HELD_BACK_FOR

    async def strike(self, sending: Sending) -> AsyncDelivery:
        told = AsyncDelivery()
        self._held = sending, told
        return told

    async def store(self, sending: Sending) -> AsyncDelivery:
        if self._held is not None and (self._left == 0 or self._held[0].key == sending.key):
            await self._release()
        self._left -= self._held is not None
        return await super().store(sending)

    async def flush(self, timeout_s: float) -> None:
        await self._release()
        await self.inner.flush(timeout_s)

    async def close(self, timeout_s: float) -> None:
        await self._release()
        await self.inner.close(timeout_s)

    async def _release(self) -> None:
        if self._held is not None:
            (sending, told), self._held = self._held, None
            changed(await super().store(sending), lambda receipt: receipt, told)


class AsyncWritesInGoes(AsyncBrokenBatches):
    """Stores each batch in goes, with time for others in between."""

    async def send_many(
        self, topic: str, records: Sequence[RawOutgoing], timeout_s: float
    ) -> AsyncDeliveries:
        goes = self.goes(records)
        told: dict[int, AsyncDelivery] = {}
        for number, go in enumerate(goes):
            if number:
                self.turn.strike()
                await pause_s(_BETWEEN_GOES_S)
            sent = await self.inner.send_many(topic, [records[at] for at in go], timeout_s)
            told.update(zip(go, sent, strict=True))
        return AsyncDeliveries([told[at] for at in range(len(records))])

    def goes(self, records: Sequence[RawOutgoing]) -> list[list[int]]:
        """Which records go together, and in which order."""
        raise NotImplementedError


class AsyncLeavesRoomForOthers(AsyncWritesInGoes):
    def goes(self, records: Sequence[RawOutgoing]) -> list[list[int]]:
        half = len(records) // 2
        return [go for go in (list(range(half)), list(range(half, len(records)))) if go]


class AsyncWritesLogByLog(AsyncWritesInGoes):
    """One log after the other, in turns the one and the other first."""

    def __init__(self, inner: AsyncProducerDriver, turn: Turn) -> None:
        super().__init__(inner, turn)
        self._turns = 0

    def goes(self, records: Sequence[RawOutgoing]) -> list[list[int]]:
        self._turns += 1
        logs: dict[int, list[int]] = {}
        for at, record in enumerate(records):
            logs.setdefault(partition_for(record.key or b"", _LOGS), []).append(at)
        return [logs[log] for log in sorted(logs, reverse=self._turns % 2 == 0)]


class AsyncTurnsABatchRound(AsyncBrokenBatches):
    """Stores one batch, with more than one record of a key, from its end."""

    async def send_many(
        self, topic: str, records: Sequence[RawOutgoing], timeout_s: float
    ) -> AsyncDeliveries:
        is_due = self.turn.count(record.headers for record in records)
        if not is_due or len({record.key for record in records}) == len(records):
            return await self.inner.send_many(topic, records, timeout_s)
        self.turn.strike()
        sent = await self.inner.send_many(topic, records[::-1], timeout_s)
        return AsyncDeliveries(sent[::-1])


PRODUCERS: Final[dict[str, Any]] = {
    "acks-unsent": AsyncAcksUnsent,
    "stores-a-stranger": AsyncStoresAStranger,
    "flips-a-bit": AsyncFlipsABit,
    "names-another-partition": AsyncNamesAnotherPartition,
    "ignores-the-key": AsyncIgnoresTheKey,
    "stores-twice": AsyncStoresTwice,
    "names-the-next-offset": AsyncNamesTheNextOffset,
    "fails-what-it-stored": AsyncFailsWhatItStored,
    "answers-twice": AsyncAnswersTwice,
    "lets-others-pass": AsyncLetsOthersPass,
    "deduplicates-by-key": AsyncDeduplicatesByKey,
    "leaves-room-for-others": AsyncLeavesRoomForOthers,
    "writes-log-by-log": AsyncWritesLogByLog,
    "turns-a-batch-round": AsyncTurnsABatchRound,
}
