"""A consumer's progress on its way to where it is stored: by the group, or in transactions."""

import logging
from collections.abc import Iterable, Mapping, Sequence

from streamproof._async.colour import Guard, now_s
from streamproof.capabilities import Capabilities
from streamproof.core.inflight import InFlight
from streamproof.driver import AsyncConsumerDriver
from streamproof.errors import NotAssigned, StreamproofError
from streamproof.observer import ConsumerObserver
from streamproof.options import ConsumerOptions
from streamproof.records import TopicPartition

_log = logging.getLogger("streamproof.consumer")

_STORE_S = 5.0
"""The longest that storing in between may hold up a poll."""


class AsyncProgress:
    """Stores what was acknowledged. From its first transaction on, transactions alone do that."""

    def __init__(
        self,
        driver: AsyncConsumerDriver,
        options: ConsumerOptions,
        capabilities: Capabilities,
        in_flight: InFlight,
        guard: Guard,
        observer: ConsumerObserver,
    ) -> None:
        self.is_transactional = False
        self.generation: int | None = None
        self.owed: dict[TopicPartition, bool] = {}
        """The logs that have still to be turned back, since the last attempt failed; and whether they
        were taken over."""
        self._driver = driver
        self._interval_s = options.commit_interval_s if options.group is not None else None
        self._keeps_offsets = options.group is not None and capabilities.acknowledgement == "offset"
        self._in_flight = in_flight
        self._guard = guard
        self._observer = observer
        self._next_commit_s = 0.0

    def begin(self) -> None:
        """The time to the first storing runs."""
        self._next_commit_s = now_s() + (self._interval_s or 0.0)

    @property
    def due_s(self) -> float | None:
        """When it is to be stored next, if it is by itself."""
        return None if self._interval_s is None or self.is_transactional else self._next_commit_s

    async def store_when_due(self) -> None:
        """Store it, if the time has come."""
        if self._interval_s is None or self.is_transactional or now_s() < self._next_commit_s:
            return
        self._next_commit_s = now_s() + self._interval_s
        await self.store_some(None)

    async def store_some(self, partitions: Sequence[TopicPartition] | None) -> None:
        """Store what was acknowledged; what cannot be stored now is tried again later."""
        progress = self.own(partitions)
        if not progress:
            return
        try:
            await self.store(progress, _STORE_S)
        except NotAssigned as error:
            _log.info("progress of %d logs was not stored: %s", len(progress), error)
        except StreamproofError as error:
            _log.warning("progress of %d logs was not stored: %s", len(progress), error)

    def own(self, partitions: Iterable[TopicPartition] | None = None) -> dict[TopicPartition, int]:
        """What the group is to store and has not; nothing where transactions do it."""
        if not self._keeps_offsets or self.is_transactional:
            return {}
        with self._guard:
            return self._in_flight.progress(partitions)

    async def store(self, offsets: Mapping[TopicPartition, int], timeout_s: float) -> None:
        """Store these, and tell the observer."""
        if not offsets or not self._keeps_offsets:
            return
        self._observer.commit_begins(self.generation, offsets)
        try:
            await self._driver.commit(offsets, timeout_s)
        except StreamproofError as error:
            self._observer.commit_ends(error)
            raise
        with self._guard:
            self._in_flight.mark_committed(offsets)
        self._observer.commit_ends(None)

    # -- in transactions ---------------------------------------------------------------------

    def take(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """For a transaction: everything handed out of these logs counts as handled, and this is
        what it is to store."""
        self.is_transactional = True
        with self._guard:
            self._in_flight.acknowledge_out(partitions)
            return self._in_flight.progress(partitions)

    def settle(self, offsets: Mapping[TopicPartition, int]) -> None:
        """The transaction stored them."""
        with self._guard:
            self._in_flight.settle(offsets)

    async def turn_back(
        self, partitions: Sequence[TopicPartition], timeout_s: float, *, is_taken_over: bool = False
    ) -> Sequence[TopicPartition]:
        """Read on from what is stored now, further on if a transaction did commit after all. That is
        for logs of which something was handed out since it was last settled, or, when they were
        ``taken_over``, for all: what is stored may have changed since their position was read.
        Returns the logs that moved; what was fetched of them is void."""
        self.is_transactional = True
        held = set(self._driver.assignment())
        chosen = tuple(place for place in partitions if place in held)
        # Owed until it is done: to read on from where it stands would leave records out.
        self.owed.update(dict.fromkeys(chosen, is_taken_over))
        with self._guard:
            firsts = self._in_flight.first_offsets(chosen)
        if not is_taken_over:
            for place in chosen:
                if place not in firsts:
                    del self.owed[place]
            chosen = tuple(firsts)
        if not chosen:
            return ()
        deadline = now_s() + timeout_s
        stored = await self._driver.committed(chosen, timeout_s)
        places = {place: max(firsts.get(place, -1), stored.get(place) or -1) for place in chosen}
        moved = [place for place, offset in places.items() if offset >= 0]
        for place in moved:
            await self._driver.seek((place,), places[place], max(0.1, deadline - now_s()))
        with self._guard:
            self._in_flight.restart(moved)
        for place in chosen:
            self.owed.pop(place, None)
        if is_taken_over and moved:
            self._observer.taken_over({place: places[place] for place in moved})
        return moved

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """These logs went: nothing is owed of them."""
        for partition in partitions:
            self.owed.pop(partition, None)
