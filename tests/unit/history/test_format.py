"""The file format: every input error names the line and the rule, and nothing sound is refused."""

import gzip
import random
from pathlib import Path

import msgspec
import numpy as np
import pytest

from streamproof_harness.history import HistoryError, read_events
from streamproof_harness.history.loading import load
from streamproof_harness.judging import judge

HEADER = {"streamproof_history": 1, "run": "r", "backend": "memory://r", "seed": 7}
SEND = {"type": "invoke", "op": "send", "call": 1, "topic": "t", "id": "a", "key": "k", "seq": 0, "crc": 5}
ACK = {"type": "ok", "op": "send", "call": 1, "partition": 0, "offset": 0}
POLL = {"type": "invoke", "op": "poll", "call": 2, "group": "g"}
GOT = {"type": "ok", "op": "poll", "call": 2, "records": [["t", 0, 0, "a"]]}
FIELDS = {"group": "g", "topic": "t", "partition": 0, "offset": 0, "id": "a"}


def lines(*events, header=HEADER):
    """Header and events as bytes; index, time and process are added where they are missing."""
    told = [{"index": index, "time": index, "process": "p1", **event} for index, event in enumerate(events)]
    return b"".join(msgspec.json.encode(line) + b"\n" for line in [header, *told])


def error_of(content, **settings):
    with pytest.raises(HistoryError) as caught:
        load(content, **settings)
    return str(caught.value)


SOUND = lines(SEND, ACK, POLL, GOT)


def test_a_sound_history_loads():
    history = load(SOUND)
    assert history.events == 4
    assert history.header.run == "r"
    assert history.event(0)["id"] == "a"
    assert history.event(3)["records"] == [["t", 0, 0, "a"]]


def test_a_last_line_without_newline_is_whole():
    assert load(SOUND.rstrip(b"\n")).events == 4


def test_a_header_alone_is_a_history_without_events():
    for content in (lines(), lines().rstrip(b"\n")):
        history = load(content)
        assert history.events == 0
        assert judge(content).verdict == "valid"


def test_lines_may_end_as_on_windows():
    assert load(SOUND.replace(b"\n", b"\r\n")).events == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1: no history: the file is empty"),
        (b"\n", "line 1: no history: the header does not parse"),
        (b"hello\n", "line 1: no history: the header does not parse"),
        (b"[]\n", 'line 1: no history: the header must be an object with "streamproof_history": 1'),
        (b'{"type":"ok"}\n', 'line 1: no history: the header must be an object with "streamproof_history"'),
        (b'{"streamproof_history":2}\n', "line 1: streamproof_history is 2: this program reads version 1"),
        (b'{"streamproof_history":true}\n', "line 1: streamproof_history is True"),
        (b'{"streamproof_history":1,"capabilities":[]}\n', "line 1: the header breaks the format"),
        (b"\xff\xfe\n", "line 1: no history"),
    ],
)
def test_what_is_no_history(content, message):
    assert error_of(content).startswith(message)


def test_the_header_needs_no_more_than_the_version():
    history = load(lines(SEND, header={"streamproof_history": 1, "new": {"x": 1}}))
    assert history.header.fields["new"] == {"x": 1}
    assert history.header.capabilities == {}


