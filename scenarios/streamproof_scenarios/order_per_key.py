"""Order per key: whatever belongs to one sensor is handled in the order in which it was sent.

Three producers share the sensors, six partitions spread them, three consumers of one group share
the partitions. Records of different sensors may overtake each other; those of one sensor must not.
"""

from streamproof_harness.run import Run
from streamproof_harness.scenario import scenario
from streamproof_harness.workloads import workload


@scenario(
    "order-per-key",
    "records of one key are handled in the order in which they were sent",
    contract={"base": "at-least-once", "order": "key"},
    evidence={"handler-reorder": 100, "poll-skip": 10, "producer-reorder": 100},
    parameters={"rate": 1000, "seconds": 2, "devices": 200},
)
async def order_per_key(run: Run) -> None:
    readings = workload("sensors", seed=run.seed, **run.parameters)
    topic = await run.topic("readings", partitions=6)
    await run.group("averages", topic, members=3, order="key")
    run.produce(readings, topic, producers=3, answer_from=["averages"])
    await run.drain()
