"""Page views: a click stream with Zipf popularity, counted per page and minute."""

from streamproof_harness.run import Run
from streamproof_harness.scenario import scenario
from streamproof_harness.workloads import workload


@scenario(
    "page-views",
    "page views per page and minute come out right",
    contract={"base": "at-least-once", "order": "key"},
    evidence={"unseen": 100, "handler-reorder": 100},
    parameters={"rate": 2000, "seconds": 2, "users": 500},
)
async def page_views(run: Run) -> None:
    clicks = workload("clickstream", seed=run.seed, **run.parameters)
    topic = await run.topic("clicks", partitions=4)
    await run.group("counter", topic, members=2, order="key")
    run.produce(clicks, topic, answer_from=["counter"])
    await run.drain()
