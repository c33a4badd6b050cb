"""A driver whose topics and groups live under a prefix, over any other driver.

Applications see their own names; the backend sees ``prefix + name``. Only a bus with a namespace
pays for it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import msgspec

from streamproof.capabilities import Capabilities
from streamproof.deliveries import AsyncDeliveries, AsyncDelivery
from streamproof.driver import (
    AsyncAdminDriver,
    AsyncAssignmentListener,
    AsyncConsumerDriver,
    AsyncDriver,
    AsyncMemberDriver,
    AsyncProducerDriver,
    AsyncTransactionalProducerDriver,
)
from streamproof.namespaced_deliveries import AsyncNamespacedDeliveries, AsyncNamespacedDelivery
from streamproof.options import ConsumerOptions, ProducerOptions
from streamproof.records import (
    GroupDescription,
    GroupMembership,
    Headers,
    Position,
    RawOutgoing,
    RawRecord,
    Receipt,
    TopicDescription,
    TopicPartition,
    TopicSpec,
    Watermarks,
)


class _Prefix:
    """Puts a prefix on names and takes it off."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def on(self, name: str) -> str:
        return self.prefix + name

    def off(self, name: str) -> str:
        return name.removeprefix(self.prefix)

    def off_receipt(self, receipt: Receipt) -> Receipt:
        return receipt._replace(topic=self.off(receipt.topic))

    def on_all(self, partitions: Iterable[TopicPartition]) -> list[TopicPartition]:
        return [TopicPartition(self.on(topic), partition) for topic, partition in partitions]

    def off_all(self, partitions: Iterable[TopicPartition]) -> list[TopicPartition]:
        return [TopicPartition(self.off(topic), partition) for topic, partition in partitions]

    def on_keys(self, values: Mapping[TopicPartition, Any]) -> dict[TopicPartition, Any]:
        return {TopicPartition(self.on(key.topic), key.partition): value for key, value in values.items()}

    def off_keys(self, values: Mapping[TopicPartition, Any]) -> dict[TopicPartition, Any]:
        return {TopicPartition(self.off(key.topic), key.partition): value for key, value in values.items()}


class AsyncNamespacedDriver:
    """See the module's docstring."""

    def __init__(self, driver: AsyncDriver, prefix: str) -> None:
        self._driver = driver
        self._prefix = _Prefix(prefix)

    @property
    def capabilities(self) -> Capabilities:
        return self._driver.capabilities

    @property
    def native(self) -> Any:
        return self._driver.native

    async def producer(self, options: ProducerOptions) -> AsyncProducerDriver:
        if options.transactional_id is None:
            return _Producer(await self._driver.producer(options), self._prefix)
        named = replace(options, transactional_id=self._prefix.on(options.transactional_id))
        driver = cast("AsyncTransactionalProducerDriver", await self._driver.producer(named))
        return _TransactionalProducer(driver, self._prefix)

    async def consumer(self, options: ConsumerOptions) -> AsyncConsumerDriver:
        prefix = self._prefix
        inner = replace(
            options,
            topics=tuple(prefix.on(topic) for topic in options.topics),
            pattern=None if options.pattern is None else re.escape(prefix.prefix) + f"(?:{options.pattern})",
            group=None if options.group is None else prefix.on(options.group),
        )
        return _Consumer(await self._driver.consumer(inner), prefix)

    async def admin(self) -> AsyncAdminDriver:
        return _Admin(await self._driver.admin(), self._prefix)

    async def close(self, timeout_s: float) -> None:
        await self._driver.close(timeout_s)


class _Producer:
    def __init__(self, driver: AsyncProducerDriver, prefix: _Prefix) -> None:
        self._driver = driver
        self._prefix = prefix
        self.flush = driver.flush
        self.close = driver.close
        if hasattr(driver, "crash"):
            self.crash = driver.crash

    async def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: Headers,
        partition: int | None,
        timestamp_ms: int | None,
        timeout_s: float,
    ) -> AsyncDelivery:
        name = self._prefix.on(topic)
        delivery = await self._driver.send(name, value, key, headers, partition, timestamp_ms, timeout_s)
        return AsyncNamespacedDelivery(delivery, self._prefix.off_receipt)

    async def send_many(
        self, topic: str, records: Sequence[RawOutgoing], timeout_s: float
    ) -> AsyncDeliveries:
        deliveries = await self._driver.send_many(self._prefix.on(topic), records, timeout_s)
        return AsyncNamespacedDeliveries(deliveries, self._prefix.off_receipt)


class _TransactionalProducer(_Producer):
    def __init__(self, driver: AsyncTransactionalProducerDriver, prefix: _Prefix) -> None:
        super().__init__(driver, prefix)
        self._transactions = driver
        self.init_transactions = driver.init_transactions
        self.begin_transaction = driver.begin_transaction
        self.commit_transaction = driver.commit_transaction
        self.abort_transaction = driver.abort_transaction

    async def commit_offsets(
        self, offsets: Mapping[TopicPartition, int], member: GroupMembership, timeout_s: float
    ) -> None:
        theirs = member._replace(group=self._prefix.on(member.group))
        await self._transactions.commit_offsets(self._prefix.on_keys(offsets), theirs, timeout_s)


