"""What arrived of a log and was not handed out yet, and what was handed out and not acknowledged.

Pure bookkeeping for both colours; the caller guards it with its lock. A *part* is one channel's
reading: its delivery tags mean nothing on another, so records carry the part's serial number in
their token, and an acknowledgement that comes too late finds no part.
"""

from collections import deque
from collections.abc import Iterable
from itertools import count

from streamproof.drivers.rabbitmq.catalogue import Backlog
from streamproof.drivers.rabbitmq.codec import Message, sequence_of
from streamproof.records import RawRecord, Record, TopicPartition

_TAG_BITS = 40
_TAG_MASK = (1 << _TAG_BITS) - 1

Acks = list[tuple[int, bool]]
"""Delivery tags to acknowledge; with ``True`` all lower ones, too."""


def serial_of(token: object) -> tuple[int, int]:
    """The part's serial number and the delivery tag in a record's token."""
    if not isinstance(token, int):
        return -1, 0
    return token >> _TAG_BITS, token & _TAG_MASK


class Ledger:
    """Delivery tags that were handed out, in order, each with a number of the caller's."""

    def __init__(self) -> None:
        self.open: dict[int, int] = {}

    def acknowledge(self, tags: Iterable[int]) -> Acks:
        """Take these out; what to tell the server: one tag for all up to the first that is still
        open, the others one by one. A tag is told once only: the server closes the channel over
        one that it does not expect."""
        is_open = self.open
        fresh = [tag for tag in tags if is_open.pop(tag, None) is not None]
        if not fresh:
            return []
        low = next(iter(is_open), None)
        below = [tag for tag in fresh if low is None or tag < low]
        acks: Acks = [(max(below), True)] if below else []
        if len(below) < len(fresh):
            assert low is not None
            acks.extend((tag, False) for tag in fresh if tag > low)
        return acks


class StreamPart:
    """Reading a stream from ``position``, up to but without ``until``."""

    def __init__(self, log: TopicPartition, serial: int, position: int, until: int | None = None) -> None:
        self.log = log
        self.serial = serial
        self.position = position
        self.until = until
        self.is_complete = until is not None and position >= until
        self.trimmed_to: int | None = None
        """Where the stream begins now, if what stood at the position is gone."""
        self._expected = position
        self.acks: Acks = []
        """For messages that are no records, where records are acknowledged one by one."""
        self._arrived: deque[tuple[int, bool, Message]] = deque()
        self._last_tag = 0
        self._credited_tag = 0

    def feed(self, tag: int, message: Message) -> bool:
        """The next message of the channel; whether it may be of interest to somebody."""
        offset = message.stream_offset
        assert offset is not None
        self._last_tag = tag
        if offset < self._expected:
            self.acks.append((tag, False))
            return False
        if offset > self._expected and self._expected == self.position and not self._arrived:
            self.trimmed_to = offset
        self._expected = offset + 1
        if self.until is not None and offset >= self.until:
            self.is_complete = True
            return True
        self._arrived.append((tag, False, message))
        return True

    @property
    def has_records(self) -> bool:
        """Whether ``take`` would return any."""
        self._pass_marks()
        return bool(self._arrived)

    @property
    def is_drained(self) -> bool:
        """Whether everything before ``until`` was handed out."""
        return self.is_complete and not self.has_records

    def place(self) -> int:
        """The stream offset of the next record to hand out, as far as is known here."""
        self._pass_marks()
        return self.position

    def take(self, room: int) -> list[tuple[int, bool, Message]]:
        """Hand out up to ``room`` records, in order."""
        taken: list[tuple[int, bool, Message]] = []
        while self._arrived and len(taken) < room:
            entry = self._arrived.popleft()
            assert entry[2].stream_offset is not None
            self.position = entry[2].stream_offset + 1
            if entry[2].mark is None:
                taken.append(entry)
            else:
                self.acks.append((entry[0], False))
        return taken

    def credit(self) -> Acks:
        """What to acknowledge for reading to go on where nobody acknowledges records: everything
        that came before the first that still waits."""
        self.acks = []
        tag = self._arrived[0][0] - 1 if self._arrived else self._last_tag
        if tag <= self._credited_tag:
            return []
        self._credited_tag = tag
        return [(tag, True)]

    def _pass_marks(self) -> None:
        while self._arrived and self._arrived[0][2].mark is not None:
            tag, _, message = self._arrived.popleft()
            assert message.stream_offset is not None
            self.acks.append((tag, False))
            self.position = message.stream_offset + 1


