"""The recorder: what is recorded is what stands in the file, in order, from any thread or process."""

import asyncio
import gzip
import os
import signal
import sys
import threading
from pathlib import Path
from subprocess import Popen

import msgspec
import pytest

from streamproof.errors import Closed
from streamproof_harness.history import HistoryError, decode_event, decode_header
from streamproof_harness.history.merging import merge_lines
from streamproof_harness.history.recorder import Recorder, key_field

HEADER = {"run": "r1", "backend": "memory://r1", "seed": 7}


def events(recorder: Recorder) -> list[dict]:
    lines = recorder.data().splitlines()
    decode_header(lines[0])
    for number, line in enumerate(lines[1:], start=2):
        decode_event(line, number)
    return [msgspec.json.decode(line) for line in lines[1:]]


def test_a_send_and_a_poll_read_back_as_they_were_recorded():
    times = iter([5, 6, 7, 8])
    recorder = Recorder(HEADER, clock=lambda: next(times))
    send = recorder.invoke_send("p1", "t", "a", "k", 0, 17, due=4)
    recorder.ok_send(send, 1, None)
    poll = recorder.invoke_poll("c1", "g")
    recorder.ok_poll(poll, [("t", 1, 0, "a", {"crc": 17, "key": "k"})])
    assert events(recorder) == [
        {
            "index": 0,
            "time": 5,
            "process": "p1",
            "type": "invoke",
            "op": "send",
            "call": 0,
            "topic": "t",
            "id": "a",
            "key": "k",
            "seq": 0,
            "crc": 17,
            "due": 4,
        },
        {
            "index": 1,
            "time": 6,
            "process": "p1",
            "type": "ok",
            "op": "send",
            "call": 0,
            "partition": 1,
            "offset": None,
        },
        {"index": 2, "time": 7, "process": "c1", "type": "invoke", "op": "poll", "call": 1, "group": "g"},
        {
            "index": 3,
            "time": 8,
            "process": "c1",
            "type": "ok",
            "op": "poll",
            "call": 1,
            "records": [["t", 1, 0, "a", {"crc": 17, "key": "k"}]],
        },
    ]


def test_a_transaction_reads_back_as_it_was_recorded():
    recorder = Recorder(HEADER)
    init = recorder.invoke_init("w1", "w")
    recorder.ok_init(init, epoch=3)
    recorder.ok_init(recorder.invoke_init("w1", "w"))
    begin = recorder.invoke_begin("w1", "w-1", "w", consumers=["w1"])
    recorder.ok(begin)
    poll = recorder.invoke_poll("w1", "g", txn="w-1", isolation="read_uncommitted")
    recorder.ok_poll(poll, [])
    send = recorder.invoke_send("w1", "out", "o1", None, 0, None, txn="w-1", from_ids=["i1", "i2"])
    recorder.fail(send, ValueError("no"))
    commit = recorder.invoke_commit("w1", "g", [("in", 0, 3)], generation=2, txn="w-1")
    recorder.ok(commit)
    end = recorder.invoke_end("w1", "w-1", "w", commit=False)
    recorder.info(end, "TimedOut", partition=1)
    recorder.ok(recorder.invoke_seek("w1", [("in", 0, 0)]))
    transaction = {"txn": "w-1", "transactional_id": "w"}
    told = [
        ("init", {"transactional_id": "w"}),
        ("init", {"epoch": 3}),
        ("init", {"transactional_id": "w"}),
        ("init", {}),
        ("begin", {**transaction, "consumers": ["w1"]}),
        ("begin", {}),
        ("poll", {"group": "g", "txn": "w-1", "isolation": "read_uncommitted"}),
        ("poll", {"records": []}),
        (
            "send",
            {
                "topic": "out",
                "id": "o1",
                "key": None,
                "seq": 0,
                "crc": None,
                "txn": "w-1",
                "from": ["i1", "i2"],
            },
        ),
        ("send", {"error": "ValueError"}),
        ("commit", {"group": "g", "offsets": [["in", 0, 3]], "generation": 2, "txn": "w-1"}),
        ("commit", {}),
        ("end", {**transaction, "commit": False}),
        ("end", {"error": "TimedOut", "partition": 1}),
        ("seek", {"offsets": [["in", 0, 0]]}),
        ("seek", {}),
    ]
    every = ("index", "time", "process", "type", "call", "op")
    recorded = events(recorder)
    assert [
        (event["op"], {name: value for name, value in event.items() if name not in every})
        for event in recorded
    ] == told
    assert {event["process"] for event in recorded} == {"w1"}
    calls = [(event["type"], event["call"]) for event in recorded]
    assert [kind for kind, _ in calls][1::2] == ["ok", "ok", "ok", "ok", "fail", "ok", "info", "ok"]
    assert [call for _, call in calls] == [call for number in range(8) for call in (number, number)]


def test_every_other_operation_goes_through_the_general_methods():
    recorder = Recorder(HEADER)
    recorder.note("c1", "open", role="consumer", group="g")
    commit = recorder.invoke("c1", "commit", group="g", offsets=[("t", 0, 3)])
    recorder.fail(commit, ValueError("no"))
    send = recorder.invoke("p1", "send", topic="t", id="b", key=None, seq=1, crc=None, from_=["a"])
    recorder.info(send, "DeliveryUnknown")
    opened, invoked, failed, derived, unknown = events(recorder)
    assert opened["role"] == "consumer"
    assert invoked["call"] == failed["call"] != derived["call"] == unknown["call"]
    assert failed["error"] == "ValueError"
    assert derived["from"] == ["a"]
    assert unknown["error"] == "DeliveryUnknown"


