"""The control of exactly-once: the same workers without transactions, and the same crashes.

They send, wait for the confirmations, and store their progress: at-least-once. A crash in between
makes averages twice. If the checks did not find that, they would find nothing.
"""

from streamproof_harness.applications.minute_averages import MinuteAveragesOracle
from streamproof_harness.run import Run
from streamproof_harness.scenario import scenario
from streamproof_harness.workloads import workload


@scenario(
    "without-transactions",
    "a control that must fail: without transactions the crashes of exactly-once repeat averages",
    contract={
        "base": "at-least-once",
        "order": "none",
        "severity": {"transform-not-exactly-once": "forbidden"},
    },
    evidence={"transform-not-exactly-once": 500},
    parameters={"rate": 500, "seconds": 4, "devices": 50},
    broker_parameters={"rate": 150, "seconds": 20},
    backends=("memory", "kafka"),
    why_not={"rabbitmq": "its control is that of the scenario effect-once"},
    expects="invalid",
    crashes=True,
)
async def without_transactions(run: Run) -> None:
    readings = workload("sensors", seed=run.seed, **run.parameters)
    source = await run.topic("readings", partitions=4)
    sink = await run.topic("averages", partitions=4)
    await run.group("dashboard", sink)
    workers = await run.transformers(
        "averages", source, to=sink, application="minute-averages", transactional_id=None
    )
    run.oracles["dashboard"] = MinuteAveragesOracle(readings)
    run.produce(readings, source)
    for step in ("produced", "committing"):
        doomed = run.hire(workers, crash_at=step, crash_after=3)
        await run.ended(doomed)
        run.claim(doomed.is_crashed, f"a worker died in the middle of its work: {step}")
    await run.drain()
