"""Rebalances, brought from aiokafka's tasks into the calls of whoever polls.

aiokafka calls its rebalance listener in a task of its own, and goes on with the rebalance when the
listener returns. The seam's listener runs only inside of a call into the driver. So a revocation is
handed over, and the rebalance waits until a poll (or the close) has dealt with it, or until the time
is over that the group gives its members.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import ConsumerRebalanceListener
from aiokafka import errors as native_errors
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from streamproof.drivers.kafka_aiokafka.client import ended
from streamproof.records import TopicPartition

_log = logging.getLogger("streamproof.kafka")

_LEAST_S = 0.5

Begins = Mapping[TopicPartition, int]


@dataclass(frozen=True, slots=True)
class Assigned:
    """An assignment that nobody was told of yet."""

    generation: int
    partitions: tuple[TopicPartition, ...]
    begins: Begins


class Handover(ConsumerRebalanceListener):
    """What aiokafka's coordinator says, kept for whoever polls. ``place`` finds out where reading
    begins in new logs and goes there; ``ring`` wakes a waiting poll."""

    def __init__(
        self,
        generation: Callable[[], int],
        is_holding: Callable[[], bool],
        place: Callable[[Sequence[TopicPartition]], Coroutine[Any, Any, Begins]],
        ring: Callable[[], None],
        patience_s: float,
    ) -> None:
        self._generation = generation
        self._is_holding = is_holding
        self._place = place
        self._ring = ring
        self._patience_s = patience_s
        self._revocation: asyncio.Future[None] | None = None
        self._placing: asyncio.Task[Begins] | None = None
        self._is_over = False
        self.assigned: Assigned | None = None
        self.is_overdue = False
        """Whether a revocation was not dealt with in time: then the logs are lost."""

    @property
    def is_revoking(self) -> bool:
        """Whether a rebalance waits for the logs that are held."""
        return self._revocation is not None

    def let_go(self) -> None:
        """The logs were given up: the rebalance can go on."""
        self.is_overdue = False
        if self._revocation is not None and not self._revocation.done():
            self._revocation.set_result(None)

    def take(self) -> Assigned | None:
        """The assignment that is to be told now."""
        assigned, self.assigned = self.assigned, None
        return assigned

    def end(self) -> None:
        """The consumer closes: nothing waits any more."""
        self._is_over = True
        self.assigned = None
        self.let_go()
        if self._placing is not None:
            self._placing.cancel()

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """aiokafka's call, before it joins the group anew; it takes all logs away each time."""
        self.assigned = None
        if self._is_over or not self._is_holding():
            return
        self._revocation = asyncio.get_running_loop().create_future()
        self._ring()
        try:
            await asyncio.wait([self._revocation], timeout=self._patience_s)
            self.is_overdue = not self._revocation.done()
        finally:
            self._revocation = None

    async def on_partitions_assigned(self, assigned: Any) -> None:
        """aiokafka's call, once it knows the new assignment. No heartbeats are sent meanwhile."""
        if self._is_over:
            return
        logs = tuple(sorted(TopicPartition(*log) for log in assigned))
        self._placing = asyncio.ensure_future(self._place(logs))
        try:
            await asyncio.wait([self._placing])
            if self._placing.cancelled():
                return
            begins = self._placing.result()
        finally:
            self._placing.cancel()
            self._placing = None
        self.assigned = Assigned(self._generation(), logs, begins)
        self._ring()


class WholeMatch:
    """A pattern in the form in which aiokafka asks it, which would match the beginning only."""

    def __init__(self, pattern: str) -> None:
        self._pattern = re.compile(pattern)

    def match(self, name: str) -> Any:
        """Whether the whole name matches; Kafka's internal topics do not."""
        return None if name.startswith("__") else self._pattern.fullmatch(name)


def assignor_of(name: str) -> type[Any]:
    """The class of an assignor, made for one consumer: the sticky one keeps what it was assigned in
    its class, where consumers of one process would overwrite each other's."""
    if name == "range":
        return RangePartitionAssignor
    if name == "roundrobin":
        return RoundRobinPartitionAssignor

    class OwnStickyAssignor(StickyPartitionAssignor):
        member_assignment = None
        generation = StickyPartitionAssignor.DEFAULT_GENERATION_ID

    return OwnStickyAssignor


async def retire(coordinator: Any) -> None:
    """Stop the tasks that keep a membership, whatever they wait for."""
    if not coordinator._closing.done():
        coordinator._closing.set_result(None)
    await ended([coordinator._coordination_task], _LEAST_S)
    await coordinator._stop_heartbeat_task()
    await coordinator._stop_commit_offsets_refresh_task()


async def commit_once(coordinator: Any, offsets: Mapping[TopicPartition, int], generation: int) -> None:
    """One attempt to store offsets, in this generation only: aiokafka's own commit tries again with
    whatever generation it has by then, and a member without one would write as an outsider."""
    from aiokafka.structs import OffsetAndMetadata

    await coordinator.ensure_coordinator_known()
    async with coordinator._commit_lock:
        if coordinator.generation != generation:
            raise native_errors.IllegalGenerationError(coordinator.group_id)
        await coordinator._do_commit_offsets(
            None, {log: OffsetAndMetadata(offset, "") for log, offset in offsets.items()}
        )
