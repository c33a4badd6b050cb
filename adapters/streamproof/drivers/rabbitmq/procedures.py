"""What takes several steps on the server, written once for both colours: see ``rabbitmq_commands``.

Where these procedures end half-way, nothing that was defined is harmed: what stands is only what
the catalogue says, and queues get names that nobody else uses, or are made under a lock.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from streamproof.core.membership import GroupState
from streamproof.core.membership import decode as decode_event
from streamproof.drivers.rabbitmq.catalogue import (
    Backlog,
    Catalogue,
    GroupOpened,
    GroupOpening,
    Marker,
    TopicCreated,
    TopicDeleted,
    encode,
)
from streamproof.drivers.rabbitmq.codec import Message, sequence_of
from streamproof.drivers.rabbitmq.commands import (
    Attach,
    Bind,
    CheckQueue,
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
    in_lanes,
)
from streamproof.drivers.rabbitmq.errors import Locked, Missing, unknown_topic
from streamproof.drivers.rabbitmq.refusals import out_of_range
from streamproof.drivers.rabbitmq.replay import NO_GROUP, Replay
from streamproof.drivers.rabbitmq.topology import (
    META,
    control_of,
    exchange_of,
    group_queue_arguments,
    group_queue_of,
    lock_of,
    stream_arguments,
    stream_of,
)
from streamproof.errors import StreamproofError, TopicExists, Unsupported
from streamproof.options import Start
from streamproof.records import AtTime, Position, TopicPartition, TopicSpec, Watermarks

GENESIS = b"genesis"
"""Mark of the first message of every stream, so that none is ever empty: reading the ``last`` of an
empty one would wait for ever. The offsets that records show are the stream's less one."""

_SETTLE_S = 0.1
"""A message whose routing was decided before a group's queue was bound is in the log by then."""

_CLOCK_SLACK_S = 10
"""Streams are looked up by the server's time of storing; records may be stamped that much ahead."""

_LOCK_RETRY_S = 0.05
_UNROUTED_S = 0.25
_LAG_S = 0.2
_LAG_TRIES = 25


# -- topics --------------------------------------------------------------------------------------


def create_topics(
    catalogue: Catalogue, specs: Sequence[TopicSpec], new_id: Callable[[], str], has_log: bool
) -> Procedure[None]:
    """Declare everything, then define all of it at once. ``TopicExists`` at the first that is there:
    those before it are created. Also when another was quicker, and then those after it are, too."""
    yield Sync()
    fresh: dict[str, TopicCreated] = {}
    standing: str | None = None
    for spec in specs:
        if spec.name in fresh or catalogue.topic(spec.name) is not None:
            standing = spec.name
            break
        fresh[spec.name] = _topic_of(spec, new_id(), has_log)
    topics = list(fresh.values())
    try:
        yield from in_lanes(_declare_topic, topics)
        yield from _define(topics)
        yield Sync()
    except StreamproofError:
        with suppress(StreamproofError):
            # Nobody knows whether they were defined; now they are not. What stands already stays.
            doomed = _not_standing(catalogue, topics)
            yield from _undefine(doomed)
            yield from in_lanes(_drop_topic, doomed)
        raise
    beaten = _not_standing(catalogue, topics)
    if beaten:
        yield from in_lanes(_drop_topic, beaten)
        standing = beaten[0].name
    if standing is not None:
        raise TopicExists(f"topic {standing!r} is there already: use it, or delete it first")


def delete_topics(catalogue: Catalogue, names: Sequence[str]) -> Procedure[None]:
    """Undefine all first, so that nobody begins to use them any more, then delete their queues.
    ``UnknownTopic`` at the first that is not there: those before it are deleted."""
    yield Sync()
    found: dict[str, TopicCreated] = {}
    missing: str | None = None
    for name in names:
        topic = catalogue.topic(name)
        if topic is None or name in found:
            missing = name
            break
        found[name] = topic
    topics = list(found.values())
    if topics:
        queues = [(topic, catalogue.groups_on(topic.id)) for topic in topics]
        yield from _undefine(topics)
        yield Sync()
        try:
            yield from in_lanes(_drop_queues, queues)
        finally:
            # A publish that meets no queue comes back alone; one that meets no exchange closes its sender's
            # channel, and what else is in flight there becomes unknown. So what is on its way may pass.
            yield Sleep(_UNROUTED_S)
            yield from in_lanes(_drop_exchange, topics)
    if missing is not None:
        raise unknown_topic(missing)


