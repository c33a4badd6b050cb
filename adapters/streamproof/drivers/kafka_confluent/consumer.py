"""Reading over confluent-kafka.

Three things shape this module.

* A rebalance is a callback inside of the library's ``consume``. Nothing may consume from inside
  of it (the library would crash), so a commit made there is confirmed by reading back.
* Since 2.16 the library lets one thread at a time into a consumer, and others wait for it. So
  ``pause`` and ``resume``, which may come from any thread, only note down what is wanted; the next
  look of the polling thread, at most a tenth of a second away, carries it out.
* Records can come up while something else is waited for. They are kept and returned by the next
  poll.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

from streamproof.driver import AssignmentListener
from streamproof.drivers.kafka.errors import call_error
from streamproof.drivers.kafka.flow import Flow, KeptRecords
from streamproof.drivers.kafka.group import HeldLogs, generation_of, membership_of
from streamproof.drivers.kafka_confluent.admin import ConfluentAdmin, Deadline
from streamproof.drivers.kafka_confluent.client import (
    OFFSET_STORED,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    NativePartition,
    Trouble,
    fatal_code,
    let_go,
    made,
    native_error,
    translated,
)
from streamproof.drivers.kafka_confluent.commits import no_answer, require_stored, require_taken
from streamproof.drivers.kafka_confluent.patterns import PatternWatch
from streamproof.drivers.kafka_confluent.records import records_of
from streamproof.errors import Closed, NotAssigned, OffsetOutOfRange, StreamproofError, TimedOut, Unsupported
from streamproof.options import ConsumerOptions
from streamproof.records import AtTime, GroupMembership, Position, RawRecord, TopicPartition, Watermarks

_log = logging.getLogger("streamproof.kafka")

_T = TypeVar("_T")

_SLICE_S = 0.1
_ANSWER_SLICE_S = 0.005
_ASK_AGAIN_S = 1.0
"""For stored offsets the library waits, once the coordinator is not known, for a broker to come or
go, even if the coordinator is known by then: so it is asked again."""

_ASSIGN_S = 10.0
"""For finding out where to begin in new logs; a rebalance waits for it."""

_PLACES: dict[str, Position] = {"earliest": "beginning", "latest": "end"}

_MOST_AT_ONCE = 100_000
_CHUNK = 500
"""Messages asked of the library at once. From 700 new objects on the garbage collector looks at them
all, which costs a third of the whole reading: so they are records, and gone, before that."""

_UNIMPORTANT = (
    KafkaError._PARTITION_EOF,
    # Told to the listener as lost logs.
    KafkaError._MAX_POLL_EXCEEDED,
    # The library goes on trying by itself.
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._RESOLVE,
)


class ConfluentConsumer:
    """See :class:`~streamproof.driver.ConsumerDriver`."""

    def __init__(
        self,
        settings: Mapping[str, object],
        options: ConsumerOptions,
        admin: ConfluentAdmin,
        is_cooperative: bool,
        closed: "Callable[[ConfluentConsumer], None]",
    ) -> None:
        self._closed = closed
        self._options = options
        self._admin = admin
        self._is_cooperative = is_cooperative
        self._trouble = Trouble()
        self.native: Consumer = made(Consumer, {**settings, "on_commit": self._on_commit}, self._trouble)
        self._listener: AssignmentListener | None = None
        self._held = HeldLogs()
        self._begins: dict[TopicPartition, int] = {}
        self._undecided: set[TopicPartition] = set()
        self._untold: set[TopicPartition] = set()
        self._out_of_range: dict[TopicPartition, OffsetOutOfRange] = {}
        self._failures: deque[Exception] = deque()
        self._kept = KeptRecords()
        self._flow = Flow()
        self._awaited: dict[TopicPartition, int] | None = None
        self._answer: list[tuple[TopicPartition, KafkaError | None]] | None = None
        self._is_rebalancing = False
        self._watch: PatternWatch | None = None
        self._subscribed: list[str] = []
        self._one_topic = options.topics[0] if len(options.topics) == 1 else None
        self._is_closed = False

    # -- beginning and end -----------------------------------------------------------------

    def start(self, listener: AssignmentListener, timeout_s: float) -> None:
        """See the Protocol."""
        self._listener = listener
        deadline = Deadline(timeout_s)
        if self._options.pattern is not None:
            self._watch = PatternWatch(self._options.pattern, self._admin, deadline.left_s)
            topics: Mapping[str, int] = self._watch.found
        else:
            topics = self._admin.partitions_of(self._options.topics, deadline.left_s)
        if self._options.group is None:
            self._read_alone(topics, deadline)
        else:
            self._subscribe(topics)

    def _subscribe(self, topics: Iterable[str]) -> None:
        names = sorted(topics)
        if names and names != self._subscribed:
            self._subscribed = names
            self._called(
                lambda: self.native.subscribe(
                    names, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
                ),
                "the topics cannot be subscribed",
            )

    def _read_alone(self, topics: Mapping[str, int], deadline: Deadline) -> None:
        """Take every partition that is not held yet."""
        every = {TopicPartition(name, index) for name, count in topics.items() for index in range(count)}
        new = [partition for partition in sorted(every) if partition not in self._held]
        if not new:
            return
        begins = self._starts_of(new, deadline.left_s)
        natives = [NativePartition(*partition, begins[partition]) for partition in new]
        self._called(lambda: self.native.incremental_assign(natives), "the logs cannot be read")
        self._begins.update(begins)
        self._held.add(new)
        self._told.on_assign(None, self._held.all, begins)

    def close(self, timeout_s: float) -> None:
        """See the Protocol."""
        if self._is_closed:
            return
        self._is_closed = True
        deadline = Deadline(timeout_s)
        if self._watch is not None:
            self._watch.stop(deadline.left_s)
        if self._options.group is not None and self._listener is not None:
            self._leave(deadline)
        let_go([self.native], deadline.left_s, "consumer")
        self._closed(self)

    def _leave(self, deadline: Deadline) -> None:
        """Give the logs up while the listener can still commit, on this thread; the library's own
        close would do it on another one, without a bound.

        An assignment that waits to be told is taken first: librdkafka 2.16 never ends a close that
        finds one waiting.
        """
        try:
            self.native.unsubscribe()
            self.native.consume(_MOST_AT_ONCE, 0.0)
            while len(self._held) and not deadline.is_over:
                self.native.consume(_MOST_AT_ONCE, 0.01)
        except (KafkaException, RuntimeError) as cause:
            _log.warning("the group could not be left in an orderly way: %s", cause)

    # -- reading ---------------------------------------------------------------------------

    def poll(self, max_records: int, timeout_s: float) -> list[RawRecord]:
        """See the Protocol."""
        deadline = time.monotonic() + timeout_s
        while True:
            self._look_after()
            records = self._kept.take(max_records, self._flow.paused) if self._kept else []
            if not records:
                left = deadline - time.monotonic()
                records = self._fetched(max_records, max(0.0, min(left, _SLICE_S)))
            if records:
                return records
            if self._failures:
                raise self._failures.popleft()
            if time.monotonic() >= deadline:
                return []

    def _look_after(self) -> None:
        """What is to be done before reading on."""
        if self._flow.has_wishes:
            self._carry_out_flow()
        if self._undecided:
            self._decide()
        if self._watch is not None and self._watch.has_news:
            topics = self._watch.take_news()
            if self._options.group is None:
                self._read_alone(topics, Deadline(_ASSIGN_S))
            else:
                self._subscribe(topics)
        if self._out_of_range:
            raise next(iter(self._out_of_range.values()))

    def _fetched(self, max_records: int, wait_s: float) -> list[RawRecord]:
        version = self._held.version
        records = self._taken(max_records)
        if not records and wait_s > 0:
            # One first: with more to get, the library would wait for all of them.
            records = self._records(self._consume(1, wait_s))
            if records and max_records > 1:
                records += self._taken(max_records - 1)
        return self._usable(records, version) if records else records

    def _taken(self, max_records: int) -> list[RawRecord]:
        """What the library has fetched already."""
        records: list[RawRecord] = []
        while len(records) < max_records:
            wanted = min(_CHUNK, max_records - len(records))
            # Without a name for the messages: they are to be gone before the next ones come.
            found = self._records(self._consume(wanted, 0.0))
            records += found
            if len(found) < wanted:
                break
        return records

    def _consume(self, count: int, wait_s: float) -> list[Message]:
        try:
            return self.native.consume(count, wait_s)
        except KafkaException as cause:
            raise translated(cause, "nothing can be read", self._trouble) from cause
        except RuntimeError as cause:
            raise Closed("the consumer is closed: make a new one") from cause

    def _records(self, messages: list[Message]) -> list[RawRecord]:
        records = records_of(messages, self._one_topic)
        if len(records) < len(messages):
            self._note_errors(messages)
        return records

    def _usable(self, records: list[RawRecord], version: int) -> list[RawRecord]:
        """Without the records of logs that went, or were paused, while they were being fetched."""
        if self._held.version != version:
            records = [record for record in records if record.topic_partition in self._held]
        paused = self._flow.paused
        if paused and any(record.topic_partition in paused for record in records):
            self._kept.keep([record for record in records if record.topic_partition in paused])
            return [record for record in records if record.topic_partition not in paused]
        return records

    def _note_errors(self, messages: list[Message]) -> None:
        for message in messages:
            error = message.error()
            if error is not None and not self._is_unimportant(error.code()):
                self._note_error(message, error)

    def _is_unimportant(self, code: int) -> bool:
        # A topic that a pattern found may be deleted: then there is one less.
        is_gone = self._watch is not None and code == KafkaError.UNKNOWN_TOPIC_OR_PART
        return is_gone or code in _UNIMPORTANT

    def _note_error(self, message: Message, error: KafkaError) -> None:
        if error.code() != KafkaError._AUTO_OFFSET_RESET:
            place = message.topic() or "the topics"
            self._failures.append(
                call_error(fatal_code(error), f"{place} cannot be read", error.str(), KafkaException(error))
            )
            return
        partition = TopicPartition(str(message.topic()), int(message.partition() or 0))
        if partition not in self._held:
            return
        if partition in self._begins:
            self._out_of_range[partition] = self._trimmed(partition, error)
        else:
            # Nothing was committed here, and where to begin could not be found out before.
            self._undecided.add(partition)

    def _trimmed(self, partition: TopicPartition, error: KafkaError) -> OffsetOutOfRange:
        first: int | None = None
        try:
            first = self._admin.offsets_at((partition,), "beginning", "read_uncommitted", 5.0)[partition]
        except StreamproofError as cause:
            _log.debug("the start of %s is not known: %s", partition, cause)
        out = OffsetOutOfRange(
            f"{partition.topic}[{partition.partition}] cannot be read on: {error.str()}; its first offset is "
            f"{'not known' if first is None else first}: seek before reading on",
            log_start=first,
        )
        out.__cause__ = KafkaException(error)
        return out

    # -- logs come and go ------------------------------------------------------------------

    @property
    def _told(self) -> AssignmentListener:
        assert self._listener is not None
        return self._listener

    def _generation(self) -> int | None:
        try:
            return generation_of(bytes(self.native.consumer_group_metadata()))
        except (KafkaException, RuntimeError):
            return None

    def _on_assign(self, _: Consumer, natives: Sequence[NativePartition]) -> None:
        """The library's callback: these logs come on top (cooperative), or are all there are."""
        with self._rebalance():
            new = [_named(native) for native in natives]
            if self._is_closed:
                # On the way out; the library takes them, and takes them away again.
                self._untold.update(self._held.add(new))
                return
            begins = self._begins_of(new)
            placed = [NativePartition(*partition, begins.get(partition, OFFSET_STORED)) for partition in new]
            if self._is_cooperative:
                self.native.incremental_assign(placed)
            else:
                self.native.assign(placed)
            self._begins.update(begins)
            self._held.add(new)
            self._told.on_assign(self._generation(), self._held.all, begins)

    def _on_revoke(self, _: Consumer, natives: Sequence[NativePartition]) -> None:
        """The library's callback: these logs go; they are held until it returns."""
        with self._rebalance():
            gone = sorted(partition for partition in map(_named, natives) if partition in self._held)
            told = [partition for partition in gone if partition not in self._untold]
            try:
                if told:
                    self._told.on_revoke(self._generation(), told)
            finally:
                self._forget(gone)

    def _on_lost(self, _: Consumer, natives: Sequence[NativePartition]) -> None:
        """The library's callback: these logs are gone."""
        with self._rebalance():
            gone = self._forget(map(_named, natives))
            told = [partition for partition in gone if partition not in self._untold]
            if told:
                self._told.on_lost(self._generation(), told)

    # The library takes revoked and lost logs out of its own assignment when the callback returns.

    @contextmanager
    def _rebalance(self) -> Iterator[None]:
        """An exception must not leave the callback: the records of this ``consume`` would be lost
        with it. The next poll raises it."""
        self._is_rebalancing = True
        try:
            yield
        except Exception as failure:
            self._failures.append(failure)
        finally:
            self._is_rebalancing = False

    def _forget(self, partitions: Iterable[TopicPartition]) -> list[TopicPartition]:
        gone = self._held.remove(partitions)
        self._kept.drop(gone)
        self._flow.forget(gone)
        self._undecided.difference_update(gone)
        for partition in gone:
            self._begins.pop(partition, None)
            self._out_of_range.pop(partition, None)
        return gone

    def _begins_of(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Where reading begins in each log: at the group's progress, else where the options say. Logs
        for which the brokers do not tell in time are left to the library, and decided later."""
        deadline = Deadline(_ASSIGN_S)
        try:
            stored = self.committed(partitions, deadline.left_s)
            begins = {partition: offset for partition, offset in stored.items() if offset is not None}
            fresh = [partition for partition in partitions if partition not in begins]
            begins.update(self._starts_of(fresh, deadline.left_s))
        except StreamproofError as cause:
            _log.warning("where to begin in %d logs is not known yet: %s", len(partitions), cause)
            return {}
        return begins

    def _starts_of(self, partitions: Iterable[TopicPartition], timeout_s: float) -> dict[TopicPartition, int]:
        start = self._options.start
        place: Position = start if isinstance(start, AtTime) else _PLACES[start]
        return self._admin.offsets_at(partitions, place, self._options.isolation, timeout_s)

    def _decide(self) -> None:
        """Begin in logs that have no stored progress and could not be decided at assignment."""
        begins = self._starts_of(self._undecided, 1.0)
        self._undecided.clear()
        for partition, offset in begins.items():
            self._move(partition, offset, Deadline(1.0))

    # -- progress --------------------------------------------------------------------------

    def ack(self, records: Sequence[RawRecord]) -> None:
        """See the Protocol."""
        raise Unsupported("Kafka's groups store offsets: commit the offset after the last record instead")

    def commit(self, offsets: Mapping[TopicPartition, int], timeout_s: float) -> None:
        """See the Protocol. Sent without waiting, since the library's waiting commit takes no bound;
        then the brokers are asked for the stored offsets, which they answer after the commit."""
        if self._options.group is None:
            raise Unsupported("without a group there is no progress to store: name a group")
        self._require_held(offsets)
        if not offsets:
            return
        deadline = Deadline(timeout_s)
        natives = [NativePartition(*partition, offset) for partition, offset in offsets.items()]
        # A commit that waits can be overtaken by one that a rebalance asks for; then it waits on.
        outer, self._awaited, self._answer = self._awaited, dict(offsets), None
        try:
            self._called(lambda: self.native.commit(offsets=natives, asynchronous=True), "no commit")
            stored = self._read_back(offsets, deadline)
            if self._is_rebalancing:
                require_stored(offsets, stored, deadline.timeout_s)
            else:
                self._await_answer(deadline)
                require_taken(self._answer or ())
        finally:
            self._awaited, self._answer = outer, None

    def _read_back(
        self, offsets: Mapping[TopicPartition, int], deadline: Deadline
    ) -> dict[TopicPartition, int | None] | None:
        try:
            return self.committed(tuple(offsets), deadline.left_s)
        except StreamproofError as cause:
            _log.debug("the commit could not be read back: %s", cause)
            return None

    def _await_answer(self, deadline: Deadline) -> None:
        """Have the library hand the answer over; it goes before all records that wait."""
        wait_s = 0.0
        while self._answer is None:
            version = self._held.version
            try:
                messages = self.native.consume(1, wait_s)
            except KafkaException as cause:
                raise translated(cause, "no commit", self._trouble, definite=False) from cause
            self._kept.keep(self._usable(self._records(messages), version))
            if deadline.is_over:
                raise no_answer(deadline.timeout_s)
            # Short, since the callback does not end the wait: an exception raised in it would, but
            # then the library drops the record that stands behind the answer in its queue.
            wait_s = min(_ANSWER_SLICE_S, deadline.left_s)

    def _on_commit(self, error: KafkaError | None, natives: Sequence[NativePartition]) -> None:
        """The library's callback. Answers to commits that nobody waits for any more are dropped."""
        answered = {_named(native): native.offset for native in natives}
        if self._awaited is None or (answered and answered != self._awaited):
            return
        self._answer = [(_named(native), native.error or error) for native in natives]
        if error is not None and not natives:
            self._answer = [(partition, error) for partition in self._awaited]

    def committed(
        self, partitions: Sequence[TopicPartition], timeout_s: float
    ) -> dict[TopicPartition, int | None]:
        """See the Protocol."""
        if self._options.group is None or not partitions:
            return dict.fromkeys(partitions)
        natives = [NativePartition(*partition) for partition in partitions]
        deadline = Deadline(timeout_s)
        found = None
        while found is None:
            try:
                found = self.native.committed(natives, min(_ASK_AGAIN_S, deadline.left_s))
            except KafkaException as cause:
                if native_error(cause).code() != KafkaError._TIMED_OUT or deadline.is_over:
                    raise translated(cause, "the stored offsets are not known", self._trouble) from cause
            except RuntimeError as cause:
                raise Closed("the consumer is closed: make a new one") from cause
        for native in found:
            if native.error is not None:
                what = f"the stored offset of {native.topic}[{native.partition}] is not known"
                raise call_error(native.error.code(), what, native.error.str(), KafkaException(native.error))
        return {_named(native): native.offset if native.offset >= 0 else None for native in found}

    def membership(self) -> GroupMembership:
        """See the Protocol."""
        found = self._called(self.native.consumer_group_metadata, "the membership is not known")
        return membership_of(bytes(found), str(self._options.group))

    # -- place and flow --------------------------------------------------------------------

    def seek(self, partitions: Sequence[TopicPartition], to: Position, timeout_s: float) -> None:
        """See the Protocol. An offset that is not there raises from the next poll."""
        self._require_held(partitions)
        deadline = Deadline(timeout_s)
        places = self._admin.offsets_at(partitions, to, self._options.isolation, deadline.left_s)
        for partition, offset in places.items():
            self._move(partition, offset, deadline)

    def _move(self, partition: TopicPartition, offset: int, deadline: Deadline) -> None:
        native = NativePartition(*partition, offset)
        try:
            self.native.seek(native)
        except KafkaException as cause:
            if native_error(cause).code() != KafkaError._STATE:
                raise translated(cause, "the place cannot be changed", self._trouble) from cause
            # The library has stopped reading this log (out of range), or did not begin yet.
            self._called(lambda: self._replace(native), "the place cannot be changed")
        self._kept.drop((partition,))
        self._out_of_range.pop(partition, None)
        self._begins[partition] = offset

    def _replace(self, native: NativePartition) -> None:
        """Take the log out of the library's assignment, and in again at its new place."""
        if self._is_cooperative or self._options.group is None:
            self.native.incremental_unassign([native])
            self.native.incremental_assign([native])
        else:
            others = [other for other in self._held.all if other != _named(native)]
            placed = [NativePartition(*other, self._position_of(other)) for other in others]
            self.native.assign([*placed, native])
        if self._flow.paused:
            self.native.pause([NativePartition(*partition) for partition in self._flow.paused])

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """See the Protocol. From any thread."""
        self._flow.pause(partition for partition in partitions if partition in self._held)

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """See the Protocol. From any thread."""
        self._flow.resume(partitions)

    def _carry_out_flow(self) -> None:
        pausing, resuming = self._flow.take_wishes()
        if pausing:
            natives = [NativePartition(*partition) for partition in pausing]
            self._called(lambda: self.native.pause(natives), "the logs cannot be paused")
        if resuming:
            others = [NativePartition(*partition) for partition in resuming]
            self._called(lambda: self.native.resume(others), "the logs cannot be resumed")

    def assignment(self) -> tuple[TopicPartition, ...]:
        """See the Protocol."""
        return self._held.all

    def position(self, partition: TopicPartition, timeout_s: float) -> int:
        """See the Protocol."""
        self._require_held((partition,))
        kept = self._kept.first_offset(partition)
        offset = self._position_of(partition) if kept is None else kept
        if offset < 0:
            raise TimedOut(f"the position in {partition.topic}[{partition.partition}] is not known yet: poll")
        return offset

    def _position_of(self, partition: TopicPartition) -> int:
        """The library knows it only once it has returned a record since the last move."""
        (native,) = self._called(
            lambda: self.native.position([NativePartition(*partition)]), "the position is not known"
        )
        return native.offset if native.offset >= 0 else self._begins.get(partition, OFFSET_STORED)

    def watermarks(
        self, partitions: Sequence[TopicPartition], timeout_s: float
    ) -> dict[TopicPartition, Watermarks]:
        """See the Protocol. The end is the last stable offset under ``read_committed``."""
        deadline = Deadline(timeout_s)
        isolation = self._options.isolation
        begins = self._admin.offsets_at(partitions, "beginning", isolation, deadline.left_s)
        ends = self._admin.offsets_at(partitions, "end", isolation, deadline.left_s)
        return {partition: Watermarks(begins[partition], ends[partition]) for partition in partitions}

    # -- inside ----------------------------------------------------------------------------

    def _require_held(self, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            if partition not in self._held:
                raise NotAssigned(
                    f"{partition.topic}[{partition.partition}] is not held by this consumer now"
                )

    def _called(self, call: Callable[[], _T], what: str) -> _T:
        """The library's answer, its exceptions translated."""
        try:
            return call()
        except KafkaException as cause:
            raise translated(cause, what, self._trouble) from cause
        except RuntimeError as cause:
            raise Closed("the consumer is closed: make a new one") from cause


def _named(native: NativePartition) -> TopicPartition:
    return TopicPartition(native.topic, native.partition)
