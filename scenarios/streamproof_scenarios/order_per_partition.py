"""Order per partition: several producers write into the same partitions; each producer's records
keep their order in each, and every consumer sees a partition in its one order.
"""

from streamproof_harness.run import Run
from streamproof_harness.scenario import scenario
from streamproof_harness.workloads import workload


@scenario(
    "order-per-partition",
    "each producer's records keep their order in a partition that several write to",
    contract={"base": "at-least-once", "order": "partition"},
    evidence={"producer-reorder": 100, "poll-nonmonotonic": 10, "handler-reorder": 100},
    parameters={"rate": 1000, "seconds": 2, "devices": 200},
)
async def order_per_partition(run: Run) -> None:
    readings = workload("sensors", seed=run.seed, **run.parameters)
    topic = await run.topic("readings", partitions=2)
    await run.group("averages", topic, members=2)
    run.produce(readings, topic, producers=4, answer_from=["averages"])
    await run.drain()
