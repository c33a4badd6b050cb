"""Coordinator, logs and groups against plain lists of what happened.

The model keeps every record, marker and committed offset ever written, with the transaction it belongs to,
and finds what has to be visible by walking the lists. Who may write it knows from one rule: only who has
the newest identity of a transactional id.
"""

from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streamproof.core.batch import ProducerStamp
from streamproof.core.coordinator import GroupCoordinator, UnknownGroup
from streamproof.core.offsets import CommittedOffset
from streamproof.core.producer_errors import (
    InvalidTransactionState,
    NotInTransaction,
    TransactionTimedOut,
)
from streamproof.core.topics import Topics, TopicSettings
from streamproof.core.transactional_id import Moment, ProducerIdentity
from streamproof.core.transactions import TransactionCoordinator
from streamproof.errors import Fenced
from streamproof.records import Record, TopicPartition

LOGS = [TopicPartition(topic, partition) for topic in ("a", "b") for partition in (0, 1)]
GROUPS = ["g"]
READ = [LOGS[0], LOGS[2]]
"""Few, so that commits meet."""
TIMEOUT_MS = 1000

REFUSED = (Fenced, TransactionTimedOut)


class Transaction:
    """One, from its first request to its end."""

    def __init__(self, began_ns):
        self.began_ns = began_ns
        self.state = "open"
        self.partitions = set()
        self.groups = set()


class Client:
    """Somebody who uses a transactional id: the identity it has, and whether that is the newest."""

    def __init__(self, name, version):
        self.name = name
        self.version = version
        self.identity = ProducerIdentity(-1, -1)
        self.sequences = {}

    def become(self, identity):
        if identity != self.identity:
            self.sequences = {}
        self.identity = identity


class Entry:
    """One offset of a log: a record, or (``is_marker``) a control record."""

    def __init__(self, transaction, is_marker=False):
        self.transaction = transaction
        self.is_marker = is_marker


class Stored:
    """One committed offset of a group, in the order they were made."""

    def __init__(self, log, offset, transaction):
        self.log, self.offset, self.transaction = log, offset, transaction


