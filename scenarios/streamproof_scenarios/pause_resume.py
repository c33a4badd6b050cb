"""Pause and resume: a consumer that pauses while records arrive loses none and skips none.

What its client had fetched before the pause must be there afterwards, in its place.
"""

import asyncio

from streamproof_harness.run import Run
from streamproof_harness.scenario import scenario
from streamproof_harness.workloads import workload


@scenario(
    "pause-resume",
    "pausing and resuming loses nothing and skips nothing",
    contract={"base": "at-least-once", "order": "partition"},
    evidence={"poll-skip": 10, "unseen": 100},
    parameters={"rate": 1000, "seconds": 2, "users": 100},
)
async def pause_resume(run: Run) -> None:
    clicks = workload("clickstream", seed=run.seed, **run.parameters)
    topic = await run.topic("clicks", partitions=4)
    views = await run.group("views", topic, members=1, max_records=20)
    is_sent = run.produce(clicks, topic, answer_from=["views"])
    pauses = 0
    while not is_sent():
        views.members[0].order("pause")
        await asyncio.sleep(0.05)
        views.members[0].order("resume")
        await asyncio.sleep(0.1)
        pauses += 1
    run.claim(pauses >= 3, f"the consumer was paused while records arrived ({pauses} times)")
    await run.drain()
