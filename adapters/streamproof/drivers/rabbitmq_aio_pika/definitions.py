"""Follows the stream of definitions on an async link, and appends to it."""

import asyncio
import secrets
import time

from streamproof.drivers.rabbitmq.catalogue import EMPTY, Catalogue, Definition, Marker, decode, encode
from streamproof.drivers.rabbitmq.codec import Message
from streamproof.drivers.rabbitmq.errors import CONNECTION_ENDED, lost
from streamproof.drivers.rabbitmq.procedures import find_definitions
from streamproof.drivers.rabbitmq.replay import Replay
from streamproof.drivers.rabbitmq.topology import META, Endpoint
from streamproof.drivers.rabbitmq_aio_pika.channels import AioReadingChannel, AioWritingChannel
from streamproof.drivers.rabbitmq_aio_pika.commands import run
from streamproof.drivers.rabbitmq_aio_pika.link import AioLink, retrieve
from streamproof.errors import StreamproofError, TimedOut

_PREFETCH = 1_000
_ACK_EVERY = 200
_FIND_S = 30.0


class AioDefinitions:
    """The catalogue, kept current by a connection of its own, which also serves the admin."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.catalogue = Catalogue()
        self.link = AioLink(endpoint, "definitions", endpoint.heartbeat_s, self._up, self._down)
        self._replay = Replay(self.catalogue, EMPTY)
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._unsent: list[Marker] = []
        self._writer: AioWritingChannel | None = None
        self._reader: AioReadingChannel | None = None
        self._end = 0

    async def open(self, timeout_s: float) -> None:
        """Connect; the definitions follow."""
        await self.link.open(timeout_s)

    async def close(self, timeout_s: float) -> None:
        """Close the connection; whoever waits is told."""
        await self.link.close(timeout_s)
        self._fail(lost("the definitions", "closed"))

    async def sync(self) -> None:
        """Return once the catalogue holds what was appended before this call. Unbounded: it ends
        with the connection at the latest."""
        marker = Marker(secrets.token_hex(8))
        done = self._waiting[marker.id] = asyncio.get_running_loop().create_future()
        done.add_done_callback(retrieve)
        self._unsent.append(marker)
        self._send()
        try:
            await done
        finally:
            self._waiting.pop(marker.id, None)

    async def wait_synced(self, timeout_s: float) -> None:
        """Like ``sync``, with a bound. Raises :class:`TimedOut`, :class:`Unreachable`."""
        task = asyncio.create_task(self.sync())
        try:
            await asyncio.wait({task}, timeout=timeout_s)
        finally:
            if not task.done():
                task.cancel()
        if task.cancelled() or not task.done():
            raise TimedOut(
                f"RabbitMQ at {self.link.where} did not tell its definitions within {timeout_s:g} s"
            )
        task.result()

    # -- inside ----------------------------------------------------------------------------

    def _send(self) -> None:
        writer = self._writer
        if writer is None or not writer.is_open or not self._replay.is_based:
            return
        if self._replay.is_snapshot_due:
            self._replay.snapshot_offset = self.catalogue.offset
            self._append(writer, self.catalogue.snapshot())
        unsent, self._unsent = self._unsent, []
        for marker in unsent:
            self._append(writer, marker)

    def _append(self, writer: AioWritingChannel, definition: Definition) -> None:
        writer.publish("", META, encode(definition), timestamp_ms=int(time.time() * 1000))

    def _up(self) -> None:
        self.link.spawn(self._find())

    async def _find(self) -> None:
        procedure = find_definitions(secrets.token_hex(8), self.catalogue.offset)
        try:
            self._end = await run(self.link, procedure, self.sync, _FIND_S, "looking for the definitions")
            writer = AioWritingChannel(self.link, "writing definitions", _ignore, _ignore, self._broke)
            await writer.open()
            self._writer = writer
            await self._follow(self._replay.saw_end(self._end))
            self._send()
        except StreamproofError as error:
            self._fail(error)
            self.link.drop(error)

    async def _follow(self, start: int) -> None:
        reader = self._reader = AioReadingChannel(
            self.link, META, _PREFETCH, self._delivered, self._broke, places=(start,)
        )
        await reader.open()

    def _delivered(self, tag: int, is_redelivered: bool, message: Message) -> None:
        assert message.stream_offset is not None
        assert message.value is not None
        assert self._reader is not None
        # In the end each: the server closes a channel over what is not acknowledged for half an hour.
        if tag % _ACK_EVERY == 0 or message.stream_offset >= self._end:
            self._reader.acknowledge(((tag, True),))
        definition = decode(message.value)
        self._replay.feed(message.stream_offset, definition)
        if message.stream_offset == self._end:
            self._reached_end()
        if isinstance(definition, Marker) and self._replay.is_based:
            done = self._waiting.get(definition.id)
            if done is not None and not done.done():
                done.set_result(None)

    def _reached_end(self) -> None:
        if self._replay.is_based:
            self.link.prove()
            self._send()
        else:
            self.link.spawn(self._reread())

    async def _reread(self) -> None:
        if self._reader is not None:
            await self._reader.close()
        try:
            await self._follow(self._replay.widen())
        except StreamproofError as error:
            self._broke(error)

    def _broke(self, error: StreamproofError | None) -> None:
        if error is not None and not isinstance(error, CONNECTION_ENDED):
            self.link.drop(error)

    def _down(self, error: StreamproofError) -> None:
        self._writer = self._reader = None
        self._fail(error)

    def _fail(self, error: StreamproofError) -> None:
        self._unsent = []
        for done in self._waiting.values():
            if not done.done():
                done.set_exception(error)


def _ignore(*_: object) -> None:
    """The confirm of a marker is its being read."""
