"""A group member's side of the protocol, on the I/O thread: its group's log, its inbox, its clock.

See :mod:`streamproof.core.membership` for the protocol. Heartbeats go straight into the inbox of
each other member, mandatory: one that comes back tells that its member is gone, without waiting.
"""

import secrets
import time
from collections.abc import Callable
from threading import Condition

from streamproof.core.membership import Event, Joined, decode, encode
from streamproof.core.membership_member import Member
from streamproof.drivers.rabbitmq.codec import read_message
from streamproof.drivers.rabbitmq.errors import CONNECTION_ENDED
from streamproof.drivers.rabbitmq.procedures import enter_group
from streamproof.drivers.rabbitmq.replay import NO_GROUP, MemberFold, Replay
from streamproof.drivers.rabbitmq.topology import control_of, inbox_of
from streamproof.drivers.rabbitmq_pika.channels import ReadingChannel, WritingChannel
from streamproof.drivers.rabbitmq_pika.commands import Run, SyncCatalogue
from streamproof.drivers.rabbitmq_pika.link import Link
from streamproof.errors import StreamproofError

_PREFETCH = 500


class Membership:
    """Keeps one member in its group while the link is up. All on the I/O thread."""

    def __init__(
        self,
        link: Link,
        lock: Condition,
        member: Member,
        group: str,
        client_id: str,
        sync: SyncCatalogue,
        on_change: Callable[[], None],
    ) -> None:
        self._link = link
        self._lock = lock
        self._member = member
        self._group = group
        self._client_id = client_id
        self._sync = sync
        self._on_change = on_change
        self._control = control_of(group)
        self._replay = Replay(MemberFold(member, time.monotonic), NO_GROUP)
        self._end = 0
        self._id = ""
        self._inbox: ReadingChannel | None = None
        self._reader: ReadingChannel | None = None
        self._writer: WritingChannel | None = None
        self._last_event_tag = 0
        self._is_stored = True
        """Whether the last event is."""
        self._on_left: Callable[[], None] | None = None
        self._is_leaving = False
        self._incarnation = 0

    def begin(self) -> None:
        """The connection is up, and the group is set up: come in as a new member."""
        self._incarnation += 1
        incarnation = self._incarnation
        self._id = f"{self._client_id}-{secrets.token_hex(8)}"

        def entered(last: int | None, error: StreamproofError | None) -> None:
            if incarnation != self._incarnation:
                return
            if error is not None or last is None:
                self._broke(error)
            else:
                self._follow(last)

        procedure = enter_group(self._group, inbox_of(self._id), self._member.state.offset)
        Run(self._link, procedure, self._sync, entered).start()

    def end(self) -> None:
        """The connection is gone."""
        self._incarnation += 1
        self._inbox = self._reader = self._writer = None
        with self._lock:
            self._member.disconnect()
        self._left()

    def leave(self, done: Callable[[], None]) -> None:
        """Append that the member left; ``done`` is called when that is stored."""
        with self._lock:
            self._member.leave()
        self._is_leaving = True
        self._on_left = done
        self.append()
        if self._is_stored or self._writer is None or not self._writer.is_open:
            self._left()

    def tick(self) -> None:
        """Time passed: judge the silent, send heartbeats, append what is to be appended."""
        with self._lock:
            due = self._member.tick(time.monotonic())
        writer = self._writer
        if writer is not None and writer.is_open:
            for peer in due:
                writer.publish("", inbox_of(peer), self._id.encode(), message_id=peer, is_persistent=False)
        self.append()
        self._drop_if_out()

    def append(self) -> None:
        """Append the member's events to the group's log."""
        writer = self._writer
        if writer is None or not writer.is_open:
            return
        with self._lock:
            events = self._member.take_outbox()
            is_due = self._replay.is_snapshot_due and any(isinstance(event, Joined) for event in events)
            snapshot = self._member.state.snapshot() if is_due else None
        if snapshot is not None:
            self._publish(writer, snapshot)
        for event in events:
            self._publish(writer, event)

    # -- inside ----------------------------------------------------------------------------

    def _publish(self, writer: WritingChannel, event: Event) -> None:
        self._last_event_tag = writer.publish("", self._control, encode(event))
        self._is_stored = False

    def _follow(self, last: int) -> None:
        connection = self._link.connection
        if connection is None:
            return
        self._end = last
        self._is_stored = True
        self._inbox = ReadingChannel(
            connection, inbox_of(self._id), _PREFETCH, self._heard, self._broke, is_exclusive=True
        )
        self._writer = WritingChannel(
            connection,
            "writing to the group's log",
            self._confirmed,
            self._returned,
            self._broke,
            self.append,
        )
        with self._lock:
            start = self._replay.saw_end(last)
        self._read(start)
        if self._replay.is_based and self._member.state.offset >= last:
            self._enter()

    def _read(self, start: int) -> None:
        assert self._link.connection is not None
        self._reader = ReadingChannel(
            self._link.connection, self._control, _PREFETCH, self._folded, self._broke, places=(start,)
        )

    def _enter(self) -> None:
        with self._lock:
            if self._is_leaving or not self._member.is_out:
                return
            self._member.enter(self._id)
        self.append()

    def _folded(self, tag: int, is_redelivered: bool, properties: bytes, body: bytes) -> None:
        message = read_message(properties, body)
        offset = message.stream_offset
        assert offset is not None
        if self._reader is not None:
            self._reader.acknowledge(((tag, True),))
        with self._lock:
            if message.mark is None:
                self._replay.feed(offset, decode(body))
            is_based = self._replay.is_based
        if offset == self._end:
            if is_based:
                self._enter()
            else:
                self._reread()
        self._on_change()
        self.append()
        self._drop_if_out()

    def _drop_if_out(self) -> None:
        """Taken out by others, or by itself because nobody polls: come back on a new connection."""
        with self._lock:
            is_out = self._member.is_out and self._member.id == self._id and not self._is_leaving
        if is_out and self._link.connection is not None:
            self._on_change()
            self._link.drop(f"{self._id} is out of group {self._group}")

    def _reread(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()
        self._read(self._replay.widen())

    def _heard(self, tag: int, is_redelivered: bool, properties: bytes, body: bytes) -> None:
        if self._inbox is not None:
            self._inbox.acknowledge(((tag, True),))
        with self._lock:
            self._member.heard(body.decode(errors="replace"), time.monotonic())

    def _returned(self, peer: str) -> None:
        if peer:
            with self._lock:
                self._member.vanished(peer)
            self.append()
        else:
            self._link.drop(f"the log of group {self._group} is gone")

    def _confirmed(self, tag: int, is_multiple: bool, is_ack: bool) -> None:
        if not is_ack:
            self._link.drop(f"the log of group {self._group} did not take an event")
        elif tag == self._last_event_tag or (is_multiple and tag > self._last_event_tag):
            self._is_stored = True
            self._left()

    def _left(self) -> None:
        if self._on_left is not None:
            done, self._on_left = self._on_left, None
            done()

    def _broke(self, error: StreamproofError | None) -> None:
        """Without its log or its inbox a member is none: come back on a new connection."""
        if error is not None and not isinstance(error, CONNECTION_ENDED):
            self._link.drop(f"group {self._group}: {error}")
