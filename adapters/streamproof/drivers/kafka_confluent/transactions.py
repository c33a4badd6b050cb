"""Transactions over confluent-kafka.

Four things shape this module.

* librdkafka initialises an instance once. So a producer whose commit or abort ended without an answer
  is put in order by a new instance, whose initialisation ends what the old one left, and fences what
  it has still on its way (the commit that comes late, KIP-890).
* A new instance would take the id back from whoever took it over meanwhile. So the unanswered call is
  taken up once more before, as the library allows: its answer tells that, too.
* The library's waits hold signals up: they are sliced. One of them overruns its bound, up to the
  time-out of a socket: ``send_offsets_to_transaction``. It runs on a thread of its own.
* A failed send lets librdkafka refuse the commit, but it does not know of records that it did not
  take at all. Those are remembered here.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from enum import Enum

from streamproof.deliveries import Deliveries, Delivery
from streamproof.drivers.kafka.group import require_member
from streamproof.drivers.kafka.transactions import (
    cannot_commit,
    certain,
    no_answer,
    overdue,
    refused,
    unseen,
)
from streamproof.drivers.kafka_confluent.admin import Deadline
from streamproof.drivers.kafka_confluent.aside import Aside, NoAnswer
from streamproof.drivers.kafka_confluent.client import (
    KafkaError,
    KafkaException,
    NativePartition,
    Producer,
    QuietProducer,
    fatal_code,
    let_go,
    native_error,
    translated,
)
from streamproof.drivers.kafka_confluent.producer import ConfluentProducer
from streamproof.errors import BufferFull, Closed, Fenced, NotAssigned, StreamproofError, TimedOut
from streamproof.options import ProducerOptions
from streamproof.records import GroupMembership, Headers, RawOutgoing, TopicPartition
from streamproof.url import Address

_log = logging.getLogger("streamproof.kafka")

_SLICE_S = 0.1
_PAUSE_S = 0.005
_PROMPT_S = 0.1
"""The library waits for so long before it tries a request again: what is answered sooner was the
first attempt."""

_DOUBT_S = 30.0
"""How long an unanswered commit or abort is asked about before a new instance takes its place all the
same."""

_CONNECT_S = 10.0
_LEAST_S = 0.5

_PURGED = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)
_LOCAL = (KafkaError._INCONSISTENT, KafkaError._STATE)
"""Refusals of the library itself, before it asks."""


class _Ending(Enum):
    COMMIT = "committed"
    ABORT = "aborted"


class _DroppedProducer(QuietProducer):
    """The library's close would abort what is open, and wait for that without a bound. So this one is
    not closed: it ends when nobody has it any more."""

    def close(self) -> bool:
        return True


class TransactionalSender(ConfluentProducer):
    """One instance of the library's producer: it knows whether a send failed in this transaction."""

    _library = _DroppedProducer

    failure: StreamproofError | None = None
    """The first, since the transaction began."""

    def close(self, timeout_s: float) -> None:
        """See the Protocol. What is open stays so on the broker."""
        super().close(timeout_s)
        clients, self.native = [self.native], _Gone()  # type: ignore[assignment]
        self._pump._poll, self._pump._pending = self.native.poll, self.native.__len__
        let_go(clients, _LEAST_S, "producer")

    def serving(self, call: Callable[[float], object], timeout_s: float) -> bool:
        """Make a call of the library that serves delivery reports; whether it was made, for another
        thread may be serving them."""
        made = self._pump.serve_by(lambda bound_s: call(bound_s) is None, timeout_s, timeout_s)
        if made == 0:
            raise Closed("the producer is closed: make a new one")
        return made == 1

    @property
    def fatal(self) -> KafkaError | None:
        """The library's error after which it does nothing more, if it has told of one."""
        return self.native.fatal if isinstance(self.native, QuietProducer) else None

    def is_flushed(self, timeout_s: float) -> bool:
        """Wait until every record has its outcome; whether all have one."""
        return self._is_flushed(timeout_s)

    def is_undisturbed(self, since_s: float) -> bool:
        """Whether a request that went out then, and was answered now, can have been one only."""
        age_s = time.monotonic() - since_s
        return age_s < _PROMPT_S and not self._trouble.is_within(age_s)

    def translated(self, error: KafkaError, what: str) -> StreamproofError:
        """Our error of a call that can be made again, with what the library said besides."""
        return translated(KafkaException(error), what, self._trouble, definite=False)

    def refuse_inside(self, what: str) -> None:
        """Raise :class:`UsageError` from inside of a delivery's callback."""
        self._pump.refuse_inside(what)

    def send_many(self, topic: str, records: Sequence[RawOutgoing], timeout_s: float) -> Deliveries:
        """See the Protocol."""
        deliveries = super().send_many(topic, records, timeout_s)
        last = deliveries[-1].error if deliveries else None
        if isinstance(last, BufferFull):
            self._note(last)
        return deliveries

    def _explained(self, error: KafkaError, topic: str) -> StreamproofError:
        if error.code() in _PURGED:
            return self._note(unseen(topic, "taken back", KafkaException(error)))
        return self._note(certain(super()._explained(error, topic), topic))

    def _refused(self, refusal: Exception, topic: str) -> StreamproofError:
        if self.fatal is not None and isinstance(refusal, KafkaException):
            # The library says no more here than that there was such an error.
            refusal = KafkaException(self.fatal)
        return self._note(certain(super()._refused(refusal, topic), topic))

    def _note(self, failure: StreamproofError) -> StreamproofError:
        self.failure = self.failure or failure
        return failure


