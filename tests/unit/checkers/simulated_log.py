"""A small transactional log with groups, correct unless told otherwise: what `simulated` runs on.

Everything here happens at once and in order; that operations take time, cross each other and get
lost on the way is the business of the processes that use it. `defects` names what is broken.
"""

from dataclasses import dataclass, field

DEFECTS = {
    "leaks-aborted": "read-committed readers see aborted records",
    "no-stable-offset": "read-committed readers see records of open transactions",
    "commits-half": "of every third transaction the records in one partition are aborted",
    "never-fences": "an old epoch is taken",
    "forgets-to-abort": "a new epoch leaves the transaction of the old one open",
    "loses-offsets": "a transaction's offsets are not stored when it is committed",
    "leaks-offsets": "a transaction's offsets are stored when it is aborted",
    "tells-unstable-offsets": "a new owner is told its place while a transaction may still move it",
    "resumes-behind": "a new owner is told less than was committed",
    "resumes-ahead": "a new owner is told more than was committed",
    "gives-twice": "one log is given to two members in one generation",
    "takes-old-generations": "commits of members that were put out are taken",
    "acks-an-old-offset": "a send is acknowledged with an offset that was given before",
}


class Fenced(Exception):
    """A newer epoch or generation exists."""


@dataclass
class Entry:
    """A record, or with no id the mark that ends a transaction."""

    id: str | None
    key: str | None
    txn: str | None


@dataclass
class Log:
    entries: list[Entry] = field(default_factory=list)
    start: int = 0

    def append(self, id, key, txn):
        self.entries.append(Entry(id, key, txn))
        return len(self.entries) - 1


@dataclass
class Producer:
    """What the coordinator knows of a transactional id."""

    epoch: int = -1
    txn: str | None = None
    logs: set = field(default_factory=set)
    offsets: dict = field(default_factory=dict)


class Group:
    """Members, generations and progress. A rebalance waits until every member has given back its logs."""

    def __init__(self, logs, rng, defects):
        self.logs, self.rng, self.defects = logs, rng, defects
        self.members, self.waiting = [], set()
        self.generation = 0
        self.owned = {}
        self.committed = {}
        self.is_preparing = False

    def join(self, name):
        self.members.append(name)
        self.is_preparing = True
        self.arrive(name)

    def leave(self, name):
        if name in self.members:
            self.members.remove(name)
            self.waiting.discard(name)
            self.owned.pop(name, None)
            self.is_preparing = True
            self._complete()

    def arrive(self, name):
        """A member has given back what it had, and waits."""
        self.waiting.add(name)
        self.owned[name] = []
        self._complete()

    def _complete(self):
        if self.is_preparing and self.waiting >= set(self.members):
            self.is_preparing = False
            self.waiting.clear()
            self.generation += 1
            order = self.rng.sample(self.members, len(self.members))
            self.owned = {name: [] for name in order}
            for number, log in enumerate(self.logs if order else ()):
                self.owned[order[number % len(order)]].append(log)
                if "gives-twice" in self.defects and len(order) > 1 and self.rng.random() < 0.5:
                    self.owned[order[(number + 1) % len(order)]].append(log)

    def commit(self, name, generation, offsets):
        if (
            name not in self.members or generation != self.generation
        ) and "takes-old-generations" not in self.defects:
            raise Fenced
        self.committed.update(offsets)


