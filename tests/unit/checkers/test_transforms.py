"""Transforming: abort-without-rewind, transform-not-atomic, transform-not-exactly-once."""

import pytest

REWIND, ATOMIC, ONCE = "abort-without-rewind", "transform-not-atomic", "transform-not-exactly-once"


@pytest.fixture
def five(story):
    for number, id_ in enumerate("abcde"):
        story.sent(id_, f"t/0/{number}")
    return story


def output(story, id_, place, *sources, txn="x", process="w1", **fields):
    return story.sent(id_, place, process=process, txn=txn, from_=list(sources), **fields)


class TestAbortWithoutRewind:
    def aborted(self, five, **begin):
        five.assign("w1", "t/0", generation=1)
        five.began("x", **{"consumers": ["w1"], **begin})
        self.polled = five.polled("w1", "t/0/1 b", "t/0/2 c")
        self.end = five.aborted("x")
        return five

    @pytest.mark.parametrize("record", ["t/0/1 b", "t/0/0 a"])
    def test_the_next_poll_goes_back(self, five, record):
        self.aborted(five).polled("w1", record)
        assert five.finds(REWIND) == 0
        assert five.check(REWIND).evidence == 1

    @pytest.mark.parametrize("record", ["t/0/2 c", "t/0/3 d"])
    def test_the_next_poll_goes_on(self, five, record):
        polled = self.aborted(five).polled("w1", record)
        assert five.finds(REWIND) == 1
        example = five.check(REWIND).examples[0]
        assert example.events == (self.polled, self.end, polled)
        assert (
            "transaction 'x' polled 'b' from t/0 at offset 1 and was aborted, but w1 went on" in example.text
        )

    def test_empty_polls_are_no_next_poll(self, five):
        self.aborted(five).polled("w1")
        five.polled("w1", "t/0/3 d")
        assert five.finds(REWIND) == 1

    @pytest.mark.parametrize(
        "loss",
        [
            lambda story: (story.revoke("w1", "t/0"), story.assign("w1", "t/0", generation=2)),
            lambda story: (story.revoke("w1", "t/0", op="lost"), story.assign("w1", "t/0")),
            lambda story: (story.assign("w1", "t/1"), story.assign("w1", "t/0")),
            lambda story: (story.note("w1", "crash", role="worker"), story.assign("w1", "t/0")),
            lambda story: (story.did("w1", "close"), story.assign("w1", "t/0")),
        ],
    )
    def test_who_loses_the_log_begins_elsewhere(self, five, loss):
        loss(self.aborted(five))
        five.polled("w1", "t/0/3 d")
        assert five.finds(REWIND) == 0

    def test_an_assignment_that_keeps_the_log_changes_nothing(self, five):
        self.aborted(five).assign("w1", "t/0", "t/1", generation=2)
        five.polled("w1", "t/0/3 d")
        assert five.finds(REWIND) == 1

    @pytest.mark.parametrize("end", ["committed", "unknown", "none"])
    def test_only_what_certainly_aborted_is_given_back(self, five, end):
        five.began("x", consumers=["w1"])
        five.polled("w1", "t/0/1 b")
        if end == "committed":
            five.ended("x")
        elif end == "unknown":
            five.left_unknown("x")
        five.began("y", consumers=["w1"])
        five.polled("w1", "t/0/2 c")
        assert five.finds(REWIND) == 0

    def test_a_commit_that_failed_is_an_abort(self, five):
        five.began("x", consumers=["w1"])
        five.polled("w1", "t/0/1 b")
        five.fail(five.ending("x", True))
        five.polled("w1", "t/0/2 c")
        assert five.finds(REWIND) == 1

    def test_polls_before_the_begin_belong_to_it_since_the_last_commit(self, five):
        five.polled("w1", "t/0/0 a")
        five.committed("w1", "t/0/1")
        five.polled("w1", "t/0/1 b")
        five.began("x", consumers=["w1"])
        five.aborted("x")
        five.polled("w1", "t/0/1 b")
        assert five.finds(REWIND) == 0
        five.began("y", consumers=["w1"])
        five.aborted("y")
        five.polled("w1", "t/0/2 c")
        assert five.finds(REWIND) == 1

    def test_polls_that_name_it_belong_to_it(self, five):
        five.began("x", process="p1")
        five.polled("c1", "t/0/1 b", txn="x")
        five.aborted("x", process="p1")
        five.polled("c1", "t/0/2 c")
        assert five.finds(REWIND) == 1

    def test_a_consumer_that_it_does_not_cover_goes_on(self, five):
        self.aborted(five)
        five.polled("w1", "t/0/1 b")
        five.polled("c2", "t/0/0 a", group="h")
        five.began("y", consumers=["w1"])
        five.polled("c2", "t/0/1 b", group="h")
        five.aborted("y")
        five.polled("c2", "t/0/2 c", group="h")
        assert five.finds(REWIND) == 0

    def test_a_producer_that_reads_beside_its_transactions_goes_on(self, five):
        self.aborted(five, consumers=[]).polled("w1", "t/0/3 d")
        assert five.finds(REWIND) == 0

    def test_where_it_was_rewound_before_the_abort_the_highest_start_counts(self, five):
        five.began("x", consumers=["w1"])
        five.polled("w1", "t/0/2 c")
        five.sought("w1", "t/0/0")
        five.polled("w1", "t/0/0 a")
        five.aborted("x")
        five.polled("w1", "t/0/2 c")
        assert five.finds(REWIND) == 0

    def test_a_poll_under_way_may_have_been_before_or_after_the_rewind(self, five):
        five.began("x", consumers=["w1"])
        five.polled("w1", "t/0/0 a")
        end = five.ending("x", False)
        poll = five.invoke("w1", "poll", group="g")
        five.ok(end)
        five.ok(poll, records=[["t", 0, 0, "a"]])
        five.polled("w1", "t/0/1 b")
        assert five.finds(REWIND) == 0

    def test_a_poll_under_way_that_went_on_is_not_the_next_one(self, five):
        five.began("x", consumers=["w1"])
        five.polled("w1", "t/0/0 a")
        end = five.ending("x", False)
        poll = five.invoke("w1", "poll", group="g")
        five.ok(end)
        five.ok(poll, records=[["t", 0, 1, "b"]])
        five.polled("w1", "t/0/0 a")
        assert five.finds(REWIND) == 0

    def test_what_was_trimmed_need_not_be_read_again(self, five):
        self.aborted(five).trimmed("t/0/3")
        five.polled("w1", "t/0/3 d")
        assert five.finds(REWIND) == 0

    def test_what_was_done_from_memory_and_committed_need_not_either(self, five):
        self.aborted(five)
        five.began("y", consumers=["w1"])
        five.committed("w1", "t/0/3", txn="y", generation=1)
        five.ended("y")
        five.polled("w1", "t/0/3 d")
        assert five.finds(REWIND) == 0

    def test_of_transactions_at_once_each_takes_back_what_it_names(self, story):
        """One producer for each input partition, and one consumer of them all."""
        for number in range(3):
            story.sent(f"a{number}", f"t/0/{number}")
            story.sent(f"b{number}", f"t/1/{number}", key="l")
        story.began("x", transactional_id="w-0", consumers=["w1"])
        story.began("y", transactional_id="w-1", consumers=["w1"])
        story.polled("w1", "t/0/0 a0", "t/1/0 b0")
        story.committed("w1", "t/0/1", txn="x")
        output(story, "o", "u/0/0", "b0", txn="y")
        story.aborted("x", transactional_id="w-0")
        story.ended("y", transactional_id="w-1")
        story.polled("w1", "t/1/1 b1")
        assert story.finds(REWIND) == 0
        story.polled("w1", "t/0/1 a1")
        assert story.finds(REWIND) == 1

    def test_each_log_by_itself(self, story):
        for partition in range(3):
            story.sent(f"a{partition}", f"t/{partition}/0", key=str(partition))
            story.sent(f"b{partition}", f"t/{partition}/1", key=str(partition))
        story.began("x", consumers=["w1"])
        story.polled("w1", "t/0/0 a0", "t/1/0 a1", "t/2/0 a2")
        story.aborted("x")
        story.polled("w1", "t/0/0 a0", "t/1/1 b1", "t/2/1 b2")
        assert story.finds(REWIND) == 2


