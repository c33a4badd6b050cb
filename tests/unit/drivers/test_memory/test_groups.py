"""Groups of in-memory consumers: rebalances, progress, fences, crashes."""

import pytest

from streamproof.errors import Closed, NotAssigned, TimedOut, Unreachable, UsageError
from streamproof.options import ProducerOptions
from streamproof.records import TopicSpec


def held(consumer):
    return [partition.partition for partition in consumer.assignment()]


def fill(world, count=3):
    for number in range(count):
        for partition in range(4):
            world.send(b"%d" % number, partition=partition).result(0)


def places(records):
    return sorted((record.partition, record.offset) for record in records)


def test_assignments_come_in_polls_only_and_before_the_first_record(world):
    fill(world)
    consumer, ear = world.consumer()
    assert ear.heard == []
    assert held(consumer) == []
    first = consumer.poll(1, 0)
    assert ear.heard == [("assign", 1, [0, 1, 2, 3])]
    assert len(first) == 1
    assert len(first + world.settle(consumer)) == 12


def test_a_newcomer_gets_logs_only_after_their_holder_was_asked(world, log):
    fill(world)
    first, ear = world.consumer()
    got = first.poll(1000, 0)
    assert len(got) == 12
    second, other_ear = world.consumer()
    assert second.poll(1000, 0) == []
    assert other_ear.heard == []  # nothing is free yet
    seen = []

    def during(partitions):
        seen.append((held(first), second.poll(1000, 0)))
        first.commit(dict.fromkeys(partitions, 3), 1)

    ear.during_revoke = during
    assert first.poll(1000, 0) == []
    assert seen == [([0, 1, 2, 3], [])]
    assert ear.heard[1:] == [("revoke", 1, [2, 3]), ("assign", 2, [0, 1])]
    assert second.poll(1000, 0) == []  # all of it was committed
    assert other_ear.heard == [("assign", 2, [2, 3])]
    assert other_ear.positions == {log(2): 3, log(3): 3}
    world.send(b"new", partition=3)
    assert [record.value for record in second.poll(1000, 0)] == [b"new"]


def test_leaving_hands_the_logs_over_and_progress_stays(world, log):
    fill(world)
    first, ear = world.consumer()
    second, _ = world.consumer()
    world.settle(first, second)
    first.commit({log(0): 2, log(1): 1}, 1)
    first.close(1)
    assert ear.heard[-1][0] == "revoke"
    again = second.poll(1000, 0)
    assert held(second) == [0, 1, 2, 3]
    assert places(again) == [(0, 2), (1, 1), (1, 2)]


def test_more_members_than_logs_leave_some_without(world):
    members = [world.consumer() for _ in range(6)]
    world.settle(*(consumer for consumer, _ in members))
    loads = sorted(len(consumer.assignment()) for consumer, _ in members)
    assert loads == [0, 0, 1, 1, 1, 1]
    idle = [ear for consumer, ear in members if not consumer.assignment()]
    assert all(ear.heard == [("assign", 6, [])] for ear in idle)


def test_groups_do_not_share(world):
    fill(world)
    one, _ = world.consumer("one")
    other, _ = world.consumer("other")
    assert len(one.poll(1000, 0)) == len(other.poll(1000, 0)) == 12


def test_two_topics_and_a_pattern_in_one_group(world):
    world.admin.create_topics([TopicSpec("alerts", 2)], 1)
    one, _ = world.consumer(topics=("readings", "alerts"))
    other, _ = world.consumer(pattern="al.*")
    world.settle(one, other)
    assert {partition.topic for partition in one.assignment()} == {"readings"}
    assert {partition.topic for partition in other.assignment()} == {"alerts"}
    world.admin.create_topics([TopicSpec("alarms", 1)], 1)
    world.send(b"fire", topic="alarms")
    assert [record.value for record in world.settle(one, other)] == [b"fire"]


def test_progress_survives_and_can_go_back(world, log):
    fill(world)
    consumer, _ = world.consumer()
    consumer.poll(1000, 0)
    consumer.commit({log(0): 3, log(1): 2}, 1)
    consumer.commit({log(0): 1}, 1)
    assert consumer.committed([log(0), log(1), log(2)], 1) == {log(0): 1, log(1): 2, log(2): None}
    consumer.close(1)
    consumer, _ = world.consumer(start="latest")
    assert places(consumer.poll(1000, 0)) == [(0, 1), (0, 2), (1, 2)]


