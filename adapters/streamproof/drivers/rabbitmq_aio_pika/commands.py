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
    PutAll,
    Receive,
    Sleep,
    Sync,
    Together,
)
from streamproof.drivers.rabbitmq.errors import Missing, lost
from streamproof.drivers.rabbitmq_aio_pika.channels import (
    AioChannel,
    AioReadingChannel,
    AioWritingChannel,
)
from streamproof.drivers.rabbitmq_aio_pika.link import AioLink, retrieve
from streamproof.errors import BackendError, Closed, StreamproofError, TimedOut

_log = logging.getLogger("streamproof.rabbitmq")

T = TypeVar("T")

_PREFETCH = 2_000
_CLEAN_UP_S = 2.0

SyncCatalogue = Callable[[], Awaitable[None]]


class AioRun:
    """One procedure under way. It belongs to the connection that it begins on: what it has there, locks
    not least, goes with it, so it ends with it, too."""

    def __init__(self, link: AioLink, procedure: Procedure[Any], sync: SyncCatalogue) -> None:
        self._link = link
        self._procedure = procedure
        self._sync = sync
        self._loss: StreamproofError | None = None
        self._requests: AioChannel | None = None
        self._reader: AioReadingChannel | None = None
        self._children: list[AioRun] = []
        self._arrived: list[Message] = []
        self._last_tag = 0
        self._has_arrived = asyncio.Event()
        self._failure: StreamproofError | None = None
        self._aborted: StreamproofError | None = None
        self._step: asyncio.Task[Any] | None = None

    def abort(self, error: StreamproofError) -> None:
        """Throw an error into it, where it stands."""
        if self._children:
            for child in self._children:
                child.abort(error)
            return
        self._aborted = error
        if self._step is not None:
            self._step.cancel()

    def lost(self, error: StreamproofError) -> None:
        """The connection is gone; whatever else the procedure wants to do there, it is refused."""
        self._loss = error
        self.abort(error)

    async def drive(self) -> Any:
        """Take all steps; the procedure's result, or its error."""
        tap = self._link.connection
        if tap is None:
            self._loss = lost("a request", "not connected")
        else:
            tap.add_dependant(self)
        try:
            return await self._take_all()
        finally:
            if tap is not None:
                tap.remove_dependant(self)
            for channel in (self._requests, self._reader):
                if channel is not None:
                    await channel.close()

    async def _take_all(self) -> Any:
        answer: Any = None
        error = self._loss
        while True:
            throw, send = self._procedure.throw, self._procedure.send
            try:
                command = throw(error) if error is not None else send(answer)
            except StopIteration as stop:
                return stop.value
            answer, error = None, self._loss
            if error is None:
                try:
                    answer = await self._take_step(command)
                except StreamproofError as failure:
                    error = failure

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
            case Together(procedures):
                return await self._run_together(procedures)
            case Put():
                await self._put((command,))
            case PutAll(puts):
                await self._put(puts)
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

    async def _run_together(self, procedures: tuple[Procedure[Any], ...]) -> list[Any]:
        self._children = [AioRun(self._link, procedure, self._sync) for procedure in procedures]
        tasks = [asyncio.create_task(child.drive()) for child in self._children]
        try:
            if tasks:
                await asyncio.wait(tasks)
        finally:
            self._children = []
            for task in tasks:
                task.cancel()
        failed = [task for task in tasks if not task.cancelled() and task.exception() is not None]
        for task in failed:
            task.result()
        return [task.result() for task in tasks]

    async def _request(self, command: Command) -> None:
        if self._requests is None or not self._requests.is_open:
            self._requests = AioChannel(self._link, "a request", _ignore)
            await self._requests.open()
        await self._requests.request(_frame(command))

    async def _put(self, puts: tuple[Put, ...]) -> None:
        """All on one channel, then wait for all confirms."""
        if not puts:
            return
        settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        settled.add_done_callback(retrieve)
        missing: list[str] = []
        refused: list[str] = []
        under_way: dict[int, str] = {}

        def on_return(place: str) -> None:
            missing.append(puts[int(place)].queue)

        def on_confirm(tag: int, is_multiple: bool, is_ack: bool) -> None:
            for one in [one for one in under_way if one == tag or (is_multiple and (one < tag or not tag))]:
                queue = under_way.pop(one)
                if not is_ack:
                    refused.append(queue)
            if not under_way and not settled.done():
                settled.set_result(None)

        def on_end(error: StreamproofError | None) -> None:
            if error is not None and not settled.done():
                settled.set_exception(error)

        writer = AioWritingChannel(self._link, f"writing to {puts[0].queue}", on_confirm, on_return, on_end)
        await writer.open()
        try:
            now_ms = int(time.time() * 1000)
            for place, put in enumerate(puts):
                tag = writer.publish(
                    "", put.queue, put.body, timestamp_ms=now_ms, mark=put.mark, message_id=str(place)
                )
                under_way[tag] = put.queue
            await settled
        finally:
            await writer.close()
        if missing:
            raise Missing(f"there is no queue {missing[0]}")
        if refused:
            raise BackendError(f"queue {refused[0]} did not take a message", definite=False)

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
    if link.is_over:
        raise Closed(f"the connection to {link.where} is closed: connect again")
    under_way = AioRun(link, procedure, sync)
    task = link.start(under_way.drive())
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
