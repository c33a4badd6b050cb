"""The bug this project is for: a consumer that commits before it handles loses readings in a crash.

The consumer takes a batch, acknowledges and commits each record, and only then handles it. When
it dies in between, the record counts as done and was never handled. ``fix=1`` acknowledges after
the handler, and nothing is lost. The verdict of the broken one is ``invalid``, as it should be.
"""

from typing import Any

from streamproof_harness.run import Run
from streamproof_harness.scenario import scenario
from streamproof_harness.workloads import workload

_SETTINGS: dict[str, Any] = {
    "contract": "at-least-once",
    "evidence": {"dead-letter-wrong": 20},
    "parameters": {"rate": 200, "seconds": 1, "devices": 20},
    "crashes": True,
}


async def _crashing_consumer(run: Run, *, acknowledges_first: bool) -> None:
    readings = workload("sensors", seed=run.seed, **run.parameters)
    topic = await run.topic("readings", partitions=1)
    averages = await run.group(
        "averages", topic, members=1, crash_after=60, acknowledges_first=acknowledges_first
    )
    run.produce(readings, topic, answer_from=["averages"])
    first = averages.members[0]
    await run.until(lambda: first.is_over, "the consumer crashes")
    run.claim(first.is_crashed, "the consumer crashed in the middle of its work")
    await run.replace_crashed(averages, crash_after=0)
    await run.drain()


@scenario(
    "lost-messages",
    "a consumer that commits before it handles loses readings in a crash (must fail)",
    expects="invalid",
    **_SETTINGS,
)
async def lost_messages(run: Run) -> None:
    await _crashing_consumer(run, acknowledges_first=True)


@scenario(
    "lost-messages-fixed",
    "the same consumer, committing after it handled, loses nothing",
    **_SETTINGS,
)
async def lost_messages_fixed(run: Run) -> None:
    await _crashing_consumer(run, acknowledges_first=False)
