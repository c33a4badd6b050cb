"""Where logs end: for readers of all records, and for readers of committed ones."""

from collections.abc import Sequence

from streamproof import AsyncBus, TopicPartition, aconnect
from streamproof.options import Isolation
from streamproof_harness.clients._async.colour import now_s, pause_s
from streamproof_harness.clients.plans import Place

_PAUSE_S = 0.02

Ends = dict[TopicPartition, int]


async def ends_of(bus: AsyncBus, topics: Sequence[str], isolation: Isolation) -> Ends:
    """One past the last offset that a reader of this isolation may see, in each log."""
    async with await bus.consumer(*topics, start="latest", isolation=isolation) as reader:
        lags = await reader.lag()
        return {log: await reader.position(log) + lags[log] for log in reader.assignment()}


async def settled_ends(place: Place, topics: Sequence[str], patience_s: float) -> tuple[Ends, Ends]:
    """The ends and the stable ends of all logs, as soon as they agree, or as they are when the patience
    is at an end: of a transaction that was just committed the markers come to each log on their own."""
    deadline = now_s() + patience_s
    async with await aconnect(place.url, namespace=place.namespace) as bus:
        while True:
            # In this order: what is written in between cannot make a stable end look too low.
            ends = await ends_of(bus, topics, "read_uncommitted")
            stable = await ends_of(bus, topics, "read_committed")
            if all(stable[log] >= end for log, end in ends.items()) or now_s() >= deadline:
                return ends, stable
            await pause_s(_PAUSE_S)
