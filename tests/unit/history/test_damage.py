"""Damaged histories: whatever is done to the bytes, they load or are refused with one clear error."""

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamproof_harness.history import HistoryError
from streamproof_harness.judging import judge

HEADER = {"streamproof_history": 1, "run": "r", "backend": "memory://r", "seed": 7}
PLACE = {"group": "g", "topic": "t", "partition": 0, "offset": 0, "id": "a"}
EVENTS = [
    {"type": "note", "op": "assign", "group": "g", "partitions": [["t", 0]], "positions": [["t", 0, 0]]},
    {"type": "invoke", "op": "send", "call": 1, "topic": "t", "id": "a", "key": "k", "seq": 0, "crc": 5},
    {"type": "ok", "op": "send", "call": 1, "partition": 0, "offset": 0},
    {"type": "invoke", "op": "poll", "call": 2, "group": "g"},
    {"type": "ok", "op": "poll", "call": 2, "records": [["t", 0, 0, "a", {"crc": 5, "key": "k"}]]},
    {"type": "invoke", "op": "handle", "call": 3, **PLACE, "attempt": 1},
    {"type": "ok", "op": "handle", "call": 3, "effect": "e", "amount": 3},
    {"type": "invoke", "op": "commit", "call": 4, "group": "g", "offsets": [["t", 0, 1]]},
    {"type": "ok", "op": "commit", "call": 4},
    {"type": "note", "op": "drained", "complete": True, "groups": ["g"]},
]
LINES = [HEADER] + [{"index": n, "time": n, "process": "p", **event} for n, event in enumerate(EVENTS)]

scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=3))
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
)


def judged(content: bytes) -> None:
    try:
        verdict = judge(content)
    except HistoryError:
        return
    for name, row in verdict.checks.items():
        assert "failed" not in row.note, (name, row.note)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(0, len(LINES) - 1), st.data())
def test_a_field_holds_something_else(line, data):
    changed = dict(LINES[line])
    name = data.draw(st.sampled_from(sorted(changed)))
    changed[name] = data.draw(values)
    told = [*LINES[:line], changed, *LINES[line + 1 :]]
    judged(b"".join(msgspec.json.encode(line) + b"\n" for line in told))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(0, len(LINES) - 1), st.data())
def test_a_field_is_missing(line, data):
    changed = dict(LINES[line])
    del changed[data.draw(st.sampled_from(sorted(changed)))]
    told = [*LINES[:line], changed, *LINES[line + 1 :]]
    judged(b"".join(msgspec.json.encode(line) + b"\n" for line in told))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(0, 2000), st.binary(max_size=3), st.integers(0, 5))
@example(0, b"\x1f\x8b", 2)
@example(0, b"\xef\xbb\xbf", 0)
def test_bytes_are_damaged(at, content, gone):
    sound = b"".join(msgspec.json.encode(line) + b"\n" for line in LINES)
    judged(sound[:at] + content + sound[at + gone :])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, len(LINES) - 1), max_size=len(LINES) * 2))
def test_lines_come_in_any_order_and_number(order):
    told = [LINES[0], *({**LINES[at], "index": n, "time": n} for n, at in enumerate(order))]
    judged(b"".join(msgspec.json.encode(line) + b"\n" for line in told))
