"""Replay: a reader without a group goes back to an offset and reads everything from there again."""

from streamproof_harness.run import Run
from streamproof_harness.scenario import scenario
from streamproof_harness.workloads import workload


@scenario(
    "replay-from-offset",
    "a reader goes back to an offset and reads the same records again",
    contract="at-least-once",
    evidence={"poll-skip": 10, "inconsistent-offset": 100},
    parameters={"rate": 1000, "seconds": 1, "users": 100},
)
async def replay_from_offset(run: Run) -> None:
    clicks = workload("clickstream", seed=run.seed, **run.parameters)
    topic = await run.topic("clicks", partitions=2)
    reader = await run.reader("archive", topic)
    run.produce(clicks, topic, answer_from=["archive"])
    await run.drain()
    before = run.findings.counts["archive"]
    reader.members[0].order("seek", 10)
    await run.progressed("archive", before + before - 2 * 10)
    await run.drain()
    run.claim(
        run.findings.counts["archive"] == 2 * before - 2 * 10,
        "everything from offset 10 on was read twice, and nothing more",
    )
