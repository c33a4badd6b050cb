"""Rebalances, as the library tells them and as the listener hears them; commits around them."""

import threading

import pytest

from streamproof.errors import ConfigurationError, Fenced, NotAssigned, StreamproofError, Unsupported
from streamproof.records import AtTime

BOUND_S = 30.0


@pytest.mark.parametrize(
    "native",
    [
        {},
        {"partition.assignment.strategy": "range"},
        {"group.protocol": "consumer"},
    ],
    ids=["cooperative", "eager", "kip-848"],
)
def test_the_listener_hears_whole_assignments(place, native):
    topic, group = place.topic(4), place.name("group")
    logs = place.logs(topic, 4)
    for log in logs:
        place.fill(topic, 5, partition=log.partition)
    first_ear, second_ear = place.new_ear(), place.new_ear()
    first = place.consumer(topic, group=group, ear=first_ear, native=native)
    place.join(first, logs=4)
    assert first.assignment() == first_ear.said("assign")[-1][1] == logs
    assert first_ear.positions == dict.fromkeys(logs, 0)

    first_ear.during_revoke = lambda gone: first.commit(dict.fromkeys(gone, 5), BOUND_S)
    second = place.consumer(topic, group=group, ear=second_ear, native=native)
    place.join(first, second, logs=4)
    assert first.assignment() == first_ear.said("assign")[-1][1]
    assert second.assignment() == second_ear.said("assign")[-1][1]
    assert sorted(first.assignment() + second.assignment()) == list(logs)
    assert first_ear.said("lost") == second_ear.said("lost") == []
    # What the first one stored while its logs went is where the second one begins.
    assert {second_ear.positions[log] for log in second.assignment()} == {5}
    for ear in (first_ear, second_ear):
        generations = [generation for _, generation, _ in ear.heard]
        assert None not in generations
        assert generations == sorted(generations)


def test_closing_gives_the_logs_up_in_an_orderly_way(place, ear):
    topic, group = place.topic(2), place.name("group")
    logs = place.logs(topic, 2)
    caller = threading.get_ident()
    threads = []

    def store(gone):
        threads.append(threading.get_ident())
        consumer.commit(dict.fromkeys(gone, 2), BOUND_S)

    for log in logs:
        place.fill(topic, 3, partition=log.partition)
    consumer = place.consumer(topic, group=group, ear=ear)
    place.join(consumer, logs=2)
    ear.during_revoke = store
    consumer.close(BOUND_S)
    assert [partitions for _, partitions in ear.said("revoke")] == [logs]
    assert threads == [caller]
    assert consumer.assignment() == ()
    [description] = place.admin.describe_groups([group], BOUND_S)
    assert (description.state, description.members) == ("empty", ())
    follower = place.consumer(topic, group=group, ear=ear)
    place.join(follower, logs=2)
    assert follower.committed(logs, BOUND_S) == dict.fromkeys(logs, 2)


def test_closing_ends_while_an_assignment_waits_to_be_told(place, ear):
    # librdkafka by itself never ends this close.
    topic, group = place.topic(2), place.name("group")
    consumer = place.consumer(topic, group=group, ear=ear)
    place.wait_for(
        lambda: place.admin.describe_groups([group], BOUND_S)[0].state == "stable", "the group to be stable"
    )
    consumer.close(BOUND_S)
    assert ear.heard == []
    assert "streamproof-kafka-close" not in {thread.name for thread in threading.enumerate()}


def test_a_member_that_does_not_poll_loses_its_logs(place):
    topic, group = place.topic(1), place.name("group")
    logs = place.logs(topic, 1)
    slow_ear = place.new_ear()
    slow = place.consumer(topic, group=group, ear=slow_ear, max_poll_interval_s=6.0)
    place.join(slow, logs=1)
    other = place.consumer(topic, group=group)
    place.wait_for(
        lambda: other.assignment() == logs, "the other member to take over", lambda: other.poll(1, 0.1)
    )
    with pytest.raises(NotAssigned):
        slow.commit({logs[0]: 1}, BOUND_S)
    place.wait_for(lambda: slow_ear.said("lost"), "the loss to be told", lambda: slow.poll(1, 0.1))
    assert [partitions for _, partitions in slow_ear.said("lost")] == [logs]
    assert slow_ear.said("revoke") == []
    with pytest.raises(NotAssigned):
        slow.commit({logs[0]: 1}, BOUND_S)
    assert other.committed(logs, BOUND_S) == {logs[0]: None}


def test_a_commit_keeps_what_was_prefetched(place):
    topic, group = place.topic(1), place.name("group")
    place.fill(topic, 200)
    consumer = place.consumer(topic, group=group)
    offsets = []
    while len(offsets) < 200:
        records = place.read(consumer, 1)
        offsets.extend(record.offset for record in records)
        consumer.commit({records[-1].topic_partition: offsets[-1] + 1}, BOUND_S)
        assert consumer.position(records[-1].topic_partition, BOUND_S) == offsets[-1] + 1
    assert offsets == list(range(200))
    assert consumer.committed(consumer.assignment(), BOUND_S) == {place.logs(topic, 1)[0]: 200}


