"""Dead letters on their way, written into the history as sends."""

import zlib

from streamproof import AsyncDelivery
from streamproof._async.worker import AsyncWorkSink
from streamproof.records import Headers
from streamproof_harness.clients.identity import BURIAL_HEADER, BURIED
from streamproof_harness.history.recorder import Call, EventRecorder, key_field
from streamproof_harness.workloads.workload import ID_HEADER


class AsyncRecordedBurials:
    """The producer that a worker buries with."""

    def __init__(self, producer: AsyncWorkSink, recorder: EventRecorder, process: str) -> None:
        self._producer = producer
        self._recorder = recorder
        self._process = f"{process}/dead-letters"
        self._count = 0

    async def send(
        self, topic: str, value: bytes | None, *, key: bytes | None = None, headers: Headers = ()
    ) -> AsyncDelivery:
        """Send, and note it under an id of its own, derived from the dead record's."""
        origin = next(raw.decode() for name, raw in headers if name == ID_HEADER and raw is not None)
        self._count += 1
        id = f"{origin}{BURIED}{self._process}/{self._count}"
        call = self._recorder.invoke(
            self._process,
            "send",
            topic=topic,
            id=id,
            key=key_field(key),
            seq=self._count,
            crc=None if value is None else zlib.crc32(value),
            from_=[origin],
        )
        delivery = await self._producer.send(
            topic, value, key=key, headers=(*headers, (BURIAL_HEADER, id.encode()))
        )
        delivery.add_done_callback(lambda settled: self._completed(settled, call))
        return delivery

    def _completed(self, delivery: AsyncDelivery, call: Call) -> None:
        receipt, error = delivery.receipt, delivery.error
        if receipt is not None:
            self._recorder.ok_send(call, receipt.partition, receipt.offset)
        elif error is not None:
            (self._recorder.fail if error.definite else self._recorder.info)(call, error)
