"""Follows the stream of definitions on a link, and appends to it."""

import secrets
import threading
from collections.abc import Callable

from streamproof.drivers.rabbitmq.catalogue import EMPTY, Catalogue, Marker, decode, encode
from streamproof.drivers.rabbitmq.codec import read_message
from streamproof.drivers.rabbitmq.errors import CONNECTION_ENDED, lost
from streamproof.drivers.rabbitmq.procedures import find_definitions
from streamproof.drivers.rabbitmq.replay import Replay
from streamproof.drivers.rabbitmq.topology import META, Endpoint
from streamproof.drivers.rabbitmq_pika.channels import ReadingChannel, WritingChannel
from streamproof.drivers.rabbitmq_pika.commands import Run
from streamproof.drivers.rabbitmq_pika.connection import Connection
from streamproof.drivers.rabbitmq_pika.link import Link
from streamproof.errors import StreamproofError, TimedOut

_PREFETCH = 1_000
_ACK_EVERY = 200

Done = Callable[[StreamproofError | None], None]


class Definitions:
    """The catalogue, kept current by a connection of its own, which also serves the admin."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.catalogue = Catalogue()
        self.link = Link(endpoint, "definitions", endpoint.heartbeat_s, self._up, self._down)
        self._replay = Replay(self.catalogue, EMPTY)
        self._waiting: dict[str, Done] = {}
        self._writer: WritingChannel | None = None
        self._reader: ReadingChannel | None = None
        self._unsent: list[Marker] = []
        self._end = 0

    def open(self, timeout_s: float) -> None:
        """Connect; the definitions follow."""
        self.link.open(timeout_s)

    def close(self, timeout_s: float) -> None:
        """Close the connection; whoever waits is told."""
        self.link.close(timeout_s)
        self._fail(lost("the definitions", "closed"))

    def sync(self, done: Done) -> None:
        """Call ``done`` once the catalogue holds what was appended before this call; from any
        thread, on the I/O thread."""
        self.link.call(lambda: self._sync(done))

    def wait_synced(self, timeout_s: float) -> None:
        """Like ``sync``, and wait. Raises :class:`TimedOut`, :class:`Unreachable`."""
        ended = threading.Event()
        outcome: list[StreamproofError | None] = [None]

        def done(error: StreamproofError | None) -> None:
            outcome[0] = error
            ended.set()

        self.sync(done)
        if not ended.wait(timeout_s):
            raise TimedOut(
                f"RabbitMQ at {self.link.where} did not tell its definitions within {timeout_s:g} s"
            )
        if outcome[0] is not None:
            raise outcome[0]

    # -- on the I/O thread -----------------------------------------------------------------

    def _sync(self, done: Done) -> None:
        marker = Marker(secrets.token_hex(8))
        self._waiting[marker.id] = done
        self._unsent.append(marker)
        self._send()

    def _send(self) -> None:
        if self._writer is None or not self._writer.is_open or not self._replay.is_based:
            return
        if self._replay.is_snapshot_due:
            self._replay.snapshot_offset = self.catalogue.offset
            self._writer.publish("", META, encode(self.catalogue.snapshot()))
        unsent, self._unsent = self._unsent, []
        for marker in unsent:
            self._writer.publish("", META, encode(marker))

    def _up(self, connection: Connection) -> None:
        procedure = find_definitions(secrets.token_hex(8), self.catalogue.offset)
        Run(self.link, procedure, self.sync, self._found).start()

    def _found(self, end: int | None, error: StreamproofError | None) -> None:
        connection = self.link.connection
        if error is not None or end is None or connection is None:
            self._fail(error or lost("the definitions", "not connected"))
            self.link.drop(error)
            return
        self._end = end
        self._writer = WritingChannel(
            connection, "writing definitions", _ignore, _ignore, self._broke, self._send
        )
        self._follow(self._replay.saw_end(end))

    def _follow(self, start: int) -> None:
        if self.link.connection is not None:
            self._reader = ReadingChannel(
                self.link.connection, META, _PREFETCH, self._delivered, self._broke, places=(start,)
            )

    def _delivered(self, tag: int, is_redelivered: bool, properties: bytes, body: bytes) -> None:
        message = read_message(properties, body)
        assert self._reader is not None
        assert message.stream_offset is not None
        # In the end each: the server closes a channel over what is not acknowledged for half an hour.
        if tag % _ACK_EVERY == 0 or message.stream_offset >= self._end:
            self._reader.acknowledge(((tag, True),))
        definition = decode(body)
        self._replay.feed(message.stream_offset, definition)
        if message.stream_offset == self._end:
            self._reached_end()
        if isinstance(definition, Marker) and self._replay.is_based:
            done = self._waiting.pop(definition.id, None)
            if done is not None:
                done(None)

    def _reached_end(self) -> None:
        if self._replay.is_based:
            self.link.prove()
            self._send()
            return
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()
        self._follow(self._replay.widen())

    def _broke(self, error: StreamproofError | None) -> None:
        if error is not None and not isinstance(error, CONNECTION_ENDED):
            self.link.drop(error)

    def _down(self, error: StreamproofError) -> None:
        self._writer = self._reader = None
        self._fail(error)

    def _fail(self, error: StreamproofError) -> None:
        waiting, self._waiting = self._waiting, {}
        self._unsent = []
        for done in waiting.values():
            done(error)


def _ignore(*_: object) -> None:
    """The confirm of a marker is its being read."""