class QueuePart:
    """Reading a group's own queue, passing over what the group has from the log already."""

    def __init__(self, log: TopicPartition, serial: int, skip: dict[str, int]) -> None:
        self.log = log
        self.serial = serial
        self.acks: Acks = []
        """For messages that are not for the application."""
        self._skip = skip
        self._arrived: deque[tuple[int, bool, Message]] = deque()

    def feed(self, tag: int, is_redelivered: bool, message: Message) -> bool:
        """The next message of the channel; whether it is for the application."""
        if message.mark is not None or (self._skip and self._is_in_backlog(message)):
            self.acks.append((tag, False))
            return False
        self._arrived.append((tag, is_redelivered, message))
        return True

    @property
    def has_records(self) -> bool:
        """Whether ``take`` would return any."""
        return bool(self._arrived)

    def take(self, room: int) -> list[tuple[int, bool, Message]]:
        """Hand out up to ``room`` records, in order."""
        arrived = self._arrived
        if len(arrived) <= room:
            self._arrived = deque()
            return list(arrived)
        return [arrived.popleft() for _ in range(room)]

    def _is_in_backlog(self, message: Message) -> bool:
        known = sequence_of(message.message_id)
        return known is not None and known[1] <= self._skip.get(known[0], -1)


class GroupLog:
    """A log as a member of a group reads it: first its backlog from the stream, then its queue."""

    def __init__(
        self, log: TopicPartition, backlog: Backlog | None, progress: int | None, serials: "count[int]"
    ) -> None:
        self.log = log
        self.is_dead = False
        """Its channel or connection is gone: nothing of it can be handed out or acknowledged."""
        self._told: int | None = None
        self._serials = serials
        self._ledgers: dict[int, Ledger] = {}
        self._acks: dict[int, Acks] = {}
        self.stream: StreamPart | None = None
        self.queue: QueuePart | None = None
        self._skip = backlog.skip if backlog is not None else {}
        if backlog is not None:
            begin = max(backlog.begin, progress or 0)
            if begin < backlog.cut:
                self.stream = StreamPart(log, self._new_serial(), begin, backlog.cut)
                self._told = begin
        if self.stream is None:
            self.open_queue()

    def _new_serial(self) -> int:
        serial = next(self._serials)
        self._ledgers[serial] = Ledger()
        self._acks[serial] = []
        return serial

    @property
    def wants_queue(self) -> bool:
        """Whether the whole backlog has arrived, so that the queue's turn has come."""
        return self.queue is None and self.stream is not None and self.stream.is_complete

    def open_queue(self) -> QueuePart:
        """Begin with the queue; its channel is the caller's to open."""
        self.queue = QueuePart(self.log, self._new_serial(), self._skip)
        return self.queue

    @property
    def unacknowledged(self) -> int:
        """Records handed out and not acknowledged."""
        return sum(len(ledger.open) for ledger in self._ledgers.values())

    @property
    def has_records(self) -> bool:
        """Whether ``take`` would return any."""
        if self.is_dead:
            return False
        if self.stream is not None and self.stream.has_records:
            return True
        return self.queue is not None and self.queue.has_records

    def take(self, room: int) -> list[RawRecord]:
        """Hand out up to ``room`` records: of the queue only when the backlog is handed out."""
        if self.is_dead:
            return []
        if self.stream is not None and not self.stream.is_drained:
            entries = self.stream.take(room)
            serial, is_queue = self.stream.serial, False
        elif self.queue is not None:
            entries = self.queue.take(room)
            serial, is_queue = self.queue.serial, True
        else:
            return []
        is_open = self._ledgers[serial].open
        base = serial << _TAG_BITS
        topic, partition = self.log
        records: list[RawRecord] = []
        for tag, is_redelivered, message in entries:
            is_open[tag] = message.stream_offset or 0
            records.append(
                Record(
                    topic,
                    partition,
                    None,
                    message.key,
                    message.value,
                    message.timestamp_ms,
                    message.headers,
                    (message.delivery_count + 1) if is_queue else 1,
                    is_redelivered,
                    base | tag,
                )
            )
        return records

    def acknowledge(self, serial: int, tags: Iterable[int]) -> bool:
        """Acknowledge records of one part; whether that part is still read."""
        if self.is_dead or serial not in self._ledgers:
            return False
        self._acks[serial].extend(self._ledgers[serial].acknowledge(tags))
        return True

    def take_acks(self, part: StreamPart | QueuePart) -> Acks:
        """What to tell the server on that part's channel."""
        acks = self._acks[part.serial]
        self._acks[part.serial] = []
        if part.acks:
            acks = part.acks + acks
            part.acks = []
        return acks

    def progress(self) -> int | None:
        """The stream offset below which all of the backlog is acknowledged, if it moved since the
        last call; ``None`` without one."""
        if self.stream is None:
            return None
        is_open = self._ledgers[self.stream.serial].open
        low = next(iter(is_open.values()), None)
        if low is None:
            low = self.stream.place()
            if self.stream.is_drained and self.stream.until is not None:
                low = self.stream.until
        if low == self._told:
            return None
        self._told = low
        return low


def shown_records(log: TopicPartition, entries: list[tuple[int, bool, Message]]) -> list[RawRecord]:
    """Records of a stream as a reader without a group gets them, with the offsets they show."""
    topic, partition = log
    return [
        Record(
            topic,
            partition,
            (message.stream_offset or 1) - 1,
            message.key,
            message.value,
            message.timestamp_ms,
            message.headers,
        )
        for _, _, message in entries
    ]
