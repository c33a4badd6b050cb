"""Who reads what in a group: balanced, sticky, and the same answer from the same input everywhere.

The assignment keeps each log with its former owner as far as balance allows, gives free logs to
the members with the least, then moves logs along the shortest chains of members that make it
fairer, until none is left. Without such a chain an assignment of logs to the members that
subscribe to them is as balanced as it can be (semi-matchings: Harvey, Ladner, Lovász, Tamir,
"Semi-Matchings for Bipartite Graphs and Load Balancing", 2003); with equal subscriptions that
means: no two members differ by more than one log.
"""

from bisect import insort
from collections import deque
from collections.abc import Mapping, Set
from heapq import heapify, heapreplace

from streamproof.records import TopicPartition

Owned = dict[str, dict[str, list[int]]]
"""Member → topic → partitions, sorted."""


def assign(
    subscriptions: Mapping[str, Set[str]],
    partition_counts: Mapping[str, int],
    former: Mapping[TopicPartition, str],
) -> dict[str, frozenset[TopicPartition]]:
    """Give every partition of every subscribed topic to exactly one of its subscribers.

    ``former`` is the owner of each log until now; members, topics or partitions in it that are
    gone are ignored.
    """
    owned: Owned = {member: {} for member in sorted(subscriptions)}
    loads = dict.fromkeys(owned, 0)
    subscribers: dict[str, list[str]] = {}
    for member in owned:
        for topic in subscriptions[member]:
            if topic in partition_counts:
                subscribers.setdefault(topic, []).append(member)
    free = _keep_former(owned, loads, subscriptions, partition_counts, subscribers, former)
    for topic in sorted(free, key=lambda name: (len(subscribers[name]), name)):
        _give_out(topic, free[topic], subscribers[topic], owned, loads)
    while chain := _fairer_chain(owned, loads, subscribers):
        _shift(chain, owned, loads)
    return {
        member: frozenset(
            TopicPartition(topic, partition)
            for topic, partitions in topics.items()
            for partition in partitions
        )
        for member, topics in owned.items()
    }


def _keep_former(
    owned: Owned,
    loads: dict[str, int],
    subscriptions: Mapping[str, Set[str]],
    partition_counts: Mapping[str, int],
    subscribers: Mapping[str, list[str]],
    former: Mapping[TopicPartition, str],
) -> dict[str, list[int]]:
    """Leave logs where they were; what is free, by topic."""
    free: dict[str, list[int]] = {}
    for topic in subscribers:
        for partition in range(partition_counts[topic]):
            owner = former.get(TopicPartition(topic, partition))
            if owner is not None and topic in subscriptions.get(owner, ()):
                owned[owner].setdefault(topic, []).append(partition)
                loads[owner] += 1
            else:
                free.setdefault(topic, []).append(partition)
    return free


def _give_out(
    topic: str, partitions: list[int], members: list[str], owned: Owned, loads: dict[str, int]
) -> None:
    """Each to the member that has the least then; among equals, the first by name."""
    heap = [(loads[member], member) for member in members]
    heapify(heap)
    for partition in partitions:
        load, member = heap[0]
        heapreplace(heap, (load + 1, member))
        insort(owned[member].setdefault(topic, []), partition)
        loads[member] = load + 1


Chain = list[tuple[str, str, str]]
"""Steps (from member, topic, to member): one log of that topic moves in each."""


def _fairer_chain(owned: Owned, loads: dict[str, int], subscribers: Mapping[str, list[str]]) -> Chain | None:
    """A shortest chain from a member to one that has at least two logs fewer."""
    least = min(loads.values(), default=0)
    for source in sorted(loads, key=lambda member: (-loads[member], member)):
        if loads[source] - least < 2:
            return None
        steps = _reach(source, owned, subscribers)
        target = min(steps, key=lambda member: (loads[member], member), default=source)
        if loads[source] - loads[target] >= 2:
            chain = [steps[target]]
            while chain[-1][0] != source:
                chain.append(steps[chain[-1][0]])
            return chain
    return None


def _reach(
    source: str, owned: Owned, subscribers: Mapping[str, list[str]]
) -> dict[str, tuple[str, str, str]]:
    """The last step of a shortest chain from ``source`` to each member that one leads to."""
    steps: dict[str, tuple[str, str, str]] = {}
    walked: set[str] = set()
    queue = deque((source,))
    while queue:
        member = queue.popleft()
        for topic in sorted(owned[member]):
            if topic in walked or not owned[member][topic]:
                continue
            walked.add(topic)
            for other in subscribers[topic]:
                if other != source and other not in steps:
                    steps[other] = (member, topic, other)
                    queue.append(other)
    return steps


def _shift(chain: Chain, owned: Owned, loads: dict[str, int]) -> None:
    for giver, topic, taker in chain:
        insort(owned[taker].setdefault(topic, []), owned[giver][topic].pop())
    loads[chain[-1][0]] -= 1
    loads[chain[0][2]] += 1
