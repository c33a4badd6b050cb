"""What a transform's function returns, and where that goes; what a transform asks of its parts."""

from collections.abc import Iterable, Sequence
from typing import Any

from streamproof.checks import require_count, require_topic_name
from streamproof.errors import Fenced, UsageError
from streamproof.options import ConsumerOptions
from streamproof.records import Outgoing, Record, TopicPartition

Output = Outgoing[Any, Any] | tuple[str, Outgoing[Any, Any]]
Outputs = Output | Iterable[Output] | None
"""Nothing, one output, or several, in order."""


def by_topic(results: Sequence[Any], to: str | None) -> dict[str, list[Outgoing[Any, Any]]]:
    """The outputs of several records by the topic they go to, in order. Raises :class:`UsageError`."""
    found: dict[str, list[Outgoing[Any, Any]]] = {}
    for result in results:
        for output in _listed(result):
            if isinstance(output, Outgoing):
                if to is None:
                    raise UsageError(
                        "an Outgoing has no topic of its own: pass to='topic', or return (topic, Outgoing)"
                    )
                found.setdefault(to, []).append(output)
            elif _is_placed(output):
                found.setdefault(output[0], []).append(output[1])
            else:
                raise UsageError(
                    f"the function returned a {type(output).__name__}: return Outgoing(value, key=…), "
                    "(topic, Outgoing(…)), several of these in a list, or None"
                )
    for topic in found:
        require_topic_name(topic)
    return found


def _listed(result: Any) -> Iterable[Any]:
    if result is None:
        return ()
    if isinstance(result, Outgoing | str | bytes) or _is_placed(result) or not isinstance(result, Iterable):
        return (result,)
    return result


def _is_placed(output: Any) -> bool:
    is_pair = isinstance(output, tuple) and len(output) == 2
    return is_pair and isinstance(output[0], str) and isinstance(output[1], Outgoing)


def by_log(records: Sequence[Record[Any, Any]]) -> dict[TopicPartition, list[Record[Any, Any]]]:
    """Records by their log, in order."""
    found: dict[TopicPartition, list[Record[Any, Any]]] = {}
    for record in records:
        found.setdefault(record.topic_partition, []).append(record)
    return found


def require_transform(
    options: ConsumerOptions, transactional_id: str | None, max_records: int, workers: int
) -> None:
    """Whether a transform can run exactly once with these."""
    if options.group is None:
        raise UsageError("transform stores the progress of a group: pass group='name' to bus.consumer")
    if options.isolation != "read_committed":
        raise UsageError(
            "transform must not read what may still be aborted: leave isolation='read_uncommitted' out"
        )
    if transactional_id is None:
        raise UsageError(
            "transform sends in transactions: pass transactional_id='…' to bus.producer, a name that "
            "stays the same when this instance is started again"
        )
    require_count("max_records", max_records)
    require_count("workers", workers)


def doubtful_fence(partition: TopicPartition, transactional_id: str | None, since_s: float) -> Fenced:
    """The error for a log that stays ours although another producer has taken its id."""
    return Fenced(
        f"{partition.topic}[{partition.partition}] is assigned here, and for {since_s:.0f} s another "
        f"producer has had its transactional id {transactional_id}-{partition.topic}-{partition.partition}: "
        "give each application an id of its own"
    )