def test_a_clock_that_goes_back_does_not_make_time_go_back():
    times = iter([10, 3, 12])
    recorder = Recorder(HEADER, clock=lambda: next(times))
    for _ in range(3):
        recorder.note("n", "fault", fault="cut", target="broker", phase="start")
    assert [event["time"] for event in events(recorder)] == [10, 10, 12]


def test_threads_and_tasks_share_one_recorder_without_gaps():
    recorder = Recorder(HEADER, batch=7)

    def work(process: str) -> None:
        for seq in range(500):
            recorder.ok_send(recorder.invoke_send(process, "t", f"{process}-{seq}", None, seq, None), 0, None)

    async def poll() -> None:
        for _ in range(100):
            recorder.ok_poll(recorder.invoke_poll("c1"), [])
            await asyncio.sleep(0)

    async def polls() -> None:
        await asyncio.gather(poll(), poll())

    threads = [threading.Thread(target=work, args=(f"p{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    asyncio.run(polls())
    for thread in threads:
        thread.join(30)
    recorded = events(recorder)
    assert [event["index"] for event in recorded] == list(range(4 * 1000 + 400))
    times = [event["time"] for event in recorded]
    assert times == sorted(times)
    for process in ("p0", "p1", "p2", "p3"):
        seqs = [event["seq"] for event in recorded if event["process"] == process and "seq" in event]
        assert seqs == list(range(500))


@pytest.mark.parametrize("name", ["h.jsonl", "h.jsonl.gz"])
def test_a_file_holds_the_same_lines_as_memory(tmp_path: Path, name: str):
    path = tmp_path / name
    with Recorder(HEADER, path=path, clock=lambda: 1) as recorder:
        recorder.ok_poll(recorder.invoke_poll("c1"), [])
    content = gzip.decompress(path.read_bytes()) if name.endswith(".gz") else path.read_bytes()
    memory = Recorder(HEADER, clock=lambda: 1)
    memory.ok_poll(memory.invoke_poll("c1"), [])
    assert content == memory.data() == recorder.data()


def test_recording_after_close_is_refused_and_close_may_be_called_twice():
    recorder = Recorder(HEADER)
    recorder.close()
    recorder.close()
    with pytest.raises(Closed, match="before close"):
        recorder.invoke_poll("c1")


CHILD = """
import sys
from streamproof_harness.history.recorder import PipeRecorder
recorder = PipeRecorder(int(sys.argv[1]), int(sys.argv[2]))
for number in range(50):
    recorder.ok_poll(recorder.invoke_poll("child"), [["t", 0, number, f"s{number}"]])
recorder.invoke("child", "handle", group="g", topic="t", partition=0, offset=49, id="s49", attempt=1)
print("ready", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("in_file", [False, True])
def test_what_a_killed_process_recorded_arrives_in_its_order(tmp_path: Path, in_file: bool):
    recorder = Recorder(HEADER, path=tmp_path / "h.jsonl" if in_file else None)
    reading, writing = os.pipe()
    recorder.attach(reading)
    arguments = [sys.executable, "-c", CHILD, str(writing), str(recorder.start_ns)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    recorder.ok_poll(recorder.invoke_poll("parent"), [])
    with Popen(arguments, pass_fds=[writing], stdin=-1, stdout=-1, env=environment) as child:
        os.close(writing)
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        child.send_signal(signal.SIGKILL)
    recorder.note("parent", "crash", role="worker")
    recorder.close(timeout_s=30)
    recorded = events(recorder)
    assert [event["index"] for event in recorded] == list(range(len(recorded)))
    assert [event["process"] for event in recorded] == ["parent"] * 2 + ["child"] * 101 + ["parent"]
    offsets = [event["records"][0][2] for event in recorded if event.get("records")]
    assert offsets == list(range(50))
    invoked = [event["call"] for event in recorded if event["type"] == "invoke"]
    assert len(set(invoked)) == len(invoked)


def test_a_pipe_whose_writer_stays_is_an_error_and_loses_nothing_of_this_process():
    recorder = Recorder(HEADER)
    reading, writing = os.pipe()
    recorder.attach(reading)
    recorder.ok_poll(recorder.invoke_poll("c1"), [])
    with pytest.raises(TimeoutError, match="holds its end"):
        recorder.close(timeout_s=0.01)
    os.close(writing)
    assert len(events(recorder)) == 2


def test_merging_keeps_each_source_in_its_order_and_raises_times_that_go_back():
    first = [b'{"time":1,"n":"a1"}', b'{"time":9,"n":"a2"}', b'{"time":4,"n":"a3"}']
    second = [b'{"time":1,"n":"b1","call":0}', b'{"time":5,"n":"b2","call":"x"}']
    merged = [msgspec.json.decode(line) for line in merge_lines([first, second])]
    assert [event["n"] for event in merged] == ["a1", "b1", "b2", "a2", "a3"]
    assert [event["time"] for event in merged] == [1, 1, 5, 9, 9]
    assert [event["index"] for event in merged] == [0, 1, 2, 3, 4]
    assert [event.get("call") for event in merged] == [None, 1, "1:x", None, None]


def test_merging_refuses_what_is_no_event():
    with pytest.raises(HistoryError, match="source 0, event 2"):
        list(merge_lines([[b'{"time":1}', b"[]"]]))


def test_keys_that_are_no_text_are_written_in_base64():
    assert key_field(None) is None
    assert key_field("k") == "k"
    assert key_field("ключ".encode()) == "ключ"
    assert key_field(b"\xff\x00") == {"b64": "/wA="}
