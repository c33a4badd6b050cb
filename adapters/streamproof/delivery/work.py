"""What a worker tells whoever listens, one call at a time, from inside its own loop."""

from typing import Any

from streamproof.records import Record


class WorkObserver:
    """Does nothing; the base for one's own. ``handling`` comes before each attempt, then one of
    ``handled``, ``failed``; a failed one is followed by ``retrying`` or ``dying`` and ``died``."""

    def handling(self, record: Record[Any, Any]) -> None:
        """The handler is about to run; ``record.attempt`` counts from 1."""

    def handled(self, record: Record[Any, Any]) -> None:
        """The handler returned."""

    def failed(self, record: Record[Any, Any], error: Exception) -> None:
        """The handler raised."""

    def retrying(self, record: Record[Any, Any], delay_s: float) -> None:
        """The record was given back, to come again after this delay."""

    def died(self, record: Record[Any, Any], topic: str, error: Exception) -> None:
        """The record stands, acknowledged, in the dead-letter topic."""

    def acknowledging(self, record: Record[Any, Any]) -> None:
        """The record is about to be acknowledged."""

    def acknowledged(self, record: Record[Any, Any], is_taken: bool) -> None:
        """It was, or (not taken) its log had gone to another member."""
