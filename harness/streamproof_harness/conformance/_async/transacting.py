"""Transactions: all of it at once or nothing of it, progress included; and who may not take part.

Where the backend has none, the refusal is a case of ``declaring``.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from streamproof import (
    AsyncConsumer,
    AsyncProducer,
    AsyncTransaction,
    Fenced,
    NotAssigned,
    Outgoing,
    TransactionAborted,
    UsageError,
)
from streamproof_harness.conformance._async.stage import AsyncStage, case, logs_of, numbered, offset_of

Block = Callable[[AsyncTransaction], Awaitable[None]]


class Mishap(Exception):
    """What goes wrong in a transaction's block."""


class AsyncTransacting(AsyncStage):
    """See the module's docstring."""

    # -- what is seen --------------------------------------------------------------------------

    @case
    async def test_a_commit_shows_everything_and_nothing_was_seen_before(self) -> None:
        if not self.can.can_transact:
            return
        topics = [await self.topic(), await self.topic(partitions=2)]
        committed, uncommitted = await self._readers(*topics)
        producer = await self._transactional()
        async with producer.transaction() as tx:
            for topic in topics:
                await tx.send_many(topic, [Outgoing(value) for value in numbered(10)])
            await producer.flush(self.patience_s)
            await self.read(uncommitted, 20)
            assert await committed.poll(timeout_s=0.1) == []
            assert set((await committed.lag()).values()) == {0}, "the open transaction is beyond its end"
        records = await self.read(committed, 20)
        for topic in topics:
            found = [record.value for record in records if record.topic == topic]
            assert sorted(found) == sorted(numbered(10))

    @case
    async def test_an_abort_is_never_seen_by_readers_of_committed_records(self) -> None:
        if not self.can.can_transact:
            return
        topic = await self.topic()
        committed, uncommitted = await self._readers(topic)
        producer = await self._transactional()
        await self._aborted(producer, topic, *numbered(5))
        async with producer.transaction() as tx:
            await tx.send(topic, b"after")
        assert await self.read_to(committed, b"after") == [b"after"]
        assert await self.read_to(uncommitted, b"after") == [*numbered(5), b"after"]

    @case
    async def test_readers_of_committed_records_wait_behind_an_open_transaction(self) -> None:
        if not self.can.can_transact:
            return
        topic = await self.topic()
        committed, uncommitted = await self._readers(topic)
        producer = await self._transactional()

        async def block(tx: AsyncTransaction) -> None:
            await (await tx.send(topic, b"aborted")).result(self.patience_s)
            await self.send(topic, b"plain")
            assert await self.read_to(uncommitted, b"plain") == [b"aborted", b"plain"]
            assert await committed.poll(timeout_s=0.1) == []
            assert set((await committed.lag()).values()) == {0}
            raise Mishap

        assert isinstance(await self._failure(producer, block), Mishap)
        assert await self.read_to(committed, b"plain") == [b"plain"]

    @case
    async def test_interleaved_transactions_are_told_apart(self) -> None:
        if not self.can.can_transact:
            return
        topic = await self.topic()
        committed, _ = await self._readers(topic)
        one, other = await self._transactional(), await self._transactional()

        async def block(aborted: AsyncTransaction) -> None:
            async with other.transaction() as kept:
                for number in range(3):
                    for tx, who in ((aborted, b"one"), (kept, b"other")):
                        value = b"%s-%d" % (who, number)
                        await (await tx.send(topic, value)).result(self.patience_s)
            raise Mishap

        assert isinstance(await self._failure(one, block), Mishap)
        async with one.transaction() as tx:
            await tx.send(topic, b"last")
        expected = [b"other-0", b"other-1", b"other-2", b"last"]
        assert await self.read_to(committed, b"last") == expected

    @case
    async def test_the_end_of_a_transaction_settles_its_sends(self) -> None:
        if not self.can.can_transact:
            return
        topic = await self.topic()
        producer = await self._transactional()
        values: list[Outgoing[Any, Any]] = [Outgoing(value) for value in numbered(10)]
        async with producer.transaction() as tx:
            kept = await tx.send_many(topic, values)
        assert kept.is_settled
        assert kept.errors == []
        dropped: list[Any] = []

        async def block(tx: AsyncTransaction) -> None:
            dropped.append(await tx.send_many(topic, values))
            raise Mishap

        assert isinstance(await self._failure(producer, block), Mishap)
        [deliveries] = dropped
        assert deliveries.is_settled
        assert all(error.definite for error in deliveries.errors), "no reader will ever see these"

    # -- progress ------------------------------------------------------------------------------

    @case
    async def test_progress_is_stored_with_a_commit(self) -> None:
        if not self.can.can_transact:
            return
        source, target, group = await self.topic(), await self.topic(), self.name()
        member = await self.member(source, group=group)
        await self.send(source, *numbered(6))
        records = await self.read(member, 6)
        producer = await self._transactional()
        async with producer.transaction(member) as tx:
            await tx.send_many(target, [Outgoing(record.value) for record in records])
            assert set((await member.committed()).values()) <= {None, 0}, "not before the commit"
        [log] = logs_of(source, 1)
        assert await member.committed() == {log: offset_of(records[-1]) + 1}
        await member.close(self.patience_s)
        await self.send(source, b"next")
        successor = await self.member(source, group=group)
        assert await self.read_to(successor, b"next") == [b"next"]

    @case
    async def test_an_abort_stores_no_progress_and_the_records_come_again(self) -> None:
        if not self.can.can_transact:
            return
        source, target = await self.topic(partitions=3), await self.topic()
        member = await self.member(source, group=self.name())
        for partition in range(3):
            await self.send(source, *numbered(4, start=4 * partition), partition=partition)
        producer = await self._transactional()
        first = await self.read(member, 12)

        async def block(tx: AsyncTransaction) -> None:
            await tx.send(target, b"aborted")
            await tx.commit_offsets(member)
            raise Mishap

        assert isinstance(await self._failure(producer, block, member), Mishap)
        assert set((await member.committed()).values()) <= {None, 0}
        again = await self.read(member, 12)
        for log in logs_of(source, 3):
            places = [
                [offset_of(record) for record in records if record.topic_partition == log]
                for records in (first, again)
            ]
            assert places[0] == places[1]
        async with producer.transaction(member) as tx:
            await tx.send(target, b"kept")
        assert (await member.committed())[log] == places[1][-1] + 1
        [reader, _] = await self._readers(target)
        assert await self.read_to(reader, b"kept") == [b"kept"]

    @case
    async def test_progress_of_a_member_that_lost_its_logs_is_refused(self) -> None:
        if not (self.can.can_transact and self.can.has_member_fencing):
            return
        source, group = await self.topic(partitions=2), self.name()
        first = await self.member(source, group=group)
        await first.wait_assigned(self.patience_s)
        stale = first.membership()
        second = await self.member(source, group=group)
        await self.share([first, second], source, 2)
        [lost] = second.assignment()
        producer = await self._transactional()

        async def block(tx: AsyncTransaction) -> None:
            await producer.transactions.store({lost: 7}, stale, self.patience_s)

        assert isinstance(await self._failure(producer, block), NotAssigned)
        assert (await second.committed(lost))[lost] in (None, 0)

    # -- what goes wrong -----------------------------------------------------------------------

    @case
    async def test_what_the_block_raises_goes_on_as_it_is(self) -> None:
        if not self.can.can_transact:
            return
        topic = await self.topic()
        producer = await self._transactional()
        mishap, left = Mishap("just this one"), []

        async def block(tx: AsyncTransaction) -> None:
            left.append(tx)
            await tx.send(topic, b"v")
            raise mishap

        assert await self._failure(producer, block) is mishap
        with pytest.raises(UsageError):
            await left[0].send(topic, b"too late")

    @case
    async def test_a_send_that_fails_aborts_its_transaction(self) -> None:
        if not self.can.can_transact:
            return
        topic = await self.topic()
        committed, _ = await self._readers(topic)
        producer = await self._transactional()

        async def block(tx: AsyncTransaction) -> None:
            await tx.send(topic, b"good")
            await tx.send(topic, b"bad", partition=7)

        assert isinstance(await self._failure(producer, block), TransactionAborted)
        async with producer.transaction() as tx:
            await tx.send(topic, b"after")
        assert await self.read_to(committed, b"after") == [b"after"]

    @case
    async def test_sends_outside_and_transactions_inside_of_one_are_refused(self) -> None:
        if not self.can.can_transact:
            return
        topic = await self.topic()
        producer = await self._transactional()
        with pytest.raises(UsageError):
            await producer.send(topic, b"outside")
        with pytest.raises(UsageError):
            await producer.send_many(topic, [b"outside"])
        async with producer.transaction() as tx:
            assert isinstance(await self._failure(producer, _nothing), UsageError)
            await tx.send(topic, b"inside")
        [reader, _] = await self._readers(topic)
        assert await self.read_to(reader, b"inside") == [b"inside"]

    @case
    async def test_a_consumer_without_a_group_cannot_take_part(self) -> None:
        if not self.can.can_transact:
            return
        reader = await self.reader(await self.topic())
        producer = await self._transactional()
        assert isinstance(await self._failure(producer, _nothing, reader), UsageError)

    # -- who comes later -----------------------------------------------------------------------

    @case
    async def test_a_newer_producer_of_the_id_fences_the_older(self) -> None:
        if not self.can.can_transact:
            return
        topic = await self.topic()
        committed, _ = await self._readers(topic)
        name = self.name("id")
        older = await self.producer(transactional_id=name)
        async with older.transaction() as tx:
            await tx.send(topic, b"before")
        newer = await self.producer(transactional_id=name)

        async def block(tx: AsyncTransaction) -> None:
            await tx.send(topic, b"of the fenced")

        for _ in range(2):
            assert isinstance(await self._failure(older, block), Fenced)
        async with newer.transaction() as tx:
            await tx.send(topic, b"after")
        assert await self.read_to(committed, b"after") == [b"before", b"after"]

    @case
    async def test_a_newer_producer_of_the_id_ends_the_transaction_of_the_older(self) -> None:
        if not self.can.can_transact:
            return
        topic, name = await self.topic(), self.name("id")
        committed, _ = await self._readers(topic)
        older = await self.producer(transactional_id=name)

        async def block(tx: AsyncTransaction) -> None:
            await (await tx.send(topic, b"of the fenced")).result(self.patience_s)
            newer = await self.producer(transactional_id=name)
            async with newer.transaction() as another:
                await another.send(topic, b"after")
            assert await self.read_to(committed, b"after") == [b"after"]

        assert isinstance(await self._failure(older, block), Fenced)
        assert isinstance(await self._failure(older, _nothing), Fenced)

    @case
    async def test_closing_aborts_what_is_open(self) -> None:
        if not self.can.can_transact:
            return
        topic = await self.topic()
        committed, _ = await self._readers(topic)
        producer = await self._transactional()

        async def block(tx: AsyncTransaction) -> None:
            await (await tx.send(topic, b"open")).result(self.patience_s)
            await producer.close(self.patience_s)
            await self.send(topic, b"after")
            assert await self.read_to(committed, b"after") == [b"after"]
            with pytest.raises(UsageError):
                await tx.send(topic, b"too late")
            raise Mishap

        assert isinstance(await self._failure(producer, block), Mishap)

    # -- parts of these ------------------------------------------------------------------------

    async def _transactional(self) -> AsyncProducer[bytes, bytes]:
        return await self.producer(transactional_id=self.name("id"))

    async def _readers(self, *topics: str) -> tuple[AsyncConsumer[bytes, bytes], AsyncConsumer[bytes, bytes]]:
        """One of committed records, as by default, and one of all."""
        return await self.reader(*topics), await self.reader(*topics, isolation="read_uncommitted")

    async def _failure(
        self,
        producer: AsyncProducer[bytes, bytes],
        block: Block,
        *consumers: AsyncConsumer[bytes, bytes],
    ) -> Exception:
        """What a transaction raises that has this for its block."""
        try:
            async with producer.transaction(*consumers, timeout_s=self.patience_s) as tx:
                await block(tx)
        except AssertionError:
            raise
        except Exception as failure:
            return failure
        raise AssertionError("it committed")

    async def _aborted(self, producer: AsyncProducer[bytes, bytes], topic: str, *values: bytes) -> None:
        """A transaction that is aborted once its records stand in the log."""

        async def block(tx: AsyncTransaction) -> None:
            for value in values:
                await tx.send(topic, value)
            await producer.flush(self.patience_s)
            raise Mishap

        assert isinstance(await self._failure(producer, block), Mishap)


async def _nothing(_: AsyncTransaction) -> None:
    pass
