"""A transactional producer's state, from one transaction to the next."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from streamproof._async.colour import now_s
from streamproof.driver import AsyncTransactionalProducerDriver
from streamproof.errors import (
    Fenced,
    StreamproofError,
    TransactionAborted,
    TransactionUnknown,
    UsageError,
)
from streamproof.observer import ProducerObserver
from streamproof.records import GroupMembership, TopicPartition

if TYPE_CHECKING:
    from streamproof._async.consumer import AsyncConsumer

_LEAST_S = 0.5


class AsyncTransactions:
    """Keeps the order ``initialise → (begin → store* → commit | abort)*`` and what became of each.

    *fenced*: a newer producer has the id; every call says so. *in doubt*: the outcome of a commit
    or an abort is unknown, and initialising anew did not succeed yet: the next ``begin`` does it.
    """

    def __init__(
        self, driver: AsyncTransactionalProducerDriver, transactional_id: str, observer: ProducerObserver
    ) -> None:
        self.is_open = False
        self._driver = driver
        self._id = transactional_id
        self.observer = observer
        self._is_ready = False
        self._fenced: Fenced | None = None

    async def initialise(self, timeout_s: float) -> None:
        """Take the id over; what its former producer left open is finished."""
        self.observer.init_begins(self._id)
        try:
            await self._driver.init_transactions(timeout_s)
        except StreamproofError as error:
            self.observer.init_ends(error)
            raise self._known(error) from error.__cause__
        self._is_ready = True
        self.observer.init_ends(None)

    async def begin(self, consumers: "Sequence[AsyncConsumer[Any, Any]]", timeout_s: float) -> None:
        """Open a transaction."""
        if self._fenced is not None:
            raise self._fenced
        if self.is_open:
            raise UsageError(
                "a transaction is open already, and they do not nest: end it first, or use another producer"
            )
        if not self._is_ready:
            await self.initialise(timeout_s)
        try:
            await self._driver.begin_transaction()
        except StreamproofError as error:
            self._is_ready = False
            raise self._known(error) from error.__cause__
        self.is_open = True
        self.observer.transaction_begins(self._id, consumers)

    def require_open(self) -> None:
        """Raise unless a record may be sent now."""
        if self._fenced is not None:
            raise self._fenced
        if not self.is_open:
            raise UsageError(
                "this producer has a transactional_id, so it sends inside of transactions only: "
                "with producer.transaction() as tx: tx.send(…)"
            )

    async def store(
        self, offsets: Mapping[TopicPartition, int], member: GroupMembership, timeout_s: float
    ) -> None:
        """Store a group's progress with the transaction."""
        self.observer.offsets_begin(member, offsets)
        try:
            await self._driver.commit_offsets(offsets, member, timeout_s)
        except StreamproofError as error:
            self.observer.offsets_end(error)
            raise self._known(error) from error.__cause__
        self.observer.offsets_end(None)

    async def commit(self, timeout_s: float) -> None:
        """Commit. When it raises, the transaction is over just as well."""
        deadline = now_s() + timeout_s
        self.is_open = False
        self.observer.end_begins(True)
        try:
            await self._driver.commit_transaction(timeout_s)
        except TransactionAborted as error:
            self.observer.end_ends(error)
            await self._settle_abort(max(_LEAST_S, deadline - now_s()))
            raise
        except StreamproofError as error:
            self.observer.end_ends(error)
            await self._start_over(error, max(_LEAST_S, deadline - now_s()))
            raise self._known(error) from error.__cause__
        except BaseException:
            self._is_ready = False
            self.observer.end_ends(TransactionUnknown("the commit was interrupted"))
            raise
        self.observer.end_ends(None)

    async def abort(self, timeout_s: float) -> None:
        """Abort what is open."""
        deadline = now_s() + timeout_s
        if not self.is_open:
            return
        self.is_open = False
        self.observer.end_begins(False)
        try:
            await self._driver.abort_transaction(timeout_s)
        except StreamproofError as error:
            self.observer.end_ends(error)
            await self._start_over(error, max(_LEAST_S, deadline - now_s()))
            raise self._known(error) from error.__cause__
        except BaseException:
            self._is_ready = False
            self.observer.end_ends(TransactionUnknown("the abort was interrupted"))
            raise
        self.observer.end_ends(None)

    async def _settle_abort(self, timeout_s: float) -> None:
        """The broker refused the commit for good: end the transaction on this side, too."""
        self.observer.end_begins(False)
        try:
            await self._driver.abort_transaction(timeout_s)
        except StreamproofError as error:
            self.observer.end_ends(error)
            await self._start_over(self._known(error), timeout_s)
            return
        self.observer.end_ends(None)

    async def _start_over(self, error: StreamproofError, timeout_s: float) -> None:
        """Nobody knows how it ended: initialising anew makes the coordinator end it. Where that
        cannot be done now, the next transaction begins with it."""
        self._is_ready = False
        if isinstance(error, Fenced):
            return
        try:
            await self.initialise(timeout_s)
        except StreamproofError:
            return

    def _known(self, error: StreamproofError) -> StreamproofError:
        if isinstance(error, Fenced):
            self._fenced = error
        return error
