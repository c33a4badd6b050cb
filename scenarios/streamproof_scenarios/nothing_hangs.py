"""Workers crash in the middle of transactions, and abort some: in the end none may be left open.

A transaction that never ends keeps every read-committed reader of its logs from all that comes after. The
topic that is written to here has no reader, so that nothing but the ends of its logs can show it.
"""

from streamproof_harness.run import Run
from streamproof_harness.scenario import scenario
from streamproof_harness.workloads import waves, workload


@scenario(
    "nothing-hangs",
    "whatever becomes of the workers, no transaction stays open in the logs they wrote to",
    contract={"base": "exactly-once", "order": "partition"},
    evidence={"hanging-transaction": 8, "transform-not-exactly-once": 300},
    parameters={"rate": 300, "seconds": 3, "customers": 100},
    backends=("memory", "kafka"),
    why_not={"rabbitmq": "AMQP has no transactions over several queues: see exactly-once, effect-once there"},
    crashes=True,
)
async def nothing_hangs(run: Run) -> None:
    orders = workload("orders", seed=run.seed, **run.parameters)
    source = await run.topic("orders", partitions=4)
    sink = await run.topic("paid", partitions=4)
    workers = await run.transformers(
        "to-paid",
        source,
        to=sink,
        application="paid",
        transactional_id=run.transactional_id("to-paid"),
        abort_one_in=5,
    )
    first, *others = waves(orders, 3)
    run.produce(first, source)
    own = run.transactional_id("to-paid", "started-again")
    for step, wave in zip(("produced", "stored"), others, strict=True):
        doomed = run.hire(workers, transactional_id=own, crash_at=step)
        await run.holds(doomed)
        run.produce(wave, source)
        await run.ended(doomed)
        run.claim(doomed.is_crashed, f"a worker died in the middle of its work: {step}")
    run.hire(workers, transactional_id=own)
    await run.drain()
