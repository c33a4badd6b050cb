"""Engines that break a promise: the in-memory cluster of a run, with one of its parts replaced.

Each defect is a function that is given the cluster, before anything has happened in it, and a
:class:`~streamproof_harness.mutants.mutant.Turn`; it puts subclasses in the places of the real parts.
They are called with the cluster locked, as the real ones are, by clients of either colour.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from streamproof.core.coordinator import GroupCoordinator
from streamproof.core.groups import Assignment, Group
from streamproof.core.log import PartitionLog
from streamproof.core.producer_ledger import ProducerLedger
from streamproof.core.topics import Topic, Topics
from streamproof.core.transactional_id import Moment, ProducerIdentity
from streamproof.core.transactions import TransactionCoordinator
from streamproof.drivers.memory import cluster_at
from streamproof.drivers.memory.cluster import MemoryCluster
from streamproof.records import TopicPartition
from streamproof.url import parse_address
from streamproof_harness.mutants.mutant import Mutant, Turn

_ONE: Final = ((),)
"""What a turn counts as one thing that goes by."""


def break_engine(mutant: Mutant, url: str, struck: Callable[[], None]) -> None:
    """Break the cluster that this URL names, if the mutant's defect lies there."""
    if mutant.name in ENGINES:
        cluster = cluster_at(parse_address(url))
        with cluster.lock:
            ENGINES[mutant.name](cluster, Turn(mutant.at, struck))


def _use_logs(
    cluster: MemoryCluster, kind: type[PartitionLog], ledger: type[ProducerLedger] = ProducerLedger
) -> None:
    """The logs of all topics to come are of these kinds."""

    class BrokenTopics(Topics):
        __slots__ = ()

        def create(self, *arguments: Any) -> Topic:
            topic = super().create(*arguments)
            for log in topic.logs:
                log.__class__ = kind
                log.producers.__class__ = ledger
            return topic

    cluster.topics.__class__ = BrokenTopics


def _shows_what_was_aborted(cluster: MemoryCluster, turn: Turn) -> None:
    class Log(PartitionLog):
        __slots__ = ()

        def end_transaction(self, producer_id: int, epoch: int, is_commit: bool, timestamp_ms: int) -> int:
            batches = self._open.get(producer_id, ())
            offset = super().end_transaction(producer_id, epoch, is_commit, timestamp_ms)
            if batches and not is_commit:
                turn.strike()
                for batch in batches:
                    batch.is_aborted = False
            return offset

    _use_logs(cluster, Log)


def _shows_what_is_open(cluster: MemoryCluster, turn: Turn) -> None:
    class Log(PartitionLog):
        __slots__ = ()

        @property
        def last_stable_offset(self) -> int:
            if self.producers.first_open is not None:
                turn.strike()
            return self.end_offset

    _use_logs(cluster, Log)


def _commits_half_a_transaction(cluster: MemoryCluster, turn: Turn) -> None:
    """Once. The log that comes last in it aborts what the others commit."""
    left_out: list[TopicPartition] = []

    class Log(PartitionLog):
        __slots__ = ()

        def end_transaction(self, producer_id: int, epoch: int, is_commit: bool, timestamp_ms: int) -> int:
            is_whole = self.name not in left_out
            return super().end_transaction(producer_id, epoch, is_commit and is_whole, timestamp_ms)

    class Transactions(TransactionCoordinator):
        def _end(self, found: Any, is_commit: bool, *arguments: Any, **named: Any) -> None:
            if is_commit and turn.count(_ONE) and len(found.partitions) > 1:
                turn.strike()
                left_out.append(max(found.partitions))
            super()._end(found, is_commit, *arguments, **named)
            left_out.clear()

    _use_logs(cluster, Log)
    cluster.transactions.__class__ = Transactions


def _forgets_control_records(cluster: MemoryCluster, turn: Turn) -> None:
    """From some time on, in one log of each topic."""

    class Log(PartitionLog):
        __slots__ = ()

        def end_transaction(self, producer_id: int, epoch: int, is_commit: bool, timestamp_ms: int) -> int:
            if self.name.partition == 0 and turn.count(_ONE):
                turn.strike()
            if self.name.partition == 0 and turn.is_over:
                return self.end_offset
            return super().end_transaction(producer_id, epoch, is_commit, timestamp_ms)

    _use_logs(cluster, Log)


