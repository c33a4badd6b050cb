"""What one log knows of its producers: whether a batch is new, a repetition, or out of order.

For each producer id: its epoch, its last five batches, and where its open transaction begins. A
plain state machine without a clock; semantics are Kafka's (KIP-98, KIP-360, KIP-890):

* a batch of a lower epoch than the log has seen is refused;
* within an epoch sequences follow without a gap, from 2^31-1 to 0; a new epoch begins at 0;
* a batch with exactly the sequences of one of the last five was stored already: its place is the answer;
* of a producer that the log does not know (any more) any sequence is taken, except in a transaction
  of the protocol's second version: there an unknown producer begins at 0;
* while a transaction has no records in the log yet, no batch goes before one that was refused;
* trimming the log forgets no producer; only time does.
"""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from streamproof.core.batch import ProducerStamp
from streamproof.core.producer_errors import (
    InvalidProducerEpoch,
    InvalidTransactionState,
    OutOfOrderSequence,
)

REMEMBERED_BATCHES = 5
"""As many requests as an idempotent producer may have under way."""

PRODUCER_EXPIRATION_MS = 24 * 3600 * 1000
"""Kafka's default of ``producer.id.expiration.ms``."""

_SEQUENCES = 1 << 31


def following_sequence(sequence: int, count: int) -> int:
    """The sequence that comes ``count`` records after this one: after 2^31-1 comes 0."""
    return (sequence + count) % _SEQUENCES


class RememberedBatch(NamedTuple):
    """Where one stored batch stands."""

    first_sequence: int
    last_sequence: int
    first_offset: int
    timestamp_ms: int


class KnownProducer:
    """One producer id in one log. ``first_offset`` is where its open transaction begins there."""

    __slots__ = ("batches", "epoch", "first_offset", "timestamp_ms")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.batches: deque[RememberedBatch] = deque(maxlen=REMEMBERED_BATCHES)
        self.timestamp_ms = -1
        self.first_offset: int | None = None

    @property
    def last_sequence(self) -> int:
        """Of its newest batch in this epoch; ``-1`` before the first."""
        return self.batches[-1].last_sequence if self.batches else -1

    def enter(self, epoch: int) -> None:
        """Go on in this epoch. Sequences of another one mean nothing in it."""
        if epoch != self.epoch:
            self.epoch = epoch
            self.batches.clear()


class _Attempt(NamedTuple):
    """What a transaction tried as its first batch in the log."""

    epoch: int
    lowest_sequence: int
    version: int
    time_ms: int


