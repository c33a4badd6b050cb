"""Checkout: orders are paid, shipped and notified about, in three applications one after the other.

Each application reads what the one before it wrote, in transactions. Workers of all three crash, and
a broker that can be killed is, and is away for a while. No order may be lost, none charged twice, and at
least 99.9 % of the orders must be accepted. An hour of a shop with 10,000 orders is replayed in
seconds; a larger ``rate`` makes the hour shorter.
"""

from streamproof_harness.applications.checkout import CheckoutOracle
from streamproof_harness.run import Group, Run
from streamproof_harness.scenario import scenario
from streamproof_harness.workloads import workload

_STEPS = (("orders", "paid"), ("paid", "shipped"), ("shipped", "notified"))


@scenario(
    "checkout",
    "10,000 orders are paid, shipped and notified about exactly once, whatever crashes",
    contract={"base": "exactly-once", "order": "partition"},
    evidence={"transform-not-exactly-once": 1000, "torn-transaction": 10, "unseen": 1000},
    parameters={"rate": 1000, "seconds": 10, "customers": 500},
    broker_parameters={"rate": 300, "seconds": 34},
    backends=("memory",),
    why_not={
        "kafka": "not yet: workers do not always come back when the broker is killed within transactions",
        "rabbitmq": "not yet: AMQP has no transactions over several queues, and effect-once is to come",
    },
    crashes=True,
    harms_broker=True,
)
async def checkout(run: Run) -> None:
    orders = workload("orders", seed=run.seed, **run.parameters)
    for name in ("orders", "paid", "shipped", "notified"):
        await run.topic(name, partitions=4)
    await run.group("bank", "paid")
    await run.group("customers", "notified")
    run.oracles["bank"] = CheckoutOracle(orders, "paid")
    run.oracles["customers"] = CheckoutOracle(orders, "notified")
    steps = [await _application(run, source, step) for source, step in _STEPS]
    run.produce(orders, "orders", delivery_timeout_s=120.0)
    total = int(run.parameters["rate"] * run.parameters["seconds"])
    for number, (group, place) in enumerate(zip(steps, ("handled", "stored", "committing"), strict=True)):
        await run.progressed(group, total // 10 * (number + 1))
        own = run.transactional_id(group.name, "started-again")
        doomed = run.hire(group, transactional_id=own, crash_at=place, crash_after=2)
        await run.ended(doomed)
        run.claim(doomed.is_crashed, f"a worker died in the middle of its work: {place}")
        again = run.hire(group, transactional_id=own)
        await run.joined(again)
    if not run.is_memory:
        await run.kill_broker(down_s=3.0)
    await run.drain()
    accepted = total - len(run.findings.unsent)
    run.claim(accepted >= 0.999 * total, f"{accepted:,} of {total:,} orders were accepted")


async def _application(run: Run, source: str, step: str) -> Group:
    return await run.transformers(
        f"to-{step}", source, to=step, application=step, transactional_id=run.transactional_id(f"to-{step}")
    )
