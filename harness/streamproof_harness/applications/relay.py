"""A relay: each message is passed on, from one partition of its topic to the next, a number of times."""

from collections.abc import Iterable
from typing import Any

from streamproof.records import Outgoing, Record

LEGS = 4
"""How often a message is passed on."""


class Relay:
    """See ``Application``. What it reads and what it writes is one topic: what is passed on in a
    transaction is there for its next polls as soon as it is committed, and not before."""

    keeps_state = False

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions

    def apply(self, record: Record[Any, Any]) -> Outgoing[bytes | None, bytes | None]:
        """What was passed on says how often; all else begins its way here."""
        value: bytes = record.value or b""
        legs = int(value) if value.isdigit() else 0
        if legs == LEGS:
            return Outgoing(None, record.key)
        return Outgoing(b"%d" % (legs + 1), record.key, partition=(record.partition + 1) % self._partitions)

    def restore(self, partition: int, outputs: Iterable[Record[Any, Any]]) -> None:
        """Nothing to restore."""
