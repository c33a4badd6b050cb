"""A group member's side of the protocol on an async link: its group's log, its inbox, its clock.

See :mod:`streamproof.core.membership` for the protocol. Heartbeats go straight into the inbox of
each other member, mandatory: one that comes back tells that its member is gone, without waiting.
"""

import asyncio
import secrets
import time
from collections.abc import Callable

from streamproof.core.membership import Event, Joined, decode, encode
from streamproof.core.membership_member import Member
from streamproof.drivers.rabbitmq.codec import Message
from streamproof.drivers.rabbitmq.errors import CONNECTION_ENDED
from streamproof.drivers.rabbitmq.procedures import enter_group
from streamproof.drivers.rabbitmq.replay import NO_GROUP, MemberFold, Replay
from streamproof.drivers.rabbitmq.topology import control_of, inbox_of
from streamproof.drivers.rabbitmq_aio_pika.channels import AioReadingChannel, AioWritingChannel
from streamproof.drivers.rabbitmq_aio_pika.commands import SyncCatalogue, run
from streamproof.drivers.rabbitmq_aio_pika.link import AioLink
from streamproof.errors import StreamproofError

_PREFETCH = 500
_ENTER_S = 30.0


class AioMembership:
    """Keeps one member in its group while the link is up."""

    def __init__(
        self,
        link: AioLink,
        member: Member,
        group: str,
        client_id: str,
        sync: SyncCatalogue,
        on_change: Callable[[], None],
    ) -> None:
        self._link = link
        self._member = member
        self._group = group
        self._client_id = client_id
        self._sync = sync
        self._on_change = on_change
        self._control = control_of(group)
        self._replay = Replay(MemberFold(member, time.monotonic), NO_GROUP)
        self._end = 0
        self._id = ""
        self._inbox: AioReadingChannel | None = None
        self._reader: AioReadingChannel | None = None
        self._writer: AioWritingChannel | None = None
        self._last_event_tag = 0
        self._is_stored = True
        """Whether the last event is."""
        self._left: asyncio.Event | None = None

    def begin(self) -> None:
        """The connection is up, and the group is set up: come in as a new member."""
        self._id = f"{self._client_id}-{secrets.token_hex(8)}"
        self._link.spawn(self._begin())

    def end(self) -> None:
        """The connection is gone."""
        self._inbox = self._reader = self._writer = None
        self._member.disconnect()
        if self._left is not None:
            self._left.set()

    async def leave(self) -> None:
        """Append that the member left, and wait until that is stored."""
        self._left = asyncio.Event()
        self._member.leave()
        self.append()
        if self._writer is not None and self._writer.is_open and not self._is_stored:
            await self._left.wait()

    def tick(self) -> None:
        """Time passed: judge the silent, send heartbeats, append what is to be appended."""
        due = self._member.tick(time.monotonic())
        writer = self._writer
        if writer is not None and writer.is_open:
            for peer in due:
                writer.publish("", inbox_of(peer), self._id.encode(), message_id=peer)
        self.append()
        self._drop_if_out()

    def append(self) -> None:
        """Append the member's events to the group's log."""
        writer = self._writer
        if writer is None or not writer.is_open:
            return
        events = self._member.take_outbox()
        if self._replay.is_snapshot_due and any(isinstance(event, Joined) for event in events):
            self._publish(writer, self._member.state.snapshot())
        for event in events:
            self._publish(writer, event)

    # -- inside ----------------------------------------------------------------------------

    def _publish(self, writer: AioWritingChannel, event: Event) -> None:
        self._last_event_tag = writer.publish("", self._control, encode(event))
        self._is_stored = False

    async def _begin(self) -> None:
        doing = f"entering group {self._group!r}"
        try:
            procedure = enter_group(self._group, inbox_of(self._id), self._member.state.offset)
            self._end = last = await run(self._link, procedure, self._sync, _ENTER_S, doing)
            self._is_stored = True
            self._inbox = AioReadingChannel(
                self._link, inbox_of(self._id), _PREFETCH, self._heard, self._broke, is_exclusive=True
            )
            await self._inbox.open()
            writer = AioWritingChannel(
                self._link, "writing to the group's log", self._confirmed, self._returned, self._broke
            )
            await writer.open()
            self._writer = writer
            await self._read(self._replay.saw_end(last))
        except StreamproofError as error:
            self._broke(error)
            return
        if self._replay.is_based and self._member.state.offset >= last:
            self._enter()

    async def _read(self, start: int) -> None:
        self._reader = AioReadingChannel(
            self._link, self._control, _PREFETCH, self._folded, self._broke, places=(start,)
        )
        await self._reader.open()

    def _enter(self) -> None:
        if self._left is None and self._member.is_out and self._member.id != self._id:
            self._member.enter(self._id)
            self.append()

    def _folded(self, tag: int, is_redelivered: bool, message: Message) -> None:
        offset = message.stream_offset
        assert offset is not None
        if self._reader is not None:
            self._reader.acknowledge(((tag, True),))
        if message.mark is None and message.value is not None:
            self._replay.feed(offset, decode(message.value))
        if offset == self._end:
            if self._replay.is_based:
                self._enter()
            else:
                self._link.spawn(self._reread())
        self._on_change()
        self.append()
        self._drop_if_out()

    def _drop_if_out(self) -> None:
        """Taken out by others, or by itself because nobody polls: come back on a new connection."""
        is_out = self._member.is_out and self._member.id == self._id and self._left is None
        if is_out and self._link.connection is not None and self._writer is not None:
            self._on_change()
            self._link.drop(f"{self._id} is out of group {self._group}")

    async def _reread(self) -> None:
        if self._reader is not None:
            await self._reader.close()
        try:
            await self._read(self._replay.widen())
        except StreamproofError as error:
            self._broke(error)

    def _heard(self, tag: int, is_redelivered: bool, message: Message) -> None:
        if self._inbox is not None:
            self._inbox.acknowledge(((tag, True),))
        self._member.heard((message.value or b"").decode(errors="replace"), time.monotonic())

    def _returned(self, peer: str) -> None:
        if peer:
            self._member.vanished(peer)
            self.append()
        else:
            self._link.drop(f"the log of group {self._group} is gone")

    def _confirmed(self, tag: int, is_multiple: bool, is_ack: bool) -> None:
        if not is_ack:
            self._link.drop(f"the log of group {self._group} did not take an event")
            return
        if tag == self._last_event_tag or (is_multiple and tag > self._last_event_tag):
            self._is_stored = True
            if self._left is not None:
                self._left.set()

    def _broke(self, error: StreamproofError | None) -> None:
        """Without its log or its inbox a member is none: come back on a new connection."""
        if error is not None and not isinstance(error, CONNECTION_ENDED):
            self._link.drop(f"group {self._group}: {error}")