class ConfluentTransactionalProducer:
    """See :class:`~streamproof.driver.TransactionalProducerDriver`. ``send`` from any thread, the
    others from one at a time. ``native`` changes when the producer is put in order."""

    def __init__(
        self,
        settings: Mapping[str, object],
        options: ProducerOptions,
        address: Address,
        closed: "Callable[[ConfluentTransactionalProducer], None]",
    ) -> None:
        self._settings = settings
        self._options = options
        self._address = address
        self._sender = self._made()
        self._aside = Aside("streamproof-kafka-offsets")
        self._closed = closed
        self._longest_s = options.transaction_timeout_s
        self._is_spent = False
        self._began_s: float | None = None
        self._failure: StreamproofError | None = None
        self._fenced: Fenced | None = None
        self._in_doubt: _Ending | None = None
        self._doubted_s = 0.0
        self._closing = threading.Lock()
        self._is_closed = False

    @property
    def native(self) -> Producer:
        """The library's producer now."""
        return self._sender.native

    def connect(self, address: Address, timeout_s: float) -> None:
        """See :meth:`ConfluentProducer.connect`."""
        self._sender.connect(address, timeout_s)

    # -- sending ---------------------------------------------------------------------------

    def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: Headers,
        partition: int | None,
        timestamp_ms: int | None,
        timeout_s: float,
    ) -> Delivery:
        """See the Protocol."""
        return self._sender.send(topic, value, key, headers, partition, timestamp_ms, timeout_s)

    def send_many(self, topic: str, records: Sequence[RawOutgoing], timeout_s: float) -> Deliveries:
        """See the Protocol."""
        return self._sender.send_many(topic, records, timeout_s)

    def flush(self, timeout_s: float) -> None:
        """See the Protocol."""
        self._sender.flush(timeout_s)

    # -- transactions ----------------------------------------------------------------------

    def init_transactions(self, timeout_s: float) -> None:
        """See :meth:`~streamproof.driver.AsyncTransactionalProducerDriver.init_transactions`."""
        self._require_usable("init_transactions()")
        deadline = Deadline(timeout_s)
        if self._in_doubt is not None:
            self._ask_again(self._in_doubt, deadline)
        if self._is_spent:
            self._renew(deadline)
        # Whatever comes now, a wait that was cut short excepted, nothing more can be done with it.
        self._is_spent = True
        try:
            passing = self._waited(self.native.init_transactions, deadline)
        except KafkaException as cause:
            raise self._refused(cause, "the producer cannot be initialised") from cause
        if passing is not None:
            self._is_spent = False
            what = f"the producer was not initialised within {timeout_s} s"
            raise self._sender.translated(passing, what)
        self._in_doubt = self._began_s = self._failure = None

    def begin_transaction(self) -> None:
        """See the Protocol."""
        self._require_usable("begin_transaction()")
        self._sender.failure = self._failure = None
        try:
            self.native.begin_transaction()
        except KafkaException as cause:
            raise self._refused(cause, "no transaction can begin") from cause
        self._began_s = time.monotonic()

    def commit_offsets(
        self, offsets: Mapping[TopicPartition, int], member: GroupMembership, timeout_s: float
    ) -> None:
        """See the Protocol."""
        self._require_usable("commit_offsets()")
        self._require_sound()
        if not offsets:
            return
        what = f"the progress of group {member.group} does not join the transaction"
        # Until it is known to be there, the transaction cannot commit.
        self._failure = NotAssigned(f"{what}: the call was interrupted")
        try:
            require_member(member)
            self._send_offsets(offsets, member, what, timeout_s)
        except StreamproofError as error:
            self._failure = error
            raise
        self._failure = None

    def _send_offsets(
        self, offsets: Mapping[TopicPartition, int], member: GroupMembership, what: str, timeout_s: float
    ) -> None:
        native, natives = self.native, [NativePartition(*log, offset) for log, offset in offsets.items()]
        try:
            failure = self._aside.failure_of(
                lambda: native.send_offsets_to_transaction(natives, member.native, timeout_s), timeout_s
            )
        except NoAnswer as cause:
            raise cannot_commit(f"{what}: {cause}") from cause
        if isinstance(failure, KafkaException):
            if native_error(failure).retriable():
                raise cannot_commit(f"{what}: {native_error(failure).str()}") from failure
            raise self._refused(failure, what) from failure
        if failure is not None:
            raise failure

    def commit_transaction(self, timeout_s: float) -> None:
        """See the Protocol."""
        self._require_usable("commit_transaction()")
        deadline = Deadline(timeout_s)
        if not self._sender.is_flushed(deadline.left_s):
            self._failure = self._failure or TimedOut(
                f"{len(self.native)} of its records have no outcome after {timeout_s} s"
            )
        self._require_sound()
        self._end(_Ending.COMMIT, deadline)

    def abort_transaction(self, timeout_s: float) -> None:
        """See the Protocol."""
        self._require_usable("abort_transaction()")
        self._end(_Ending.ABORT, Deadline(timeout_s))

    def _end(self, ending: _Ending, deadline: Deadline) -> None:
        """From here on the coordinator's answer alone tells how it ends."""
        self._in_doubt, self._doubted_s = ending, time.monotonic()
        try:
            passing = self._waited(self._call_of(ending), deadline)
        except KafkaException as cause:
            self._in_doubt = None
            raise self._unended(ending, cause) from cause
        if passing is not None:
            is_commit = ending is _Ending.COMMIT
            raise no_answer(is_commit, deadline.timeout_s, passing.str()) from KafkaException(passing)
        self._in_doubt = self._began_s = None

    def _unended(self, ending: _Ending, cause: KafkaException) -> StreamproofError:
        error = native_error(cause)
        is_first = error.code() in _LOCAL or self._sender.is_undisturbed(self._doubted_s)
        found = self._refused(cause, f"the transaction was not {ending.value}", was_first=is_first)
        if ending is _Ending.ABORT and not isinstance(found, Fenced):
            # Nothing of it will be seen, but this instance is of no use any more.
            return no_answer(False, self._longest_s, error.str())
        return found

    def _call_of(self, ending: _Ending) -> Callable[[float], object]:
        native = self.native
        return native.commit_transaction if ending is _Ending.COMMIT else native.abort_transaction

    # -- putting it in order ---------------------------------------------------------------

    def _ask_again(self, ending: _Ending, deadline: Deadline) -> None:
        """Take the unanswered call up where it stopped, for half of the time. Raises :class:`Fenced`
        if it tells that, and :class:`TimedOut` while it is worth waiting for."""
        try:
            passing = self._waited(self._call_of(ending), Deadline(deadline.left_s / 2))
        except KafkaException as cause:
            found = self._refused(cause, f"it is not known whether the transaction was {ending.value}")
            if isinstance(found, Fenced):
                raise found from cause
            passing = None
        if passing is not None and time.monotonic() - self._doubted_s < _DOUBT_S:
            what = f"the former transaction has no answer yet after {deadline.timeout_s} s"
            raise self._sender.translated(passing, what)
        self._in_doubt = None

    def _made(self) -> TransactionalSender:
        return TransactionalSender(self._settings, self._options, lambda _: None)

    def _renew(self, deadline: Deadline) -> None:
        """Put a new instance in the old one's place."""
        renewed, former = self._made(), self._sender
        try:
            renewed.connect(self._address, max(_LEAST_S, min(_CONNECT_S, deadline.left_s)))
        except BaseException:
            renewed.close(0.0)
            raise
        self._sender = renewed
        former.close(0.0)

    # -- the end ---------------------------------------------------------------------------

    def close(self, timeout_s: float) -> None:
        """See the Protocol."""
        self._sender.refuse_inside("close()")
        with self._closing:
            if self._is_closed:
                return
        deadline = Deadline(timeout_s)
        if self._began_s is not None and self._fenced is None and self._in_doubt is None:
            try:
                self.abort_transaction(timeout_s / 2)
            except StreamproofError as error:
                _log.info("the open transaction was not aborted on closing: %s", error)
        with self._closing:
            if self._is_closed:
                return
            self._is_closed = True
        self._aside.stop()
        self._sender.close(deadline.left_s)
        self._closed(self)

    # -- inside ----------------------------------------------------------------------------

    def _waited(self, call: Callable[[float], object], deadline: Deadline) -> KafkaError | None:
        """Make a call that can be taken up, until it ends; the last answer of a moment if the bound
        passes first."""
        passing = KafkaError(KafkaError._TIMED_OUT)
        while True:
            try:
                if self._sender.serving(call, max(_PAUSE_S, min(_SLICE_S, deadline.left_s))):
                    return None
            except KafkaException as cause:
                passing = native_error(cause)
                if not passing.retriable():
                    raise
            if deadline.is_over:
                return passing
            time.sleep(_PAUSE_S)

    def _refused(self, cause: KafkaException, what: str, *, was_first: bool = True) -> StreamproofError:
        """What a refusal means; a fencing is remembered."""
        error = native_error(cause)
        found = refused(
            fatal_code(error),
            what,
            error.str(),
            cause,
            was_first=was_first,
            can_recover=error.txn_requires_abort() and not error.fatal(),
        )
        if isinstance(found, Fenced):
            open_s = 0.0 if self._began_s is None else time.monotonic() - self._began_s
            found = Fenced(f"{found}{overdue(open_s, self._longest_s)}", definite=found.definite)
            self._fenced = found
        return found

    def _require_usable(self, what: str) -> None:
        self._sender.refuse_inside(what)
        if self._is_closed:
            raise Closed("the producer is closed: make a new one")
        if self._fenced is not None:
            raise self._fenced

    def _require_sound(self) -> None:
        """Raise if something in this transaction failed."""
        fatal = self._sender.fatal
        if fatal is not None:
            raise self._refused(KafkaException(fatal), "the transaction cannot be committed")
        failure = self._failure or self._sender.failure
        if failure is not None:
            raise cannot_commit(failure) from failure


class _Gone:
    """What stands in a closed instance's place, so that nothing keeps that alive."""

    def __len__(self) -> int:
        return 0

    def poll(self, timeout_s: float) -> int:
        return 0

    flush = poll
