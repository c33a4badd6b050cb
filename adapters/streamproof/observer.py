"""What consumers and transactional producers tell whoever listens, as it begins and ends.

Calls come from inside the observed object's own calls (``poll``, ``commit``, ``close`` …), one at a
time, and must neither block nor call back into it. Override what is of interest.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from streamproof.errors import StreamproofError
from streamproof.records import GroupMembership, Outgoing, RawRecord, TopicPartition


class ConsumerObserver:
    """Does nothing; the base for one's own."""

    def assigned(
        self,
        generation: int | None,
        partitions: Sequence[TopicPartition],
        positions: Mapping[TopicPartition, int],
    ) -> None:
        """The whole assignment from now on, and where reading begins in logs that are new."""

    def revoked(self, generation: int | None, partitions: Sequence[TopicPartition]) -> None:
        """These logs went in an orderly way; their progress was committed before this call."""

    def lost(self, generation: int | None, partitions: Sequence[TopicPartition]) -> None:
        """These logs were taken away; uncommitted progress is delivered again elsewhere."""

    def taken_over(self, positions: Mapping[TopicPartition, int]) -> None:
        """Reading goes on from here: the progress of these logs was read anew when the producers of
        their former owners had been fenced."""

    def fetch_begins(self) -> None:
        """The driver is about to be asked for records; assignments may change until it answers."""

    def fetch_ends(self, records: Sequence[RawRecord], error: StreamproofError | None) -> None:
        """What the driver returned: each record once from the backend, in the order of its log. A
        record that comes again after ``nack`` was kept by the consumer and is not fetched anew."""

    def commit_begins(self, generation: int | None, offsets: Mapping[TopicPartition, int]) -> None:
        """These next offsets are about to be stored."""

    def commit_ends(self, error: StreamproofError | None) -> None:
        """The commit that began last was stored, or failed with this error."""


class ProducerObserver:
    """Does nothing; the base for one's own. It is told of transactions only: what becomes of single
    records, deliveries tell."""

    def init_begins(self, transactional_id: str) -> None:
        """The producer is about to take the id over."""

    def init_ends(self, error: StreamproofError | None) -> None:
        """It has, and its predecessor is fenced; or it failed."""

    def transaction_begins(self, transactional_id: str, consumers: Sequence[Any]) -> None:
        """A transaction is open. These consumers were named at its beginning. ``transform`` may have several
        producers, each of an id of its own, with one observer; it goes on with one after the other."""

    def sends_begin(self, topic: str, records: Sequence[Outgoing[Any, Any]]) -> None:
        """These are about to be sent in the open transaction, as the application gave them."""

    def sends_taken(self, deliveries: Sequence[Any]) -> None:
        """They are under way: one delivery each, in order. Not called if the send raised."""

    def offsets_begin(self, member: GroupMembership, offsets: Mapping[TopicPartition, int]) -> None:
        """These next offsets are about to be stored with the open transaction."""

    def offsets_end(self, error: StreamproofError | None) -> None:
        """They were taken, and stand when it commits; or it failed."""

    def end_begins(self, is_commit: bool) -> None:
        """The open transaction is about to be committed or aborted."""

    def end_ends(self, error: StreamproofError | None) -> None:
        """It is; or it failed, and the error says whether that is certain."""
