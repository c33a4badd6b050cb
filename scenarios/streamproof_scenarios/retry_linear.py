"""Retry with a delay that grows by the same amount each time: 30, 60, 90 ms."""

from streamproof_harness.clients.plans import FailurePlan, RetryPlan
from streamproof_harness.run import Run
from streamproof_harness.scenario import scenario
from streamproof_harness.workloads import workload


@scenario(
    "retry-linear",
    "a record that fails three times is handled at the fourth attempt, each delay longer by the same",
    contract={
        "base": "at-least-once",
        "order": "key",
        "retry": {"growth": "linear", "base_s": 0.03, "max_attempts": 4},
    },
    evidence={"attempts-wrong": 20, "handler-reorder": 50},
    parameters={"rate": 300, "seconds": 2, "customers": 50},
)
async def retry_linear(run: Run) -> None:
    orders = workload("orders", seed=run.seed, **run.parameters)
    topic = await run.topic("orders", partitions=4)
    retry = RetryPlan(growth="linear", base_s=0.03, max_attempts=4)
    failures = FailurePlan(one_in=10, times=3)
    await run.group("payments", topic, members=1, order="key", retry=retry, failures=failures)
    run.produce(orders, topic, answer_from=["payments"])
    await run.drain()
