"""What an oracle is: it knows the right answer of a workload, and is told what was handled."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from streamproof_harness.workloads.answer import Answer


class Row(NamedTuple):
    """One line of a report: what was looked at, what it should be, what it was."""

    what: str
    expected: str
    received: str
    is_equal: bool


@dataclass(frozen=True, slots=True)
class OracleReport:
    """The right answer beside the one that was reached.

    ``rows``: the messages first, each wrong one by name (up to a limit; the counts are whole),
    then every table. The counts are of messages: sent and never handled, handled again (each
    further time counts), handled with another key or value than was sent, handled but not of this
    workload.
    """

    rows: tuple[Row, ...]
    lost: int
    doubled: int
    corrupted: int
    foreign: int

    @property
    def is_right(self) -> bool:
        """Everything is as it should be: what exactly-once promises."""
        return all(row.is_equal for row in self.rows)

    @property
    def is_complete(self) -> bool:
        """Nothing is lost, changed or invented, but some may be doubled: what at-least-once promises."""
        return not (self.lost or self.corrupted or self.foreign)


class Oracle(Protocol):
    """Judges the outcome of one run of a workload.

    All methods may be called from any thread; none blocks for longer than its own work.
    """

    def receive(self, id: str, key: bytes | None, value: bytes | None) -> None:
        """Told of each record that an application handled, doubles included, in any order."""
        ...

    def exclude(self, id: str) -> None:
        """Told of a message that certainly was not stored: it is no longer expected.

        ``ValueError`` if this workload sends no such message.
        """
        ...

    def expected(self) -> Answer:
        """The right answer, made from the generator: takes a pass over the whole workload."""
        ...

    def received(self) -> Answer:
        """The answer of what was received so far; each message counts once, however often it came."""
        ...

    def report(self) -> OracleReport:
        """Both answers, compared: takes a pass over the whole workload."""
        ...