def _topic_of(spec: TopicSpec, topic_id: str, has_log: bool) -> TopicCreated:
    return TopicCreated(
        spec.name,
        topic_id,
        spec.partitions,
        has_log,
        spec.retention_ms,
        spec.retention_bytes,
        spec.replication,
    )


def _define(topics: Sequence[TopicCreated]) -> Procedure[None]:
    yield PutAll(tuple(Put(META, encode(topic)) for topic in topics))


def _undefine(topics: Sequence[TopicCreated]) -> Procedure[None]:
    yield PutAll(tuple(Put(META, encode(TopicDeleted(topic.id))) for topic in topics))


def _not_standing(catalogue: Catalogue, topics: Sequence[TopicCreated]) -> list[TopicCreated]:
    return [topic for topic in topics if catalogue.name_of(topic.id) is None]


def _declare_topic(topic: TopicCreated) -> Procedure[None]:
    exchange = exchange_of(topic.name, topic.id)
    yield DeclareExchange(exchange)
    if not topic.has_log:
        return
    arguments = stream_arguments(topic.retention_ms, topic.retention_bytes, topic.replication)
    streams = [stream_of(topic.name, topic.id, partition) for partition in range(topic.partitions)]
    for partition, stream in enumerate(streams):
        yield DeclareQueue(stream, arguments)
        yield Bind(stream, exchange, str(partition))
    yield PutAll(tuple(Put(stream, b"", GENESIS) for stream in streams))


def _drop_topic(topic: TopicCreated) -> Procedure[None]:
    """Of a topic that was never defined nobody knows."""
    yield from _drop_queues((topic, ()))
    yield from _drop_exchange(topic)


def _drop_queues(topic_and_groups: tuple[TopicCreated, Sequence[str]]) -> Procedure[None]:
    topic, groups = topic_and_groups
    for partition in range(topic.partitions):
        for group in groups:
            yield DeleteQueue(group_queue_of(topic.name, topic.id, partition, group))
        if topic.has_log:
            yield DeleteQueue(stream_of(topic.name, topic.id, partition))


def _drop_exchange(topic: TopicCreated) -> Procedure[None]:
    yield DeleteExchange(exchange_of(topic.name, topic.id))


# -- groups --------------------------------------------------------------------------------------


def open_groups(
    catalogue: Catalogue,
    group: str,
    topics: Sequence[TopicCreated],
    start: Start,
    version: tuple[int, ...],
    new_token: Callable[[], str],
) -> Procedure[None]:
    """``open_group`` on each topic."""

    def open_one(topic: TopicCreated) -> Procedure[None]:
        yield from open_group(catalogue, group, topic, start, version, new_token())

    yield from in_lanes(open_one, topics)


def open_group(
    catalogue: Catalogue,
    group: str,
    topic: TopicCreated,
    start: Start,
    version: tuple[int, ...],
    token: str,
) -> Procedure[None]:
    """Set a group up on a topic, unless it is. One connection at a time does it, under a lock that
    goes with its connection; what a former one left behind half-way is made anew. ``token`` was
    never used before."""
    if catalogue.opened(group, topic.id) is not None:
        return
    lock = lock_of(group, topic.id)
    while True:
        try:
            yield DeclareQueue(lock, is_exclusive=True)
            break
        except Locked:
            yield Sleep(_LOCK_RETRY_S)
    try:
        yield Sync()
        if catalogue.opened(group, topic.id) is None:
            yield from _open_group(catalogue, group, topic, start, version, token)
    finally:
        yield DeleteQueue(lock)


