"""Members join and leave a group while records flow: no record is lost, none handled by two
members at a time, and no log has two owners.
"""

import asyncio

from streamproof_harness.run import Run
from streamproof_harness.scenario import scenario
from streamproof_harness.workloads import workload


@scenario(
    "members-come-and-go",
    "a group that grows and shrinks loses nothing and never reads one log twice at a time",
    contract={"base": "at-least-once"},
    evidence={"consumed-while-unassigned": 100, "unseen": 100},
    parameters={"rate": 500, "seconds": 5, "customers": 100},
)
async def members_come_and_go(run: Run) -> None:
    orders = workload("orders", seed=run.seed, **run.parameters)
    topic = await run.topic("orders", partitions=6)
    payments = await run.group("payments", topic, members=1)
    run.produce(orders, topic, answer_from=["payments"])
    first = payments.members[0]
    run.hire(payments)
    await run.progressed(payments, 300)
    run.hire(payments)
    await asyncio.sleep(0.5)
    await run.dismiss(payments, first)
    await run.progressed(payments, 1000)
    await run.dismiss(payments, payments.active[0])
    await run.drain()
