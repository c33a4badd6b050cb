"""Sensor readings become averages per zone and minute, exactly once, though the workers crash.

Read, process, write: each worker polls readings, goes on with the averages of its partitions, and
sends every new average in one transaction with its progress. Workers die at every step of that, one
after the other; the next one reads the averages back and goes on. In the end each reading must have
led to exactly one average that readers can see, and the last averages must be the right ones.

RabbitMQ has no transactions over several queues. There the promise is *effect-once*: each worker
marks a reading, computes, and leaves the average in an outbox, in one transaction of a database; what
a crash repeats has its mark, or an id that the dashboard knows already.
"""

from streamproof_harness.applications.minute_averages import MinuteAveragesOracle
from streamproof_harness.clients.plans import STEPS
from streamproof_harness.run import Run
from streamproof_harness.scenario import scenario
from streamproof_harness.workloads import waves, workload


@scenario(
    "exactly-once",
    "averages of readings are exact though the worker crashes at every step of its transactions",
    contract={"base": "exactly-once", "order": "partition"},
    evidence={
        "transform-not-exactly-once": 1000,
        "transform-not-atomic": 10,
        "torn-transaction": 10,
        "aborted-read": 10,
        "abort-without-rewind": 10,
        "hanging-transaction": 8,
    },
    parameters={"rate": 500, "seconds": 6, "devices": 50},
    broker_parameters={"rate": 150, "seconds": 40},
    contracts={
        "rabbitmq": {
            "base": "effect-once",
            "order": "none",
            "evidence": {"duplicate-effect": 1000, "unseen": 1000},
        }
    },
    crashes=True,
)
async def exactly_once(run: Run) -> None:
    if not run.capabilities.can_transact:
        await effect_once(run)
        return
    readings = workload("sensors", seed=run.seed, **run.parameters)
    source = await run.topic("readings", partitions=4)
    sink = await run.topic("averages", partitions=4)
    await run.group("dashboard", sink)
    workers = await run.transformers(
        "averages",
        source,
        members=2,
        to=sink,
        application="minute-averages",
        transactional_id=run.transactional_id("averages"),
        abort_one_in=6,
    )
    run.oracles["dashboard"] = MinuteAveragesOracle(readings)
    first, *others = waves(readings, len(STEPS) + 1)
    run.produce(first, source)
    # Started again under its own id, a worker fences what its former self left open.
    own = run.transactional_id("averages", "started-again")
    for step, wave in zip(STEPS, others, strict=True):
        doomed = run.hire(workers, transactional_id=own, crash_at=step)
        await run.holds(doomed)
        run.produce(wave, source)
        await run.ended(doomed)
        run.claim(doomed.is_crashed, f"a worker died in the middle of its work: {step}")
    run.hire(workers, transactional_id=own)
    await run.drain()


async def effect_once(run: Run) -> None:
    """The same promise to who looks at the averages, kept by a database."""
    readings = workload("sensors", seed=run.seed, **run.parameters)
    source = await run.topic("readings", partitions=4)
    sink = await run.topic("averages", partitions=4)
    await run.group("dashboard", sink, marks=run.file("dashboard.db"))
    workers = await run.effectors(
        "averages",
        source,
        members=2,
        to=sink,
        application="minute-averages",
        database=run.file("averages.db"),
    )
    run.oracles["dashboard"] = MinuteAveragesOracle(readings)
    run.produce(readings, source)
    for step in ("polled", "handled", "stored", "produced", "committed"):
        doomed = run.hire(workers, crash_at=step, crash_after=20)
        await run.ended(doomed)
        run.claim(doomed.is_crashed, f"a worker died in the middle of its work: {step}")
    await run.drain()
