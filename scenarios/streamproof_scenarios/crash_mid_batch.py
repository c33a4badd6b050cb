"""Consumers crash in the middle of a batch; nothing is lost, some is handled again.

Every member dies after a number of records: it handled them and acknowledged all but the last.
Another takes its place. On real brokers a crash is a process killed with SIGKILL.
"""

import asyncio

from streamproof_harness.run import Run
from streamproof_harness.scenario import scenario
from streamproof_harness.workloads import workload


@scenario(
    "crash-mid-batch",
    "consumers that crash in the middle of a batch lose nothing",
    contract="at-least-once",
    evidence={"unseen": 100, "lost-write": 100},
    parameters={"rate": 500, "seconds": 4, "customers": 100},
    crashes=True,
)
async def crash_mid_batch(run: Run) -> None:
    orders = workload("orders", seed=run.seed, **run.parameters)
    topic = await run.topic("orders", partitions=4)
    payments = await run.group("payments", topic, members=2, crash_after=150)
    is_sent = run.produce(orders, topic, answer_from=["payments"])
    crashes = 0
    while not is_sent():
        crashes += len([member for member in payments.members if member.is_crashed])
        # The last ones do not crash, so that the run can end.
        await run.replace_crashed(payments, crash_after=150 if crashes < 4 else 0)
        await asyncio.sleep(0.05)
    for member in payments.active:
        if len(payments.members) > 1 and crashes < 2:
            await run.crash(payments, member)
            crashes += 1
    await run.replace_crashed(payments, crash_after=0)
    run.hire(payments, crash_after=0)
    run.claim(crashes >= 2, f"{crashes} consumers crashed")
    await run.drain()
