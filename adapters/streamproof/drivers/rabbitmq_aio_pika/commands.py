"""Runs procedures (:mod:`rabbitmq_commands`) on an async link: each on its own channels."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pamqp import commands as spec

from streamproof.drivers.rabbitmq.codec import Message
from streamproof.drivers.rabbitmq.commands import (
    Attach,
    Bind,
    CheckQueue,
    Command,
    DeclareExchange,
    DeclareQueue,
    DeleteExchange,
    DeleteQueue,
    Detach,
    Drain,
    Procedure,
    Put,
    Receive,
    Sleep,
    Sync,
)
from streamproof.drivers.rabbitmq.errors import Missing
from streamproof.drivers.rabbitmq_aio_pika.channels import (
    AioChannel,
    AioReadingChannel,
    AioWritingChannel,
)
from streamproof.drivers.rabbitmq_aio_pika.link import AioLink
from streamproof.errors import BackendError, Closed, StreamproofError, TimedOut

_log = logging.getLogger("streamproof.rabbitmq")

T = TypeVar("T")

_PREFETCH = 2_000
_CLEAN_UP_S = 2.0

SyncCatalogue = Callable[[], Awaitable[None]]


class AioRun:
    """One procedure under way."""

    def __init__(self, link: AioLink, procedure: Procedure[Any], sync: SyncCatalogue) -> None:
        self._link = link
        self._procedure = procedure
        self._sync = sync
        self._requests: AioChannel | None = None
        self._reader: AioReadingChannel | None = None
        self._arrived: list[Message] = []
        self._last_tag = 0
        self._has_arrived = asyncio.Event()
        self._failure: StreamproofError | None = None
        self._aborted: StreamproofError | None = None
        self._step: asyncio.Task[Any] | None = None

    def abort(self, error: StreamproofError) -> None:
        """Throw an error into it, where it stands."""
        self._aborted = error
        if self._step is not None:
            self._step.cancel()

    async def drive(self) -> Any:
        """Take all steps; the procedure's result, or its error."""
        answer: Any = None
        error: StreamproofError | None = None
        try:
            while True:
                throw, send = self._procedure.throw, self._procedure.send
                try:
                    command = throw(error) if error is not None else send(answer)
                except StopIteration as stop:
                    return stop.value
                answer = error = None
                try:
                    answer = await self._take_step(command)
                except StreamproofError as failure:
                    error = failure
        finally:
            for channel in (self._requests, self._reader):
                if channel is not None:
                    await channel.close()

    async def _take_step(self, command: Command) -> Any:
        aborted, self._aborted = self._aborted, None
        if aborted is not None:
            raise aborted
        self._step = asyncio.create_task(self._execute(command))
        try:
            return await self._step
        except asyncio.CancelledError:
            aborted, self._aborted = self._aborted, None
            if aborted is None:
                self._step.cancel()
                raise
            raise aborted from None
        finally:
            self._step = None

    async def _execute(self, command: Command) -> Any:
        match command:
            case Sleep(seconds):
                await asyncio.sleep(seconds)
            case Sync():
                await self._sync()
            case Put():
                await self._put(command)
            case Attach(queue, places):
                self._arrived, self._failure = [], None
                self._reader = AioReadingChannel(
                    self._link, queue, _PREFETCH, self._delivered, self._broke, places=places
                )
                await self._reader.open()
            case Receive():
                return await self._receive()
            case Drain():
                assert self._reader is not None
                await self._reader.ask()
                return self._take()
            case Detach():
                reader, self._reader = self._reader, None
                if reader is not None:
                    await reader.close()
            case _:
                await self._request(command)
        return None

    async def _request(self, command: Command) -> None:
        if self._requests is None or not self._requests.is_open:
            self._requests = AioChannel(self._link, "a request", _ignore)
            await self._requests.open()
        await self._requests.request(_frame(command))

    async def _put(self, command: Put) -> None:
        confirmed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        returned: list[str] = []

        def on_confirm(tag: int, is_multiple: bool, is_ack: bool) -> None:
            if not confirmed.done():
                confirmed.set_result(is_ack)

        def on_end(error: StreamproofError | None) -> None:
            if error is not None and not confirmed.done():
                confirmed.set_exception(error)

        writer = AioWritingChannel(
            self._link, f"writing to {command.queue}", on_confirm, returned.append, on_end
        )
        await writer.open()
        try:
            now_ms = int(time.time() * 1000)
            writer.publish(
                "", command.queue, command.body, timestamp_ms=now_ms, mark=command.mark, message_id="-"
            )
            is_ack = await confirmed
        finally:
            await writer.close()
        if returned:
            raise Missing(f"there is no queue {command.queue}")
        if not is_ack:
            raise BackendError(f"queue {command.queue} did not take a message", definite=False)

    def _delivered(self, tag: int, is_redelivered: bool, message: Message) -> None:
        self._arrived.append(message)
        self._last_tag = tag
        self._has_arrived.set()

    def _broke(self, error: StreamproofError | None) -> None:
        if error is not None:
            self._failure = error
            self._has_arrived.set()

    async def _receive(self) -> list[Message]:
        while not self._arrived:
            if self._failure is not None:
                raise self._failure
            self._has_arrived.clear()
            await self._has_arrived.wait()
        # What came in the same piece shall come along.
        await asyncio.sleep(0)
        return self._take()

    def _take(self) -> list[Message]:
        messages, self._arrived = self._arrived, []
        if messages and self._reader is not None:
            self._reader.acknowledge(((self._last_tag, True),))
        return messages


def _frame(command: Command) -> Any:
    match command:
        case DeclareQueue(name, arguments, is_exclusive):
            return spec.Queue.Declare(
                queue=name,
                durable=not is_exclusive,
                exclusive=is_exclusive,
                auto_delete=is_exclusive,
                arguments=arguments,
            )
        case CheckQueue(name):
            return spec.Queue.Declare(queue=name, passive=True)
        case DeclareExchange(name):
            return spec.Exchange.Declare(exchange=name, exchange_type="direct", durable=True)
        case Bind(queue, exchange, routing_key):
            return spec.Queue.Bind(queue=queue, exchange=exchange, routing_key=routing_key)
        case DeleteQueue(name):
            return spec.Queue.Delete(queue=name)
        case DeleteExchange(name):
            return spec.Exchange.Delete(exchange=name)
    raise AssertionError(f"no request: {command}")


def _ignore(_: StreamproofError | None) -> None:
    """The request in hand raises it."""


async def run(link: AioLink, procedure: Procedure[T], sync: SyncCatalogue, timeout_s: float, doing: str) -> T:
    """Run a procedure and wait for its end. When the time is up, or the caller is cancelled, it is
    told so, cleans up, and ends soon."""
    under_way = AioRun(link, procedure, sync)
    task = asyncio.create_task(under_way.drive())
    try:
        await asyncio.wait({task}, timeout=timeout_s)
    except asyncio.CancelledError:
        under_way.abort(Closed(f"{doing} was cancelled"))
        await asyncio.wait({task}, timeout=_CLEAN_UP_S)
        task.cancel()
        if task.done() and not task.cancelled():
            task.exception()
        raise
    if not task.done():
        failure = TimedOut(f"{doing} did not end within {timeout_s:g} s")
        under_way.abort(failure)
        await asyncio.wait({task}, timeout=_CLEAN_UP_S)
        if not task.done():
            task.cancel()
            raise failure
    result: T = task.result()
    return result
