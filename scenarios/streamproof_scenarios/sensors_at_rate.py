"""The city's sensors: 10,000 readings a second, with averages per type and zone and exact alerts."""

from streamproof_harness.run import Run
from streamproof_harness.scenario import scenario
from streamproof_harness.workloads import workload


@scenario(
    "sensors-at-rate",
    "10,000 sensor readings a second arrive, with the right averages and alerts",
    contract={"base": "at-least-once", "order": "key"},
    evidence={"unseen": 1000, "handler-reorder": 1000},
    parameters={"rate": 10_000, "seconds": 3, "devices": 10_000},
)
async def sensors_at_rate(run: Run) -> None:
    readings = workload("sensors", seed=run.seed, **run.parameters)
    topic = await run.topic("readings", partitions=8)
    await run.group("averages", topic, members=2, order="key", max_records=1000)
    run.produce(readings, topic, producers=2, answer_from=["averages"])
    await run.drain()
