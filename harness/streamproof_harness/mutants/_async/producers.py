"""Drivers' producers that break a promise."""

from collections.abc import Callable
from typing import Any, Final

from streamproof import AsyncDelivery, BackendError
from streamproof.driver import AsyncProducerDriver
from streamproof.records import Receipt
from streamproof_harness.mutants._async.parts import AsyncBrokenProducer, Sending, changed, settled
from streamproof_harness.mutants.mutant import Turn
from streamproof_harness.workloads.workload import ID_HEADER

_HELD_BACK_FOR = 8


class AsyncKnowsHomes(AsyncBrokenProducer):
    """Harms a send whose key it has seen before, and knows the partition it went to."""

    def __init__(self, inner: AsyncProducerDriver, turn: Turn) -> None:
        super().__init__(inner, turn)
        self.homes: dict[bytes | None, int] = {}

    async def store(self, sending: Sending) -> AsyncDelivery:
        delivery = await super().store(sending)

        def learn(ended: AsyncDelivery) -> None:
            if ended.receipt is not None:
                self.homes[sending.key] = ended.receipt.partition

        delivery.add_done_callback(learn)
        return delivery

    def fits(self, sending: Sending) -> bool:
        return sending.key is not None and sending.key in self.homes

    def strange(self, sending: Sending) -> int:
        """A partition that is not the key's."""
        return 0 if self.homes[sending.key] else 1


class AsyncAcksUnsent(AsyncKnowsHomes):
    async def strike(self, sending: Sending) -> AsyncDelivery:
        return settled(Receipt(sending.topic, self.homes[sending.key], None, 0))


class AsyncStoresAStranger(AsyncBrokenProducer):
    async def strike(self, sending: Sending) -> AsyncDelivery:
        await self.store(sending._replace(headers=((ID_HEADER, b"nobody's"),)))
        return await self.store(sending)


class AsyncFlipsABit(AsyncBrokenProducer):
    async def strike(self, sending: Sending) -> AsyncDelivery:
        value = sending.value or b"?"
        return await self.store(sending._replace(value=bytes([value[0] ^ 1]) + value[1:]))


class AsyncNamesAnotherPartition(AsyncKnowsHomes):
    async def strike(self, sending: Sending) -> AsyncDelivery:
        strange = self.strange(sending)
        # Its offset would be another record's there: that is a defect of its own.
        return changed(await self.store(sending), lambda told: told._replace(partition=strange, offset=None))


class AsyncIgnoresTheKey(AsyncKnowsHomes):
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
}
