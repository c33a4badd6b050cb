"""What became of a commit, from what the brokers answered or hold."""

from collections.abc import Iterable, Mapping

from streamproof.drivers.kafka.errors import call_error
from streamproof.drivers.kafka_confluent.client import KafkaError, KafkaException
from streamproof.errors import NotAssigned, TimedOut
from streamproof.records import TopicPartition


def require_stored(
    offsets: Mapping[TopicPartition, int],
    stored: Mapping[TopicPartition, int | None] | None,
    timeout_s: float,
) -> None:
    """The outcome of a commit inside of a rebalance, where its answer cannot be taken out: whether
    the brokers hold these offsets now (``None``: they did not say)."""
    if stored is None:
        raise no_answer(timeout_s)
    for partition, offset in offsets.items():
        if stored.get(partition) != offset:
            raise NotAssigned(
                f"the commit of {partition.topic}[{partition.partition}] to {offset} was not taken: "
                f"{stored.get(partition)} is stored; the group has gone on without this member"
            )


def require_taken(answer: Iterable[tuple[TopicPartition, KafkaError | None]]) -> None:
    """Raise the first refusal in the brokers' answer."""
    for partition, error in answer:
        if error is not None:
            what = f"the commit of {partition.topic}[{partition.partition}] was not taken"
            raise call_error(error.code(), what, error.str(), KafkaException(error), definite=False)


def no_answer(timeout_s: float) -> TimedOut:
    """The bound passed; the commit may have been stored."""
    return TimedOut(
        f"no answer to the commit within {timeout_s} s; it may still be stored: commit again", definite=False
    )
