"""The broker is killed with SIGKILL in the middle of the traffic, and started again.

What it had acknowledged must be there afterwards. Sends that were under way may have been stored
or not; the producer sends them again, so that they may stand twice: at-least-once.
"""

from streamproof_harness.run import Run
from streamproof_harness.scenario import scenario
from streamproof_harness.workloads import workload


@scenario(
    "broker-killed",
    "nothing acknowledged is lost when the broker is killed with -9 and restarted",
    contract="at-least-once",
    evidence={"lost-write": 100, "unseen": 100},
    parameters={"rate": 1000, "seconds": 6, "customers": 100},
    backends=("kafka", "rabbitmq"),
    why_not={"memory": "the in-memory log lives in the process of its clients and dies with it"},
    harms_broker=True,
)
async def broker_killed(run: Run) -> None:
    orders = workload("orders", seed=run.seed, **run.parameters)
    topic = await run.topic("orders", partitions=4)
    payments = await run.group("payments", topic, members=2)
    run.produce(orders, topic, answer_from=["payments"])
    # Not at once: a RabbitMQ 3.10 that dies within a second of its first stream's creation has not
    # written down yet that it has streams, and does not find them again.
    await run.progressed(payments, 2500)
    await run.kill_broker()
    await run.drain()
