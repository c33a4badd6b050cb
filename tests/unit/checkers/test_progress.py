"""Progress of groups and logs: ack-in-the-past, commit-regression, dual-ownership, duplicate-bound."""

import pytest

REGRESSION, DUAL, BOUND, PAST = (
    "commit-regression",
    "dual-ownership",
    "duplicate-bound",
    "ack-in-the-past",
)


@pytest.fixture
def five(story):
    for number, id_ in enumerate("abcde"):
        story.sent(id_, f"t/0/{number}")
    return story


class TestAckInThePast:
    def test_sends_one_after_the_other(self, five):
        assert five.finds(PAST) == 0
        assert five.check(PAST).evidence == 4

    @pytest.mark.parametrize("offset", [0, 3, 4])
    def test_at_or_below_what_was_acknowledged_before(self, five, offset):
        sent = five.sent("z", f"t/0/{offset}")
        assert five.finds(PAST) == 1
        example = five.check(PAST).examples[0]
        assert example.events == (9, sent - 1, sent)
        assert "'e' had been acknowledged at offset 4 before it was sent" in example.text

    def test_sends_under_way_together_may_stand_in_any_order(self, story):
        one, other = story.send("a"), story.send("b")
        story.ok(other, partition=0, offset=5)
        story.ok(one, partition=0, offset=2)
        assert story.finds(PAST) == 0

    def test_it_counts_what_was_acknowledged_when_the_send_was_invoked(self, story):
        one = story.send("a")
        story.sent("b", "t/0/5")
        other = story.send("c")
        story.ok(one, partition=0, offset=2)
        story.ok(other, partition=0, offset=3)
        assert story.finds(PAST) == 1
        assert "'c' was acknowledged" in story.check(PAST).examples[0].text

    def test_the_highest_of_those_before_is_told(self, story):
        story.sent("a", "t/0/9")
        story.sent("b", "t/0/5")
        story.sent("c", "t/0/7")
        assert story.finds(PAST) == 2
        assert all("'a' had been" in example.text for example in story.check(PAST).examples)

    def test_each_log_has_its_own_offsets(self, five):
        five.sent("z", "t/1/0")
        five.sent("y", "u/0/0")
        assert five.finds(PAST) == 0

    def test_sends_without_offsets_are_not_judged(self, five):
        five.sent("z", "t/0/-")
        assert five.finds(PAST) == 0

    def test_records_of_aborted_transactions_count_for_nothing(self, five):
        five.began("x")
        five.sent("z", "t/0/1", process="w1", txn="x")
        five.aborted("x")
        assert five.finds(PAST) == 0

    def test_huge_offsets(self, story):
        story.sent("a", f"t/0/{2**61}")
        story.sent("b", f"t/1/{2**61}")
        story.sent("c", f"t/1/{2**60}")
        story.sent("d", f"t/0/{2**61 + 1}")
        assert story.finds(PAST) == 1


