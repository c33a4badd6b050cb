"""What it costs to record an event, written to a file as a run of the harness does."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from streamproof_harness.history.recorder import Recorder
from tools.bench.rows import Row, at_most, figure
from tools.bench.runs import Rows, Session, Stopwatch, require_all

EVENTS = 200_000
POLLED = 100


def record_sends(recorder: Recorder, events: int) -> None:
    """An invocation and its acknowledgement are two events."""
    for number in range(events // 2):
        call = recorder.invoke_send(
            "producer-1", "readings", "sensor-3-17", "sensor-3", number, 3_141_592_653
        )
        recorder.ok_send(call, 3, number)


def record_polls(recorder: Recorder, events: int) -> None:
    """Each brings a hundred records, as the harness notes them."""
    details = {"crc": 3_141_592_653, "key": "sensor-3"}
    records = [("readings", 3, number, "sensor-3-17", details) for number in range(POLLED)]
    for _ in range(events // 2):
        call = recorder.invoke_poll("consumer-1", "averages")
        recorder.ok_poll(call, records)


def record_handling(recorder: Recorder, events: int) -> None:
    """An operation without a fast path of its own."""
    for number in range(events // 2):
        call = recorder.invoke(
            "consumer-1",
            "handle",
            group="averages",
            topic="readings",
            partition=3,
            offset=number,
            id="sensor-3-17",
            attempt=1,
        )
        recorder.ok(call, effect="sensor-3-17")


def timed(record: Callable[[Recorder, int], None], events: int) -> float:
    """Microseconds an event, writing included."""
    with tempfile.TemporaryDirectory(prefix="streamproof-bench-") as folder:
        recorder = Recorder({"run": "bench"}, path=Path(folder) / "history.jsonl")
        with Stopwatch() as watch:
            record(recorder, events)
            recorder.close()
        require_all(recorder.count, events, "events were recorded")
    return watch.seconds / events * 1e6


def measure(session: Session) -> Rows:
    """Sends and handling an event; polls a record, because their events are as long as they brought
    many."""
    events = session.count(EVENTS)
    bound = at_most("reached", 2.0)
    sends = [timed(record_sends, events) for _ in range(session.runs)]
    yield Row("recording-send", "Recording a send, an event", figure(" µs", sends), target=bound)
    handled = [timed(record_handling, events) for _ in range(session.runs)]
    yield Row("recording-handle", "Recording a handling, an event", figure(" µs", handled), target=bound)
    polled = [timed(record_polls, max(2, events // POLLED)) * 2 / POLLED for _ in range(session.runs)]
    yield Row(
        "recording-poll", f"Recording a poll of {POLLED}, a record", figure(" µs", polled), target=bound
    )


MEASUREMENTS = {"recording": measure}