BAD = [
    ("not JSON", "does not parse as JSON", b"{oops}"),
    ("an array", "an event must be a JSON object", b"[]"),
    ("blank", "does not parse as JSON", b""),
    ("invalid UTF-8", "does not parse as JSON", b'{"index":4,"time":9,"process":"\xff"}'),
    ("no index", "missing required field `index`", {"index": None}),
    ("index too high", "index is 5, must be 4", {"index": 5}),
    ("index again", "index is 3, must be 4", {"index": 3}),
    ("time back", "time goes back from 3 to 2", {"time": 2}),
    ("time negative", '"time" must lie between', {"time": -1}),
    ("time huge", '"time" must lie between', {"time": 2**63}),
    ("no process", "missing required field `process`", {"process": None}),
    ("process number", "Expected `str`, got `int` - at `$.process`", {"process": 1}),
    ("unknown type", "Invalid enum value 'done' - at `$.type`", {"type": "done"}),
    ("unknown op", "Invalid enum value 'sned' - at `$.op`", {"op": "sned"}),
    ("no call", 'field "call" is missing (required on invoke)', {"call": None}),
    ("no topic", 'field "topic" is missing (required on send invoke)', {"topic": None}),
    ("no id", 'field "id" is missing (required on send invoke)', {"id": None}),
    ("no key", 'field "key" is missing (required on send invoke)', {"key": None}),
    ("no seq", 'field "seq" is missing (required on send invoke)', {"seq": None}),
    ("no crc", 'field "crc" is missing (required on send invoke)', {"crc": None}),
    ("id number", "Expected `str`, got `int` - at `$.id`", {"id": 7}),
    ("key number", "at `$.key`", {"key": 7}),
    ("key object", "a key must be a string, null or", {"key": {"hex": "00"}}),
    ("key Base64", "the Base64 of a key is wrong", {"key": {"b64": "?"}}),
    ("seq text", "at `$.seq`", {"seq": "1"}),
    ("crc huge", 'field "crc" is out of range', {"crc": 2**70}),
    ("partition negative", '"partition" must lie between', {"partition": -1}),
    ("call huge", 'field "call" is out of range', {"call": 2**70}),
]