class TestAtomic:
    """w1 makes o of a and b, and commits with it."""

    def transformed(self, five, commit="t/0/2", **fields):
        five.note("w1", "open", role="worker", group="g", reset="earliest")
        five.assign("w1", "t/0", generation=1)
        five.began("x", consumers=["w1"])
        five.polled("w1", "t/0/0 a", "t/0/1 b")
        output(five, "o", "u/0/0", "a")
        output(five, "q", "u/0/1", "b")
        if commit is not None:
            five.committed("w1", commit, generation=1, **{"txn": "x", **fields})
        return five

    def seen(self, five):
        return five.polled("v", "u/0/0 o", "u/0/1 q", group="v")

    def handed_over(self, five, *records):
        five.note("w1", "crash", role="worker")
        five.note("w2", "open", role="worker", group="g", reset="earliest")
        five.assign("w2", "t/0", generation=2)
        return five.polled("w2", *records)

    def test_both_are_there(self, five):
        self.transformed(five).ended("x")
        self.seen(five)
        self.handed_over(five, "t/0/2 c")
        five.drained()
        assert five.finds(ATOMIC) == 0
        assert five.check(ATOMIC).evidence == 1

    def test_neither_is(self, five):
        self.transformed(five).aborted("x")
        self.handed_over(five, "t/0/0 a")
        five.polled("v", group="v")
        five.drained()
        assert five.finds(ATOMIC) == 0

    def test_seen_and_its_progress_lost(self, five):
        self.transformed(five).ended("x")
        self.seen(five)
        polled = self.handed_over(five, "t/0/0 a")
        assert five.finds(ATOMIC) == five.finds("resume-not-at-commit") == 1
        example = five.check(ATOMIC).examples[0]
        assert polled in example.events
        assert "its commit of t/0 at offset 2 was lost: w2 began with 'a' at offset 0" in example.text

    def test_proven_and_its_progress_lost(self, five):
        self.transformed(five).left_unknown("x")
        self.seen(five)
        self.handed_over(five, "t/0/0 a")
        assert five.finds(ATOMIC) == 1

    def test_proven_too_late_for_the_one_who_asked_before(self, five):
        self.transformed(five).left_unknown("x")
        self.handed_over(five, "t/0/0 a")
        self.seen(five)
        assert five.finds(ATOMIC) == 0

    def test_a_commit_that_failed_in_a_transaction_that_stands(self, five):
        self.transformed(five, commit=None)
        commit = five.invoke("w1", "commit", group="g", offsets=[["t", 0, 2]], txn="x", generation=1)
        failed = five.fail(commit)
        five.ended("x")
        polled = self.seen(five)
        assert five.finds(ATOMIC) == 1
        example = five.check(ATOMIC).examples[0]
        assert example.events == (failed, polled)
        assert "its commit of t/0 had failed" in example.text

    def test_a_commit_that_failed_first_and_then_was_taken(self, five):
        self.transformed(five, commit=None)
        five.fail(five.invoke("w1", "commit", group="g", offsets=[["t", 0, 2]], txn="x", generation=1))
        five.committed("w1", "t/0/2", txn="x", generation=1)
        five.ended("x")
        self.seen(five)
        assert five.finds(ATOMIC) == 0

    def test_progress_stored_beside_the_transaction(self, five):
        self.transformed(five, commit=None).ended("x")
        self.seen(five)
        five.committed("w1", "t/0/2", generation=1)
        assert five.finds(ATOMIC) == 1
        assert "no commit of g covered t/0 at offset 0 with it" in five.check(ATOMIC).examples[0].text

    def test_progress_that_covers_a_part_only(self, five):
        self.transformed(five, commit="t/0/1").ended("x")
        self.seen(five)
        assert five.finds(ATOMIC) == 1
        assert "made from 'b'" in five.check(ATOMIC).examples[0].text

    def test_inputs_of_earlier_transactions_are_covered_by_theirs(self, five):
        self.transformed(five).ended("x")
        five.began("y", consumers=["w1"])
        five.polled("w1", "t/0/2 c")
        output(five, "r", "u/0/3", "a", "c", txn="y")
        five.committed("w1", "t/0/3", txn="y", generation=1)
        five.ended("y")
        five.polled("v", "u/0/0 o", "u/0/1 q", "u/0/3 r", group="v")
        assert five.finds(ATOMIC) == 0

    def test_a_transaction_without_consumers_stores_no_progress(self, five):
        five.polled("w1", "t/0/0 a")
        five.began("x")
        output(five, "o", "u/0/0", "a")
        five.ended("x")
        five.polled("v", "u/0/0 o", group="v")
        assert five.finds(ATOMIC) == 0

    def test_aborted_and_its_progress_holds(self, five):
        self.transformed(five).aborted("x")
        self.handed_over(five, "t/0/2 c")
        assert five.finds(ATOMIC) == 1
        text = five.check(ATOMIC).examples[0].text
        assert "was aborted, but its commit of t/0 at offset 2 holds: w2 began with 'c'" in text

    def test_after_a_later_commit_of_the_same_place_it_proves_nothing(self, five):
        self.transformed(five).aborted("x")
        five.polled("w1", "t/0/0 a", "t/0/1 b")
        five.committed("w1", "t/0/2", generation=1)
        self.handed_over(five, "t/0/2 c")
        assert five.finds(ATOMIC) == 0

    def test_progress_held_and_nothing_of_it_seen(self, five):
        self.transformed(five).ended("x")
        five.polled("v", group="v")
        five.note("v", "open", role="consumer", group="v", topics=["u"])
        drained = five.drained()
        assert five.finds(ATOMIC) == 1
        example = five.check(ATOMIC).examples[0]
        assert drained in example.events
        assert "stored the progress t/0 at offset 2, but none of its records was polled" in example.text

    def test_without_a_drain_it_may_still_be_seen(self, five):
        self.transformed(five).ended("x")
        five.polled("v", group="v")
        five.drained(complete=False)
        assert five.finds(ATOMIC) == 0

    @pytest.mark.parametrize(("record", "found"), [("t/0/2 c", 1), ("t/0/0 a", 0)])
    def test_of_unknown_outcome_where_the_next_began_tells(self, five, record, found):
        self.transformed(five).left_unknown("x")
        self.handed_over(five, record)
        five.note("v", "open", role="consumer", group="v", topics=["u"])
        five.polled("v", group="v")
        five.drained()
        assert five.finds(ATOMIC) == found

    def test_records_that_nobody_had_to_see_prove_nothing(self, five):
        self.transformed(five).ended("x")
        five.assign("c9", "t/0", group="h")
        five.drained()
        assert five.finds(ATOMIC) == 0


