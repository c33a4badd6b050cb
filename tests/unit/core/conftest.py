"""A cluster for tests of the coordinator: logs and groups, and time to turn by hand."""

from itertools import count

import pytest

from streamproof.core.batch import ProducerStamp
from streamproof.core.coordinator import GroupCoordinator
from streamproof.core.groups import Subscription, Timeouts
from streamproof.core.offsets import CommittedOffset
from streamproof.core.topics import Topics, TopicSettings
from streamproof.core.transactional_id import Moment
from streamproof.core.transactions import TransactionCoordinator
from streamproof.records import Record, TopicPartition

ZERO, ONE = TopicPartition("t", 0), TopicPartition("t", 1)
SECOND = 1_000_000_000


class Cluster:
    """Logs, groups and a coordinator, with a clock to turn by hand."""

    def __init__(self, version=2):
        self.topics = Topics()
        self.groups = GroupCoordinator()
        self.topics.create("t", 1, TopicSettings(2))
        self.groups.topics_changed(self.topics.partition_counts())
        self.transactions = TransactionCoordinator(
            self.topics, self.groups, count(100).__next__, version=version
        )
        self.version = version
        self.passed_s = 0

    @property
    def now(self):
        return Moment(1_700_000_000_000 + self.passed_s * 1000, self.passed_s * SECOND)

    def init(self, name="x", expected=None, timeout_ms=10_000):
        return self.transactions.init_producer_id(name, timeout_ms, self.now, expected)

    def add(self, identity, *partitions, name="x"):
        self.transactions.add_partitions(name, identity, partitions, self.now)

    def send(self, identity, partition=ZERO, sequence=0, records=1, name="x", version=None):
        log = self.topics.log(partition)
        stamp = ProducerStamp(*identity, sequence, True)
        found = self.transactions.admit(name, log, stamp, records, self.now, version or self.version)
        if found is not None:
            return found
        first = log.end_offset
        made = [Record("t", partition.partition, first + index, None, b"") for index in range(records)]
        log.append(made, 10, 0, stamp)
        return first

    def end(self, identity, is_commit=True, name="x", version=None):
        return self.transactions.end_transaction(name, identity, is_commit, self.now, version or self.version)

    def hold(self, identity, offsets, member=("", -1), name="x", version=None, group="g"):
        given = {log: CommittedOffset(offset) for log, offset in offsets.items()}
        self.transactions.commit_offsets(
            name, identity, group, *member, given, self.now, version or self.version
        )

    def join(self, member, group="g"):
        found, _ = self.groups.join(
            group, member, Subscription(frozenset({"t"})), Timeouts(None, None), self.now.ns
        )
        found.heartbeat(member, frozenset(), self.now.ns)
        return found

    def seen(self, partition=ZERO, is_committed=True):
        records, _ = self.topics.log(partition).read(0, 100, is_committed)
        return [record.offset for record in records]

    def stable(self, partition=ZERO):
        return self.topics.log(partition).last_stable_offset

    def progress(self, partition=ZERO, group="g"):
        found = self.groups.committed(group, partition)
        return None if found is None else found.offset

    def state(self, name="x"):
        return self.transactions.describe(name).state


@pytest.fixture
def cluster():
    return Cluster()


@pytest.fixture
def old():
    """A cluster of the protocol's first version."""
    return Cluster(version=1)


@pytest.fixture(params=[1, 2])
def either(request):
    return Cluster(version=request.param)
