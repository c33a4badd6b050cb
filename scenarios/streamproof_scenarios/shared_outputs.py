"""Two workers write to the same logs, in transactions that stay open for a while.

Each transaction writes to several logs, and the workers' records lie there side by side. Nothing of a
transaction may be seen before its commit, and then all of it. (In which order those of two transactions
lie is not promised: Kafka does not isolate writes.)
"""

from streamproof_harness.applications.checkout import CheckoutOracle
from streamproof_harness.run import Run
from streamproof_harness.scenario import scenario
from streamproof_harness.workloads import workload


@scenario(
    "shared-outputs",
    "transactions of two workers in the same logs are seen when they commit, and whole",
    contract={"base": "exactly-once", "order": "partition"},
    evidence={
        "early-read": 300,
        "torn-transaction": 10,
        "write-cycle": 10,
        "transform-not-atomic": 10,
        "hanging-transaction": 6,
    },
    parameters={"rate": 500, "seconds": 3, "customers": 100},
    backends=("memory", "kafka"),
    why_not={"rabbitmq": "AMQP has no transactions over several queues: see exactly-once, effect-once there"},
)
async def shared_outputs(run: Run) -> None:
    orders = workload("orders", seed=run.seed, **run.parameters)
    source = await run.topic("orders", partitions=4)
    # Each worker has two of the four, and the records of both go to these two.
    sink = await run.topic("paid", partitions=2)
    await run.group("bank", sink)
    await run.transformers(
        "to-paid",
        source,
        members=2,
        to=sink,
        application="paid",
        # These transactions are not those of transform: each worker fences under a name of its own.
        transactional_id="to-paid-{process}",
        linger_s=0.005,
    )
    run.oracles["bank"] = CheckoutOracle(orders, "paid")
    run.produce(orders, source)
    await run.drain()
