"""How fast a history is judged: decoding a file and all checks, on two processes.

The history is one of sends and polls, written by the harness' own recorder: four producers, a
group of two members, eight partitions, 10,000 keys, ten records a poll. Every check has run and
found nothing. Each run is a process of its own, so that its memory is its own, too, and because
a program with other threads does not fork.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from streamproof_harness.history.recorder import Recorder
from tools.bench.rows import Row, at_least, figure, ratios
from tools.bench.runs import Incomplete, Rows, Session

SMALL, LARGE = 500_000, 5_000_000
PARTITIONS = 8
KEYS = 10_000
PRODUCERS = 4
MEMBERS = 2
POLLED = 10
_PATIENCE_S = 600.0

_PROGRAM = """
import json, os, resource, sys, time
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
from streamproof_harness.judging import judge
begin = time.perf_counter()
verdict = judge(sys.argv[1], processes=2)
seconds = time.perf_counter() - begin
# Not getrusage: for this process it would count what the one before exec had.
status = open("/proc/self/status").read()
mine = int(status.partition("VmHWM:")[2].split()[0]) / 1024
other = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
found = {"verdict": verdict.verdict, "events": verdict.events, "seconds": seconds, "peak_mb": [mine, other]}
print(json.dumps(found))
"""


class Judged(msgspec.Struct):
    """What one judging process tells: peak memory of its two processes in MB."""

    verdict: str
    events: int
    seconds: float
    peak_mb: tuple[float, float]


def write_history(path: Path, events: int) -> int:
    """Write a valid history of about so many events; how many there are."""
    with Recorder({"run": "bench", "backend": "memory://bench"}, path=path) as recorder:
        for index in range(PRODUCERS):
            recorder.note(f"producer-{index}", "open", role="producer")
        for index in range(MEMBERS):
            held = [["readings", partition] for partition in range(index, PARTITIONS, MEMBERS)]
            positions = [[*log, 0] for log in held]
            recorder.note(f"consumer-{index}", "open", role="consumer", group="averages", topics=["readings"])
            recorder.note(
                f"consumer-{index}", "assign", group="averages", partitions=held, positions=positions
            )
        ends = [0] * PARTITIONS
        number = 0
        while recorder.count < events:
            for partition in range(PARTITIONS):
                begin = ends[partition]
                ids = [_send(recorder, number + step, partition, begin + step) for step in range(POLLED)]
                number += POLLED
                ends[partition] = begin + POLLED
                _poll(recorder, partition, begin, ids)
        places = [["readings", partition, end] for partition, end in enumerate(ends)]
        recorder.note("harness", "drained", complete=True, ends=places, groups=["averages"])
    return recorder.count


def _key(number: int, partition: int) -> str:
    """One of the keys of that partition."""
    return f"device-{number % (KEYS // PARTITIONS) * PARTITIONS + partition}"


def _send(recorder: Recorder, number: int, partition: int, offset: int) -> tuple[str, str]:
    key, record_id = _key(number, partition), f"reading-{number}"
    process = f"producer-{partition % PRODUCERS}"
    call = recorder.invoke_send(process, "readings", record_id, key, number, number)
    recorder.ok_send(call, partition, offset)
    return record_id, key


def _poll(recorder: Recorder, partition: int, begin: int, ids: list[tuple[str, str]]) -> None:
    call = recorder.invoke_poll(f"consumer-{partition % MEMBERS}", "averages")
    recorder.ok_poll(
        call,
        [
            ("readings", partition, begin + step, record_id, {"crc": _number(record_id), "key": key})
            for step, (record_id, key) in enumerate(ids)
        ],
    )


def _number(record_id: str) -> int:
    return int(record_id.rpartition("-")[2])


def judged(path: Path, events: int) -> Judged:
    """Judge the file in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(path)],
        capture_output=True,
        timeout=_PATIENCE_S,
        check=False,
    )
    if done.returncode != 0:
        raise Incomplete(f"judging failed: {done.stderr.decode().strip().splitlines()[-1:]}")
    found = msgspec.json.decode(done.stdout, type=Judged)
    if found.verdict != "valid" or found.events != events:
        raise Incomplete(f"{found.events:,} of {events:,} events were judged {found.verdict}")
    return found


def measure(session: Session) -> Rows:
    """The small and the large history in turn."""
    small: list[Judged] = []
    large: list[Judged] = []
    with tempfile.TemporaryDirectory(prefix="streamproof-bench-") as folder:
        files = [Path(folder) / "small.jsonl", Path(folder) / "large.jsonl"]
        counts = [
            write_history(files[0], session.count(SMALL)),
            write_history(files[1], session.count(LARGE)),
        ]
        for _ in range(session.runs):
            small.append(judged(files[0], counts[0]))
            large.append(judged(files[1], counts[1]))
        sizes = [file.stat().st_size / 2**20 for file in files]
    rates = [[run.events / run.seconds for run in runs] for runs in (small, large)]
    target = at_least("reached", 1_000_000)
    for name, runs, found, size in zip(("small", "large"), (small, large), rates, sizes, strict=True):
        is_large = name == "large"
        peaks = [max(run.peak_mb[index] for run in runs) for index in (0, 1)]
        yield Row(
            f"checking-{name}",
            f"Decoding and all checks, {runs[0].events:,} events",
            figure("/s", found),
            beside_what=f"{small[0].events:,} events" if is_large else "",
            beside=figure("/s", rates[0]) if is_large else None,
            ratio=ratios(rates[1], rates[0]) if is_large else None,
            target=target,
            note=f"a file of {size:,.0f} MB; peak memory {peaks[0]:,.0f} MB and {peaks[1]:,.0f} MB",
        )


MEASUREMENTS = {"checking": measure}
