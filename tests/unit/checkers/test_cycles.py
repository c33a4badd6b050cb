"""Circles of transactions: write-cycle and circular-information-flow."""

import random

import numpy as np
import pytest

from streamproof_harness.checkers.cycles import circles, components, edges_of

FLOW, WRITES = "circular-information-flow", "write-cycle"


def begin(story, *txns):
    """Each transaction is begun by a process and a transactional id of its own name."""
    for txn in txns:
        story.began(txn, process=f"w{txn}", transactional_id=f"w{txn}")


def end(story, *txns):
    for txn in txns:
        story.ended(txn, process=f"w{txn}", transactional_id=f"w{txn}")


def send(story, txn, id_, place):
    return story.sent(id_, place, process=f"w{txn}", txn=txn)


class TestWriteRead:
    def test_two_that_saw_each_other(self, story):
        begin(story, "x", "y")
        a, b = send(story, "x", "a", "t/0/0"), send(story, "y", "b", "u/0/0")
        saw_b = story.polled("wx", "u/0/0 b", txn="x")
        saw_a = story.polled("wy", "t/0/0 a", txn="y")
        end(story, "x", "y")
        assert story.finds(FLOW) == 1
        example = story.check(FLOW).examples[0]
        assert example.text == (
            "G1c: 'x' before 'y' before 'x', for (1) 'y' polled 'a' from t/0 at offset 0, which 'x' sent; "
            "(2) 'x' polled 'b' from u/0 at offset 0, which 'y' sent"
        )
        assert example.events == (a - 1, b - 1, saw_b, saw_a)
        assert story.check(FLOW).evidence == 2

    def test_one_that_saw_the_other(self, story):
        begin(story, "x", "y")
        send(story, "x", "a", "t/0/0")
        send(story, "y", "b", "u/0/0")
        end(story, "x")
        story.polled("wy", "t/0/0 a", txn="y")
        end(story, "y")
        assert story.finds(FLOW) == 0
        assert story.check(FLOW).evidence == 1

    def test_a_circle_of_three_through_polls_that_name_nothing(self, story):
        names = "xyz"
        begin(story, *names)
        for number, name in enumerate(names):
            send(story, name, name + "1", f"t/{number}/0")
        for number, name in enumerate(names):
            before = (number + 1) % 3
            story.polled(f"w{name}", f"t/{before}/0 {names[before]}1")
        end(story, *names)
        assert story.finds(FLOW) == 1
        assert story.check(FLOW).examples[0].text.startswith("G1c: 'x' before 'z' before 'y' before 'x'")

    def test_two_circles_apart(self, story):
        for pair in ("ab", "cd"):
            begin(story, *pair)
            for name in pair:
                send(story, name, name + "1", f"{name}/0/0")
            for name, other in (pair, pair[::-1]):
                story.polled(f"w{name}", f"{other}/0/0 {other}1", txn=name)
            end(story, *pair)
        assert story.finds(FLOW) == 2

    @pytest.mark.parametrize("ending", ["aborted", "unknown"])
    def test_what_does_not_stand_counts_for_nothing(self, story, ending):
        begin(story, "x", "y")
        send(story, "x", "a", "t/0/0")
        send(story, "y", "b", "u/0/0")
        story.polled("wx", "u/0/0 b", txn="x")
        story.polled("wy", "t/0/0 a", txn="y", isolation="read_uncommitted")
        (story.aborted if ending == "aborted" else story.left_unknown)("x", "wx", "wx")
        end(story, "y")
        assert story.finds(FLOW) == 0

    def test_who_reads_uncommitted_may_see_anything(self, story):
        begin(story, "x", "y")
        send(story, "x", "a", "t/0/0")
        send(story, "y", "b", "u/0/0")
        story.polled("wx", "u/0/0 b", txn="x", isolation="read_uncommitted")
        story.polled("wy", "t/0/0 a", txn="y", isolation="read_uncommitted")
        end(story, "x", "y")
        assert story.finds(FLOW) == 0

    def test_what_a_transaction_sent_itself_is_no_circle(self, story):
        begin(story, "x")
        send(story, "x", "a", "t/0/0")
        story.polled("wx", "t/0/0 a", txn="x")
        end(story, "x")
        assert story.finds(FLOW) == 0

    def test_what_is_polled_after_the_end_is_the_next_transactions(self, story):
        begin(story, "x", "y")
        send(story, "x", "a", "t/0/0")
        send(story, "y", "b", "u/0/0")
        end(story, "x")
        story.polled("wy", "t/0/0 a")
        end(story, "y")
        story.polled("wx", "u/0/0 b")
        assert story.finds(FLOW) == 0

    def test_polls_since_the_last_commit_are_covered_though_they_came_before_the_begin(self, story):
        begin(story, "y")
        send(story, "y", "b", "u/0/0")
        story.polled("c1", "u/0/0 b")
        story.began("x", process="wx", transactional_id="wx", consumers=["c1"])
        send(story, "x", "a", "t/0/0")
        story.polled("wy", "t/0/0 a", txn="y")
        end(story, "x", "y")
        assert story.finds(FLOW) == 1

    def test_those_before_the_last_commit_are_not(self, story):
        begin(story, "y")
        send(story, "y", "b", "u/0/0")
        story.polled("c1", "u/0/0 b")
        story.committed("c1", "u/0/1")
        story.began("x", process="wx", transactional_id="wx", consumers=["c1"])
        send(story, "x", "a", "t/0/0")
        story.polled("wy", "t/0/0 a", txn="y")
        end(story, "x", "y")
        assert story.finds(FLOW) == 0

    def test_a_circle_by_the_order_of_a_process(self, story):
        """y saw what x sent, though its own process had ended it before it began x."""
        story.began("y", process="p", transactional_id="p")
        story.polled("p", "t/0/0 a", txn="y")
        story.ended("y", process="p", transactional_id="p")
        story.began("x", process="p", transactional_id="p")
        story.sent("a", "t/0/0", process="p", txn="x")
        story.ended("x", process="p", transactional_id="p")
        assert story.finds(FLOW) == 1
        text = story.check(FLOW).examples[0].text
        assert text.startswith("G1c-process: ")
        assert "p had ended 'y' before it began 'x'" in text

    def test_a_circle_by_the_order_in_time(self, story):
        begin(story, "y")
        story.polled("wy", "t/0/0 a", txn="y")
        send(story, "y", "b", "u/0/0")
        end(story, "y")
        begin(story, "x")
        send(story, "x", "a", "t/0/0")
        end(story, "x")
        assert story.finds(FLOW) == 1
        text = story.check(FLOW).examples[0].text
        assert text.startswith("G1c-realtime: ")
        assert "'y' stood before 'x' began" in text

    def test_severities(self, story):
        assert story.check(FLOW).severity == "reported"
        assert story.check(FLOW, "exactly-once").severity == "forbidden"
        assert story.check(WRITES, "exactly-once").severity == "reported"


