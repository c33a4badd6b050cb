"""One member of a group: what it holds, what it must give up, whom it takes for dead.

Sans I/O: the driver tells it what happened (events of the group's log, heartbeats, time) and asks
what to do: which events to append (``outbox``), whom to send heartbeats, which logs came and went
(``take_changes``). Times are seconds of any clock that only rises.

An incarnation is one connection. A member that lost its connection, was taken out by others, or
was not polled for too long, has lost everything; it comes back under a new id.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from streamproof.core.membership import (
    Event,
    Expired,
    GroupState,
    Joined,
    Left,
    Progressed,
    Released,
    Subscribed,
)
from streamproof.records import TopicPartition

_LONGEST_INTERVAL_S = 1.0
_INTERVALS_A_SESSION = 3


@dataclass(frozen=True, slots=True)
class Changes:
    """What the member must tell its listener and do, in this order."""

    lost: tuple[TopicPartition, ...] = ()
    revoked: tuple[TopicPartition, ...] = ()
    assigned: tuple[TopicPartition, ...] = ()
    is_first: bool = False
    """The first since the member came (back) into the group: say so even if it holds nothing."""
    generation: int = 0


class Member:
    """See the module's docstring."""

    def __init__(
        self, topics: Mapping[str, int], session_timeout_s: float, max_poll_interval_s: float, now_s: float
    ) -> None:
        self.state = GroupState()
        self.id = ""
        self.is_in = False
        self.outbox: list[Event] = []
        self.interval_s = min(_LONGEST_INTERVAL_S, session_timeout_s / _INTERVALS_A_SESSION)
        self._topics = dict(topics)
        self._session_timeout_s = session_timeout_s
        self._max_poll_interval_s = max_poll_interval_s
        self._held: dict[TopicPartition, int] = {}
        self._given_up: dict[TopicPartition, int] = {}
        self._failed: set[TopicPartition] = set()
        self._heard_s: dict[str, float] = {}
        self._condemned: set[str] = set()
        self._polled_s = now_s
        self._ticked_s = now_s
        self._beat_s = now_s
        self._is_first = False
        self._is_joining = False

    # -- what happened ---------------------------------------------------------------------

    def enter(self, member_id: str) -> None:
        """A new incarnation joins; its id was never used before."""
        self.outbox = [Joined(member_id, dict(self._topics), self._session_timeout_s, replaces=self.id)]
        self.id = member_id
        self.is_in = False
        self._is_joining = True
        self._given_up.clear()

    def disconnect(self) -> None:
        """The connection is gone, and with it everything that was held."""
        self.is_in = self._is_joining = False
        self.outbox = []

    def apply(self, offset: int, event: Event, now_s: float) -> None:
        """The next event of the group's log."""
        self.state.apply(offset, event)
        if isinstance(event, Joined):
            self._heard_s[event.member] = now_s
            if event.member == self.id and self._is_joining:
                self.is_in, self._is_joining, self._is_first = True, False, True
                self._heard_s = dict.fromkeys(self.state.members, now_s)
                self._beat_s = now_s - self.interval_s
        if self.is_in and self.id not in self.state.members:
            self.disconnect()

    @property
    def is_out(self) -> bool:
        """Whether it must come back as a new incarnation before it can hold anything."""
        return not self.is_in and not self._is_joining

    def heard(self, member: str, now_s: float) -> None:
        """A heartbeat of another member came."""
        self._heard_s[member] = now_s

    def vanished(self, member: str) -> None:
        """A heartbeat found no queue of that member: its connection is gone."""
        if self.is_in and member != self.id and member in self.state.members:
            self._condemn(member)

    def polled(self, now_s: float) -> None:
        """The application asks for records: it lives."""
        self._polled_s = now_s

    def is_idle(self, now_s: float) -> bool:
        """Whether nobody asked for records for so long that it must not hold any."""
        return now_s - self._polled_s > self._max_poll_interval_s

    def tick(self, now_s: float) -> Sequence[str]:
        """Time passes; returns the members that are due a heartbeat. Call it often."""
        slept_s, self._ticked_s = now_s - self._ticked_s, now_s
        if not self.is_in:
            return ()
        if self.is_idle(now_s):
            self.outbox.append(Left(self.id))
            self.is_in = False
            return ()
        if slept_s > self._session_timeout_s / 2:
            # It was this process that hung: what the others sent meanwhile may still be unread.
            self._heard_s = dict.fromkeys(self._heard_s, now_s)
        self._judge(now_s)
        if now_s - self._beat_s < self.interval_s:
            return ()
        self._beat_s = now_s
        return [member for member in self.state.members if member != self.id]

    def subscribe(self, topics: Mapping[str, int]) -> None:
        """Read these topics from now on."""
        if dict(topics) != self._topics:
            self._topics = dict(topics)
            if self.is_in or self._is_joining:
                self.outbox.append(Subscribed(self.id, dict(topics)))

    def progressed(self, log: TopicPartition, position: int) -> None:
        """Tell successors how far it got in a log that it holds or is letting go."""
        since = self._held.get(log, self._given_up.get(log))
        if self.is_in and since is not None:
            self.outbox.append(Progressed(self.id, log, since, position))

    def failed(self, log: TopicPartition) -> None:
        """Reading a log broke off by itself: it is lost, and shall be given out again."""
        if log in self._held:
            self._failed.add(log)

    def released(self, logs: Iterable[TopicPartition]) -> None:
        """What ``take_changes`` revoked, or called lost after ``failed``, was let go of entirely."""
        done = [(log, self._given_up[log]) for log in logs if log in self._given_up]
        if self.is_in and done:
            self.outbox.append(Released(self.id, done))

    def leave(self) -> None:
        """Go; everything was let go of."""
        if self.is_in or self._is_joining:
            self.outbox.append(Left(self.id))
        self.is_in = self._is_joining = False

    # -- what to do ------------------------------------------------------------------------

    @property
    def held(self) -> tuple[TopicPartition, ...]:
        """The logs held, sorted, as last taken."""
        return tuple(sorted(self._held))

    def stale(self) -> list[TopicPartition]:
        """Logs still held here whose tenure is over: let go at once, tell the listener later."""
        return [log for log, since in self._held.items() if not self._is_mine(log, since)]

    def take_outbox(self) -> list[Event]:
        """The events to append, in order."""
        events, self.outbox = self.outbox, []
        return events

    def has_changes(self) -> bool:
        """Whether ``take_changes`` would return any."""
        if self._is_first and self.is_in:
            return True
        lost, revoked, assigned, unwanted = self._differences()
        return bool(lost or revoked or assigned or unwanted)

    def take_changes(self) -> Changes | None:
        """What came and went since the last call; from now on ``held`` says so."""
        lost, revoked, assigned, unwanted = self._differences()
        is_first = self._is_first and self.is_in
        owners = self.state.owners
        for log in lost:
            since = self._held.pop(log)
            if log in self._failed:
                self._given_up[log] = since
        self._failed.difference_update(lost)
        for log in revoked:
            self._given_up[log] = self._held.pop(log)
        for log in unwanted:
            self._given_up[log] = owners[log].since
        self.released(unwanted)
        for log in assigned:
            self._held[log] = owners[log].since
        if not (lost or revoked or assigned or is_first):
            return None
        if is_first:
            self._is_first = False
        return Changes(
            tuple(sorted(lost)),
            tuple(sorted(revoked)),
            tuple(sorted(assigned)),
            is_first,
            self.state.generation,
        )

    # -- inside ----------------------------------------------------------------------------

    def _is_mine(self, log: TopicPartition, since: int) -> bool:
        tenure = self.state.owners.get(log)
        return self.is_in and tenure is not None and tenure == (self.id, since)

    def _differences(
        self,
    ) -> tuple[list[TopicPartition], list[TopicPartition], list[TopicPartition], list[TopicPartition]]:
        """Lost, revoked, assigned, and owned without ever having been opened though others shall."""
        targets = self.state.targets
        lost = [
            log for log, since in self._held.items() if log in self._failed or not self._is_mine(log, since)
        ]
        gone = set(lost)
        revoked = [log for log in self._held if log not in gone and targets.get(log) != self.id]
        assigned: list[TopicPartition] = []
        unwanted: list[TopicPartition] = []
        if self.is_in:
            for log, (member, since) in self.state.owners.items():
                if member != self.id or self._given_up.get(log) == since or self._held.get(log) == since:
                    continue
                (assigned if targets.get(log) == self.id else unwanted).append(log)
        return lost, revoked, assigned, unwanted

    def _judge(self, now_s: float) -> None:
        self._condemned &= self.state.members.keys()
        for name, member in self.state.members.items():
            silent_s = now_s - self._heard_s.setdefault(name, now_s)
            if name != self.id and silent_s > member.session_timeout_s:
                self._condemn(name)

    def _condemn(self, member: str) -> None:
        if member not in self._condemned:
            self._condemned.add(member)
            self.outbox.append(Expired(member, self.id))