def test_a_commit_of_a_log_that_is_not_held_is_refused(place):
    topic, group = place.topic(2), place.name("group")
    consumer = place.consumer(topic, group=group)
    for log in place.logs(topic, 1):
        with pytest.raises(NotAssigned):
            consumer.commit({log: 1}, BOUND_S)
    with pytest.raises(Unsupported):
        consumer.ack([])
    with pytest.raises(Unsupported):
        place.consumer(topic).commit({}, BOUND_S)


def test_a_second_member_with_the_same_instance_id_fences_the_first(place):
    topic, group = place.topic(1), place.name("group")
    native = {"group.instance.id": "one"}
    first = place.consumer(topic, group=group, native=native)
    place.join(first, logs=1)
    second = place.consumer(topic, group=group, native=native)

    def both():
        second.poll(1, 0.1)
        first.poll(1, 0.1)

    with pytest.raises(Fenced):
        place.wait_for(lambda: False, "the first to be fenced", both)


@pytest.mark.parametrize(
    "options",
    [
        {"session_timeout_s": 0.5, "max_poll_interval_s": 10.0},
        {"native": {"partition.assignment.strategy": "range"}},
    ],
    ids=["session too short", "other strategy"],
)
def test_a_group_that_cannot_be_joined_says_why(place, options):
    topic, group = place.topic(1), place.name("group")
    member = place.consumer(topic, group=group)
    place.join(member, logs=1)
    wrong = place.consumer(topic, group=group, **options)
    with pytest.raises(ConfigurationError):
        place.wait_for(lambda: False, "the refusal", lambda: (wrong.poll(1, 0.1), member.poll(1, 0.1)))


def test_an_error_of_the_listener_is_raised_by_the_poll_and_loses_nothing(place, ear):
    topic, group = place.topic(1), place.name("group")
    place.fill(topic, 5)

    class Failing(type(ear)):
        def on_assign(self, generation, partitions, positions):
            super().on_assign(generation, partitions, positions)
            if len(self.heard) == 1:
                raise ZeroDivisionError("the application's")

    consumer = place.consumer(topic, group=group, ear=Failing())
    records, failures = [], []

    def poll():
        try:
            records.extend(consumer.poll(10, 0.1))
        except ZeroDivisionError as failure:
            failures.append(failure)

    place.wait_for(lambda: len(records) == 5 and failures, "five records and the failure", poll)
    assert [record.offset for record in records] == list(range(5))


def test_a_pattern_is_pythons_and_matches_whole_names(place, ear):
    prefix, group = place.name("p"), place.name("group")
    for suffix in ("-1", "-22", "-x", "-1-more"):
        place.create(prefix + suffix)
    consumer = place.consumer(pattern=rf"{prefix}-\d+?", group=group, ear=ear)
    place.join(consumer, logs=2)
    assert [log.topic for log in consumer.assignment()] == [f"{prefix}-1", f"{prefix}-22"]
    place.create(prefix + "-333")
    place.wait_for(lambda: len(consumer.assignment()) == 3, "the new topic", lambda: consumer.poll(1, 0.1))
    place.admin.delete_topics([f"{prefix}-22"], BOUND_S)
    place.wait_for(lambda: len(consumer.assignment()) == 2, "the topic to go", lambda: consumer.poll(1, 0.1))


@pytest.mark.parametrize("start", ["earliest", "latest", "time"])
def test_a_new_group_starts_where_the_options_say(place, start, ear):
    topic, group = place.topic(1), place.name("group")
    [log] = place.logs(topic, 1)
    receipts = place.fill(topic, 3)
    places = {
        "earliest": ("earliest", 0),
        "latest": ("latest", 3),
        "time": (AtTime(receipts[0].timestamp_ms + 3_600_000), 3),
    }
    chosen, expected = places[start]
    consumer = place.consumer(topic, group=group, start=chosen, ear=ear)
    records = place.join(consumer, logs=1)
    assert ear.positions == {log: expected}
    place.fill(topic, 1)
    records += place.read(consumer, 4 - expected - len(records))
    assert [record.offset for record in records] == list(range(expected, 4))
    consumer.commit({log: 2}, BOUND_S)
    consumer.close(BOUND_S)
    follower = place.consumer(topic, group=group, start="latest", ear=ear)
    records = place.join(follower, logs=1)
    records += place.read(follower, 2 - len(records))
    assert [record.offset for record in records] == [2, 3]


def test_options_that_the_driver_relies_on_cannot_be_overruled(place):
    for name in ("enable.auto.commit", "auto.offset.reset", "group.id"):
        with pytest.raises(StreamproofError, match=name):
            place.consumer(place.topic(), group="g", native={name: "x"})