class TestCommitRegression:
    def test_commits_that_rise_or_stay(self, five):
        for offset in (1, 2, 2, 5):
            five.committed("c1", f"t/0/{offset}", generation=1)
        assert five.finds(REGRESSION) == 0
        assert five.check(REGRESSION).evidence == 3

    def test_a_lower_one_of_the_same_generation(self, five):
        first = five.committed("c1", "t/0/3", generation=1)
        second = five.committed("c1", "t/0/2", generation=1)
        assert five.finds(REGRESSION) == 1
        example = five.check(REGRESSION).examples[0]
        assert example.events == (first, second - 1, second)
        assert "c1 committed t/0 at offset 2 after c1 had committed offset 3" in example.text

    def test_each_log_and_group_by_itself(self, five):
        five.committed("c1", "t/0/3", generation=1)
        five.committed("c1", "t/1/2", "u/0/0", generation=1)
        five.committed("c1", "t/0/2", generation=1, group="h")
        assert five.finds(REGRESSION) == 0

    def test_in_a_later_generation_it_may_be_lower(self, five):
        five.committed("c1", "t/0/3", generation=1)
        five.committed("c2", "t/0/2", generation=2)
        assert five.finds(REGRESSION) == 0

    def test_an_older_generation_after_a_newer_one(self, five):
        first = five.committed("c2", "t/0/2", generation=2)
        second = five.committed("c1", "t/0/3", generation=1)
        assert five.finds(REGRESSION) == 1
        example = five.check(REGRESSION).examples[0]
        assert example.events == (first, second - 1, second)
        assert "in generation 1 after c2 had committed offset 2 in generation 2" in example.text

    @pytest.mark.parametrize("end", ["fail", "info", "open"])
    def test_only_what_is_reported_ok_is_wrong(self, five, end):
        five.committed("c1", "t/0/3", generation=2)
        for generation in (1, 2):
            call = five.invoke("c1", "commit", group="g", offsets=[["t", 0, 2]], generation=generation)
            if end != "open":
                getattr(five, end)(call)
        assert five.finds(REGRESSION) == 0

    @pytest.mark.parametrize("end", ["fail", "info", "open"])
    def test_only_what_took_effect_is_gone_back_from(self, five, end):
        call = five.invoke("c1", "commit", group="g", offsets=[["t", 0, 3]], generation=2)
        if end != "open":
            getattr(five, end)(call)
        five.committed("c1", "t/0/2", generation=2)
        five.committed("c1", "t/0/2", generation=1)
        assert five.finds(REGRESSION) == 1  # the older generation after the newer, and nothing else

    def test_commits_under_way_together_are_in_no_order(self, five):
        one = five.invoke("c1", "commit", group="g", offsets=[["t", 0, 3]], generation=1)
        other = five.invoke("c1", "commit", group="g", offsets=[["t", 0, 2]], generation=1)
        five.ok(other)
        five.ok(one)
        assert five.finds(REGRESSION) == 0

    def test_without_generations_one_process_that_keeps_the_log_is_judged(self, five):
        five.assign("c1", "t/0")
        five.committed("c1", "t/0/3")
        five.committed("c1", "t/0/2")
        assert five.finds(REGRESSION) == 1

    @pytest.mark.parametrize(
        "change",
        [
            lambda story: (story.revoke("c1", "t/0"), story.assign("c1", "t/0")),
            lambda story: (story.revoke("c1", "t/0", op="lost"), story.assign("c1", "t/0")),
            lambda story: story.note("c1", "crash", role="consumer"),
            lambda story: story.did("c1", "close", role="consumer"),
            lambda story: story.note("c1", "open", role="consumer"),
        ],
    )
    def test_without_generations_nothing_is_known_once_it_was_interrupted(self, five, change):
        five.assign("c1", "t/0")
        five.committed("c1", "t/0/3")
        change(five)
        five.committed("c1", "t/0/2")
        five.committed("c2", "t/0/1")
        assert five.finds(REGRESSION) == 0

    def test_epochs_of_members_are_compared_within_one_member_only(self, five):
        five.committed("c1", "t/0/3", generation="m1:7")
        five.committed("c2", "t/0/2", generation="m2:5")
        five.committed("c1", "t/0/3", generation="m1:7")
        assert five.finds(REGRESSION) == 0
        five.committed("c1", "t/0/2", generation="m1:7")
        five.committed("c1", "t/0/4", generation="m1:6")
        assert five.finds(REGRESSION) == 2

    def test_generations_that_are_other_texts_are_equal_or_not(self, five):
        five.committed("c1", "t/0/3", generation="green")
        five.committed("c1", "t/0/2", generation="blue")
        assert five.finds(REGRESSION) == 0
        five.committed("c1", "t/0/1", generation="blue")
        assert five.finds(REGRESSION) == 1

    def test_after_a_seek_progress_may_go_back(self, five):
        five.committed("c1", "t/0/4", generation=1)
        five.polled("c1", "t/0/4 e")
        five.sought("c1", "t/0/0")
        five.committed("c1", "t/0/1", generation=1)
        five.committed("c1", "t/0/2", generation=1)
        assert five.finds(REGRESSION) == 0
        five.committed("c1", "t/0/1", generation=1)
        assert five.finds(REGRESSION) == 1

    def test_commits_of_transactions_take_effect_with_them(self, five):
        five.began("x")
        five.committed("w1", "t/0/4", txn="x", generation=1)
        five.aborted("x")
        five.began("y")
        five.committed("w1", "t/0/2", txn="y", generation=1)
        five.ended("y")
        assert five.finds(REGRESSION) == 0
        five.began("z")
        five.committed("w1", "t/0/1", txn="z", generation=1)
        five.ended("z")
        assert five.finds(REGRESSION) == 1

    def test_a_transaction_of_unknown_outcome_proves_nothing(self, five):
        five.began("x")
        five.committed("w1", "t/0/4", txn="x", generation=1)
        five.left_unknown("x")
        five.committed("w1", "t/0/2", generation=1)
        assert five.finds(REGRESSION) == 0


