"""Replay from a time: a reader without a group goes back to a moment in the middle of the traffic."""

import time

from streamproof.records import AtTime
from streamproof_harness.run import Run
from streamproof_harness.scenario import scenario
from streamproof_harness.workloads import workload


@scenario(
    "replay-from-time",
    "a reader goes back to a time and reads again what was sent since",
    contract="at-least-once",
    evidence={"poll-skip": 10, "inconsistent-offset": 100},
    parameters={"rate": 1000, "seconds": 1, "users": 100},
)
async def replay_from_time(run: Run) -> None:
    first = workload("clickstream", seed=run.seed, **run.parameters)
    second = workload("clickstream", seed=run.seed + 1, **run.parameters)
    topic = await run.topic("clicks", partitions=2)
    reader = await run.reader("archive", topic)
    run.produce(first, topic)
    await run.drain()
    moment = AtTime(time.time_ns() // 1_000_000 + 1)
    await run.until(lambda: time.time_ns() // 1_000_000 > moment.timestamp_ms, "the clock moves on")
    earlier = run.findings.counts["archive"]
    run.produce(second, topic)
    await run.drain()
    later = run.findings.counts["archive"] - earlier
    reader.members[0].order("seek", moment)
    await run.progressed("archive", earlier + 2 * later)
    await run.drain()
    run.claim(
        run.findings.counts["archive"] == earlier + 2 * later,
        "what was sent after the moment was read twice, what was sent before it once",
    )
