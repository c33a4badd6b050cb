"""Total order: one partition has one order, and two groups see it alike.

Where each group reads a queue of its own (RabbitMQ), two groups may see different producers'
records in different orders. There a total order needs one producer, and the scenario uses one.

The price is throughput: one log is handled by one member, one record after the other. The
scenario measures the same backlog on four partitions with four members and reports the factor.
"""

from streamproof_harness.run import Run
from streamproof_harness.scenario import scenario
from streamproof_harness.workloads import workload


@scenario(
    "total-order",
    "one partition is seen in one order by two groups, at a price in throughput",
    contract={"base": "at-least-once", "order": "partition"},
    evidence={"handler-reorder": 100, "poll-nonmonotonic": 10},
    parameters={"rate": 2000, "seconds": 1, "devices": 200},
)
async def total_order(run: Run) -> None:
    readings = workload("sensors", seed=run.seed, **run.parameters)
    topic = await run.topic("readings", partitions=1)
    await run.group("averages", topic)
    await run.group("alerts", topic)
    run.keep_order("averages", "alerts")
    producers = 2 if run.capabilities.has_one_order else 1
    run.produce(readings, topic, producers=producers, answer_from=["averages", "alerts"])
    await run.drain()
    averages, alerts = run.handled_order("averages"), run.handled_order("alerts")
    run.claim(averages == alerts and len(averages) > 0, "both groups handled the records in one order")
    one, four = await _rate(run, 1), await _rate(run, 4)
    run.say(
        f"with a handler of 1 ms: one partition {one:,.0f} records/s, four {four:,.0f} records/s; "
        f"total order costs a factor of {four / one:.1f}"
    )


async def _rate(run: Run, partitions: int) -> float:
    """Records handled a second, by as many members as there are partitions."""
    backlog = workload("orders", seed=run.seed + partitions, rate=100_000, seconds=0.005, customers=100)
    count = sum(1 for _ in backlog.messages())
    topic = await run.topic(f"backlog-{partitions}", partitions=partitions)
    name = f"workers-{partitions}"
    group = await run.group(name, topic, members=partitions, handle_s=0.001)
    begin_s = run.elapsed_s()
    run.produce(backlog, topic)
    await run.progressed(group, count)
    return count / (run.elapsed_s() - begin_s)
