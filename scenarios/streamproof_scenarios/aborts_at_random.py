"""Transactions are aborted at random: of an aborted one nothing is seen, and its input is read again.

Two workers compute averages. Some transactions they abort: when the first outputs are computed, when all
of them are sent, or when the progress is stored with them. A reader must never see an output of those,
and in the end each reading must have led to exactly one average.
"""

from streamproof_harness.applications.minute_averages import MinuteAveragesOracle
from streamproof_harness.run import Run
from streamproof_harness.scenario import scenario
from streamproof_harness.workloads import workload


@scenario(
    "aborts-at-random",
    "transactions that are aborted show nothing, and their input is read again",
    contract={"base": "exactly-once", "order": "partition"},
    evidence={
        "abort-without-rewind": 10,
        "aborted-read": 20,
        "transform-not-exactly-once": 300,
        "hanging-transaction": 8,
    },
    parameters={"rate": 500, "seconds": 3, "devices": 50},
    backends=("memory", "kafka"),
    why_not={"rabbitmq": "AMQP has no transactions over several queues: see exactly-once, effect-once there"},
)
async def aborts_at_random(run: Run) -> None:
    readings = workload("sensors", seed=run.seed, **run.parameters)
    source = await run.topic("readings", partitions=4)
    sink = await run.topic("averages", partitions=4)
    await run.group("dashboard", sink)
    await run.transformers(
        "averages",
        source,
        members=2,
        to=sink,
        application="minute-averages",
        transactional_id=run.transactional_id("averages"),
        abort_one_in=4,
    )
    run.oracles["dashboard"] = MinuteAveragesOracle(readings)
    run.produce(readings, source)
    await run.drain()
