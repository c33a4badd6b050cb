"""Fan-out: two groups of one topic both receive everything, each in its own time."""

from streamproof_harness.run import Run
from streamproof_harness.scenario import scenario
from streamproof_harness.workloads import workload


@scenario(
    "fan-out",
    "every group receives every record",
    contract="at-least-once",
    evidence={"unseen": 100, "duplicate-delivery": 100},
    parameters={"rate": 1000, "seconds": 2, "customers": 100},
)
async def fan_out(run: Run) -> None:
    orders = workload("orders", seed=run.seed, **run.parameters)
    topic = await run.topic("orders", partitions=4)
    await run.group("payments", topic, members=2)
    await run.group("shipments", topic, members=1, handle_s=0.0002)
    run.produce(orders, topic, answer_from=["payments", "shipments"])
    await run.drain()