class _Listener:
    def __init__(self, listener: AsyncAssignmentListener, prefix: _Prefix) -> None:
        self._listener = listener
        self._prefix = prefix

    async def on_assign(
        self,
        generation: int | None,
        partitions: Sequence[TopicPartition],
        positions: Mapping[TopicPartition, int],
    ) -> None:
        held, begins = self._prefix.off_all(partitions), self._prefix.off_keys(positions)
        await self._listener.on_assign(generation, held, begins)

    async def on_revoke(self, generation: int | None, partitions: Sequence[TopicPartition]) -> None:
        await self._listener.on_revoke(generation, self._prefix.off_all(partitions))

    async def on_lost(self, generation: int | None, partitions: Sequence[TopicPartition]) -> None:
        await self._listener.on_lost(generation, self._prefix.off_all(partitions))


class _Consumer:
    def __init__(self, driver: AsyncConsumerDriver, prefix: _Prefix) -> None:
        self._driver = driver
        self._prefix = prefix
        self.close = driver.close
        if hasattr(driver, "crash"):
            self.crash = driver.crash

    def membership(self) -> GroupMembership:
        member = cast("AsyncMemberDriver", self._driver).membership()
        return member._replace(group=self._prefix.off(member.group))

    async def start(self, listener: AsyncAssignmentListener, timeout_s: float) -> None:
        await self._driver.start(_Listener(listener, self._prefix), timeout_s)

    async def poll(self, max_records: int, timeout_s: float) -> list[RawRecord]:
        off = self._prefix.off
        rename = msgspec.structs.replace
        return [
            rename(record, topic=off(record.topic))
            for record in await self._driver.poll(max_records, timeout_s)
        ]

    async def ack(self, records: Sequence[RawRecord]) -> None:
        on = self._prefix.on
        rename = msgspec.structs.replace
        await self._driver.ack([rename(record, topic=on(record.topic)) for record in records])

    async def commit(self, offsets: Mapping[TopicPartition, int], timeout_s: float) -> None:
        await self._driver.commit(self._prefix.on_keys(offsets), timeout_s)

    async def seek(self, partitions: Sequence[TopicPartition], to: Position, timeout_s: float) -> None:
        await self._driver.seek(self._prefix.on_all(partitions), to, timeout_s)

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        self._driver.pause(self._prefix.on_all(partitions))

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        self._driver.resume(self._prefix.on_all(partitions))

    def assignment(self) -> tuple[TopicPartition, ...]:
        return tuple(self._prefix.off_all(self._driver.assignment()))

    async def position(self, partition: TopicPartition, timeout_s: float) -> int:
        return await self._driver.position(self._prefix.on_all((partition,))[0], timeout_s)

    async def committed(
        self, partitions: Sequence[TopicPartition], timeout_s: float
    ) -> dict[TopicPartition, int | None]:
        found = await self._driver.committed(self._prefix.on_all(partitions), timeout_s)
        return self._prefix.off_keys(found)

    async def watermarks(
        self, partitions: Sequence[TopicPartition], timeout_s: float
    ) -> dict[TopicPartition, Watermarks]:
        found = await self._driver.watermarks(self._prefix.on_all(partitions), timeout_s)
        return self._prefix.off_keys(found)


class _Admin:
    def __init__(self, driver: AsyncAdminDriver, prefix: _Prefix) -> None:
        self._driver = driver
        self._prefix = prefix

    async def create_topics(self, topics: Sequence[TopicSpec], timeout_s: float) -> None:
        named = [replace(topic, name=self._prefix.on(topic.name)) for topic in topics]
        await self._driver.create_topics(named, timeout_s)

    async def delete_topics(self, names: Sequence[str], timeout_s: float) -> None:
        await self._driver.delete_topics([self._prefix.on(name) for name in names], timeout_s)

    async def list_topics(self, timeout_s: float) -> list[str]:
        return self._own(await self._driver.list_topics(timeout_s))

    async def describe_topics(self, names: Sequence[str], timeout_s: float) -> list[TopicDescription]:
        found = await self._driver.describe_topics([self._prefix.on(name) for name in names], timeout_s)
        return [replace(topic, name=self._prefix.off(topic.name)) for topic in found]

    async def list_groups(self, timeout_s: float) -> list[str]:
        return self._own(await self._driver.list_groups(timeout_s))

    async def describe_groups(self, names: Sequence[str], timeout_s: float) -> list[GroupDescription]:
        found = await self._driver.describe_groups([self._prefix.on(name) for name in names], timeout_s)
        return [
            replace(
                group,
                name=self._prefix.off(group.name),
                members=[
                    replace(member, partitions=tuple(self._prefix.off_all(member.partitions)))
                    for member in group.members
                ],
            )
            for group in found
        ]

    async def delete_records(self, before: Mapping[TopicPartition, int], timeout_s: float) -> None:
        await self._driver.delete_records(self._prefix.on_keys(before), timeout_s)

    def _own(self, names: Iterable[str]) -> list[str]:
        return [self._prefix.off(name) for name in names if name.startswith(self._prefix.prefix)]
