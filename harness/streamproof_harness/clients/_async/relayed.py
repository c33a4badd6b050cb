"""What a relay publishes, written into the history as sends."""

import zlib
from collections.abc import Callable
from typing import Any

from streamproof import AsyncDelivery
from streamproof._async.relay import AsyncRelaySink
from streamproof.records import Headers
from streamproof_harness.clients.identity import AGAIN
from streamproof_harness.history.recorder import Call, EventRecorder, key_field
from streamproof_harness.workloads.workload import ID_HEADER


class AsyncRecordedRelaying:
    """The producer that a relay publishes with. A row that is published again, after a crash, is another
    send, under an id of its own that has the row's as its root."""

    def __init__(
        self,
        producer: AsyncRelaySink,
        recorder: EventRecorder,
        process: str,
        published: Callable[[], None],
    ) -> None:
        self._producer = producer
        self._recorder = recorder
        self._process = f"{process}/relay"
        self._published = published
        self._count = 0

    async def send(self, topic: str, value: Any, *, key: Any = None, headers: Headers = ()) -> AsyncDelivery:
        """Send, and note it."""
        self._count += 1
        given = dict(headers)
        root, origin = (bytes(given.pop(name) or b"").decode() for name in (ID_HEADER, "from"))
        id = f"{root}{AGAIN}{self._process}/{self._count}"
        call = self._recorder.invoke_send(
            self._process, topic, id, key_field(key), self._count, zlib.crc32(value), from_ids=[origin]
        )
        kept = tuple((name, raw) for name, raw in headers if name != ID_HEADER)
        delivery = await self._producer.send(topic, value, key=key, headers=(*kept, (ID_HEADER, id.encode())))
        delivery.add_done_callback(lambda settled: self._settled(settled, call))
        self._published()
        return delivery

    def _settled(self, delivery: AsyncDelivery, call: Call) -> None:
        receipt, error = delivery.receipt, delivery.error
        if receipt is not None:
            self._recorder.ok_send(call, receipt.partition, receipt.offset)
        elif error is not None:
            (self._recorder.fail if error.definite else self._recorder.info)(call, error)
