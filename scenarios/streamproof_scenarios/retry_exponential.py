"""Retry with a delay that doubles each time, plus jitter drawn from the seed: about 20, 40, 80 ms."""

from streamproof_harness.clients.plans import FailurePlan, RetryPlan
from streamproof_harness.run import Run
from streamproof_harness.scenario import scenario
from streamproof_harness.workloads import workload


@scenario(
    "retry-exponential",
    "a record that fails three times is handled at the fourth attempt, the delays doubling, with jitter",
    contract={
        "base": "at-least-once",
        "order": "key",
        "retry": {
            "growth": "exponential",
            "base_s": 0.02,
            "max_attempts": 5,
            "jitter": "added",
            "jitter_s": 0.02,
        },
    },
    evidence={"attempts-wrong": 20, "handler-reorder": 50},
    parameters={"rate": 300, "seconds": 2, "customers": 50},
)
async def retry_exponential(run: Run) -> None:
    orders = workload("orders", seed=run.seed, **run.parameters)
    topic = await run.topic("orders", partitions=4)
    retry = RetryPlan(
        growth="exponential", base_s=0.02, max_attempts=5, jitter="added", jitter_s=0.02, seed=run.seed
    )
    failures = FailurePlan(one_in=10, times=3)
    await run.group("payments", topic, members=1, order="key", retry=retry, failures=failures)
    run.produce(orders, topic, answer_from=["payments"])
    await run.drain()