def test_a_commit_needs_the_log(world, log):
    consumer, _ = world.consumer()
    with pytest.raises(NotAssigned):
        consumer.commit({log(0): 0}, 1)
    world.settle(consumer)
    with pytest.raises(NotAssigned, match=r"readings\[9\]"):
        consumer.commit({log(0): 0, log(9): 0}, 1)
    assert consumer.committed([log(0)], 1) == {log(0): None}
    with pytest.raises(UsageError, match="negative"):
        consumer.commit({log(0): -1}, 1)


def test_a_member_that_polls_too_late_is_fenced_and_comes_back(world, clock, log):
    fill(world)
    slow, ear = world.consumer(max_poll_interval_s=60)
    other, _ = world.consumer(max_poll_interval_s=600)
    world.settle(slow, other)
    mine = held(slow)
    clock.advance(61)
    assert len(other.poll(1000, 0)) == 6  # what the slow one had polled and not committed
    assert held(other) == [0, 1, 2, 3]
    with pytest.raises(NotAssigned):
        slow.commit({log(mine[0]): 1}, 1)
    slow.poll(1000, 0)
    assert ("lost", 2, mine) in ear.heard
    world.settle(other, slow)
    assert len(slow.assignment()) == len(other.assignment()) == 2
    generations = [generation for kind, generation, _ in ear.heard if kind == "assign"]
    assert generations == sorted(set(generations))


def test_a_member_that_was_late_alone_begins_again_at_its_progress(world, clock, log):
    fill(world)
    consumer, ear = world.consumer(max_poll_interval_s=60)
    consumer.poll(1000, 0)
    consumer.commit({log(0): 3, log(1): 3, log(2): 3, log(3): 1}, 1)
    clock.advance(61)
    assert places(world.settle(consumer)) == [(3, 1), (3, 2)]
    assert [kind for kind, _, _ in ear.heard] == ["assign", "lost", "assign"]