class TestDualOwnership:
    def test_two_processes_in_one_generation(self, five):
        one = five.assign("c1", "t/0", generation=3)
        other = five.assign("c2", "t/0", generation=3)
        first = five.polled("c1", "t/0/0 a")
        second = five.polled("c2", "t/0/0 a")
        five.polled("c2", "t/0/1 b")
        assert five.finds(DUAL) == 1
        example = five.check(DUAL).examples[0]
        assert example.events == (one, other, first, second)
        assert "both c1 and c2 polled t/0 in generation 3" in example.text

    def test_each_log_has_one_owner(self, story):
        story.assign("c1", "t/0", generation=3)
        story.assign("c2", "t/1", generation=3)
        story.polled("c1", "t/0/0 a")
        story.polled("c2", "t/1/0 b")
        assert story.finds(DUAL) == 0
        assert story.check(DUAL).evidence == 2

    def test_the_old_owner_of_an_older_generation_may_still_read(self, five):
        five.assign("c1", "t/0", generation=3)
        five.polled("c1", "t/0/0 a")
        five.assign("c2", "t/0", generation=4)
        five.polled("c2", "t/0/0 a")
        five.polled("c1", "t/0/1 b")
        assert five.finds(DUAL) == 0

    def test_other_groups_have_generations_of_their_own(self, five):
        five.assign("c1", "t/0", generation=3)
        five.assign("c2", "t/0", generation=3, group="h")
        five.polled("c1", "t/0/0 a")
        five.polled("c2", "t/0/0 a", group="h")
        assert five.finds(DUAL) == 0

    def test_a_poll_across_two_generations_is_of_neither(self, five):
        five.assign("c1", "t/0", generation=3)
        poll = five.invoke("c1", "poll", group="g")
        five.assign("c1", "t/0", generation=4)
        five.ok(poll, records=[["t", 0, 0, "a"]])
        five.revoke("c1", "t/0")
        five.assign("c2", "t/0", generation=4)
        five.polled("c2", "t/0/0 a")
        assert five.finds(DUAL) == 0

    def test_a_poll_in_the_course_of_which_the_log_is_lost_is_of_none(self, five):
        five.assign("c1", "t/0", generation=3)
        poll = five.invoke("c1", "poll", group="g")
        five.revoke("c1", "t/0")
        five.ok(poll, records=[["t", 0, 0, "a"]])
        five.assign("c2", "t/0", generation=3)
        five.polled("c2", "t/0/0 a")
        assert five.finds(DUAL) == 0

    def test_two_lives_of_one_process_are_one_process(self, five):
        five.assign("c1", "t/0", generation=3)
        five.polled("c1", "t/0/0 a")
        five.note("c1", "crash", role="consumer")
        five.note("c1", "open", role="consumer")
        five.assign("c1", "t/0", generation=3)
        five.polled("c1", "t/0/0 a")
        assert five.finds(DUAL) == 0

    def test_repeated_assignments_of_one_generation(self, five):
        five.assign("c1", "t/0", generation=3)
        five.assign("c1", "t/0", "t/1", generation=3)
        five.polled("c1", "t/0/0 a")
        five.assign("c1", "t/0", generation=3)
        five.polled("c1", "t/0/1 b")
        assert five.finds(DUAL) == 0
        five.assign("c2", "t/0", generation=3)
        five.polled("c2", "t/0/2 c")
        assert five.finds(DUAL) == 1

    @pytest.mark.parametrize("generations", [({}, {}), ({"generation": "m1:3"}, {"generation": "m2:3"})])
    def test_without_generations_of_the_group_nothing_is_compared(self, five, generations):
        five.assign("c1", "t/0", **generations[0])
        five.assign("c2", "t/0", **generations[1])
        five.polled("c1", "t/0/0 a")
        five.polled("c2", "t/0/0 a")
        assert five.finds(DUAL) == 0

    def test_it_needs_generations(self, five):
        five.header["capabilities"] = {"generations": False}
        assert five.check(DUAL).mark == "–"