@pytest.mark.parametrize(("name", "message", "change"), BAD, ids=[name for name, _, _ in BAD])
def test_an_event_that_breaks_a_rule(name, message, change):
    if isinstance(change, bytes):
        content = SOUND + change + b"\n"
    else:
        event = {"index": 4, "time": 9, "process": "p1", **SEND, "call": 9, "id": "b", **change}
        event = {name: value for name, value in event.items() if not (name in change and value is None)}
        content = SOUND + msgspec.json.encode(event) + b"\n"
    assert error_of(content).startswith("line 6: ")
    assert message in error_of(content)


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([SEND, {**ACK, "call": 3}], "line 3: completes a call that was never invoked"),
        ([ACK, SEND], "line 2: completes a call before its invocation"),
        ([SEND, {**ACK, "process": "p2"}], "line 3: op and process of a completion must be those"),
        ([SEND, {**GOT, "call": 1}], "line 3: op and process of a completion must be those"),
        ([SEND, {**SEND, "id": "b"}], "line 3: invokes a call that was invoked before"),
        ([SEND, {**SEND, "call": 9}], "line 3: the id 'a' was sent before, on line 2"),
        ([SEND, {"type": "ok", "op": "send", "call": 1, "offset": 0}], 'field "partition" is missing'),
        ([SEND, {"type": "ok", "op": "send", "call": 1, "partition": 0}], 'field "offset" is missing'),
        ([SEND, {**ACK, "partition": None}], 'line 3: field "partition" of send ok must not be null'),
        ([SEND, {"type": "fail", "op": "send", "call": 1}], 'line 3: field "error" is missing'),
        ([SEND, {"type": "info", "op": "send", "call": 1}], 'line 3: field "error" is missing'),
        ([POLL, {"type": "ok", "op": "poll", "call": 2}], 'line 3: field "records" is missing'),
        ([POLL, {"type": "fail", "op": "poll", "call": 2}], 'line 3: field "error" is missing'),
        ([POLL, {**GOT, "records": [["t", 0, 0]]}], "line 3: breaks the format"),
        ([POLL, {**GOT, "records": [["t", 0, 0, 7]]}], "line 3: breaks the format"),
        ([POLL, {**GOT, "records": [["t", 0, "0", "a"]]}], "line 3: breaks the format"),
        ([POLL, {**GOT, "records": [["t", 0, -2, "a"]]}], "line 3: an offset must lie between"),
        ([POLL, {**GOT, "records": [["t", -1, 0, "a"]]}], "line 3: a partition must lie between"),
        ([POLL, {**GOT, "records": [["t", 0, 0, "a", 5]]}], "line 3: breaks the format"),
        ([POLL, {**GOT, "records": [["t", 0, 0, "a", {"key": {}}]]}], "line 3: a key must be"),
        ([{**SEND, "type": "note"}], 'line 2: op "send" must be an invoke and its ok, fail or info'),
        ([{"type": "note", "op": "poll"}], 'line 2: op "poll" must be an invoke'),
        ([{"type": "note", "op": "handle", **FIELDS, "attempt": 1}], 'line 2: op "handle" must be'),
        ([{"type": "invoke", "op": "assign", "call": 1, "group": "g", "partitions": []}], "must be a note"),
        ([{"type": "note", "op": "close", "role": "producer"}], 'line 2: op "close" must be an invoke'),
        ([{"type": "note", "op": "open"}], 'line 2: field "role" is missing'),
        ([{"type": "note", "op": "assign", "partitions": []}], 'line 2: field "group" is missing'),
        ([{"type": "note", "op": "assign", "group": "g"}], 'line 2: field "partitions" is missing'),
        ([{"type": "note", "op": "assign", "group": "g", "partitions": 3}], "a count of at least 1 in topic"),
        ([{"type": "note", "op": "topic", "topic": "t", "partitions": []}], "must be a count"),
        ([{"type": "note", "op": "trim", "starts": [], "cause": "boredom"}], "at `$.cause`"),
        ([{"type": "note", "op": "fault", "fault": "f", "target": "x", "phase": "now"}], "at `$.phase`"),
        ([{"type": "note", "op": "drained"}], 'line 2: field "complete" is missing'),
        ([{"type": "note", "op": "dead-letter", "group": "g", "id": "a"}], 'field "topic" is missing'),
        ([{"type": "invoke", "op": "handle", "call": 1, **FIELDS}], 'line 2: field "attempt" is missing'),
        ([{"type": "invoke", "op": "ack", "call": 1, "group": "g"}], 'line 2: field "topic" is missing'),
        ([{"type": "invoke", "op": "commit", "call": 1, "group": None, "offsets": []}], "must not be null"),
        ([{"type": "invoke", "op": "commit", "call": 1, "group": "g"}], 'line 2: field "offsets" is missing'),
        ([{"type": "invoke", "op": "commit", "call": 1, "group": "g", "offsets": [["t", 0]]}], "breaks the"),
        ([{"type": "invoke", "op": "commit", "call": 1, "group": "g", "offsets": [], "generation": 2**62}],
         'line 2: field "generation" is out of range'),
        ([{"type": "note", "op": "assign", "group": "g", "partitions": [], "generation": -(2**62)}],
         'line 2: field "generation" is out of range'),
        ([{"type": "invoke", "op": "begin", "call": 1, "txn": "x", "transactional_id": "p", "consumers": 1}],
         "at `$.consumers`"),
        ([{"type": "invoke", "op": "end", "call": 1, "txn": "x", "transactional_id": "p"}], '"commit"'),
        ([{"type": "invoke", "op": "begin", "call": n, "txn": "x", "transactional_id": "p"} for n in (1, 2)],
         "line 3: the transaction 'x' began before"),
    ],
)  # fmt: skip
def test_events_that_break_a_rule_of_their_operation(events, message):
    assert message in error_of(lines(*events))


