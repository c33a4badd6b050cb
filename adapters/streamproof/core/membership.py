"""A consumer group without a coordinator: the fold of one totally ordered log of events.

Every member appends what it does to the group's log and reads the log from its beginning, so all
fold the same events in the same order into the same state, each at its own pace. Nobody is
leader, and there are no split views: only views of earlier places in one history.

* *target*: who shall read a log; the sticky assignment of the members at that place in the history.
* *owner*: who may read it now, with the generation in which its *tenure* began. A log whose target
  changes stays with its owner until the owner, having stopped and let go, appends ``Released``, or
  is taken out of the group; only then, at that event, the target becomes its owner.

Two members never have one log in one tenure. A member that lags behind the log, because it hangs
or lost its connection, can believe in a tenure that is over; what keeps its hands off is the
fence of the backend (for RabbitMQ: single active consumer), not this protocol.

``generation`` rises by one with every event that changes who is a member, who reads what, or an
owner. Pure: no I/O, no clock.
"""

from typing import NamedTuple

import msgspec

from streamproof.core.assignor import assign
from streamproof.records import TopicPartition


class Tenure(NamedTuple):
    """Who holds a log, and the generation in which that began."""

    member: str
    since: int


class Joined(msgspec.Struct, frozen=True, tag="joined"):
    """A member is there and reads these topics, of so many partitions each. The member it
    ``replaces``, its own former self, is out."""

    member: str
    topics: dict[str, int]
    session_timeout_s: float
    replaces: str = ""


class Subscribed(msgspec.Struct, frozen=True, tag="subscribed"):
    """A member reads other topics from now on."""

    member: str
    topics: dict[str, int]


class Left(msgspec.Struct, frozen=True, tag="left"):
    """A member goes; it holds nothing any more."""

    member: str


class Expired(msgspec.Struct, frozen=True, tag="expired"):
    """Another member found this one gone or silent."""

    member: str
    by: str


class Released(msgspec.Struct, frozen=True, tag="released"):
    """An owner let go of logs; each with the generation in which its tenure began."""

    member: str
    logs: list[tuple[TopicPartition, int]]


class Progressed(msgspec.Struct, frozen=True, tag="progressed"):
    """How far an owner got: what its successors must know to go on. Void unless it is the owner."""

    member: str
    log: TopicPartition
    since: int
    position: int


class GroupSnapshot(msgspec.Struct, frozen=True, tag="snapshot"):
    """The state after the event at offset ``upto`` of the log."""

    upto: int
    generation: int
    members: list[Joined]
    owners: list[tuple[TopicPartition, Tenure]]
    targets: list[tuple[TopicPartition, str]]
    progress: list[tuple[TopicPartition, int]]


Event = Joined | Subscribed | Left | Expired | Released | Progressed | GroupSnapshot

encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Event).decode


def decode(raw: bytes) -> Event:
    """The event in a record; one of a kind that this version does not know changes nothing."""
    try:
        found: Event = _decode(raw)
    except msgspec.DecodeError:
        return Left("")
    return found


class GroupState:
    """The fold: see the module's docstring."""

    def __init__(self) -> None:
        self.offset = -1
        self.generation = 0
        self.members: dict[str, Joined] = {}
        self.owners: dict[TopicPartition, Tenure] = {}
        self.targets: dict[TopicPartition, str] = {}
        self.progress: dict[TopicPartition, int] = {}

    @property
    def is_settled(self) -> bool:
        """Whether every log is where it shall be."""
        return all(
            log in self.owners and self.owners[log].member == member for log, member in self.targets.items()
        ) and len(self.owners) == len(self.targets)

    def apply(self, offset: int, event: Event) -> None:
        """Take in the next event of the log."""
        self.offset = offset
        match event:
            case Joined(member=member, replaces=replaces):
                self.members.pop(replaces, None)
                self.members[member] = event
                self._rebalance()
            case Subscribed(member=member, topics=topics):
                if member in self.members:
                    self.members[member] = msgspec.structs.replace(self.members[member], topics=topics)
                    self._rebalance()
            case Left(member=member) | Expired(member=member):
                if self.members.pop(member, None) is not None:
                    self._rebalance()
            case Released(member=member, logs=logs):
                self._release(member, logs)
            case Progressed(member=member, log=log, since=since, position=position):
                if self.owners.get(log) == Tenure(member, since):
                    self.progress[log] = position
            case _:
                pass

    def restore(self, snapshot: GroupSnapshot) -> None:
        """Begin with what a snapshot says."""
        self.offset = snapshot.upto
        self.generation = snapshot.generation
        self.members = {member.member: member for member in snapshot.members}
        self.owners = dict(snapshot.owners)
        self.targets = dict(snapshot.targets)
        self.progress = dict(snapshot.progress)

    def snapshot(self) -> GroupSnapshot:
        """What stands now."""
        return GroupSnapshot(
            upto=self.offset,
            generation=self.generation,
            members=list(self.members.values()),
            owners=list(self.owners.items()),
            targets=list(self.targets.items()),
            progress=list(self.progress.items()),
        )

    def _rebalance(self) -> None:
        counts: dict[str, int] = {}
        for member in self.members.values():
            for topic, partitions in member.topics.items():
                counts[topic] = max(partitions, counts.get(topic, 0))
        former = {log: tenure.member for log, tenure in self.owners.items()} | self.targets
        assigned = assign(
            {name: frozenset(member.topics) for name, member in self.members.items()}, counts, former
        )
        self.targets = {log: name for name, logs in assigned.items() for log in logs}
        self.generation += 1
        self._settle()

    def _release(self, member: str, logs: list[tuple[TopicPartition, int]]) -> None:
        ended = {log for log, since in logs if self.owners.get(log) == Tenure(member, since)}
        if ended:
            for log in ended:
                del self.owners[log]
            self.generation += 1
            self._settle()

    def _settle(self) -> None:
        """Take logs from members that are out, and give those without an owner to their target."""
        for log in [log for log, tenure in self.owners.items() if tenure.member not in self.members]:
            del self.owners[log]
        for log, member in self.targets.items():
            if log not in self.owners:
                self.owners[log] = Tenure(member, self.generation)