class TestDuplicateBound:
    def resumed(self, five, *records, commits=("t/0/2",)):
        five.polled("c1", "t/0/0 a", "t/0/1 b", "t/0/2 c")
        self.commit = [five.committed("c1", place) for place in commits]
        five.note("c1", "crash", role="consumer")
        return five.polled("c2", *records)

    def test_what_was_not_committed_may_come_again(self, five):
        self.resumed(five, "t/0/2 c", "t/0/3 d")
        assert five.finds(BOUND) == five.finds("duplicate-delivery") == 0
        assert five.check(BOUND).evidence == 1

    def test_what_was_committed_may_not(self, five):
        polled = self.resumed(five, "t/0/0 a", "t/0/1 b", "t/0/2 c")
        assert five.finds(BOUND) == 2
        example = five.check(BOUND).examples[0]
        assert example.events == (11, *self.commit, polled)
        assert "though offset 2 had been committed before" in example.text
        assert five.finds("duplicate-delivery") == 0

    def test_without_any_commit_everything_may_come_again(self, five):
        self.resumed(five, "t/0/0 a", "t/0/1 b", "t/0/2 c", commits=())
        assert five.finds(BOUND) == 0

    def test_it_is_the_lowest_of_what_may_have_been_stored(self, five):
        five.polled("c1", "t/0/0 a", "t/0/1 b", "t/0/2 c")
        one = five.invoke("c1", "commit", group="g", offsets=[["t", 0, 1]])
        five.committed("c1", "t/0/3")
        five.note("c1", "crash", role="consumer")
        five.polled("c2", "t/0/1 b")
        assert five.finds(BOUND) == 0
        five.note("c2", "crash", role="consumer")
        five.polled("c3", "t/0/0 a")
        assert five.finds(BOUND) == 1
        five.info(one)

    def test_a_commit_in_flight_alone_binds_nobody(self, five):
        five.polled("c1", "t/0/0 a", "t/0/1 b")
        late = five.invoke("c1", "commit", group="g", offsets=[["t", 0, 2]])
        five.note("c1", "crash", role="consumer")
        five.polled("c2", "t/0/0 a")
        five.info(late)
        assert five.finds(BOUND) == 0

    def test_a_commit_after_the_beginning_does_not_bind_what_follows(self, five):
        """A zombie's late commit is ok only when its successor has already begun below it."""
        five.assign("c1", "t/0", generation=1)
        five.polled("c1", "t/0/0 a", "t/0/1 b", "t/0/2 c")
        five.committed("c1", "t/0/1", generation=1)
        late = five.invoke("c1", "commit", group="g", offsets=[["t", 0, 3]], generation=1)
        five.assign("c2", "t/0", generation=2)
        five.polled("c2", "t/0/1 b")
        five.ok(late)
        five.polled("c2", "t/0/2 c")
        assert five.finds(BOUND) == 0

    def test_after_a_seek_it_is_the_programs_own_wish(self, five):
        five.polled("c1", "t/0/0 a", "t/0/1 b")
        five.committed("c1", "t/0/2")
        five.sought("c1", "t/0/0")
        five.polled("c1", "t/0/0 a", "t/0/1 b")
        assert five.finds(BOUND) == 0

    def test_more_than_the_last_owner_had_is_no_anomaly_as_long_as_nothing_was_final(self, five):
        five.polled("c1", "t/0/0 a", "t/0/1 b", "t/0/2 c")
        five.note("c1", "crash", role="consumer")
        five.polled("c2", "t/0/0 a")
        five.note("c2", "crash", role="consumer")
        five.polled("c3", "t/0/0 a", "t/0/1 b", "t/0/2 c")
        assert five.finds(BOUND) == 0

    def test_within_a_session_a_fault_excuses_nothing_that_is_committed(self, five):
        five.polled("c1", "t/0/0 a", "t/0/1 b")
        five.committed("c1", "t/0/1")
        five.fault("start")
        five.fault("stop")
        five.polled("c1", "t/0/0 a", "t/0/1 b")
        assert five.finds(BOUND) == 1

    def test_without_an_excuse_it_is_a_duplicate_delivery(self, five):
        five.polled("c1", "t/0/0 a")
        five.committed("c1", "t/0/1")
        five.polled("c2", "t/0/0 a")
        assert five.finds(BOUND) == 0
        assert five.finds("duplicate-delivery") == 1