class Engine:
    def __init__(self, topics, partitions, rng, defects):
        self.rng, self.defects = rng, defects
        self.logs = {(topic, number): Log() for topic in topics for number in range(partitions)}
        self.producers, self.states, self.groups = {}, {}, {}

    def group(self, name, topic):
        if name not in self.groups:
            logs = [log for log in self.logs if log[0] == topic]
            self.groups[name] = Group(logs, self.rng, self.defects)
        return self.groups[name]

    # -- writing -----------------------------------------------------------------------------------

    def init(self, tid):
        producer = self.producers.setdefault(tid, Producer())
        if producer.txn is not None and "forgets-to-abort" not in self.defects:
            self._close(producer, False)
        self.producers[tid] = fresh = Producer(producer.epoch + 1)
        return fresh.epoch

    def begin(self, tid, epoch, txn):
        """Local to the client: the coordinator hears of it with the first write."""
        self.states[txn] = "open"

    def append(self, log, id, key, tid=None, epoch=None, txn=None):
        if tid is not None:
            self._require(tid, epoch)
            self.producers[tid].txn = txn
            self.producers[tid].logs.add(log)
        offset = self.logs[log].append(id, key, txn)
        if "acks-an-old-offset" in self.defects and offset > 2 and self.rng.random() < 0.1:
            return offset - 2
        return offset

    def add_offsets(self, tid, epoch, txn, group, member, generation, offsets):
        self._require(tid, epoch)
        group.commit(member, generation, {})
        self.producers[tid].txn = txn
        self.producers[tid].offsets[id(group)] = (group, offsets)

    def end(self, tid, epoch, txn, commit):
        self._require(tid, epoch)
        producer = self.producers[tid]
        if producer.txn is None:  # it wrote nothing
            self.states[txn] = "committed" if commit else "aborted"
        else:
            self._close(producer, commit)

    def _require(self, tid, epoch):
        if self.producers[tid].epoch != epoch and "never-fences" not in self.defects:
            raise Fenced

    def _close(self, producer, commit):
        self.states[producer.txn] = "committed" if commit else "aborted"
        stores = commit and "loses-offsets" not in self.defects
        stores |= not commit and "leaks-offsets" in self.defects
        for group, offsets in producer.offsets.values():
            if stores:
                group.committed.update(offsets)
        for log in sorted(producer.logs):
            self.logs[log].append(None, None, producer.txn)
        producer.txn, producer.logs, producer.offsets = None, set(), {}

    def time_out(self):
        """Abort what nobody ends any more."""
        for producer in self.producers.values():
            if producer.txn is not None:
                self._close(producer, False)

    # -- reading -----------------------------------------------------------------------------------

    def stable_end(self, log):
        if "no-stable-offset" in self.defects:
            return self.end_of(log)
        entries = self.logs[log].entries
        open_ = [at for at, entry in enumerate(entries) if self.states.get(entry.txn) == "open" and entry.id]
        return min(open_, default=len(entries))

    def end_of(self, log):
        return len(self.logs[log].entries)

    def fetch(self, log, position, most, committed=True):
        """Records from a position on, and the position behind the last of them."""
        records = []
        position = max(position, self.logs[log].start)
        end = self.stable_end(log) if committed else self.end_of(log)
        while position < end and len(records) < most:
            entry = self.logs[log].entries[position]
            if entry.id is not None and (not committed or self._shows(entry, log)):
                records.append([*log, position, entry.id, {"key": entry.key, "crc": 7}])
            position += 1
        return records, position

    def _shows(self, entry, log):
        state = self.states.get(entry.txn, "committed")
        if state == "aborted":
            return "leaks-aborted" in self.defects
        is_third = entry.txn is not None and int(entry.txn.rpartition("/")[2]) % 3 == 0
        return not ("commits-half" in self.defects and is_third and log[1] == 1)

    def is_stable(self, group):
        """Whether no open transaction holds offsets of the group (KIP-447)."""
        pending = any(id(group) in producer.offsets for producer in self.producers.values())
        return not pending or "tells-unstable-offsets" in self.defects

    def resume(self, group, log):
        """Where a new owner of a log begins."""
        at = group.committed.get(log)
        if at is None:
            return self.logs[log].start
        if "resumes-behind" in self.defects:
            return max(self.logs[log].start, at - 3)
        if "resumes-ahead" in self.defects:
            return min(at + 3, self.end_of(log))
        return at
