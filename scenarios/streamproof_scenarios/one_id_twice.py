"""Two workers with one transactional id, as after a careless start: the older one is fenced.

Both belong to one group and would share the readings. But the id is the name of one producer: who
initialises last has it, and of what the other one had under way nothing may show.
"""

from streamproof_harness.applications.minute_averages import MinuteAveragesOracle
from streamproof_harness.run import Run
from streamproof_harness.scenario import scenario
from streamproof_harness.workloads import workload


@scenario(
    "one-id-twice",
    "of two workers with one transactional id the older is fenced, and nothing of it shows",
    contract={"base": "exactly-once", "order": "partition"},
    evidence={"transform-not-exactly-once": 500},
    parameters={"rate": 500, "seconds": 4, "devices": 50},
    backends=("memory", "kafka"),
    why_not={"rabbitmq": "AMQP has no transactions over several queues: see exactly-once, effect-once there"},
)
async def one_id_twice(run: Run) -> None:
    readings = workload("sensors", seed=run.seed, **run.parameters)
    source = await run.topic("readings", partitions=4)
    sink = await run.topic("averages", partitions=4)
    await run.group("dashboard", sink)
    workers = await run.transformers(
        "averages",
        source,
        to=sink,
        application="minute-averages",
        transactional_id="averages-the-only-one",
    )
    run.oracles["dashboard"] = MinuteAveragesOracle(readings)
    run.produce(readings, source)
    first = workers.members[0]
    await run.progressed(workers, 300)
    run.hire(workers)
    await run.drain()
    if run.capabilities.has_member_fencing:
        run.claim(first.process in run.findings.fenced_members, "the older worker was fenced")