class ProducerLedger:
    """The producers of one log. ``first_open`` is the first offset of its oldest open transaction."""

    __slots__ = ("_attempts", "_known", "_open", "first_open")

    def __init__(self) -> None:
        self.first_open: int | None = None
        self._known: dict[int, KnownProducer] = {}
        self._attempts: dict[int, _Attempt] = {}
        self._open: dict[int, int] = {}  # by producer id; in the order they began, so the oldest first

    def __iter__(self) -> Iterator[tuple[int, KnownProducer]]:
        return iter(self._known.items())

    def __len__(self) -> int:
        return len(self._known)

    def find(self, producer_id: int) -> KnownProducer | None:
        """What the log knows of this producer."""
        return self._known.get(producer_id)

    def is_open(self, producer_id: int, epoch: int) -> bool:
        """Whether the producer has, in this epoch, a transaction with records in the log."""
        return producer_id in self._open and self._known[producer_id].epoch == epoch

    def attempt(self, producer: ProducerStamp, version: int, now_ms: int) -> None:
        """The producer is about to begin a transaction in this log, or to be refused to: the
        coordinator is asked next, by this version of the protocol. Raises
        :class:`InvalidProducerEpoch`."""
        self._require_epoch(producer.producer_id, producer.epoch)
        former = self._attempts.get(producer.producer_id)
        epoch, sequence = producer.epoch, producer.sequence
        if former is None:
            self._attempts[producer.producer_id] = _Attempt(epoch, sequence, version, now_ms)
        elif epoch > former.epoch or (epoch == former.epoch and sequence < former.lowest_sequence):
            self._attempts[producer.producer_id] = former._replace(epoch=epoch, lowest_sequence=sequence)

    def check(self, producer: ProducerStamp, count: int, is_verified: bool = False) -> int | None:
        """Whether a batch of ``count`` records may be appended: ``None``, or the first offset of the
        same batch that is stored already.

        ``is_verified`` says of a transactional batch that since ``attempt`` the coordinator found this
        log in the transaction of its producer and epoch; once that has records here it need not be
        asked. Raises :class:`InvalidProducerEpoch`, :class:`OutOfOrderSequence` or
        :class:`InvalidTransactionState`.
        """
        known = self._known.get(producer.producer_id)
        if known is not None and known.epoch == producer.epoch:
            last = following_sequence(producer.sequence, count - 1)
            for batch in known.batches:
                if batch.first_sequence == producer.sequence and batch.last_sequence == last:
                    return batch.first_offset
        if producer.is_transactional and not is_verified and not self.is_open(*producer[:2]):
            raise InvalidTransactionState(
                f"{_named(producer)} has no transaction with this log in it: nothing was stored"
            )
        self._require_epoch(producer.producer_id, producer.epoch)
        self._require_sequence(known, producer)
        if known is not None and known.first_offset is not None and not producer.is_transactional:
            raise InvalidTransactionState(
                f"{_named(producer)} has a transaction open in this log, and this batch is not part of it"
            )
        return None

    def appended(self, producer: ProducerStamp, count: int, first_offset: int, timestamp_ms: int) -> None:
        """The batch was stored there."""
        known = self._known.get(producer.producer_id)
        if known is None:
            known = self._known[producer.producer_id] = KnownProducer(producer.epoch)
        elif known.epoch != producer.epoch:
            known.enter(producer.epoch)
        first = producer.sequence
        last = following_sequence(first, count - 1)
        known.batches.append(RememberedBatch(first, last, first_offset, timestamp_ms))
        known.timestamp_ms = timestamp_ms
        if self._attempts and producer.is_transactional:
            self._attempts.pop(producer.producer_id, None)
        if producer.is_transactional and known.first_offset is None:
            known.first_offset = self._open[producer.producer_id] = first_offset
            if self.first_open is None:
                self.first_open = first_offset

    def ended(self, producer_id: int, epoch: int, timestamp_ms: int) -> int | None:
        """A control record of this epoch ends the producer's transaction here; where that began.

        Raises :class:`InvalidProducerEpoch` if the log has seen a newer epoch.
        """
        self._require_epoch(producer_id, epoch)
        self._attempts.pop(producer_id, None)
        known = self._known.get(producer_id)
        if known is None:
            known = self._known[producer_id] = KnownProducer(epoch)
        known.enter(epoch)
        known.timestamp_ms = timestamp_ms
        first, known.first_offset = known.first_offset, None
        if first is not None:
            del self._open[producer_id]
            if first == self.first_open:
                self.first_open = next(iter(self._open.values()), None)
        return first

    def expire(self, now_ms: int, expiration_ms: int = PRODUCER_EXPIRATION_MS) -> None:
        """Forget the producers that wrote nothing for so long and have nothing open."""
        late = [
            producer_id
            for producer_id, known in self._known.items()
            if known.first_offset is None and now_ms - known.timestamp_ms >= expiration_ms
        ]
        for producer_id in late:
            del self._known[producer_id]
        for producer_id, attempt in list(self._attempts.items()):
            if now_ms - attempt.time_ms >= expiration_ms:
                del self._attempts[producer_id]

    def clear(self) -> None:
        """Forget all: the log is deleted."""
        self._known.clear()
        self._attempts.clear()
        self._open.clear()
        self.first_open = None

    def _require_epoch(self, producer_id: int, epoch: int) -> None:
        known = self._known.get(producer_id)
        if known is not None and epoch < known.epoch:
            raise InvalidProducerEpoch(
                f"epoch {epoch} of producer {producer_id} is over, this log has seen epoch {known.epoch}: "
                "a newer producer took over, or its transaction was ended; nothing was stored"
            )

    def _require_sequence(self, known: KnownProducer | None, producer: ProducerStamp) -> None:
        attempt = self._attempts.get(producer.producer_id)
        if attempt is not None and producer.sequence > attempt.lowest_sequence:
            expected = attempt.lowest_sequence
        elif known is None:
            if attempt is None or attempt.version < 2:
                return
            expected = 0
        elif known.epoch != producer.epoch or not known.batches:
            expected = 0
        else:
            expected = following_sequence(known.last_sequence, 1)
        if producer.sequence != expected:
            raise OutOfOrderSequence(
                f"{_named(producer)} sent sequence {producer.sequence} where {expected} follows: "
                "a batch before this one is missing; nothing was stored"
            )


def _named(producer: ProducerStamp) -> str:
    return f"producer {producer.producer_id} in epoch {producer.epoch}"