class CoordinatorAgainstLists(RuleBasedStateMachine):
    clients = st.integers(0, 3)
    logs = st.sampled_from(LOGS)

    @initialize(
        versions=st.lists(st.sampled_from([1, 2]), min_size=4, max_size=4), server=st.sampled_from([1, 2])
    )
    def begin(self, versions, server):
        self.topics = Topics()
        self.groups = GroupCoordinator()
        self.made = count(1)
        self.coordinator = TransactionCoordinator(
            self.topics, self.groups, count(1).__next__, version=server, max_timeout_ms=TIMEOUT_MS
        )
        self.people = [Client(name, version) for name, version in zip("xxyy", versions, strict=True)]
        self.now_ns = 0
        self.newest = {}
        self.current = {}
        self.past = []
        self.entries = {log: [] for log in LOGS}
        self.starts = dict.fromkeys(LOGS, 0)
        self.stored = {group: [] for group in GROUPS}
        for topic in ("a", "b"):
            self.topics.create(topic, next(self.made), TopicSettings(2))

    @property
    def now(self):
        return Moment(self.now_ns // 1_000_000, self.now_ns)

    def is_newest(self, client):
        return client.identity == self.newest.get(client.name)

    def open_of(self, client):
        """Its transaction, begun now if there is none."""
        found = self.current.get(client.name)
        if found is None or found.state != "open":
            found = self.current[client.name] = Transaction(self.now_ns)
            self.past.append(found)
        return found

    def is_open(self, name):
        return name in self.current and self.current[name].state == "open"

    def finish(self, name, state):
        """What the end of a transaction writes."""
        transaction = self.current[name]
        transaction.state = state
        for log in transaction.partitions:
            if self.topics.find(log.topic) is not None:
                self.entries[log].append(Entry(transaction, is_marker=True))

    # -- what clients do -------------------------------------------------------------------

    @rule(at=clients, goes_on=st.booleans())
    def init(self, at, goes_on):
        client = self.people[at]
        expected = client.identity if goes_on and client.identity.epoch >= 0 else None
        before = self.newest.get(client.name)
        was_open = self.is_open(client.name)
        try:
            found = self.coordinator.init_producer_id(client.name, TIMEOUT_MS, self.now, expected)
        except REFUSED:
            assert expected is not None
            assert expected != before or was_open
            if was_open and expected.producer_id == before.producer_id:
                self.finish(client.name, "aborted")  # the epoch was looked at too late for that
                self.newest[client.name] = ProducerIdentity(*self.coordinator.describe(client.name).producer)
            return
        if was_open:
            self.finish(client.name, "aborted")
        if before is not None:
            assert found > before or (found == before and expected != before)
        self.newest[client.name] = found
        client.become(found)

    @rule(at=clients, log=logs)
    def add(self, at, log):
        client = self.people[at]
        if self.topics.find(log.topic) is None:
            return
        if not self.is_newest(client):
            with pytest.raises(REFUSED):
                self.coordinator.add_partitions(client.name, client.identity, [log], self.now)
            return
        self.coordinator.add_partitions(client.name, client.identity, [log], self.now)
        self.open_of(client).partitions.add(log)

    @rule(at=clients, log=logs, records=st.integers(1, 3))
    def send(self, at, log, records):
        client = self.people[at]
        topic = self.topics.find(log.topic)
        if topic is None:
            return
        found = topic.logs[log.partition]
        stamp = ProducerStamp(*client.identity, client.sequences.get(log, 0), True)

        def admit():
            return self.coordinator.admit(client.name, found, stamp, records, self.now, client.version)

        if not self.is_newest(client):
            with pytest.raises(REFUSED):
                admit()
            return
        has_it = self.is_open(client.name) and log in self.current[client.name].partitions
        if client.version == 1 and not has_it:
            with pytest.raises(NotInTransaction):
                admit()
            return
        assert admit() is None
        self.append(found, records, stamp)
        client.sequences[log] = client.sequences.get(log, 0) + records
        transaction = self.open_of(client)
        transaction.partitions.add(log)
        self.entries[log] += [Entry(transaction) for _ in range(records)]

    @rule(log=logs, records=st.integers(1, 2))
    def send_plainly(self, log, records):
        topic = self.topics.find(log.topic)
        if topic is not None:
            self.append(topic.logs[log.partition], records)
            self.entries[log] += [Entry(None) for _ in range(records)]

    @staticmethod
    def append(log, records, *stamp):
        first = log.end_offset
        made = [Record(*log.name, first + index, None, b"") for index in range(records)]
        log.append(made, records, 0, *stamp)

    @rule(at=clients, group=st.sampled_from(GROUPS), log=st.sampled_from(READ), offset=st.integers(0, 99))
    def hold(self, at, group, log, offset):
        client = self.people[at]

        def commit():
            given = {log: CommittedOffset(offset)}
            self.coordinator.commit_offsets(
                client.name, client.identity, group, "", -1, given, self.now, client.version
            )

        if not self.is_newest(client):
            with pytest.raises(REFUSED):
                commit()
            return
        if client.version == 1:
            if not self.is_open(client.name) or group not in self.current[client.name].groups:
                with pytest.raises(NotInTransaction):
                    commit()
            self.coordinator.add_offsets(client.name, client.identity, group, self.now)
        commit()
        transaction = self.open_of(client)
        transaction.groups.add(group)
        self.stored[group].append(Stored(log, offset, transaction))

    @rule(group=st.sampled_from(GROUPS), log=st.sampled_from(READ), offset=st.integers(0, 99))
    def store(self, group, log, offset):
        self.groups.commit(group, None, 0, {log: CommittedOffset(offset)}, self.now_ns)
        self.stored[group].append(Stored(log, offset, None))

    @rule(at=clients, is_commit=st.booleans(), is_heard=st.booleans())
    def end(self, at, is_commit, is_heard):
        client = self.people[at]
        transaction = self.current.get(client.name)
        state = "committed" if is_commit else "aborted"
        try:
            found = self.coordinator.end_transaction(
                client.name, client.identity, is_commit, self.now, client.version
            )
        except REFUSED:
            assert not self.is_newest(client)
            return
        except InvalidTransactionState:
            assert transaction is None or transaction.state != "open" or not self.is_newest(client)
            return
        if not self.is_newest(client):  # a repetition, of the last end and of no other
            assert client.version == 2
            assert transaction is None or transaction.state == state
        elif self.is_open(client.name):
            self.finish(client.name, state)
            assert (found > client.identity) == (client.version == 2)
        elif client.version == 1:
            assert transaction is None or transaction.state == state
            assert found == client.identity
        else:
            assert not is_commit
            self.past.append(self.current.setdefault(client.name, Transaction(0)))
            self.current[client.name] = Transaction(0)
            self.current[client.name].state = "aborted"
        assert found >= self.newest[client.name]
        self.newest[client.name] = found
        if is_heard:
            client.become(found)

    # -- what happens to them --------------------------------------------------------------

    @rule(passed_ms=st.sampled_from([300, 700]))
    def pass_time(self, passed_ms):
        self.now_ns += passed_ms * 1_000_000
        late = [
            name
            for name in "xy"
            if self.is_open(name) and self.now_ns - self.current[name].began_ns >= TIMEOUT_MS * 1_000_000
        ]
        deadline = self.coordinator.next_deadline_ns
        assert deadline is None or deadline <= min(
            (
                found.began_ns + TIMEOUT_MS * 1_000_000
                for found in self.current.values()
                if found.state == "open"
            ),
            default=deadline,
        )
        assert sorted(self.coordinator.expire(self.now)) == late
        for name in late:
            self.finish(name, "aborted")
            assert self.coordinator.describe(name).producer > self.newest[name]
            self.newest[name] = self.coordinator.describe(name).producer

    @rule(log=logs, share=st.floats(0, 1))
    def trim(self, log, share):
        if self.topics.find(log.topic) is not None:
            before = int(share * len(self.entries[log]))
            self.topics.log(log).trim(before)
            self.starts[log] = max(self.starts[log], before)

    @precondition(lambda self: self.topics.find("b") is not None)
    @rule()
    def delete_topic(self):
        self.topics.delete("b")
        self.groups.topics_changed(self.topics.partition_counts(), {"b"})
        self.forget("b")

    @precondition(lambda self: self.topics.find("b") is None)
    @rule()
    def create_topic_again(self):
        self.topics.create("b", next(self.made), TopicSettings(2))

    def forget(self, topic):
        for log in LOGS:
            if log.topic == topic:
                self.entries[log], self.starts[log] = [], 0
                for client in self.people:
                    client.sequences.pop(log, None)
        for group in GROUPS:
            self.stored[group] = [stored for stored in self.stored[group] if stored.log.topic != topic]

    @rule(group=st.sampled_from(GROUPS))
    def delete_group(self, group):
        is_there = any(
            stored.transaction is None or stored.transaction.state != "aborted"
            for stored in self.stored[group]
        )
        try:
            self.groups.delete(group)
        except UnknownGroup:
            assert not is_there
        self.stored[group] = []

    # -- what has to hold ------------------------------------------------------------------

    @invariant()
    def logs_show_what_they_should(self):
        for log in LOGS:
            if self.topics.find(log.topic) is None:
                continue
            found, entries, start = self.topics.log(log), self.entries[log], self.starts[log]
            undecided = [
                offset
                for offset, entry in enumerate(entries)
                if entry.transaction and not entry.is_marker and entry.transaction.state == "open"
            ]
            stable = max(start, min(undecided, default=len(entries)))
            assert (found.end_offset, found.last_stable_offset) == (len(entries), stable)
            shown = [at for at in range(start, len(entries)) if not entries[at].is_marker]
            assert [record.offset for record in found.read(start, 10**6, False)[0]] == shown
            committed = [
                offset
                for offset in shown
                if offset < stable
                and (entries[offset].transaction is None or entries[offset].transaction.state == "committed")
            ]
            assert [record.offset for record in found.read(start, 10**6, True)[0]] == committed

    @rule(log=logs, first=st.integers(0, 30), width=st.integers(0, 10))
    def the_aborted_are_indexed(self, log, first, width):
        if self.topics.find(log.topic) is None:
            return
        entries, start = self.entries[log], self.starts[log]
        expected = []
        for end, marker in enumerate(entries):
            if marker.is_marker and marker.transaction.state == "aborted":
                own = [
                    offset
                    for offset, entry in enumerate(entries)
                    if entry.transaction is marker.transaction and not entry.is_marker
                ]
                if own and end >= max(first, start) and own[0] < first + width:
                    expected.append((own[0], end))
        found = self.topics.log(log).aborted_between(first, first + width)
        assert [aborted[1:3] for aborted in found] == expected

    @invariant()
    def groups_have_what_was_committed_last(self):
        for group in GROUPS:
            for log in LOGS:
                made = [stored for stored in self.stored[group] if stored.log == log]
                done = [
                    stored.offset
                    for stored in made
                    if stored.transaction is None or stored.transaction.state == "committed"
                ]
                found = self.groups.committed(group, log)
                assert (None if found is None else found.offset) == (done[-1] if done else None)
                is_unstable = any(
                    stored.transaction and stored.transaction.state == "open" for stored in made
                )
                assert self.groups.is_unstable(group, log) == is_unstable

    @invariant()
    def ids_are_described(self):
        for name, identity in self.newest.items():
            found = self.coordinator.describe(name)
            assert found.producer == identity
            assert (found.state == "Ongoing") == self.is_open(name)
            if self.is_open(name):
                assert found.partitions == self.current[name].partitions
                assert found.groups == self.current[name].groups
                assert found.start_ms == self.current[name].began_ns // 1_000_000
            else:
                assert (found.partitions, found.groups, found.start_ms) == (frozenset(), frozenset(), -1)


TestCoordinatorAgainstLists = CoordinatorAgainstLists.TestCase
TestCoordinatorAgainstLists.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