def _open_group(
    catalogue: Catalogue,
    group: str,
    topic: TopicCreated,
    start: Start,
    version: tuple[int, ...],
    token: str,
) -> Procedure[None]:
    if catalogue.name_of(topic.id) is None:
        raise unknown_topic(topic.name)
    if not topic.has_log and start != "latest":
        raise Unsupported(
            f"group {group!r} is new on topic {topic.name!r}, which keeps no log: nothing from before can be "
            "read; pass start='latest', or create the topic with the log switched on"
        )
    yield Put(META, encode(GroupOpening(group, topic.id)))
    arguments = group_queue_arguments(version, topic.replication)
    for partition in range(topic.partitions):
        queue = group_queue_of(topic.name, topic.id, partition, group)
        yield DeleteQueue(queue)
        yield DeclareQueue(queue, arguments)
    backlog: dict[int, Backlog] = {}
    if start == "latest":
        yield from _bind_group(topic, group)
    else:
        backlog = yield from _bind_with_backlog(topic, group, start, token)
    yield Put(META, encode(GroupOpened(group, topic.id, backlog)))
    yield Sync()
    if catalogue.opened(group, topic.id) is None:
        for partition in range(topic.partitions):
            yield DeleteQueue(group_queue_of(topic.name, topic.id, partition, group))
        raise unknown_topic(topic.name)


def _bind_group(topic: TopicCreated, group: str) -> Procedure[None]:
    exchange = exchange_of(topic.name, topic.id)
    for partition in range(topic.partitions):
        queue = group_queue_of(topic.name, topic.id, partition, group)
        yield Bind(queue, exchange, str(partition))


def _bind_with_backlog(
    topic: TopicCreated, group: str, start: Start, token: str
) -> Procedure[dict[int, Backlog]]:
    """Bind the group's queues, and find where the log stops being needed.

    The group reads the log up to a mark that is put there after the binding: everything routed
    before it. What was routed in between is in the log and in the queue. Each origin's numbers
    stand in their order in both, so it is enough to know each origin's last number before the
    mark: in the queue, up to that number, they are passed over. Only origins seen after the last
    look before the binding can be in both.
    """
    partitions = range(topic.partitions)
    streams = [stream_of(topic.name, topic.id, partition) for partition in partitions]
    before: list[int] = []
    for stream in streams:
        before.append((yield from last_offset(stream)))
    yield from _bind_group(topic, group)
    yield Sleep(_SETTLE_S)
    backlog: dict[int, Backlog] = {}
    for partition, stream in zip(partitions, streams, strict=True):
        cut, skip, is_empty = yield from _cut(stream, before[partition] + 1, f"cut-{token}".encode())
        if is_empty and before[partition] == 0:
            continue
        begin = 0
        if isinstance(start, AtTime):
            begin = yield from find_time(stream, start.timestamp_ms, cut)
        backlog[partition] = Backlog(begin, cut, skip)
    return backlog


def _cut(stream: str, begin: int, mark: bytes) -> Procedure[tuple[int, dict[str, int], bool]]:
    """Mark the stream; the mark's offset, each origin's last number from ``begin`` up to it, and
    whether there is no record in between."""
    yield Put(stream, b"", mark)
    yield Attach(stream, (begin,))
    skip: dict[str, int] = {}
    is_empty = True
    while True:
        messages: list[Message] = yield Receive()
        for message in messages:
            if message.mark == mark:
                yield Detach()
                return _offset(message), skip, is_empty
            if message.mark is None:
                is_empty = False
                known = sequence_of(message.message_id)
                if known is not None:
                    skip[known[0]] = max(known[1], skip.get(known[0], -1))


def enter_group(group: str, inbox: str, known: int) -> Procedure[int]:
    """Declare a member's inbox and its group's log; the offset near the end of that, see ``_end_of``."""
    control = control_of(group)
    yield DeclareQueue(inbox, is_exclusive=True)
    yield DeclareQueue(control, stream_arguments())
    yield Put(control, b"", GENESIS)
    last = yield from _end_of(control, known)
    return last


# -- places in streams ---------------------------------------------------------------------------


def last_offset(stream: str) -> Procedure[int]:
    """The offset of the last message of a stream, on the node that this connection reads from.

    ``last`` begins with the last chunk, which the server sends whole: what it has sent when it
    answers a later request includes the end as it was when the reader was attached.
    """
    yield Attach(stream, ("last",))
    messages: list[Message] = yield Receive()
    messages = messages + (yield Drain())
    yield Detach()
    return max(_offset(message) for message in messages)


