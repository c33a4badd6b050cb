"""Retry after a fixed delay: a handler that fails twice and then succeeds sees three attempts,
and the records behind the failing one, in its lane, wait for it.
"""

from streamproof_harness.clients.plans import FailurePlan, RetryPlan
from streamproof_harness.run import Run
from streamproof_harness.scenario import scenario
from streamproof_harness.workloads import workload


@scenario(
    "retry-fixed",
    "a record that fails twice is handled at the third attempt, after the same delay each time",
    contract={
        "base": "at-least-once",
        "order": "key",
        "retry": {"growth": "fixed", "base_s": 0.05, "max_attempts": 3},
    },
    evidence={"attempts-wrong": 20, "handler-reorder": 50},
    parameters={"rate": 300, "seconds": 2, "customers": 50},
)
async def retry_fixed(run: Run) -> None:
    orders = workload("orders", seed=run.seed, **run.parameters)
    topic = await run.topic("orders", partitions=4)
    retry = RetryPlan(growth="fixed", base_s=0.05, max_attempts=3)
    failures = FailurePlan(one_in=10, times=2)
    await run.group("payments", topic, members=1, order="key", retry=retry, failures=failures)
    run.produce(orders, topic, answer_from=["payments"])
    await run.drain()
