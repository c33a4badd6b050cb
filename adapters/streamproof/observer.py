"""What a consumer tells whoever listens: assignments, fetches and commits as they begin and end.

Calls come from inside the consumer's own calls (``poll``, ``commit``, ``close`` …), one at a time,
and must neither block nor call back into the consumer. Override what is of interest.
"""

from collections.abc import Mapping, Sequence

from streamproof.errors import StreamproofError
from streamproof.records import RawRecord, TopicPartition


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

    def fetch_begins(self) -> None:
        """The driver is about to be asked for records; assignments may change until it answers."""

    def fetch_ends(self, records: Sequence[RawRecord], error: StreamproofError | None) -> None:
        """What the driver returned: each record once from the backend, in the order of its log. A
        record that comes again after ``nack`` was kept by the consumer and is not fetched anew."""

    def commit_begins(self, generation: int | None, offsets: Mapping[TopicPartition, int]) -> None:
        """These next offsets are about to be stored."""

    def commit_ends(self, error: StreamproofError | None) -> None:
        """The commit that began last was stored, or failed with this error."""