class TestWriteWrite:
    def crossed(self, story):
        begin(story, "x", "y")
        self.told = [
            send(story, "x", "a", "t/0/0"),
            send(story, "y", "b", "t/0/1"),
            send(story, "y", "c", "u/0/0"),
            send(story, "x", "d", "u/0/1"),
        ]

    def test_each_stands_after_the_other_somewhere(self, story):
        self.crossed(story)
        end(story, "x", "y")
        assert story.finds(WRITES) == 1
        example = story.check(WRITES).examples[0]
        assert example.text == (
            "G0: 'x' before 'y' before 'x', for (1) in t/0 'b' of 'y' stands after 'a' of 'x'; "
            "(2) in u/0 'd' of 'x' stands after 'c' of 'y'"
        )
        assert example.events == tuple(self.told)
        assert story.finds(FLOW) == 0

    def test_one_of_them_aborted(self, story):
        self.crossed(story)
        end(story, "x")
        story.aborted("y", "wy", "wy")
        assert story.finds(WRITES) == 0

    def test_interleaved_in_one_log(self, story):
        begin(story, "x", "y")
        send(story, "x", "a", "t/0/0")
        send(story, "y", "b", "t/0/1")
        send(story, "x", "c", "t/0/2")
        end(story, "x", "y")
        assert story.finds(WRITES) == 1

    def test_records_of_no_transaction_join_nothing_and_part_nothing(self, story):
        begin(story, "x", "y")
        send(story, "x", "a", "t/0/0")
        story.sent("o", "t/0/1")
        send(story, "y", "b", "t/0/2")
        send(story, "y", "c", "u/0/0")
        story.sent("q", "u/0/1")
        send(story, "x", "d", "u/0/2")
        end(story, "x", "y")
        assert story.finds(WRITES) == 1

    def test_in_one_order_everywhere(self, story):
        begin(story, "x", "y")
        for number, log in enumerate(("t/0", "t/1", "u/0")):
            send(story, "x", f"x{number}", f"{log}/0")
            send(story, "y", f"y{number}", f"{log}/1")
        end(story, "x", "y")
        assert story.finds(WRITES) == 0
        assert story.check(WRITES).evidence == 1

    def test_a_circle_that_needs_a_read_has_a_name_of_its_own(self, story):
        begin(story, "x", "y")
        send(story, "x", "a", "t/0/0")
        send(story, "y", "b", "t/0/1")
        end(story, "y")
        story.polled("wx", "t/0/1 b", txn="x")
        end(story, "x")
        assert story.finds(WRITES) == 1
        assert story.finds(FLOW) == 0
        text = story.check(WRITES).examples[0].text
        assert text.startswith("G1c-ww: 'x' before 'y' before 'x'")

    def test_the_last_record_of_a_poll_is_read_after_those_before_it(self, story):
        """Of what x polled of t/0 only the last counts, as z's record stands before y's anyway."""
        begin(story, "x", "y", "z")
        send(story, "x", "a", "u/0/0")
        send(story, "z", "b", "u/0/1")
        send(story, "z", "c", "t/0/0")
        send(story, "y", "d", "t/0/1")
        end(story, "y", "z")
        story.polled("wx", "t/0/0 c", "t/0/1 d", txn="x")
        end(story, "x")
        assert story.finds(WRITES) == 1
        text = story.check(WRITES).examples[0].text
        assert text.startswith("G1c-ww: ")
        assert "'x' polled 'd'" in text

    def test_a_circle_by_the_order_of_a_process(self, story):
        story.began("x", process="p", transactional_id="p")
        story.sent("a", "t/0/1", process="p", txn="x")
        story.ended("x", process="p", transactional_id="p")
        story.began("y", process="p", transactional_id="p")
        story.sent("b", "t/0/0", process="p", txn="y")
        story.ended("y", process="p", transactional_id="p")
        assert story.finds(WRITES) == 1
        assert story.check(WRITES).examples[0].text.startswith("G0-process: ")

    def test_a_circle_by_the_order_in_time(self, story):
        begin(story, "x")
        send(story, "x", "a", "t/0/1")
        end(story, "x")
        begin(story, "y")
        send(story, "y", "b", "t/0/0")
        end(story, "y")
        assert story.finds(WRITES) == 1
        assert story.check(WRITES).examples[0].text.startswith("G0-realtime: ")

    def test_a_circle_over_reads_alone_is_none_of_writes(self, story):
        begin(story, "x", "y")
        send(story, "x", "a", "t/0/0")
        send(story, "y", "b", "t/0/1")
        story.polled("wx", "t/0/1 b", txn="x")
        story.polled("wy", "t/0/0 a", txn="y")
        end(story, "x", "y")
        assert story.finds(FLOW) == 1
        assert story.finds(WRITES) == 0

    def test_many_transactions_in_one_knot_are_one(self, story):
        names = [f"n{number}" for number in range(12)]
        begin(story, *names)
        for place in range(4):
            for number, name in enumerate(names):
                send(story, name, f"{name}-{place}", f"t/0/{place * len(names) + number}")
        end(story, *names)
        assert story.finds(WRITES) == 1
        text = story.check(WRITES).examples[0].text
        assert text.count(" before ") == len(names)


