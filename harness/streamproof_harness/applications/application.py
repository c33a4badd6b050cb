"""What an application is: a function of records with a state that its own outputs hold."""

from collections.abc import Iterable
from typing import Any, Protocol

from streamproof.records import Outgoing, Record


class Application(Protocol):
    """Reads one topic and writes another with as many partitions; each partition on its own.

    Its state for a partition is what the outputs there say: whoever takes the partition over reads
    them, and goes on where the last committed transaction ended.
    """

    @property
    def keeps_state(self) -> bool:
        """Whether there is anything to restore."""
        ...

    def apply(self, record: Record[Any, Any]) -> Outgoing[bytes | None, bytes | None]:
        """The one output that a record leads to; one without a value is not sent. The state goes on."""
        ...

    def restore(self, partition: int, outputs: Iterable[Record[Any, Any]]) -> None:
        """The state of a partition is what these, all of its outputs in their order, say."""
        ...
