"""What a driver says it can do. Declared here, measured by the conformance suite, never believed."""

from dataclasses import dataclass, fields
from typing import Literal


@dataclass(frozen=True, slots=True)
class Capabilities:
    """One flag a promise; a missing one is refused with :class:`~streamproof.errors.Unsupported`.

    ``acknowledgement`` tells how the backend stores progress: ``offset`` (one committed offset a
    partition, so that acks out of order wait for the lowest) or ``message`` (each on its own).
    """

    acknowledgement: Literal["offset", "message"]
    has_send_offsets: bool
    """A receipt carries the record's offset."""
    has_group_offsets: bool
    """Records read in a group carry offsets; position, committed and lag of a group are known."""
    has_generations: bool
    """A group's assignments carry a generation that only rises."""
    can_seek: bool
    """A group's consumer can be moved to an offset or an end."""
    can_seek_time: bool
    """A group's consumer can be moved to a time."""
    can_replay: bool
    """A consumer without a group reads from an offset, an end or a time."""
    can_match_pattern: bool
    """Topics can be subscribed by regular expression; new ones are found while running."""
    can_retain: bool
    """Topics can be created with retention by time and size."""
    can_compact: bool
    """Topics can keep the last record of each key only."""
    can_transact: bool
    """Sends and offsets can be committed together or not at all."""
    has_idempotence: bool
    """The client's own retries cannot double a record."""
    has_one_order: bool = True
    """All groups see the records of a log in one and the same order, also those of different
    producers. Without it, each group sees those of each producer in the order they were sent."""
    has_member_fencing: bool = True
    """A transaction's offsets are refused when the member that read them has lost the log."""
    has_timestamps: bool = True
    has_headers: bool = True

    def as_mapping(self) -> dict[str, bool | str]:
        """The flags by name, for a history's header or a table."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