class TestExactlyOnce:
    def transformed(self, five, pairs, txn="x"):
        five.began(txn, consumers=["w1"])
        records = [f"t/0/{'abcde'.index(source)} {source}" for _, source, _ in pairs]
        five.polled("w1", *records)
        for id_, source, place in pairs:
            output(five, id_, place, source, txn=txn)
        five.committed("w1", "t/0/5", txn=txn)
        five.ended(txn)
        return five

    def all_five(self, five):
        return self.transformed(five, [(f"o{n}", id_, f"u/0/{n}") for n, id_ in enumerate("abcde")])

    def test_one_for_each_in_their_order(self, five):
        self.all_five(five).drained()
        assert five.finds(ONCE) == 0
        assert five.check(ONCE).evidence == 5

    def test_two_for_one(self, five):
        self.all_five(five)
        self.transformed(five, [("again", "e", "u/0/6")], txn="y")
        five.drained()
        assert five.finds(ONCE) == 1
        example = five.check(ONCE).examples[0]
        assert "'o4' and 'again' were both made from 'e'" in example.text
        assert len(example.events) == 3

    def test_many_for_one_are_one_anomaly(self, five):
        self.all_five(five)
        for number in range(3):
            self.transformed(five, [(f"again{number}", "e", f"u/0/{6 + 2 * number}")], txn=f"y{number}")
        five.drained()
        assert five.finds(ONCE) == 1

    def test_one_in_each_of_two_topics(self, five):
        self.all_five(five)
        self.transformed(five, [("copy", "e", "v/0/0")], txn="y")
        five.drained()
        assert five.finds(ONCE) == 0

    @pytest.mark.parametrize("end", ["aborted", "unknown"])
    def test_outputs_that_do_not_stand_count_for_nothing(self, five, end):
        self.all_five(five)
        five.began("y", consumers=["w1"])
        output(five, "again", "u/0/6", "e", txn="y")
        (five.aborted if end == "aborted" else five.left_unknown)("y")
        five.drained()
        assert five.finds(ONCE) == 0

    def test_an_unknown_one_that_was_seen_counts(self, five):
        self.all_five(five)
        five.began("y", consumers=["w1"])
        output(five, "again", "u/0/6", "e", txn="y")
        five.left_unknown("y")
        five.polled("v", "u/0/6 again", group="v")
        five.drained()
        assert five.finds(ONCE) == 1

    def test_none_for_one_after_a_drain(self, five):
        self.transformed(five, [(f"o{n}", id_, f"u/0/{n}") for n, id_ in enumerate("abde")])
        five.polled("w1", "t/0/2 c")
        drained = five.drained()
        assert five.finds(ONCE) == 1
        example = five.check(ONCE).examples[0]
        assert "nothing was made from 'c'" in example.text
        assert example.events == (4, drained)

    def test_without_a_drain_it_is_not_decided(self, five):
        self.transformed(five, [(f"o{n}", id_, f"u/0/{n}") for n, id_ in enumerate("abde")])
        five.polled("w1", "t/0/2 c")
        assert five.check(ONCE).verdict == "unknown"
        assert "1 inputs have no output" in five.check(ONCE).note

    def test_what_was_not_even_polled_has_no_output_either(self, five):
        self.transformed(five, [(f"o{n}", id_, f"u/0/{n}") for n, id_ in enumerate("abcd")])
        five.drained()
        assert five.finds(ONCE) == 1

    @pytest.mark.parametrize(
        "end",
        [
            lambda story: story.buried("c"),
            lambda story: story.settled("reject", "w1", "t/0/2 c"),
            lambda story: story.note("w1", "expire", group="g", id="c"),
        ],
    )
    def test_what_came_to_another_end_needs_none(self, five, end):
        self.transformed(five, [(f"o{n}", id_, f"u/0/{n}") for n, id_ in enumerate("abde")])
        five.polled("w1", "t/0/2 c")
        end(five)
        five.drained()
        assert five.finds(ONCE) == 0

    def test_the_harness_own_end_marks_need_none(self, five):
        self.all_five(five)
        five.sent("end-of-run/1/t/0", "t/0/5", process="marker")
        five.polled("w1", "t/0/5 end-of-run/1/t/0")
        five.drained()
        assert five.finds(ONCE) == 0

    def test_readers_that_transform_nothing_need_no_outputs(self, five):
        self.all_five(five)
        five.sent("z", "s/0/0")
        five.polled("w1", "s/0/0 z")
        five.polled("c1", "t/0/0 a", group="h")
        five.drained()
        assert five.finds(ONCE) == 0

    def test_an_output_of_what_does_not_stand(self, five):
        five.began("p", process="p9", transactional_id="p9")
        five.sent("ghost", "t/0/5", process="p9", txn="p")
        five.aborted("p", process="p9", transactional_id="p9")
        self.all_five(five)
        five.began("y", consumers=["w1"])
        output(five, "o9", "u/0/7", "ghost", txn="y")
        five.ended("y")
        five.drained()
        assert five.finds(ONCE) == 1
        assert "'o9' was made from 'ghost', which does not stand" in five.check(ONCE).examples[0].text

    def test_out_of_order(self, five):
        self.transformed(five, [("o0", "a", "u/0/0"), ("o1", "c", "u/0/1"), ("o2", "b", "u/0/2")])
        five.settled("reject", "w1", "t/0/3 d")
        five.settled("reject", "w1", "t/0/4 e")
        five.drained()
        assert five.finds(ONCE) == 1
        text = five.check(ONCE).examples[0].text
        assert "'o2', made from 'b', stands in u/0 at offset 2 after 'o1', made from 'c'" in text
        assert five.finds(ONCE, {"order": "none"}) == 0

    def test_each_pair_of_partitions_has_its_own_order(self, story):
        for number, (id_, place) in enumerate([("a", "t/0/0"), ("b", "t/1/0"), ("c", "t/0/1")]):
            story.sent(id_, place, key=str(number))
        story.began("x", consumers=["w1"])
        story.polled("w1", "t/0/0 a", "t/1/0 b", "t/0/1 c")
        output(story, "oc", "u/1/0", "c")
        output(story, "ob", "u/0/0", "b")
        output(story, "oa", "u/0/1", "a")
        story.committed("w1", "t/0/2", "t/1/1", txn="x")
        story.ended("x")
        story.drained()
        assert story.finds(ONCE) == 0

    def test_an_output_of_several_inputs_is_one_for_each(self, five):
        five.began("x", consumers=["w1"])
        five.polled("w1", "t/0/0 a", "t/0/1 b", "t/0/2 c", "t/0/3 d", "t/0/4 e")
        output(five, "o0", "u/0/0", "b", "d")
        output(five, "o1", "u/0/1", "a", "c", "e")
        five.committed("w1", "t/0/5", txn="x")
        five.ended("x")
        five.drained()
        assert five.finds(ONCE) == 0
        output(five, "o2", "u/0/3", "b", txn=None)
        assert five.check(ONCE).count == 1

    def test_attempts_in_retry_topics_and_dead_letters_are_no_outputs(self, five):
        five.polled("w1", "t/0/0 a")
        five.settled("nack", "w1", "t/0/0 a", to="t-retry")
        five.sent("a1", "t-retry/0/0", process="w1", from_=["a"])
        five.sent("a2", "t-retry/0/1", process="w1", from_=["a"])
        five.buried("b", to="t-dead")
        five.sent("b1", "t-dead/0/0", process="w1", from_=["b"])
        five.drained()
        assert five.finds(ONCE) == 0
        assert five.check(ONCE).evidence == 0

    def test_what_a_producer_sends_again_is_no_output(self, five):
        five.sent("a~2", "t/0/5", from_=["a"])
        five.sent("a~3", "t/0/6", from_=["a"])
        five.drained()
        assert five.check(ONCE).evidence == five.check(ONCE).count == 0

    def test_without_transactions_duplicates_show_as_well(self, five):
        five.polled("w1", "t/0/0 a")
        for number in range(2):
            five.sent(f"o{number}", f"u/0/{number}", process="w1", from_=["a"])
        assert five.check(ONCE).count == 1
        assert five.check(ONCE).severity == "reported"