def test_a_crashed_member_holds_its_logs_until_its_session_ends(world, clock, log):
    fill(world)
    dying, ear = world.consumer(session_timeout_s=10)
    other, _ = world.consumer()
    assert len(world.settle(dying, other)) == 12
    told = list(ear.heard)
    dying.commit({log(0): 1}, 1)
    dying.crash()
    dying.crash()
    clock.advance(9.9)
    assert other.poll(1000, 0) == []
    assert world.admin.describe_groups(["g"], 1)[0].members[0].partitions
    clock.advance(0.2)
    assert places(other.poll(1000, 0)) == [(0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert ear.heard == told
    with pytest.raises(Closed):
        dying.poll(1, 0)
    assert len(world.cluster.waiters) == len(world.cluster.members) == 1


def test_a_crashed_driver_takes_all_its_clients_along(world, clock):
    doomed = world.cluster.driver()
    consumer = doomed.consumer(world.options())
    producer = doomed.producer(ProducerOptions())
    consumer.start(world.consumer("unused")[1], 1)
    doomed.crash()
    for late in (lambda: producer.flush(1), lambda: consumer.poll(1, 0)):
        with pytest.raises(Closed):
            late()
    assert not doomed._clients
    assert len(world.admin.describe_groups(["g"], 1)[0].members) == 1
    clock.advance(11)
    assert world.admin.describe_groups(["g"], 1)[0].members == ()


def test_a_deleted_topic_is_lost_and_its_progress_forgotten(world, log):
    world.admin.create_topics([TopicSpec("other", 1)], 1)
    fill(world)
    consumer, ear = world.consumer(topics=("readings", "other"))
    consumer.poll(1000, 0)
    consumer.commit({log(0): 3}, 1)
    world.admin.delete_topics(["readings"], 1)
    with pytest.raises(NotAssigned):
        consumer.commit({log(0): 3}, 1)
    consumer.poll(1000, 0)
    assert ear.heard[1:] == [("lost", 1, [0, 1, 2, 3]), ("assign", 2, [0])]
    world.admin.create_topics([TopicSpec("readings", 2)], 1)
    world.send(b"anew", partition=0)
    assert [record.value for record in consumer.poll(1000, 0)] == [b"anew"]
    assert consumer.committed([log(0)], 1) == {log(0): None}


def test_a_listener_that_raises_does_not_keep_the_log(world):
    first, ear = world.consumer()
    world.settle(first)

    def fail(partitions):
        raise RuntimeError("in the listener")

    ear.during_revoke = fail
    second, _ = world.consumer()
    with pytest.raises(RuntimeError, match="in the listener"):
        first.poll(1, 0)
    world.settle(second, first)
    assert held(first) == [0, 1]
    assert held(second) == [2, 3]


def test_a_listener_may_seek_what_it_was_just_given(world, log):
    fill(world)
    consumer, ear = world.consumer()
    told = ear.on_assign

    def on_assign(generation, partitions, positions):
        told(generation, partitions, positions)
        consumer.seek(partitions, 2, 1)

    ear.on_assign = on_assign
    assert places(consumer.poll(1000, 0)) == [(partition, 2) for partition in range(4)]


def test_a_listener_may_close_the_consumer(world):
    first, ear = world.consumer()
    world.settle(first)
    ear.during_revoke = lambda partitions: first.close(1)
    second, _ = world.consumer()
    with pytest.raises(Closed):
        first.poll(1, 0)
    world.settle(second)
    assert held(second) == [0, 1, 2, 3]


def test_groups_are_listed_and_described(world, log):
    assert world.admin.list_groups(1) == []
    [nobody] = world.admin.describe_groups(["g"], 1)
    assert (nobody.state, nobody.generation, nobody.members) == ("dead", None, ())
    one, _ = world.consumer(client_id="alpha")
    other, _ = world.consumer()
    assert world.admin.describe_groups(["g"], 1)[0].state == "reconciling"
    world.settle(one, other)
    [group] = world.admin.describe_groups(["g"], 1)
    assert (group.name, group.state, group.generation) == ("g", "stable", 2)
    assert [member.partitions for member in group.members] == [one.assignment(), other.assignment()]
    assert group.members[0].member_id.startswith("alpha")
    one.commit({log(0): 0}, 1)
    one.close(1)
    other.close(1)
    assert world.admin.list_groups(1) == ["g"]
    assert world.admin.describe_groups(["g"], 1)[0].state == "empty"


def test_a_group_without_progress_dies_but_its_generations_go_on(world):
    consumer, _ = world.consumer()
    world.settle(consumer)
    consumer.close(1)
    assert world.admin.list_groups(1) == []
    assert world.admin.describe_groups(["g"], 1)[0].state == "dead"
    consumer, ear = world.consumer()
    world.settle(consumer)
    assert ear.heard[0][1] > 2


def test_progress_of_a_deserted_group_is_dropped_after_a_week(world, clock, log):
    consumer, _ = world.consumer()
    world.settle(consumer)
    consumer.commit({log(0): 0}, 1)
    consumer.close(1)
    clock.advance(6.9 * 24 * 3600)
    assert world.admin.list_groups(1) == ["g"]
    clock.advance(0.2 * 24 * 3600)
    assert world.admin.list_groups(1) == []
    consumer, _ = world.consumer()
    world.settle(consumer)
    assert consumer.committed([log(0)], 1) == {log(0): None}


def test_progress_of_a_group_at_work_is_kept_however_old(world, clock, log):
    consumer, _ = world.consumer(max_poll_interval_s=10 * 24 * 3600)
    world.settle(consumer)
    consumer.commit({log(0): 0}, 1)
    clock.advance(9 * 24 * 3600)
    assert world.admin.list_groups(1) == ["g"]
    assert consumer.committed([log(0)], 1) == {log(0): 0}


def test_commit_faults(world, log):
    consumer, _ = world.consumer()
    world.settle(consumer)
    world.cluster.faults.reject("commit", Unreachable)
    with pytest.raises(Unreachable):
        consumer.commit({log(0): 0}, 1)
    assert consumer.committed([log(0)], 1) == {log(0): None}
    world.cluster.faults.lose_answer("commit")
    with pytest.raises(TimedOut) as unknown:
        consumer.commit({log(0): 0}, 1)
    assert not unknown.value.definite
    assert consumer.committed([log(0)], 1) == {log(0): 0}


def test_a_member_that_closes_while_cut_off_is_missed_only_later(world, clock):
    consumer, _ = world.consumer()
    world.settle(consumer)
    world.cluster.faults.cut()
    consumer.close(1)
    world.cluster.faults.heal()
    assert len(world.admin.describe_groups(["g"], 1)[0].members) == 1
    clock.advance(11)
    assert world.admin.describe_groups(["g"], 1)[0].members == ()


def test_closing_after_expiry_tells_lost_instead_of_revoke(world, clock):
    consumer, ear = world.consumer(max_poll_interval_s=60)
    world.settle(consumer)
    clock.advance(61)
    world.admin.list_groups(1)
    consumer.close(1)
    assert ear.heard[-1][0] == "lost"
