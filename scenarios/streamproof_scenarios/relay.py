"""A relay: workers read and write one topic, and poll while their transactions are open.

Each message is passed on from one partition to the next, four times, by two workers. A transaction covers
several polls. None of them may bring what a transaction that is still open has passed on: not what
another worker's has, and not its own.
"""

from streamproof_harness.applications.relay import LEGS
from streamproof_harness.run import Run
from streamproof_harness.scenario import scenario
from streamproof_harness.workloads import workload


@scenario(
    "relay",
    "polls within a transaction bring nothing of open ones, not even of their own",
    contract={"base": "exactly-once", "order": "partition"},
    evidence={"own-read": 10, "early-read": 150, "circular-information-flow": 5, "hanging-transaction": 4},
    parameters={"rate": 100, "seconds": 3, "customers": 50, "workers": 2},
    backends=("memory", "kafka"),
    why_not={"rabbitmq": "AMQP has no transactions over several queues: see exactly-once, effect-once there"},
)
async def relay(run: Run) -> None:
    settings = dict(run.parameters)
    workers = int(settings.pop("workers"))
    orders = workload("orders", seed=run.seed, **settings)
    topic = await run.topic("relay", partitions=4)
    runners = await run.transformers(
        "runners",
        topic,
        members=workers,
        to=topic,
        application="relay",
        # These transactions are not those of transform: each worker fences under a name of its own.
        transactional_id="runners-{process}",
        polls=4,
        linger_s=0.005,
    )
    run.produce(orders, topic)
    await run.sent()
    legs = sum(1 for _ in orders.messages()) * (LEGS + 1)
    await run.progressed(runners, legs)
    await run.drain()
    handled = run.findings.counts[runners.name]
    run.claim(handled == legs, f"{handled:,} of {legs:,} legs were run, each once")
