"""Topics and groups as the admin verbs describe them, for both colours; pure."""

from collections.abc import Sequence

from streamproof.capabilities import Capabilities
from streamproof.core.membership import GroupState
from streamproof.drivers.rabbitmq.catalogue import TopicCreated
from streamproof.drivers.rabbitmq.subscription import split_inner
from streamproof.errors import Unsupported
from streamproof.records import GroupDescription, MemberDescription, TopicDescription, TopicSpec

_NAMED = 5


def capabilities_of(has_log: bool) -> Capabilities:
    """What RabbitMQ can do here. A publish is never sent again, so it cannot be doubled by that."""
    return Capabilities(
        acknowledgement="message",
        has_send_offsets=False,
        has_group_offsets=False,
        has_generations=True,
        can_seek=False,
        can_seek_time=False,
        can_replay=has_log,
        can_match_pattern=True,
        can_retain=has_log,
        can_compact=False,
        can_transact=False,
        has_idempotence=True,
        has_one_order=False,
    )


def require_possible(spec: TopicSpec, has_log: bool) -> None:
    """Refuse what a topic on RabbitMQ cannot be."""
    if spec.is_compacted:
        raise Unsupported("RabbitMQ cannot compact a stream: keep the last value of each key in a store")
    if not has_log and (spec.retention_ms is not None or spec.retention_bytes is not None):
        raise Unsupported(
            "without a log there is nothing to retain: leave retention out, or connect with log=on"
        )


def describe_topic(topic: TopicCreated) -> TopicDescription:
    """A topic as it was defined."""
    return TopicDescription(topic.name, topic.partitions, topic.retention_ms, topic.retention_bytes)


def dead_group(name: str) -> GroupDescription:
    """A group that is not there."""
    return GroupDescription(name, "dead", None, ())


def describe_group(name: str, state: GroupState) -> GroupDescription:
    """A group as its log says: ``empty``, ``stable``, or ``rebalancing`` while logs change hands."""
    word = "empty" if not state.members else "stable" if state.is_settled else "rebalancing"
    members = [
        MemberDescription(
            member,
            tuple(
                sorted(split_inner(log)[0] for log, tenure in state.owners.items() if tenure.member == member)
            ),
        )
        for member in sorted(state.members)
    ]
    return GroupDescription(name, word, state.generation, members)


def name_some(names: Sequence[str]) -> str:
    """Topics in an error: the first few by name."""
    shown = ", ".join(repr(name) for name in names[:_NAMED])
    more = len(names) - _NAMED
    return f"topics {shown}" + (f" and {more} more" if more > 0 else "")
