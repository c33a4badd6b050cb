"""What happens in a consumer when logs come and go."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from streamproof._async.colour import Guard
from streamproof._async.progress import AsyncProgress
from streamproof.core.inflight import InFlight
from streamproof.observer import ConsumerObserver
from streamproof.records import TopicPartition


class AsyncAssignment:
    """The driver's listener: keeps the ledgers in step with the assignment, and stores progress
    before a log goes."""

    def __init__(
        self,
        observer: ConsumerObserver,
        in_flight: InFlight,
        guard: Guard,
        progress: AsyncProgress,
        forget_flow: Callable[[Iterable[TopicPartition]], None],
    ) -> None:
        self.observer = observer
        self.generation: int | None = None
        self.tenures: dict[TopicPartition, int] = {}
        self.unsettled_losses = 0
        """How many logs went of which records were out whose progress no transaction had settled."""
        self._last_tenure = 0
        self._in_flight = in_flight
        self._guard = guard
        self._progress = progress
        self._forget_flow = forget_flow

    async def on_assign(
        self,
        generation: int | None,
        partitions: Sequence[TopicPartition],
        positions: Mapping[TopicPartition, int],
    ) -> None:
        """Begin a ledger for each log that is new."""
        self.generation = self._progress.generation = generation
        self._last_tenure += 1
        self.tenures = {place: self.tenures.get(place, self._last_tenure) for place in partitions}
        with self._guard:
            self._in_flight.open(partitions)
        self.observer.assigned(generation, partitions, positions)

    async def on_revoke(self, generation: int | None, partitions: Sequence[TopicPartition]) -> None:
        """Store the progress of these logs while they are still held, then forget them."""
        await self._progress.store_some(partitions)
        self._forget(partitions)
        self.observer.revoked(generation, partitions)

    async def on_lost(self, generation: int | None, partitions: Sequence[TopicPartition]) -> None:
        """Forget these logs: it is too late to store anything."""
        self._forget(partitions)
        self.observer.lost(generation, partitions)

    def _forget(self, partitions: Sequence[TopicPartition]) -> None:
        for partition in partitions:
            self.tenures.pop(partition, None)
        self._progress.forget(partitions)
        with self._guard:
            self.unsettled_losses += len(self._in_flight.first_offsets(partitions))
            self._in_flight.drop(partitions)
            self._forget_flow(partitions)