def test_every_operation_with_its_least_fields_is_accepted():
    notes = [
        {"op": "open", "role": "worker"},
        {"op": "crash"},
        {"op": "topic", "topic": "t", "partitions": 3},
        {"op": "trim", "starts": [["t", 0, 1]], "cause": "retention"},
        {"op": "dead-letter", "group": "g", "id": "a", "topic": "t", "attempt": 1, "reason": "x"},
        {"op": "expire", "group": "g", "id": "a"},
        {"op": "assign", "group": None, "partitions": [["t", 0]]},
        {"op": "revoke", "group": "g", "partitions": [["t", 0]]},
        {"op": "lost", "group": "g", "partitions": []},
        {"op": "fault", "fault": "kill", "target": {"node": 1}, "phase": "start"},
        {"op": "drained", "complete": False},
    ]
    calls = [
        {"op": "handle", **FIELDS, "attempt": 1},
        {"op": "ack", **FIELDS, "offset": None},
        {"op": "nack", **FIELDS},
        {"op": "reject", **FIELDS},
        {"op": "commit", "group": "g", "offsets": [["t", 0, 1]]},
        {"op": "flush"},
        {"op": "close"},
        {"op": "init", "transactional_id": "p"},
        {"op": "begin", "txn": "x", "transactional_id": "p"},
        {"op": "end", "txn": "x", "transactional_id": "p", "commit": True},
        {"op": "seek", "offsets": [["t", 0, 1]]},
    ]
    events = [{"type": "note", **note} for note in notes]
    for number, call in enumerate(calls):
        events += [{"type": "invoke", "call": number, **call}]
        events += [{"type": "info", "call": number, "op": call["op"], "error": "TimedOut"}]
    content = lines(*events)
    history = load(content)
    assert len(history.notes) == len(notes)
    assert len(history.handles.id) == 4
    assert len(history.rare_calls) == len(calls) - 4
    for name, row in judge(content).checks.items():
        assert "failed" not in row.note, (name, row.note)


def test_unknown_fields_are_ignored_and_kept(tmp_path: Path):
    content = lines({**SEND, "colour": "red"}, {**ACK, "zone": [1]}, POLL, {**GOT, "lag": None})
    assert judge(content).as_json() == judge(SOUND).as_json()
    path = tmp_path / "h.jsonl"
    path.write_bytes(content)
    assert [event.get("colour") for event in read_events(path)] == [None, "red", None, None, None]


def test_a_field_of_another_operation_may_hold_anything():
    events = [SEND, {**ACK, "records": "none", "partitions": "x"}, {**POLL, "seq": "?", "key": 5}, GOT]
    assert judge(lines(*events)).as_json() == judge(SOUND).as_json()


def test_a_record_may_have_more_elements_than_are_known():
    records = [["t", 0, 0, "a", {"crc": 5, "new": 1}, "more"]]
    assert load(lines(SEND, ACK, POLL, {**GOT, "records": records})).records.crc.tolist() == [5]


def test_calls_may_be_text():
    events = [{**event, "call": f"call-{event['call']}"} for event in (SEND, ACK, POLL, GOT)]
    history = load(lines(*events))
    assert history.calls.completed.tolist() == [1, 3]
    mixed = [SEND, ACK, {**POLL, "call": "x"}, {**GOT, "call": "x"}]
    assert load(lines(*mixed)).calls.completed.tolist() == [1, 3]


@pytest.mark.parametrize("step", [1, 1_000_003, 2**50])
def test_calls_may_be_any_numbers(step):
    events = [{**event, "call": event["call"] * step} for event in (SEND, POLL, GOT, ACK)]
    assert load(lines(*events)).calls.completed.tolist() == [3, 2]


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_truncated_file_names_its_last_line(tmp_path: Path, cut: int):
    path = tmp_path / "h.jsonl"
    path.write_bytes(SOUND[: -1 - cut])
    assert error_of(path).startswith("line 5: does not parse as JSON")


