"""Histories written by hand: a `Story` tells events one after another and judges what it told."""

from typing import Any

import msgspec
import pytest

from streamproof_harness.judging import judge
from streamproof_harness.verdict import CheckVerdict, HistoryVerdict


class Story:
    """Tells one history. Every event gets the next index, and its time is its index.

    What has a duration is told in one go by the verbs in the past tense (`sent`, `polled`), or in
    two steps by `invoke` and `ok`, `fail` or `info`, so that things can overlap.
    """

    def __init__(self) -> None:
        self.header: dict[str, Any] = {"streamproof_history": 1, "run": "r", "backend": "x", "seed": 0}
        self.events: list[dict[str, Any]] = []
        self._calls = 0
        self._seqs: dict[Any, int] = {}

    def __repr__(self) -> str:
        return "\n".join(["a story:", *map(str, self.events)])

    # -- events ------------------------------------------------------------------------------

    def _add(self, process: str, type: str, op: str, fields: dict[str, Any]) -> int:
        index = len(self.events)
        named = {name.rstrip("_"): value for name, value in fields.items()}
        event = {"index": index, "time": index, "process": process, "type": type, "op": op, **named}
        self.events.append(event)
        return index

    def note(self, process: str, op: str, /, **fields: Any) -> int:
        return self._add(process, "note", op, fields)

    def invoke(self, process: str, op: str, /, **fields: Any) -> tuple[str, str, int]:
        self._calls += 1
        self._add(process, "invoke", op, {"call": self._calls, **fields})
        return process, op, self._calls

    def ok(self, call: tuple[str, str, int], /, **fields: Any) -> int:
        return self._add(call[0], "ok", call[1], {"call": call[2], **fields})

    def fail(self, call: tuple[str, str, int], /, error: str = "Refused", **fields: Any) -> int:
        return self._add(call[0], "fail", call[1], {"call": call[2], "error": error, **fields})

    def info(self, call: tuple[str, str, int], /, error: str = "TimedOut", **fields: Any) -> int:
        return self._add(call[0], "info", call[1], {"call": call[2], "error": error, **fields})

    # -- whole operations ----------------------------------------------------------------------

    def send(self, id: str, topic: str = "t", process: str = "p1", key: Any = "k", **fields: Any):
        """Invoke a send; its seq rises per process, topic and key unless given."""
        name = process, topic, str(key)
        self._seqs[name] = fields.pop("seq", self._seqs.get(name, 0) + 1)
        fields = {"crc": 7, **fields}
        return self.invoke(process, "send", topic=topic, id=id, key=key, seq=self._seqs[name], **fields)

    def sent(self, id: str, place: str = "", **fields: Any) -> int:
        """A send acknowledged at ``topic/partition/offset`` (offset ``-``: none)."""
        topic, partition, offset = parse(place)
        call = self.send(id, topic, **fields)
        return self.ok(call, partition=partition, offset=offset)

    def polled(self, process: str, *records: Any, group: str | None = "g", **fields: Any) -> int:
        """A poll that returned records: ``"t/0/5 a"``, or such a text and a dict of extras."""
        if group is not None:
            fields["group"] = group
        return self.ok(self.invoke(process, "poll", **fields), records=[record(r) for r in records])

    def did(self, process: str, op: str, /, **fields: Any) -> int:
        """An operation that is ok and tells nothing more."""
        return self.ok(self.invoke(process, op, **fields))

    def _on(self, what: str, group: str) -> dict[str, Any]:
        topic, partition, offset, id_ = record(what)[:4]
        return {"group": group, "topic": topic, "partition": partition, "offset": offset, "id": id_}

    def handling(self, process: str, what: str, attempt: int = 1, group: str = "g"):
        """The handler begins with ``"t/0/5 a"``."""
        return self.invoke(process, "handle", **self._on(what, group), attempt=attempt)

    def handled(self, process: str, what: str, attempt: int = 1, group: str = "g", **on_ok: Any) -> int:
        return self.ok(self.handling(process, what, attempt, group), **on_ok)

    def failed(self, process: str, what: str, attempt: int = 1, group: str = "g", error="Boom") -> int:
        return self.fail(self.handling(process, what, attempt, group), error=error)

    def settled(self, op: str, process: str, what: str, group: str = "g", **fields: Any) -> int:
        """An `ack`, `nack` or `reject` that is ok."""
        return self.did(process, op, **self._on(what, group), **fields)

    def assign(self, process: str, *logs: str, group: str = "g", positions: Any = None, **fields) -> int:
        """``"t/0"``, or with the position ``"t/0/5"``."""
        parsed = [parse(log) for log in logs]
        partitions = [[topic, partition] for topic, partition, _ in parsed]
        named = [[t, p, o] for t, p, o in parsed if o is not None]
        if named:
            fields["positions"] = named
        return self.note(process, "assign", group=group, partitions=partitions, **fields)

    def revoke(self, process: str, *logs: str, group: str = "g", op: str = "revoke") -> int:
        partitions = [list(parse(log)[:2]) for log in logs]
        return self.note(process, op, group=group, partitions=partitions)

    def committed(self, process: str, *places: str, group: str = "g", **fields: Any) -> int:
        offsets = [list(parse(place)) for place in places]
        return self.did(process, "commit", group=group, offsets=offsets, **fields)

    def sought(self, process: str, *places: str) -> int:
        return self.did(process, "seek", offsets=[list(parse(place)) for place in places])

    def initialised(self, process: str, transactional_id: str = "w", **on_ok: Any) -> int:
        return self.ok(self.invoke(process, "init", transactional_id=transactional_id), **on_ok)

    def began(self, txn: str, process: str = "w1", transactional_id: str = "w", **fields: Any) -> int:
        return self.did(process, "begin", txn=txn, transactional_id=transactional_id, **fields)

    def ending(self, txn: str, commit: bool, process: str = "w1", transactional_id: str = "w"):
        return self.invoke(process, "end", txn=txn, transactional_id=transactional_id, commit=commit)

    def ended(self, txn: str, process: str = "w1", transactional_id: str = "w") -> int:
        """A transaction committed."""
        return self.ok(self.ending(txn, True, process, transactional_id))

    def aborted(self, txn: str, process: str = "w1", transactional_id: str = "w") -> int:
        return self.ok(self.ending(txn, False, process, transactional_id))

    def left_unknown(self, txn: str, process: str = "w1", transactional_id: str = "w") -> int:
        """A commit of which nobody knows whether it happened."""
        return self.info(self.ending(txn, True, process, transactional_id))

    def buried(self, id: str, to: str | None = None, attempt: int = 1, group: str = "g", process="c1") -> int:
        to_field = {} if to is None else {"to": to}
        fields = {"group": group, "id": id, "topic": "t", "attempt": attempt, "reason": "Boom"}
        return self.note(process, "dead-letter", **fields, **to_field)

    def drained(self, **fields: Any) -> int:
        return self.note("harness", "drained", **{"complete": True, **fields})

    def trimmed(self, *places: str, cause: str = "retention") -> int:
        return self.note("harness", "trim", starts=[list(parse(place)) for place in places], cause=cause)

    def fault(self, phase: str, fault: str = "kill") -> int:
        return self.note("harness", "fault", fault=fault, target="broker", phase=phase)

    # -- judging -----------------------------------------------------------------------------------

    @property
    def data(self) -> bytes:
        lines = [self.header, *self.events]
        return b"".join(msgspec.json.encode(line) + b"\n" for line in lines)

    def verdict(self, contract: Any = None) -> HistoryVerdict:
        return judge(self.data, contract)

    def check(self, name: str, contract: Any = None) -> CheckVerdict:
        found = self.verdict(contract).checks[name]
        assert "failed" not in found.note, found.note
        return found

    def finds(self, name: str, contract: Any = None) -> int:
        """How many anomalies of this name are found; the verdict must say the same."""
        found = self.check(name, contract)
        assert found.verdict == ("invalid" if found.count else "valid"), found
        for example in found.examples:
            assert example.events == tuple(sorted(set(example.events)))
            assert all(0 <= event < len(self.events) for event in example.events)
            assert example.text
        assert bool(found.examples) == bool(found.count)
        return found.count


def parse(place: str) -> tuple[str, int, int | None]:
    topic, partition, *offset = place.split("/")
    return topic, int(partition), None if not offset or offset[0] == "-" else int(offset[0])


def record(what: Any) -> list[Any]:
    text, *extra = what if isinstance(what, tuple) else (what,)
    place, id_ = text.split()
    return [*parse(place), id_, *extra]


@pytest.fixture
def story() -> Story:
    return Story()
