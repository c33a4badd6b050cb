"""A naive reading of the definitions: the reference for the columnar checks.

It goes through the events again and again, one at a time, and shares no code with the checks.
"""

from collections import defaultdict
from itertools import pairwise


class Naive:
    """Counts anomalies in the events of a story."""

    def __init__(self, events):
        self.events = events
        self.end = len(events)
        self.done = {}
        for event in events:
            if event["type"] in ("ok", "fail", "info"):
                self.done.setdefault(event["call"], event)
        self.invoked = [event for event in events if event["type"] == "invoke"]
        self.sends = [event for event in self.invoked if event["op"] == "send"]
        self.polls = sorted(
            (e for e in self.invoked if e["op"] == "poll" and e["call"] in self.done),
            key=lambda e: self.done[e["call"]]["index"],
        )
        self.by_id = {send["id"]: send for send in self.sends}
        self.states = self._states()

    # -- terms -----------------------------------------------------------------------------------

    def notes(self, *ops):
        return [event for event in self.events if event["type"] == "note" and event["op"] in ops]

    def outcome(self, call):
        return self.done[call["call"]]["type"] if call["call"] in self.done else "info"

    def all_records(self):
        """(poll, completion, record) of every polled record, as they came."""
        for poll in self.polls:
            done = self.done[poll["call"]]
            for record in done.get("records", ()):
                yield poll, done, record

    def _states(self):
        states = {send["txn"]: "unknown" for send in self.sends if "txn" in send}
        ends = [event for event in self.invoked if event["op"] == "end"]
        for txn in states:
            mine = [end for end in ends if end["txn"] == txn]
            if any(end["commit"] and self.outcome(end) == "ok" for end in mine):
                states[txn] = "committed"
            elif any(
                (not end["commit"] and self.outcome(end) == "ok")
                or (end["commit"] and self.outcome(end) == "fail")
                for end in mine
            ):
                states[txn] = "aborted"
        for poll, _, record in self.all_records():
            txn = self.by_id.get(record[3], {}).get("txn")
            if txn and states[txn] == "unknown" and poll.get("isolation") != "read_uncommitted":
                states[txn] = "proven"
        return states

    def txn_stands(self, send):
        return "txn" not in send or self.states[send["txn"]] in ("committed", "proven")

    def is_polled(self, send):
        return any(record[3] == send["id"] for _, _, record in self.all_records())

    def effective(self):
        return [
            send
            for send in self.sends
            if (self.outcome(send) == "ok" or self.is_polled(send)) and self.txn_stands(send)
        ]

    def records(self):
        """Those that count."""
        for poll, done, record in self.all_records():
            if record[3] not in self.by_id or self.txn_stands(self.by_id[record[3]]):
                yield poll, done, record

    def acked_at(self, send):
        done = self.done.get(send["call"], {})
        if done.get("partition") is None or done.get("offset") is None:
            return None
        return send["topic"], done["partition"], done["offset"]

    def stands_at(self, send):
        """Where a send stands: as acknowledged, or where it was polled first."""
        if self.acked_at(send):
            return self.acked_at(send)
        polled = [tuple(r[:3]) for _, _, r in self.all_records() if r[3] == send["id"] and r[2] is not None]
        return polled[0] if polled else None

    def trimmed(self, log):
        starts = [
            offset
            for note in self.notes("trim")
            for topic, partition, offset in note["starts"]
            if (topic, partition) == log
        ]
        return max(starts, default=0)

    def group(self, poll):
        return poll.get("group") or ("alone", poll["process"])

    def groups_of(self, process):
        return {self.group(poll) for poll in self.polls if poll["process"] == process} | {
            event["group"] for event in self.events if event["process"] == process and "group" in event
        }

    def is_assigned_ever(self, process):
        return any(note["process"] == process for note in self.notes("assign"))

    def held(self, process, log, index):
        """Whether the process holds the log right after the event `index`."""
        holds = False
        for event in self.events[: index + 1]:
            if event["process"] != process:
                continue
            logs = [tuple(pair) for pair in event.get("partitions", ())]
            if event["op"] == "assign":
                holds = log in logs
            elif event["op"] in ("crash", "open") or (event["op"] in ("revoke", "lost") and log in logs):
                holds = False
        return holds

    def ends_session(self, event, process, log):
        """Whether the event ends the process' reading of the log."""
        logs = [tuple(pair) for pair in event.get("partitions", ())]
        mine = event["process"] == process
        if mine and event["op"] in ("revoke", "lost"):
            return log in logs
        if mine and event["op"] == "assign":
            return log not in logs
        if mine and event["op"] in ("crash", "open"):
            return True
        invocation = next(
            (e for e in self.invoked if e["call"] == event.get("call")), event
        )  # an operation ends it when it is invoked and when it completes
        if self.outcome(invocation) == "fail" if "call" in invocation else True:
            return False
        if mine and invocation["op"] == "seek":
            return log in [(topic, partition) for topic, partition, _ in invocation["offsets"]]
        if mine and invocation["op"] == "nack":
            return (invocation["topic"], invocation["partition"]) == log
        if invocation["op"] == "end":
            return self.states.get(invocation["txn"], "unknown") in ("unknown", "aborted") and process in (
                self.covered(invocation["txn"])
            )
        return False

    def covered(self, txn):
        begins = [e for e in self.invoked if e["op"] == "begin" and e["txn"] == txn]
        return {p for e in begins for p in [e["process"], *e.get("consumers", ())]} if begins else set()

    def session(self, poll, log):
        """A number that changes with every session of the poll's process in the log."""
        done = self.done[poll["call"]]["index"]
        at = done
        if self.is_assigned_ever(poll["process"]) and not self.held(poll["process"], log, done):
            at = poll["index"]
        return sum(self.ends_session(event, poll["process"], log) for event in self.events[:at])

    def neighbours(self):
        """Pairs of records that follow each other for one reader: poll, record, poll, record."""
        last = {}
        for poll, _, record in self.records():
            if record[2] is not None:
                reader = poll["process"], record[0], record[1]
                if reader in last:
                    yield (*last[reader], poll, record)
                last[reader] = poll, record

    def compared(self, is_internal):
        for before, one, after, two in self.neighbours():
            log = tuple(two[:2])
            if before["call"] == after["call"]:
                if is_internal:
                    yield before, one, after, two
            elif not is_internal and self.session(before, log) == self.session(after, log):
                yield before, one, after, two

    def stretches(self, process, log):
        """What a reader had to see: pairs of first offset and the one after the last."""
        seeks = [
            (call["index"], offset)
            for call in self.invoked
            if call["op"] == "seek" and call["process"] == process and self.outcome(call) != "fail"
            for topic, partition, offset in call["offsets"]
            if (topic, partition) == log
        ]
        begins = [
            (note["index"], offset)
            for note in self.notes("assign")
            if note["process"] == process
            for topic, partition, offset in note.get("positions", ())
            if (topic, partition) == log
        ]
        polled = [
            (done["index"], record[2])
            for poll, done, record in self.all_records()
            if poll["process"] == process and tuple(record[:2]) == log and record[2] is not None
        ]
        latest = any(n["process"] == process and n.get("reset") == "latest" for n in self.notes("open"))
        cuts = [-1, *(index for index, _ in seeks), self.end + 1]
        for number, (since, until) in enumerate(pairwise(cuts)):
            got = [offset for index, offset in polled if since <= index < until]
            named = [offset for index, offset in begins if since <= index < until]
            is_last = until == self.end + 1
            target = seeks[number - 1][1] if number else None
            if number == 0 and named:
                begin = min(named)
            elif number == 0 and not latest:
                begin = 0
            elif got:
                begin = min([*named, got[0]])
            elif number and is_last:
                begin = min([*named, target])
            else:
                continue
            yield begin, None if is_last else max(got, default=-1) + 1

    def readers(self):
        """Pairs of process and log."""
        logs = {tuple(record[:2]) for _, _, record in self.all_records()}
        logs |= {self.acked_at(s)[:2] for s in self.sends if self.acked_at(s)}
        logs |= {
            (s["topic"], self.done[s["call"]]["partition"])
            for s in self.sends
            if self.done.get(s["call"], {}).get("partition") is not None
        }
        found = set()
        for event in self.events:
            if event["op"] == "assign" and event["type"] == "note":
                found |= {(event["process"], tuple(pair)) for pair in event["partitions"]}
                found |= {(event["process"], tuple(place[:2])) for place in event.get("positions", ())}
        for call in self.invoked:
            if call["op"] == "seek" and self.outcome(call) != "fail":
                found |= {(call["process"], tuple(place[:2])) for place in call["offsets"]}
        found |= {(poll["process"], tuple(record[:2])) for poll, _, record in self.all_records()}
        consumers = {e["process"] for e in self.invoked if e["op"] == "poll"}
        consumers |= {n["process"] for n in self.notes("open") if n["role"] == "consumer"}
        for process in consumers:
            if not self.is_assigned_ever(process):
                topics = {log[0] for reader, log in found if reader == process}
                found |= {(process, log) for log in logs if log[0] in topics or not topics}
        return found

    def in_range(self, log, offset):
        if offset is not None and offset < self.trimmed(log):
            return False
        for process, read in self.readers():
            if read == log:
                for begin, end in self.stretches(process, log):
                    if offset is None:
                        if begin == 0 and end is None and not self.trimmed(log):
                            return True
                    elif begin <= offset and (end is None or offset < end):
                        return True
        return False

    def excused(self, group, log, first, last):
        """Whether an excuse lies between the events `first` and `last`."""
        running, spans = defaultdict(list), []
        for event in self.notes("fault"):
            if event["phase"] == "start":
                running[event["fault"]].append(event["index"])
            elif running[event["fault"]]:
                spans.append((running[event["fault"]].pop(), event["index"]))
        spans += [(start, self.end) for starts in running.values() for start in starts]
        if any(start <= last and stop >= first for start, stop in spans):
            return True
        processes = {event["process"] for event in self.events}
        return any(
            group in self.groups_of(process)
            and self.ends_session(event, process, log)
            and self.reads(process, log, event["index"])
            for event in self.events[first + 1 : last]
            for process in processes
        )

    def reads(self, process, log, index):
        """Whether the process has a session in the log before the event: holds it, or polled since."""
        if self.is_assigned_ever(process) and self.held(process, log, index - 1):
            return True
        ends = [e["index"] for e in self.events[:index] if self.ends_session(e, process, log)]
        return any(
            poll["process"] == process
            and tuple(record[:2]) == log
            and max(ends, default=-1) < done["index"] < index
            for poll, done, record in self.all_records()
        )

    # -- anomalies ---------------------------------------------------------------------------------

    def lost_write(self):
        return len(self.lost())

    def lost(self):
        highest = {}
        for _, _, (topic, partition, offset, *_) in self.all_records():
            if offset is not None:
                highest[topic, partition] = max(offset, highest.get((topic, partition), -1))
        return [
            send
            for send in self.effective()
            if self.acked_at(send) is not None
            and self.acked_at(send)[2] <= highest.get(self.acked_at(send)[:2], -1)
            and self.in_range(self.acked_at(send)[:2], self.acked_at(send)[2])
            and not self.is_polled(send)
        ]

    def unseen(self):
        drains = [note["index"] for note in self.notes("drained") if note["complete"]]
        count = 0
        for send in self.effective():
            done = self.done.get(send["call"])
            if done and not self.is_polled(send) and any(done["index"] < index for index in drains):
                count += self.in_range((send["topic"], done["partition"]), done["offset"])
        return count

    def phantom(self):
        return len({record[3] for _, _, record in self.all_records() if record[3] not in self.by_id})

    def inconsistent_offset(self):
        ids = defaultdict(set)
        for send in self.effective():
            if self.acked_at(send):
                ids[self.acked_at(send)].add(send["id"])
        for _, _, record in self.records():
            if record[2] is not None:
                ids[tuple(record[:3])].add(record[3])
        return sum(len(known) > 1 for known in ids.values())

    def log_duplicate(self):
        places = defaultdict(set)
        for send in self.effective():
            if self.acked_at(send):
                places[send["id"], send["topic"]].add(self.acked_at(send)[1:])
        for _, _, record in self.records():
            if record[2] is not None:
                places[record[3], record[0]].add(tuple(record[1:3]))
        return sum(len(known) > 1 for known in places.values())

    def producer_reorder(self, is_internal=False):
        count = 0
        standing = [(send, self.stands_at(send)) for send in self.effective() if self.stands_at(send)]
        for number, (later, place) in enumerate(standing):
            count += any(
                earlier_place[:2] == place[:2]
                and earlier_place[2] >= place[2]
                and (
                    later.get("txn") is not None and later.get("txn") == earlier.get("txn")
                    if is_internal
                    else later["process"] == earlier["process"]
                )
                for earlier, earlier_place in standing[:number]
            )
        return count

    def poll_nonmonotonic(self, is_internal=False):
        return sum(two[2] <= one[2] for _, one, _, two in self.compared(is_internal))

    def poll_skip(self, is_internal=False):
        count = 0
        for _, one, _, two in self.compared(is_internal):
            log = tuple(one[:2])
            count += any(
                place[:2] == log and one[2] < place[2] < two[2] and place[2] >= self.trimmed(log)
                for place in map(self.stands_at, self.effective())
                if place
            )
        return count

    def consumed_while_unassigned(self):
        return sum(
            self.is_assigned_ever(poll["process"])
            and not any(
                self.held(poll["process"], tuple(record[:2]), index)
                for index in range(poll["index"], done["index"] + 1)
            )
            for poll, done, record in self.all_records()
        )

    def duplicate_delivery(self):
        last, count = {}, 0
        for poll, done, record in self.records():
            name = self.group(poll), record[3]
            if name in last:
                before, earlier = last[name]
                count += not any(
                    self.excused(name[0], tuple(log[:2]), before["index"], done["index"])
                    for log in (record, earlier)
                )
            last[name] = poll, record
        return count

    def commit_too_far(self):
        handling = {e["group"] for e in self.invoked if e["op"] == "handle"}
        count = 0
        for commit in self.invoked:
            if commit["op"] == "commit" and self.outcome(commit) != "fail":
                for topic, partition, reach in commit["offsets"]:
                    log = topic, partition
                    count += self.leaves_behind(commit, log, reach, handling) or self.jumps(
                        commit, log, reach
                    )
        return count

    def delivered(self, group, log, index):
        """(completion, record) of what the group got of the log before the event."""
        return [
            (done["index"], record)
            for poll, done, record in self.records()
            if self.group(poll) == group
            and tuple(record[:2]) == log
            and record[2] is not None
            and done["index"] < index
        ]

    def leaves_behind(self, commit, log, reach, handling):
        if commit["group"] not in handling:
            return False
        done = {
            handle["id"]
            for handle in self.invoked
            if handle["op"] == "handle"
            and handle["group"] == commit["group"]
            and self.outcome(handle) == "ok"
            and self.done[handle["call"]]["index"] < commit["index"]
        }
        got = self.delivered(commit["group"], log, commit["index"])
        return any(record[2] < reach and record[3] not in done for _, record in got)

    def jumps(self, commit, log, reach):
        got = self.delivered(commit["group"], log, commit["index"])
        told = [
            place[2]
            for event in self.events[: commit["index"]]
            if commit["group"] in self.groups_of(event["process"])
            for place in (
                event.get("positions", ())
                if event["op"] == "assign"
                else event.get("offsets", ())
                if event["op"] == "seek" and event["type"] == "invoke" and self.outcome(event) != "fail"
                else ()
            )
            if tuple(place[:2]) == log
        ]
        start = max([record[2] + 1 for _, record in got] + told, default=0)
        known = [self.stands_at(send) for send in self.effective()]
        known += [tuple(record[:3]) for _, _, record in self.records() if record[2] is not None]
        return any(
            place and place[:2] == log and max(start, self.trimmed(log)) <= place[2] < reach
            for place in known
        )

    def handler_reorder(self):
        first = {}
        for event in self.events:
            if event["op"] == "handle" and event["type"] == "ok":
                handle = next(e for e in self.invoked if e["call"] == event["call"])
                send = self.by_id.get(handle["id"])
                if send and send["key"] is not None:
                    first.setdefault((handle["group"], handle["id"]), (event["index"], send))
        count = 0
        for (group, _), (index, send) in first.items():
            lane = send["process"], send["topic"], send["key"]
            count += any(
                other == group
                and (later["process"], later["topic"], later["key"]) == lane
                and later["seq"] > send["seq"]
                and before < index
                for (other, _), (before, later) in first.items()
            )
        return count

    # -- transactions ------------------------------------------------------------------------------

    def of_transactions(self):
        """(completion, send) of every record of a transaction that a read-committed poll returned."""
        for poll, done, record in self.all_records():
            send = self.by_id.get(record[3], {})
            if send.get("txn") and poll.get("isolation") != "read_uncommitted":
                yield done, send

    def aborted_read(self):
        return sum(self.states[send["txn"]] == "aborted" for _, send in self.of_transactions())

    def early_read(self):
        return sum(done["index"] < self.closing(send["txn"]) for done, send in self.of_transactions())

    def closing(self, txn):
        """When its commit was invoked first; or, if it was aborted without one, its end."""
        ends = [event for event in self.invoked if event["op"] == "end" and event["txn"] == txn]
        commits = [end["index"] for end in ends if end["commit"]]
        if commits or self.states[txn] != "aborted":
            return min(commits, default=self.end)
        return min(end["index"] for end in ends)

    def ack_in_the_past(self):
        acked = [s for s in self.effective() if self.outcome(s) == "ok" and self.acked_at(s)]
        return sum(
            any(
                self.acked_at(other)[:2] == self.acked_at(send)[:2]
                and self.done[other["call"]]["index"] < send["index"]
                and self.acked_at(other)[2] >= self.acked_at(send)[2]
                for other in acked
            )
            for send in acked
        )

    def torn_transaction(self):
        lost = {send["txn"] for send in self.lost() if "txn" in send}
        seen = {s["txn"] for s in self.effective() if "txn" in s and self.is_polled(s)}
        return len(lost & seen)
