"""Reading a stream of events from its beginning without reading all of it, for long-lived streams.

Whoever appends also appends a snapshot of the fold now and then. A reader looks where the stream
ends, begins a window before it, and needs the first snapshot in there that covers all before the
window. Finding none, it looks again with a wider one; from offset 0 none is needed.

Pure: offsets and events in, fold out.
"""

from collections.abc import Callable
from typing import Any, Protocol

from streamproof.core.membership import Event, GroupSnapshot
from streamproof.core.membership_member import Member

WINDOW = 2_000
"""Events before the end that a reader looks at first."""
SNAPSHOT_EVERY = 500
"""Events after which the next writer adds a snapshot: four at least stand in a window."""
_WIDER = 8


class Fold(Protocol):
    """The state that events build up."""

    @property
    def offset(self) -> int:
        """The offset of the last event taken in, -1 before the first."""
        ...

    def apply(self, offset: int, event: Any) -> None:
        """Take in the next event."""
        ...

    def restore(self, snapshot: Any) -> None:
        """Begin with a snapshot."""
        ...


class Replay:
    """One reading of the stream: ``saw_end`` tells where to begin. ``empty`` is the snapshot of a fold
    that nothing was taken into."""

    def __init__(self, fold: Fold, empty: Any) -> None:
        self._fold = fold
        self._empty = empty
        self._waiting: list[tuple[int, Any]] = []
        self._window = WINDOW
        self._end = 0
        self.start = 0
        self.is_based = False
        self.snapshot_offset = -1

    def saw_end(self, offset: int) -> int:
        """The stream ends at ``offset``, or a little later; returns where to begin, or to go on after the
        connection was lost."""
        self._end = offset
        if self.is_based and offset < self._fold.offset:
            self.forget()
        return self._fold.offset + 1 if self.is_based else self._restart()

    def widen(self) -> int:
        """The window held no snapshot to begin with: returns where to begin anew."""
        self._window *= _WIDER
        return self._restart()

    def forget(self) -> None:
        """The stream is another one than before: somebody deleted it, or the server lost its end."""
        self._fold.restore(self._empty)
        self.is_based = False

    @property
    def is_snapshot_due(self) -> bool:
        """Whether whoever appends should append a snapshot, too."""
        return self.is_based and self._fold.offset - self.snapshot_offset >= SNAPSHOT_EVERY

    def feed(self, offset: int, event: Any) -> bool:
        """The next event; whether the fold stands, up to it."""
        if isinstance(event, type(self._empty)):
            self._base(offset, event)
        if self.is_based:
            if offset > self._fold.offset:
                self._fold.apply(offset, event)
        else:
            self._waiting.append((offset, event))
        return self.is_based

    def _restart(self) -> int:
        self._waiting = []
        self.snapshot_offset = -1
        self.start = max(0, self._end - self._window)
        self.is_based = self.start == 0
        return self.start

    def _base(self, offset: int, snapshot: Any) -> None:
        self.snapshot_offset = offset
        if self.is_based or snapshot.upto < self.start - 1:
            return
        self._fold.restore(snapshot)
        for earlier, event in self._waiting:
            if earlier > snapshot.upto:
                self._fold.apply(earlier, event)
        self._waiting = []
        self.is_based = True


NO_GROUP = GroupSnapshot(-1, 0, [], [], [], [])
"""A group that nobody ever joined."""


class MemberFold:
    """A member as the fold of its group's log."""

    def __init__(self, member: Member, clock: Callable[[], float]) -> None:
        self._member = member
        self._clock = clock

    @property
    def offset(self) -> int:
        """The offset of the last event taken in."""
        return self._member.state.offset

    def apply(self, offset: int, event: Event) -> None:
        """Take in the next event."""
        self._member.apply(offset, event, self._clock())

    def restore(self, snapshot: GroupSnapshot) -> None:
        """Begin with a snapshot."""
        self._member.state.restore(snapshot)
