"""Say findings in sentences: ids, logs and processes as people know them, and which to show first."""

from collections.abc import Callable, Iterable
from itertools import islice

from streamproof_harness.history.codes import Array
from streamproof_harness.terms import Terms
from streamproof_harness.verdict import EXAMPLES, Example, Finding


def finding(
    count: int, rows: Iterable[int], show: Callable[[int], Example], evidence: int, undecided: str = ""
) -> Finding:
    """A finding with the first examples among `rows`, those with the fewest events first."""
    examples = [show(row) for row in islice(rows, EXAMPLES)]
    examples.sort(key=lambda example: len(example.events))
    return Finding(count, tuple(examples), evidence, undecided)


def found(rows: Array, show: Callable[[int], Example], evidence: int, undecided: str = "") -> Finding:
    """A finding of one anomaly for each of `rows`."""
    return finding(len(rows), rows.tolist(), show, evidence, undecided)


def example(*events: int, text: str) -> Example:
    """An example from event indexes in any order; -1 stands for no event."""
    return Example(tuple(sorted({int(event) for event in events if event >= 0})), text)


class Words:
    """Names of the things in a history. Reads the file again: for examples only."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.history = terms.history

    def send(self, row: int) -> str:
        """The id of a send."""
        return repr(self.send_id(row))

    def send_id(self, row: int) -> str:
        """The id of a send, bare."""
        return str(self.history.event(int(self.history.sends.invoked[row]))["id"])

    def record(self, row: int) -> str:
        """The id of a polled record."""
        poll = int(self.history.records.poll[row])
        event = self.history.event(int(self.history.polls.completed[poll]))
        return repr(event["records"][int(self.history.records.ordinal[row])][3])

    def handled(self, row: int) -> str:
        """The id of a handled, acknowledged or refused record."""
        return repr(self.history.event(int(self.history.handles.invoked[row]))["id"])

    def send_place(self, row: int) -> str:
        """Where a send was acknowledged: ``topic/partition at offset``."""
        sends = self.history.sends
        return self.place(int(self.terms.send_log[row]), int(sends.offset[row]))

    def log_of_send(self, row: int) -> str:
        """The log in which a send stands."""
        return self.place(int(self.terms.place_log[row]), -1)

    def place_of_send(self, row: int) -> str:
        """Where a send stands: as acknowledged, or as polled."""
        if self.terms.ack_place[row] >= 0:
            return self.send_place(row)
        return self.record_place(int(self.terms.first_poll[row])) if row >= 0 else "an unknown log"

    def record_place(self, row: int) -> str:
        """Where a record was polled."""
        return self.place(int(self.terms.record_log[row]), int(self.history.records.offset[row]))

    def place(self, log: int, offset: int) -> str:
        if log < 0:
            return "an unknown log"
        name = self.terms.logs.name(log)
        return name if offset < 0 else f"{name} at offset {offset}"

    def poll_process(self, poll: int) -> str:
        """The process of a poll."""
        return self.history.names.processes[int(self.history.polls.process[poll])]

    def sender(self, row: int) -> str:
        """The process of a send."""
        return self.history.names.processes[int(self.history.sends.process[row])]

    def txn(self, number: int) -> str:
        """A transaction."""
        return f"transaction {self.terms.transactions.names[number]!r}"

    def generation(self, row: int) -> str:
        """The generation that a commit named."""
        call = self.history.calls_of["commit"][int(self.terms.commits.call[row])]
        return str(call.invoked.generation)

    def group(self, number: int) -> str:
        """How a group is shown."""
        kind = "group" if number < self.terms.count_of_named_groups else "process"
        return f"{kind} {self.terms.groups[number]}"