def _loses_offsets_of_transactions(cluster: MemoryCluster, turn: Turn) -> None:
    """From some time on."""

    class Groups(GroupCoordinator):
        def settle(self, name: str, producer_id: int, is_commit: bool, now_ns: int) -> None:
            if turn.count(_ONE):
                turn.strike()
            super().settle(name, producer_id, is_commit and not turn.is_over, now_ns)

    cluster.groups.__class__ = Groups


def _forgets_to_fence(cluster: MemoryCluster, turn: Turn) -> None:
    """Who takes a transactional id over gets a producer id of its own, and its predecessor goes on."""
    former: dict[int, Any] = {}

    class Transactions(TransactionCoordinator):
        def init_producer_id(
            self,
            transactional_id: str | None,
            timeout_ms: int,
            now: Moment,
            expected: ProducerIdentity | None = None,
        ) -> ProducerIdentity:
            if transactional_id in self._known and expected is None:
                turn.strike()
                found = self._known.pop(transactional_id)
                former[found.producer_id] = found
            return super().init_producer_id(transactional_id, timeout_ms, now, expected)

        def _of(self, transactional_id: str, producer: ProducerIdentity) -> Any:
            return former.get(producer.producer_id) or super()._of(transactional_id, producer)

    cluster.transactions.__class__ = Transactions


def _accepts_an_old_epoch(cluster: MemoryCluster, turn: Turn) -> None:
    """In the first version of the protocol, where a producer keeps its epoch."""
    former: dict[ProducerIdentity, Any] = {}

    class Ledger(ProducerLedger):
        __slots__ = ()

        def _require_epoch(self, producer_id: int, epoch: int) -> None:
            """Any will do."""

        def _require_sequence(self, known: Any, producer: Any) -> None:
            """Sequences of several epochs are not to be compared."""

    class Transactions(TransactionCoordinator):
        def _of(self, transactional_id: str, producer: ProducerIdentity) -> Any:
            newest = self._known.get(transactional_id)
            if newest is None or producer.epoch >= newest.epoch:
                return super()._of(transactional_id, producer)
            turn.strike()
            if producer not in former:
                former[producer] = found = type(newest)(transactional_id, producer.producer_id)
                found.epoch, found.timeout_ms = producer.epoch, newest.timeout_ms
            return former[producer]

    _use_logs(cluster, PartitionLog, Ledger)
    cluster.settings = replace(cluster.settings, transaction_version=1)
    cluster.transactions.__class__ = Transactions


def _gives_a_log_twice(cluster: MemoryCluster, turn: Turn) -> None:
    """The first log of a group belongs to whoever holds it, and to all other members."""

    class TwofoldGroup(Group):
        def heartbeat(self, member_id: str, held: frozenset[TopicPartition], now_ns: int) -> Assignment:
            seen = super().heartbeat(member_id, held, now_ns)
            shared = min(self._target_of, default=None)
            if shared is None or len(self.members) == 1 or shared in seen.partitions | seen.revoking:
                return seen
            turn.strike()
            return seen._replace(partitions=seen.partitions | {shared})

    class Groups(GroupCoordinator):
        def _group(self, name: str) -> Group:
            group = super()._group(name)
            group.__class__ = TwofoldGroup
            return group

    cluster.groups.__class__ = Groups


ENGINES: Final[Mapping[str, Callable[[MemoryCluster, Turn], None]]] = {
    "shows-what-was-aborted": _shows_what_was_aborted,
    "shows-what-is-open": _shows_what_is_open,
    "commits-half-a-transaction": _commits_half_a_transaction,
    "forgets-control-records": _forgets_control_records,
    "loses-offsets-of-transactions": _loses_offsets_of_transactions,
    "forgets-to-fence": _forgets_to_fence,
    "accepts-an-old-epoch": _accepts_an_old_epoch,
    "gives-a-log-twice": _gives_a_log_twice,
}
