"""Runs procedures (:mod:`rabbitmq_commands`) on a link: each on its own channels, step by step."""

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from pika.exceptions import AMQPError

from streamproof.drivers.rabbitmq.codec import Message, header_table, read_message
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
from streamproof.drivers.rabbitmq_pika.channels import Channel, OnEnd, ReadingChannel, WritingChannel
from streamproof.drivers.rabbitmq_pika.connection import Connection
from streamproof.drivers.rabbitmq_pika.link import Link
from streamproof.errors import BackendError, Closed, StreamproofError, TimedOut

_log = logging.getLogger("streamproof.rabbitmq")

T = TypeVar("T")

_PREFETCH = 2_000
_CLEAN_UP_S = 2.0

SyncCatalogue = Callable[[Callable[[StreamproofError | None], None]], None]
"""Starts a sync of the catalogue, and says when it is done; from any thread."""


class _RequestChannel(Channel):
    """Declares, binds, deletes; one request at a time."""

    def __init__(self, connection: Connection, on_ready: Callable[[], None], on_end: OnEnd) -> None:
        self._on_ready = on_ready
        super().__init__(connection, "a request", on_end)

    def _ready(self) -> None:
        self._on_ready()

    def request(self, command: Command, done: Callable[[Any], None]) -> None:
        channel = self._channel
        match command:
            case DeclareQueue(name, arguments, is_exclusive):
                channel.queue_declare(
                    name,
                    durable=not is_exclusive,
                    exclusive=is_exclusive,
                    auto_delete=is_exclusive,
                    arguments=arguments or None,
                    callback=done,
                )
            case CheckQueue(name):
                channel.queue_declare(name, passive=True, callback=done)
            case DeclareExchange(name):
                channel.exchange_declare(name, "direct", durable=True, callback=done)
            case Bind(queue, exchange, routing_key):
                channel.queue_bind(queue, exchange, routing_key, callback=done)
            case DeleteQueue(name):
                channel.queue_delete(name, callback=done)
            case DeleteExchange(name):
                channel.exchange_delete(name, callback=done)
            case _:
                raise AssertionError(f"no request: {command}")


