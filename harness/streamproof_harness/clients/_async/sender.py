"""A producing process: sends a workload's messages when they are due, and sends lost ones again."""

import threading
import zlib
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import Any

from streamproof import AsyncDelivery, AsyncProducer, BufferFull, Outcome, StreamproofError
from streamproof_harness.clients._async.colour import now_s, pause_s
from streamproof_harness.clients.findings import Findings
from streamproof_harness.clients.identity import AGAIN, AMOUNT_HEADER, root_of
from streamproof_harness.clients.plans import Place
from streamproof_harness.history.recorder import Call, EventRecorder, key_field
from streamproof_harness.mutants._async.seams import AsyncSeams
from streamproof_harness.workloads.workload import ID_HEADER, Message


class AsyncSender:
    """Sends in an open loop: a message's due time does not move when the sender falls behind.

    A send that failed or whose outcome is unknown is sent again under a new id derived from the
    first (``id~2``), until it is acknowledged or ``give_up_s`` has passed since it was due.
    """

    def __init__(
        self,
        process: str,
        place: Place,
        topic: str,
        messages: Iterable[Message],
        recorder: EventRecorder,
        findings: Findings,
        *,
        options: Mapping[str, Any],
        give_up_s: float,
        sends_again: bool,
    ) -> None:
        self.process = process
        self._seams = AsyncSeams(place, lambda: findings.struck(process))
        self._topic = topic
        self._messages = messages
        self._recorder = recorder
        self._findings = findings
        self._options = options
        self._give_up_s = give_up_s
        self._sends_again = sends_again
        self._again: deque[tuple[Message, str, int]] = deque()
        self._numbers: Counter[bytes | None] = Counter()
        self._lock = threading.Lock()
        self._under_way = 0
        self._is_stopping = False

    def stop(self) -> None:
        """End early; from any thread."""
        self._is_stopping = True

    async def run(self) -> None:
        """Send everything, wait for the outcomes, close."""
        self._recorder.note(self.process, "open", role="producer")
        try:
            async with await self._seams.bus() as bus:
                producer = await bus.producer(**self._options)
                try:
                    await self._send_all(producer)
                finally:
                    await self._close(producer)
        except StreamproofError as error:
            self._findings.failed(self.process, repr(error))

    async def _send_all(self, producer: AsyncProducer[Any, Any]) -> None:
        start_s = now_s()
        start_ns = self._recorder.now_ns()
        for message in self._messages:
            ahead_s = start_s + message.due_ns / 1e9 - now_s()
            if ahead_s > 0.0005:
                await pause_s(ahead_s)
            while self._again:
                await self._send_again(producer)
            if self._is_stopping:
                return
            await self._send(producer, message, message.id, None, 1, start_ns)
        await self._settle(producer)

    async def _settle(self, producer: AsyncProducer[Any, Any]) -> None:
        """Wait for every outcome, sending again what needs it."""
        deadline = now_s() + self._give_up_s
        while (self._again or self._under_way > 0) and now_s() < deadline and not self._is_stopping:
            while self._again:
                await self._send_again(producer)
            await pause_s(0.005)

    async def _send_again(self, producer: AsyncProducer[Any, Any]) -> None:
        message, previous, number = self._again.popleft()
        await pause_s(min(0.5, 0.02 * number))
        await self._send(producer, message, f"{message.id}{AGAIN}{number}", previous, number, None)

    async def _send(
        self,
        producer: AsyncProducer[Any, Any],
        message: Message,
        id: str,
        previous: str | None,
        number: int,
        start_ns: int | None,
    ) -> None:
        call = self._invoke(message, id, previous, start_ns)
        headers: list[tuple[str, str | bytes | None]] = [(ID_HEADER, id)]
        headers.extend(pair for pair in message.headers if pair[0] != ID_HEADER)
        if message.amount:
            headers.append((AMOUNT_HEADER, str(message.amount)))
        self._count_under_way(1)
        self._findings.sending()
        try:
            delivery = await producer.send(
                self._topic,
                message.value,
                key=message.key,
                headers=headers,
                partition=message.partition,
            )
        except BufferFull as error:
            self._settled(call, message, id, number, error)
            return
        delivery.add_done_callback(lambda settled: self._completed(settled, call, message, id, number))

    def _invoke(self, message: Message, id: str, previous: str | None, start_ns: int | None) -> Call:
        key = key_field(message.key)
        self._numbers[message.key] += 1
        fields: dict[str, Any] = {}
        if message.partition is not None:
            fields["partition"] = message.partition
        if message.amount:
            fields["amount"] = message.amount
        if start_ns is not None:
            fields["due"] = start_ns + message.due_ns
        crc = None if message.value is None else zlib.crc32(message.value)
        number = self._numbers[message.key]
        if previous is None:
            return self._recorder.invoke_send(self.process, self._topic, id, key, number, crc, **fields)
        return self._recorder.invoke(
            self.process,
            "send",
            topic=self._topic,
            id=id,
            key=key,
            seq=number,
            crc=crc,
            from_=[previous],
            **fields,
        )

    def _completed(self, delivery: AsyncDelivery, call: Call, message: Message, id: str, number: int) -> None:
        receipt = delivery.receipt
        if receipt is not None:
            self._recorder.ok_send(call, receipt.partition, receipt.offset)
            self._findings.settled(True)
            self._count_under_way(-1)
            return
        assert delivery.error is not None
        self._settled(call, message, id, number, delivery.error, delivery.outcome)

    def _settled(
        self,
        call: Call,
        message: Message,
        id: str,
        number: int,
        error: StreamproofError,
        outcome: Outcome = Outcome.FAILED,
    ) -> None:
        (self._recorder.fail if outcome is Outcome.FAILED else self._recorder.info)(call, error)
        self._findings.settled(False)
        if self._sends_again and not self._is_stopping:
            self._again.append((message, id, number + 1))
        elif outcome is Outcome.FAILED:
            self._findings.abandoned(root_of(id))
        self._count_under_way(-1)

    def _count_under_way(self, change: int) -> None:
        # Outcomes come on the client library's thread.
        with self._lock:
            self._under_way += change

    async def _close(self, producer: AsyncProducer[Any, Any]) -> None:
        call = self._recorder.invoke(self.process, "close", role="producer")
        try:
            await producer.close()
        except StreamproofError as error:
            self._recorder.info(call, error)
        else:
            self._recorder.ok(call)