def graph(rng, nodes, count):
    source = np.array([rng.randrange(nodes) for _ in range(count)], np.int64)
    target = np.array([rng.randrange(nodes) for _ in range(count)], np.int64)
    return edges_of(source, target, 0, np.arange(count), np.arange(count))


def reachable(edges, nodes):
    """Who can come to whom, by plain squaring."""
    matrix = np.eye(nodes, dtype=bool)
    matrix[edges.source, edges.target] = True
    for _ in range(nodes):
        matrix |= (matrix.astype(int) @ matrix.astype(int)) > 0
    return matrix


@pytest.mark.parametrize("seed", range(60))
def test_components_and_circles_of_random_graphs(seed):
    rng = random.Random(seed)
    nodes = rng.randrange(2, 14)
    edges = graph(rng, nodes, rng.randrange(1, 3 * nodes))
    matrix = reachable(edges, nodes)
    together = matrix & matrix.T
    expected = {frozenset(np.flatnonzero(row).tolist()) for row in together if row.sum() > 1}
    assert {frozenset(c) for c in components(nodes, edges.source, edges.target)} == expected
    rank = np.array([rng.randrange(5) for _ in range(nodes)], np.int64)
    found = circles(edges, rank, np.ones(nodes, np.bool_))
    assert {frozenset(circle.component) for circle in found} == expected
    for circle in found:
        steps = [(int(edges.source[row]), int(edges.target[row])) for row in circle.rows]
        following = [*steps[1:], steps[0]]
        assert all(one[1] == other[0] for one, other in zip(steps, following, strict=True))
        assert {node for node, _ in steps} <= set(circle.component)
        assert len({node for node, _ in steps}) == len(steps)
        assert len(steps) == shortest(edges, circle.component)


def shortest(edges, component):
    """The length of the shortest circle in a component, by looking at all walks of each length."""
    adjacent = np.zeros((max(component) + 1,) * 2, int)
    for source, target in zip(edges.source.tolist(), edges.target.tolist(), strict=True):
        if source in component and target in component:
            adjacent[source, target] = 1
    walks = adjacent
    for length in range(1, len(component) + 1):
        if np.trace(walks) > 0:
            return length
        walks = np.minimum(walks @ adjacent, 1)
    raise AssertionError("no circle")


def test_a_closed_node_is_left_out():
    edges = edges_of(np.array([0, 1]), np.array([1, 0]), 0, np.arange(2), np.arange(2))
    assert len(circles(edges, np.arange(2), np.ones(2, np.bool_))) == 1
    assert circles(edges, np.arange(2), np.array([True, False])) == []


def test_a_long_chain_needs_no_recursion():
    count = 50_000
    source = np.arange(count)
    ring = edges_of(source, (source + 1) % count, 0, source, source)
    (circle,) = circles(ring, source, np.ones(count, np.bool_))
    assert len(circle.rows) == len(circle.component) == count