def test_a_truncated_compressed_file_names_the_line(tmp_path: Path):
    rng = random.Random(5)
    events = [{**SEND, "call": n, "id": f"{rng.random()}"} for n in range(2000)]
    packed = gzip.compress(lines(*events))
    path = tmp_path / "h.jsonl.gz"
    path.write_bytes(packed)
    assert load(path).events == 2000
    path.write_bytes(packed[: len(packed) // 2])
    message = error_of(path)
    assert "the compressed file is cut off or damaged" in message
    line = int(message.split(":")[0].removeprefix("line "))
    assert 800 < line < 1200
    path.write_bytes(packed[:10])
    assert error_of(path).startswith("line 1: the compressed file is cut off")


def test_a_compressed_file_is_known_by_its_content(tmp_path: Path):
    path = tmp_path / "named-wrongly.jsonl"
    path.write_bytes(gzip.compress(SOUND))
    assert load(path).events == 4
    assert [event.get("index") for event in read_events(path)] == [None, 0, 1, 2, 3]


def test_a_file_that_cannot_be_read(tmp_path: Path):
    assert "cannot read" in error_of(tmp_path / "nothing.jsonl")
    assert "cannot read" in error_of(tmp_path)


def long_history(count: int) -> list[dict]:
    """Sends, polls and everything else, long enough for several pieces."""
    events: list[dict] = []
    for number in range(count):
        key = {"b64": "/w=="} if number % 7 == 0 else f"k{number % 5}"
        send = {**SEND, "call": 3 * number, "id": f"id-{number}", "key": key, "process": f"p{number % 3}"}
        if number % 4 == 0:
            send |= {"due": number, "amount": 3, "txn": f"x{number % 11}", "from": ["id-0", "id-1"]}
        ack = {**ACK, "call": 3 * number, "offset": number, "process": f"p{number % 3}"}
        poll = {**POLL, "call": 3 * number + 1, "process": "c1", "group": f"g{number % 2}"}
        extra = [{"crc": 5, "attempt": 1}] if number % 3 == 0 else []
        got = {**GOT, "call": 3 * number + 1, "process": "c1"}
        got["records"] = [["t", 0, number, f"id-{number}", *extra]]
        handle = {"type": "invoke", "op": "handle", "call": 3 * number + 2, **FIELDS, "attempt": 1}
        handled = {"type": "ok", "op": "handle", "call": 3 * number + 2, "effect": "e", "amount": 1}
        fault = {"type": "note", "op": "fault", "fault": "cut", "target": "b", "phase": "start"}
        events += [send, ack, poll, got, handle, handled, fault]
    return events


def test_two_processes_read_the_same_columns_as_one():
    content = lines(*long_history(3000))
    assert len(content) > 1 << 21, "several pieces in each half"
    one, two = load(content, processes=1), load(content, processes=2)
    assert one.names == two.names
    assert (one.notes, one.rare_calls) == (two.notes, two.rare_calls)
    for table in ("calls", "sends", "polls", "records", "handles"):
        first, second = getattr(one, table), getattr(two, table)
        for name in first.__slots__:
            left, right = getattr(first, name), getattr(second, name)
            if isinstance(left, np.ndarray):
                assert np.array_equal(left, right), (table, name)
            else:
                assert np.array_equal(left.rows, right.rows), (table, name)
                assert np.array_equal(left.values, right.values), (table, name)
    assert judge(content, processes=1) == judge(content, processes=2)


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("place", [5, 2000, 15000, 20990])
def test_errors_name_their_line_in_either_half(place, processes):
    events = long_history(3000)
    for change, message in (({"index": 7}, "index is 7"), ({"time": 0}, "time goes back")):
        changed = [*events[:place], {**events[place], **change}, *events[place + 1 :]]
        assert error_of(lines(*changed), processes=processes).startswith(f"line {place + 2}: {message}")


@pytest.mark.parametrize("what", ["index", "time"])
def test_the_halves_must_fit_together(what):
    told = lines(*long_history(3000)).splitlines(keepends=True)
    half = sum(map(len, told)) // 2
    size, cut = 0, 0
    for number, line in enumerate(told):
        size += len(line)
        if size > half:
            cut = number + 1
            break
    for number in range(cut, len(told)):
        event = msgspec.json.decode(told[number])
        if what == "index":
            event["index"] += 1
        else:
            event["time"] -= 5000
        told[number] = msgspec.json.encode(event) + b"\n"
    one, two = (error_of(b"".join(told), processes=count) for count in (1, 2))
    assert f"line {cut + 1}: " in one
    assert one.split(":")[1] == two.split(":")[1]


def test_hash_collisions_of_ids_are_no_duplicates(monkeypatch: pytest.MonkeyPatch):
    """Equal hashes are looked up in the file before anybody is accused."""
    history = load(lines(SEND, ACK, {**SEND, "call": 3, "id": "b"}))
    from streamproof_harness.history.joining import require_unique_ids

    same = np.zeros(2, np.int64)
    require_unique_ids(same, history.sends.invoked, lambda at: str(history.event(at)["id"]))
    with pytest.raises(HistoryError, match="was sent before"):
        require_unique_ids(same, history.sends.invoked, lambda at: "a")
