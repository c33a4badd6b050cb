"""A poison message: it fails at every attempt, goes to the dead-letter topic, and other keys go on."""

from streamproof_harness.clients.plans import FailurePlan, RetryPlan
from streamproof_harness.run import Run
from streamproof_harness.scenario import scenario
from streamproof_harness.workloads import workload


@scenario(
    "poison",
    "a message that always fails ends in the dead-letter topic while other keys go on",
    contract={
        "base": "at-least-once",
        "order": "key",
        "retry": {"growth": "fixed", "base_s": 0.05, "max_attempts": 3},
        "severity": {"conservation": "allowed"},
    },
    evidence={"dead-letter-wrong": 50, "attempts-wrong": 10},
    parameters={"rate": 300, "seconds": 2, "customers": 50},
)
async def poison(run: Run) -> None:
    orders = workload("orders", seed=run.seed, **run.parameters)
    topic = await run.topic("orders", partitions=4)
    dead = await run.topic("orders.dead", partitions=1)
    retry = RetryPlan(growth="fixed", base_s=0.05, max_attempts=3)
    await run.group(
        "payments",
        topic,
        members=1,
        order="key",
        retry=retry,
        failures=FailurePlan(poison_one_in=40),
        dead_letter=dead,
    )
    await run.group("undertaker", dead)
    run.produce(orders, topic)
    await run.drain()
    buried = run.findings.dead["payments"]
    run.claim(buried > 0, f"{buried} poison messages went to the dead letters")
    run.claim(run.findings.counts["undertaker"] >= buried, "every dead letter can be read")
