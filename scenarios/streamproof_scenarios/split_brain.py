"""A worker hangs in the middle of a transaction, is replaced, and wakes up: a zombie.

Its process is stopped when all that is missing is the commit. The group takes its logs away and
gives them to another worker, which must neither begin from what the zombie left unfinished nor see
it. Then the zombie goes on where it stood and asks for its commit: it must be refused.
"""

from streamproof_harness.applications.minute_averages import MinuteAveragesOracle
from streamproof_harness.run import Run
from streamproof_harness.scenario import scenario
from streamproof_harness.workloads import workload


@scenario(
    "split-brain",
    "a worker that hung before its commit and was replaced commits nothing when it wakes up",
    contract={"base": "exactly-once", "order": "partition"},
    evidence={"transform-not-exactly-once": 500, "torn-transaction": 5},
    parameters={"rate": 300, "seconds": 4, "devices": 50},
    backends=("kafka",),
    why_not={
        "memory": "a client of the in-memory log hangs together with its process only: see one-id-twice",
        "rabbitmq": "AMQP has no transactions over several queues: see the scenario effect-once",
    },
    crashes=True,
)
async def split_brain(run: Run) -> None:
    readings = workload("sensors", seed=run.seed, **run.parameters)
    source = await run.topic("readings", partitions=4)
    sink = await run.topic("averages", partitions=4)
    await run.group("dashboard", sink)
    workers = await run.transformers(
        "averages",
        source,
        to=sink,
        application="minute-averages",
        transactional_id=run.transactional_id("averages"),
        hang_at="stored",
        crash_after=5,
    )
    run.oracles["dashboard"] = MinuteAveragesOracle(readings)
    run.produce(readings, source)
    zombie = workers.members[0]
    await run.hung(zombie)
    before = run.findings.counts[workers.name]
    run.hire(workers, hang_at="")
    await run.progressed(workers, before + 200)
    run.wake(zombie)
    await run.drain()