class TestDuplicateBoundWithoutOffsets:
    def told(self, story, after=None):
        """c1 acknowledged a, then another member was lost; then a came again to c3."""
        story.sent("a", "t/0/-")
        story.polled("c1", "t/0/- a")
        story.polled("c2", "t/0/- b")
        self.ack = story.settled("ack", "c1", "t/0/- a")
        if after is not None:
            after(story)
        story.note("c2", "crash", role="consumer")
        return story.polled("c3", "t/0/- a")

    def test_what_is_final_does_not_come_again(self, story):
        polled = self.told(story)
        assert story.finds(BOUND) == 1
        example = story.check(BOUND).examples[0]
        assert example.events == (3, self.ack, polled)
        assert "though it had been acknowledged for good" in example.text

    @pytest.mark.parametrize(
        "after",
        [
            lambda story: story.note("c1", "crash", role="consumer"),
            lambda story: story.did("c1", "close", role="consumer"),
            lambda story: story.note("c1", "open", role="consumer"),
            lambda story: story.revoke("c1", "t/0"),
            lambda story: story.revoke("c1", "t/0", op="lost"),
            lambda story: (story.fault("start"), story.fault("stop")),
        ],
    )
    def test_what_can_have_undone_it(self, story, after):
        self.told(story, after)
        assert story.finds(BOUND) == 0

    def test_what_was_not_acknowledged_may_come_again(self, story):
        story.polled("c1", "t/0/- a")
        story.note("c1", "crash", role="consumer")
        story.polled("c2", "t/0/- a")
        assert story.finds(BOUND) == 0

    @pytest.mark.parametrize("end", ["fail", "info"])
    def test_an_ack_that_was_not_ok_is_none(self, story, end):
        story.polled("c1", "t/0/- a")
        story.polled("c2", "t/0/- b")
        ack = story.invoke("c1", "ack", group="g", topic="t", partition=0, offset=None, id="a")
        getattr(story, end)(ack)
        story.note("c2", "crash", role="consumer")
        story.polled("c3", "t/0/- a")
        assert story.finds(BOUND) == 0

    def test_an_ack_in_another_group_is_none_of_its_business(self, story):
        story.polled("c1", "t/0/- a")
        story.polled("c4", "t/0/- a", group="h")
        story.settled("ack", "c4", "t/0/- a", group="h")
        story.note("c2", "crash", role="consumer")
        story.polled("c2", "t/0/- b")
        story.note("c2", "crash", role="consumer")
        story.polled("c3", "t/0/- a")
        assert story.finds(BOUND) == 0