class Run:
    """One procedure under way; on the I/O thread. It belongs to the connection that it begins on: what
    it has there, locks not least, goes with it, so it ends with it, too."""

    def __init__(
        self,
        link: Link,
        procedure: Procedure[Any],
        sync: SyncCatalogue,
        done: Callable[[Any, StreamproofError | None], None],
    ) -> None:
        self._link = link
        self._procedure = procedure
        self._sync = sync
        self._done = done
        self._connection: Connection | None = None
        self._loss: StreamproofError | None = None
        self._step = 0
        self._is_over = False
        self._requests: _RequestChannel | None = None
        self._writer: WritingChannel | None = None
        self._reader: ReadingChannel | None = None
        self._children: list[Run] = []
        self._arrived: list[Message] = []
        self._last_tag = 0
        self._wants_messages = False

    def start(self) -> None:
        """Take the first step."""
        self._connection = self._link.connection
        if self._connection is None:
            self._loss = lost("a request", "not connected")
        else:
            self._connection.add_dependant(self)
        self._advance(self._step, None, self._loss)

    def abort(self, error: StreamproofError) -> None:
        """Throw an error into it, where it stands."""
        children = [child for child in self._children if not child._is_over]
        for child in children:
            child.abort(error)
        if not children:
            self._advance(self._step, None, error)

    def lost(self, error: StreamproofError) -> None:
        """The connection is gone; whatever else the procedure wants to do there, it is refused."""
        self._loss = error
        self.abort(error)

    # -- stepping --------------------------------------------------------------------------

    def _advance(self, step: int, answer: Any, error: StreamproofError | None = None) -> None:
        """Go on with the answer to that step; answers to steps that are past are dropped."""
        if step != self._step or self._is_over:
            return
        while True:
            self._step += 1
            self._wants_messages = False
            try:
                throw, send = self._procedure.throw, self._procedure.send
                command = throw(error) if error is not None else send(answer)
            except StopIteration as stop:
                self._finish(stop.value, None)
                return
            except StreamproofError as failure:
                self._finish(None, failure)
                return
            except Exception as failure:
                wrapped = BackendError(f"a procedure broke: {failure!r}")
                wrapped.__cause__ = failure
                self._finish(None, wrapped)
                return
            answer, error = None, self._loss
            if error is None:
                error = self._execute(self._step, command)
            if error is None:
                return

    def _finish(self, answer: Any, error: StreamproofError | None) -> None:
        self._is_over = True
        if self._connection is not None:
            self._connection.remove_dependant(self)
        for channel in (self._requests, self._writer, self._reader):
            if channel is not None:
                channel.close()
        self._done(answer, error)

    def _execute(self, step: int, command: Command) -> StreamproofError | None:
        """Begin with a command; an error if that is not possible."""
        if self._connection is None or not self._connection.is_up:
            return lost("a request", "not connected")
        try:
            self._dispatch(step, command)
        except AMQPError as cause:
            failure = lost("a request", cause)
            failure.__cause__ = cause
            return failure
        return None

    def _dispatch(self, step: int, command: Command) -> None:
        match command:
            case Sleep(seconds):
                self._link.later(seconds, lambda: self._advance(step, None))
            case Sync():
                self._sync(lambda error: self._link.call(lambda: self._advance(step, None, error)))
            case Together(procedures):
                self._run_together(step, procedures)
            case Put():
                self._put(step, (command,))
            case PutAll(puts) if puts:
                self._put(step, puts)
            case PutAll():
                self._advance(step, None)
            case Attach(queue, places):
                self._attach(step, queue, places)
            case Receive():
                self._receive(step)
            case Drain():
                assert self._reader is not None
                self._reader.ask(lambda: self._advance(step, self._take()))
            case Detach():
                self._detach()
                self._link.later(0, lambda: self._advance(step, None))
            case _:
                self._request(step, command)

    # -- commands --------------------------------------------------------------------------

    def _run_together(self, step: int, procedures: tuple[Procedure[Any], ...]) -> None:
        answers: list[Any] = [None] * len(procedures)
        left = len(procedures)
        first: StreamproofError | None = None

        def ended(place: int, answer: Any, error: StreamproofError | None) -> None:
            nonlocal left, first
            answers[place] = answer
            first = first or error
            left -= 1
            if not left:
                self._advance(step, answers, first)

        self._children = [
            Run(self._link, procedure, self._sync, partial(ended, place))
            for place, procedure in enumerate(procedures)
        ]
        for child in self._children:
            child.start()
        if not procedures:
            self._advance(step, [])

    def _request(self, step: int, command: Command) -> None:
        def answered(_: Any) -> None:
            self._advance(step, None)

        if self._requests is not None and self._requests.is_open:
            self._requests.request(command, answered)
            return

        def ready() -> None:
            assert self._requests is not None
            self._requests.request(command, answered)

        assert self._connection is not None
        self._requests = _RequestChannel(self._connection, ready, self._broke)

    def _broke(self, error: StreamproofError | None) -> None:
        if error is not None:
            self._advance(self._step, None, error)

    def _put(self, step: int, puts: tuple[Put, ...]) -> None:
        """All on one channel, then wait for all confirms."""
        now_ms = int(time.time() * 1000)
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
            if under_way:
                return
            error: StreamproofError | None = None
            if missing:
                error = Missing(f"there is no queue {missing[0]}")
            elif refused:
                error = BackendError(f"queue {refused[0]} did not take a message", definite=False)
            writer.close()
            self._advance(step, None, error)

        def on_ready() -> None:
            for place, put in enumerate(puts):
                headers = header_table(None, False, (), now_ms, put.mark)
                tag = writer.publish("", put.queue, put.body, headers=headers, message_id=str(place))
                under_way[tag] = put.queue

        assert self._connection is not None
        doing = f"writing to {puts[0].queue}"
        writer = self._writer = WritingChannel(
            self._connection, doing, on_confirm, on_return, self._broke, on_ready
        )

    def _attach(self, step: int, queue: str, places: tuple[Any, ...]) -> None:
        assert self._connection is not None
        self._arrived = []
        self._reader = ReadingChannel(
            self._connection,
            queue,
            _PREFETCH,
            self._delivered,
            self._broke,
            places=places,
            on_attached=lambda: self._advance(step, None),
        )

    def _delivered(self, tag: int, is_redelivered: bool, properties: bytes, body: bytes) -> None:
        self._arrived.append(read_message(properties, body))
        self._last_tag = tag
        if self._wants_messages:
            self._wants_messages = False
            step = self._step
            # Not at once: what came in the same piece shall come along.
            self._link.later(0, lambda: self._advance(step, self._take()))

    def _receive(self, step: int) -> None:
        if self._arrived:
            self._link.later(0, lambda: self._advance(step, self._take()))
        else:
            self._wants_messages = True

    def _take(self) -> list[Message]:
        messages, self._arrived = self._arrived, []
        if messages and self._reader is not None:
            self._reader.acknowledge(((self._last_tag, True),))
        return messages

    def _detach(self) -> None:
        reader, self._reader = self._reader, None
        self._arrived = []
        if reader is not None:
            reader.close()


def run(link: Link, procedure: Procedure[T], sync: SyncCatalogue, timeout_s: float, doing: str) -> T:
    """Run a procedure and wait for its end, from a thread that is not the link's. When the time is
    up it is told so, cleans up, and ends soon."""
    ended = threading.Event()
    outcome: list[Any] = [None, None]

    def done(answer: Any, error: StreamproofError | None) -> None:
        outcome[:] = (answer, error)
        ended.set()

    if link.is_over:
        raise Closed(f"the connection to {link.where} is closed: connect again")
    under_way = Run(link, procedure, sync, done)
    link.call(under_way.start)
    if not ended.wait(timeout_s):
        failure = TimedOut(f"{doing} did not end within {timeout_s:g} s")
        link.call(lambda: under_way.abort(failure))
        if not ended.wait(_CLEAN_UP_S):
            raise failure
    answer, error = outcome
    if error is not None:
        raise error
    result: T = answer
    return result