def first_offset(stream: str) -> Procedure[int]:
    """The offset of the first message that is still in a stream."""
    yield Attach(stream, ("first",))
    messages: list[Message] = yield Receive()
    yield Detach()
    return _offset(messages[0])


def watermarks_of(stream: str) -> Procedure[Watermarks]:
    """The ends of a log, in the offsets that records show."""
    first = yield from first_offset(stream)
    last = yield from last_offset(stream)
    return Watermarks(shown(max(first, 1)), shown(last + 1))


def find_time(stream: str, timestamp_ms: int, end: int) -> Procedure[int]:
    """The stream offset of the first record at or after a time, below ``end``; else ``end``.

    By time a stream is entered at a chunk stored about then, and beyond the last one nothing comes
    at all. So a second reader begins at the last chunk: its messages come after the first
    reader's, or, where that has none, instead of them. Messages are looked at in unbroken order.
    """
    moment = datetime.fromtimestamp(max(0, timestamp_ms // 1000 - _CLOCK_SLACK_S), UTC)
    yield Attach(stream, (moment, "last"))
    expected: int | None = None
    while expected is None or expected < end:
        messages: list[Message] = yield Receive()
        for message in messages:
            offset = _offset(message)
            if expected is not None and offset != expected:
                continue
            expected = offset + 1
            if offset >= end:
                break
            if message.mark is None and message.timestamp_ms >= timestamp_ms:
                yield Detach()
                return offset
    yield Detach()
    return end


def place_of(stream: str, log: TopicPartition, to: Position) -> Procedure[int]:
    """The stream offset of a position. :class:`OffsetOutOfRange` for an offset that is not there."""
    if to == "beginning":
        first = yield from first_offset(stream)
        return max(first, 1)
    end = (yield from last_offset(stream)) + 1
    if to == "end":
        return end
    if isinstance(to, AtTime):
        found = yield from find_time(stream, to.timestamp_ms, end)
        return found
    assert isinstance(to, int)
    first = yield from first_offset(stream)
    begin = max(first, 1)
    if not begin <= hidden(to) <= end:
        raise out_of_range(log, to, shown(begin), shown(end))
    return hidden(to)


def shown(stream_offset: int) -> int:
    """The offset that a record at this place of a stream shows."""
    return stream_offset - 1


def hidden(offset: int) -> int:
    """The place in a stream of the record that shows this offset."""
    return offset + 1


def _offset(message: Message) -> int:
    assert message.stream_offset is not None, "a message of a stream has an offset"
    return int(message.stream_offset)


# -- groups as the admin sees them ---------------------------------------------------------------


def read_group(group: str) -> Procedure[GroupState | None]:
    """A group's state as its log says now; ``None`` if there is no such group."""
    control = control_of(group)
    try:
        yield CheckQueue(control)
    except Missing:
        return None
    state = GroupState()
    replay = Replay(state, NO_GROUP)
    last = yield from last_offset(control)
    start = replay.saw_end(last)
    while True:
        yield Attach(control, (start,))
        at = start - 1
        while at < last:
            messages: list[Message] = yield Receive()
            for message in messages:
                at = _offset(message)
                if message.mark is None and message.value is not None:
                    replay.feed(at, decode_event(message.value))
        yield Detach()
        if replay.is_based:
            return state
        start = replay.widen()


# -- the catalogue -------------------------------------------------------------------------------


def find_definitions(marker: str, known: int) -> Procedure[int]:
    """Make sure that there is a stream of definitions; the offset of its end. See ``_end_of``."""
    yield DeclareQueue(META, stream_arguments())
    yield Put(META, encode(Marker(marker)))
    last = yield from _end_of(META, known)
    return last


def _end_of(stream: str, known: int) -> Procedure[int]:
    """The offset of a stream's end. One that ends before what is ``known`` of it was made anew, unless
    this node's copy only lags behind, for which it gets some time."""
    for _ in range(_LAG_TRIES):
        last = yield from last_offset(stream)
        if last >= known:
            break
        yield Sleep(_LAG_S)
    return last
