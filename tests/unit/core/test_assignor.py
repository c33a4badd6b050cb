"""The assignor: everything assigned once, as fair as can be, and as little moved as that allows."""

import itertools
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from streamproof.core.assignor import assign
from streamproof.records import TopicPartition

MEMBERS = [f"m{number}" for number in range(6)]
TOPICS = ["a", "b", "c"]

counts = st.dictionaries(st.sampled_from(TOPICS), st.integers(1, 7))
subscriptions = st.dictionaries(
    st.sampled_from(MEMBERS), st.frozensets(st.sampled_from([*TOPICS, "missing"])), min_size=1
)
former = st.dictionaries(
    st.builds(TopicPartition, st.sampled_from([*TOPICS, "gone"]), st.integers(0, 9)),
    st.sampled_from([*MEMBERS, "left"]),
)


def logs_of(partition_counts: dict[str, int], topics: frozenset[str] | None = None) -> set[TopicPartition]:
    return {
        TopicPartition(topic, partition)
        for topic, count in partition_counts.items()
        if topics is None or topic in topics
        for partition in range(count)
    }


@given(subscriptions, counts, former)
def test_every_log_somebody_reads_has_exactly_one_owner_who_reads_it(subscriptions, partition_counts, former):
    assigned = assign(subscriptions, partition_counts, former)
    assert assigned.keys() == subscriptions.keys()
    owners = Counter(log for logs in assigned.values() for log in logs)
    wanted = set().union(*(logs_of(partition_counts, topics) for topics in subscriptions.values()))
    assert owners == Counter(wanted)
    for member, logs in assigned.items():
        assert logs <= logs_of(partition_counts, subscriptions[member])


@given(subscriptions, counts, former)
def test_the_same_input_gives_the_same_answer_in_any_order(subscriptions, partition_counts, former):
    backwards = dict(reversed(subscriptions.items()))
    shuffled = dict(sorted(former.items(), key=lambda item: str(item)[::-1]))
    topics = dict(reversed(partition_counts.items()))
    assert assign(subscriptions, partition_counts, former) == assign(backwards, topics, shuffled)


@given(st.sets(st.sampled_from(MEMBERS), min_size=1), counts, former)
def test_equal_subscribers_differ_by_one_at_most_and_keep_what_balance_allows(
    members, partition_counts, former
):
    everything = frozenset(TOPICS)
    assigned = assign(dict.fromkeys(members, everything), partition_counts, former)
    logs = logs_of(partition_counts)
    loads = [len(mine) for mine in assigned.values()]
    assert max(loads) - min(loads) <= 1
    had = Counter(former[log] for log in logs if former.get(log) in members)
    fewest, with_one_more = divmod(len(logs), len(members))
    possible = sorted((had[member] for member in members), reverse=True)
    keepable = sum(min(have, fewest) for have in possible)
    keepable += min(with_one_more, sum(have > fewest for have in possible))
    kept = sum(former.get(log) == member for member, mine in assigned.items() for log in mine)
    assert kept == keepable


def cost(loads: list[int]) -> int:
    return sum(load * load for load in loads)


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.sampled_from(MEMBERS[:3]), st.frozensets(st.sampled_from("ab"), min_size=1), min_size=1
    ),
    st.dictionaries(st.sampled_from("ab"), st.integers(1, 3)),
    former,
)
def test_unequal_subscribers_are_as_balanced_as_any_assignment(subscriptions, partition_counts, former):
    assigned = assign(subscriptions, partition_counts, former)
    eligible = [
        [member for member, topics in subscriptions.items() if log.topic in topics]
        for log in logs_of(partition_counts)
    ]
    choices = itertools.product(*(members for members in eligible if members))
    best = min(cost([choice.count(member) for member in subscriptions]) for choice in choices)
    assert cost([len(logs) for logs in assigned.values()]) == best


def test_a_chain_of_moves_reaches_who_has_nothing() -> None:
    former = {TopicPartition("x", 0): "A", TopicPartition("x", 1): "A", TopicPartition("y", 0): "B"}
    subscriptions = {"A": frozenset("x"), "B": frozenset("xy"), "C": frozenset("y")}
    assigned = assign(subscriptions, {"x": 2, "y": 1}, former)
    assert [len(logs) for logs in assigned.values()] == [1, 1, 1]


def test_a_large_group_takes_a_newcomer_in_without_moving_more_than_its_share() -> None:
    members = {f"m{number:03}": frozenset("t") for number in range(100)}
    before = assign(members, {"t": 1000}, {})
    owner = {log: member for member, logs in before.items() for log in logs}
    after = assign(members | {"new": frozenset("t")}, {"t": 1000}, owner)
    moved = sum(owner[log] != member for member, logs in after.items() for log in logs)
    assert moved == len(after["new"]) == 9
