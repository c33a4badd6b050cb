"""Where readers begin: resume-not-at-commit."""

import pytest

RESUME = "resume-not-at-commit"


@pytest.fixture
def five(story):
    for number, id_ in enumerate("abcde"):
        story.sent(id_, f"t/0/{number}")
    return story


class TestResume:
    def crashed(self, five, commit="t/0/2", **fields):
        """c1 read a, b and c of the group's log, committed, and crashed."""
        five.note("c1", "open", role="consumer", group="g", reset="earliest")
        five.assign("c1", "t/0", generation=1)
        five.polled("c1", "t/0/0 a", "t/0/1 b", "t/0/2 c")
        if commit is not None:
            self.commit = five.committed("c1", commit, generation=1, **fields)
        five.note("c1", "crash", role="consumer")
        five.note("c2", "open", role="consumer", group="g", reset="earliest")
        five.assign("c2", "t/0", generation=2)
        return five

    def test_at_the_last_commit(self, five):
        self.crashed(five).polled("c2", "t/0/2 c", "t/0/3 d")
        assert five.finds(RESUME) == 0
        assert five.check(RESUME).evidence == 2

    @pytest.mark.parametrize("record", ["t/0/0 a", "t/0/1 b", "t/0/3 d", "t/0/4 e"])
    def test_anywhere_else(self, five, record):
        polled = self.crashed(five).polled("c2", record)
        assert five.finds(RESUME) == 1
        example = five.check(RESUME).examples[0]
        assert example.events == (self.commit, polled)
        assert "instead of at offset 2, which was committed last" in example.text

    def test_without_any_assignment_told(self, five):
        five.polled("c1", "t/0/0 a", "t/0/1 b", "t/0/2 c")
        five.committed("c1", "t/0/2")
        five.note("c1", "crash", role="consumer")
        five.polled("c2", "t/0/4 e")
        assert five.finds(RESUME) == 1

    def test_the_same_process_in_its_next_life(self, five):
        five.polled("c1", "t/0/0 a", "t/0/1 b")
        five.committed("c1", "t/0/2")
        five.note("c1", "crash", role="consumer")
        five.note("c1", "open", role="consumer", group="g")
        five.polled("c1", "t/0/3 d")
        assert five.finds(RESUME) == 1

    def test_only_the_first_poll_of_a_session_is_its_beginning(self, five):
        self.crashed(five).polled("c2")
        five.polled("c2", "t/0/2 c")
        five.polled("c2", "t/0/3 d")
        assert five.finds(RESUME) == 0

    def test_offsets_between_which_nothing_stands_are_one(self, story):
        story.sent("a", "t/0/0")
        story.sent("b", "t/0/5")
        story.polled("c1", "t/0/0 a")
        story.committed("c1", "t/0/1")
        story.note("c1", "crash", role="consumer")
        story.polled("c2", "t/0/5 b")
        assert story.finds(RESUME) == 0

    def test_what_was_trimmed_need_not_be_read(self, five):
        self.crashed(five)
        five.trimmed("t/0/4")
        five.polled("c2", "t/0/4 e")
        assert five.finds(RESUME) == 0

    @pytest.mark.parametrize(
        ("record", "found"), [("t/0/2 c", 0), ("t/0/3 d", 0), ("t/0/1 b", 1), ("t/0/4 e", 1)]
    )
    def test_a_commit_in_flight_may_have_been_in_time(self, five, record, found):
        five.assign("c1", "t/0", generation=1)
        five.polled("c1", "t/0/0 a", "t/0/1 b", "t/0/2 c")
        five.committed("c1", "t/0/2", generation=1)
        late = five.invoke("c1", "commit", group="g", offsets=[["t", 0, 3]], generation=1)
        five.assign("c2", "t/0", generation=2)
        five.polled("c2", record)
        five.ok(late)
        assert five.finds(RESUME) == found

    @pytest.mark.parametrize("ending", ["info", "open"])
    def test_a_commit_of_unknown_outcome_may_take_effect_at_any_time(self, five, ending):
        five.assign("c1", "t/0", generation=1)
        five.polled("c1", "t/0/0 a", "t/0/1 b", "t/0/2 c")
        late = five.invoke("c1", "commit", group="g", offsets=[["t", 0, 3]], generation=1)
        if ending == "info":
            five.info(late)
        five.committed("c1", "t/0/2", generation=1)
        five.assign("c2", "t/0", generation=2)
        five.polled("c2", "t/0/3 d")
        assert five.finds(RESUME) == 0

    def test_a_commit_that_failed_stored_nothing(self, five):
        five.assign("c1", "t/0", generation=1)
        five.polled("c1", "t/0/0 a", "t/0/1 b", "t/0/2 c")
        five.committed("c1", "t/0/2", generation=1)
        five.fail(five.invoke("c1", "commit", group="g", offsets=[["t", 0, 3]], generation=1))
        five.assign("c2", "t/0", generation=2)
        five.polled("c2", "t/0/3 d")
        assert five.finds(RESUME) == 1

    def test_of_commits_at_once_any_may_be_the_last(self, five):
        five.polled("c1", "t/0/0 a", "t/0/1 b", "t/0/2 c")
        one = five.invoke("c1", "commit", group="g", offsets=[["t", 0, 2]])
        other = five.invoke("c1", "commit", group="g", offsets=[["t", 0, 3]])
        five.ok(other)
        five.ok(one)
        five.note("c1", "crash", role="consumer")
        five.polled("c2", "t/0/2 c")
        five.note("c2", "crash", role="consumer")
        five.polled("c3", "t/0/3 d")
        assert five.finds(RESUME) == 0

    def test_an_older_commit_is_over_and_done_with(self, five):
        five.polled("c1", "t/0/0 a", "t/0/1 b", "t/0/2 c")
        five.committed("c1", "t/0/1")
        five.committed("c1", "t/0/3")
        five.note("c1", "crash", role="consumer")
        five.polled("c2", "t/0/1 b")
        assert five.finds(RESUME) == 1

    def test_a_group_without_progress_begins_where_its_policy_says(self, five):
        five.note("c1", "open", role="consumer", group="g", reset="earliest")
        five.polled("c1", "t/0/0 a")
        assert five.finds(RESUME) == 0
        five.note("c2", "open", role="consumer", group="h", reset="earliest")
        five.polled("c2", "t/0/1 b", group="h")
        assert five.finds(RESUME) == 1
        assert "instead of at the earliest offset" in five.check(RESUME).examples[0].text

    def test_at_the_latest_lies_nothing_that_was_there_before(self, five):
        five.note("c1", "open", role="consumer", group="g", reset="latest")
        five.sent("f", "t/0/5")
        five.polled("c1", "t/0/5 f")
        assert five.finds(RESUME) == 0
        five.note("c2", "open", role="consumer", group="h", reset="latest")
        five.polled("c2", "t/0/5 f", group="h")
        assert five.finds(RESUME) == 1

    def test_a_policy_that_nobody_told_is_not_judged(self, five):
        five.polled("c1", "t/0/3 d")
        assert five.finds(RESUME) == 0

    def test_a_commit_that_was_trimmed_is_no_progress_any_more(self, story):
        for number, id_ in enumerate("abcde"):
            story.sent(id_, f"t/0/{number}")
        story.note("c2", "open", role="consumer", group="g", reset="latest")
        story.polled("c1", "t/0/0 a")
        story.committed("c1", "t/0/1")
        story.note("c1", "crash", role="consumer")
        story.trimmed("t/0/3")
        story.sent("f", "t/0/5")
        story.polled("c2", "t/0/5 f")
        assert story.finds(RESUME) == 0

    @pytest.mark.parametrize(
        "turn",
        [
            lambda story: story.sought("c2", "t/0/4"),
            lambda story: story.settled("nack", "c2", "t/0/4 e"),
        ],
    )
    def test_a_seek_or_a_nack_leads_elsewhere(self, five, turn):
        turn(self.crashed(five))
        five.polled("c2", "t/0/4 e")
        assert five.finds(RESUME) == 0

    def test_a_seek_before_the_assignment_does_not(self, five):
        five.sought("c2", "t/0/4")
        self.crashed(five).polled("c2", "t/0/4 e")
        assert five.finds(RESUME) == 1

    def test_groups_that_commit_nothing_on_record_begin_anywhere(self, five):
        self.crashed(five, commit=None).polled("c2", "t/0/2 c")
        assert five.finds(RESUME) == 0

    def test_readers_without_a_group_have_no_progress(self, five):
        five.note("c1", "open", role="consumer", reset="earliest")
        five.polled("c1", "t/0/3 d", group=None)
        assert five.finds(RESUME) == 0
        assert five.check(RESUME).evidence == 0

    def test_an_assignment_that_keeps_the_log_is_no_beginning(self, five):
        five.assign("c1", "t/0", generation=1)
        five.polled("c1", "t/0/0 a", "t/0/1 b")
        five.committed("c1", "t/0/1", generation=1)
        five.assign("c1", "t/0", "t/1", generation=2)
        five.assign("c1", "t/0", "t/1", generation=2)
        five.polled("c1", "t/0/2 c")
        assert five.finds(RESUME) == 0
        assert five.check(RESUME).evidence == 1

    def test_one_log_taken_and_given_back(self, five):
        five.assign("c1", "t/0", generation=1)
        five.polled("c1", "t/0/0 a", "t/0/1 b")
        five.committed("c1", "t/0/1", generation=1)
        five.revoke("c1", "t/0")
        five.assign("c1", "t/0", generation=2)
        five.polled("c1", "t/0/2 c")
        assert five.finds(RESUME) == 1

    def test_it_needs_offsets(self, five):
        five.header["capabilities"] = {"offsets": False}
        assert five.check(RESUME).mark == "–"


class TestResumeOfTransactions:
    def read(self, five, *, commit=True):
        five.note("w1", "open", role="worker", group="g", reset="earliest")
        five.initialised("w1")
        five.assign("w1", "t/0", generation=1)
        five.began("x", consumers=["w1"])
        five.polled("w1", "t/0/0 a", "t/0/1 b")
        five.sent("o", "u/0/0", process="w1", txn="x")
        if commit:
            five.committed("w1", "t/0/2", txn="x", generation=1)

    def crash(self, five):
        five.note("w1", "crash", role="worker")
        five.note("w2", "open", role="worker", group="g", reset="earliest")
        five.assign("w2", "t/0", generation=2)

    @pytest.mark.parametrize(("record", "found"), [("t/0/2 c", 0), ("t/0/0 a", 1)])
    def test_a_commit_takes_effect_with_its_transaction(self, five, record, found):
        self.read(five)
        five.ended("x")
        self.crash(five)
        five.polled("w2", record)
        assert five.finds(RESUME) == found

    @pytest.mark.parametrize(("record", "found"), [("t/0/2 c", 1), ("t/0/0 a", 0)])
    def test_or_not_at_all(self, five, record, found):
        self.read(five)
        five.aborted("x")
        self.crash(five)
        five.polled("w2", record)
        assert five.finds(RESUME) == found

    @pytest.mark.parametrize("record", ["t/0/2 c", "t/0/0 a"])
    def test_of_a_commit_of_unknown_outcome_either_will_do(self, five, record):
        self.read(five)
        five.left_unknown("x")
        self.crash(five)
        five.polled("w2", record)
        assert five.finds(RESUME) == 0

    @pytest.mark.parametrize(("record", "found"), [("t/0/2 c", 0), ("t/0/0 a", 1)])
    def test_once_it_is_proven_it_is_certain(self, five, record, found):
        self.read(five)
        five.left_unknown("x")
        five.polled("v", "u/0/0 o", group="v")
        self.crash(five)
        five.polled("w2", record)
        assert five.finds(RESUME) == found

    @pytest.mark.parametrize(("record", "found"), [("t/0/2 c", 0), ("t/0/0 a", 0)])
    def test_proven_after_the_beginning_it_was_in_flight(self, five, record, found):
        self.read(five)
        five.left_unknown("x")
        self.crash(five)
        five.polled("w2", record)
        five.polled("v", "u/0/0 o", group="v")
        assert five.finds(RESUME) == found

    @pytest.mark.parametrize(("record", "found"), [("t/0/0 a", 0), ("t/0/1 b", 1), ("t/0/2 c", 1)])
    def test_after_an_abort_a_reader_goes_back(self, five, record, found):
        self.read(five)
        five.aborted("x")
        five.polled("w1", record)
        assert five.finds(RESUME) == found

    @pytest.mark.parametrize(("record", "found"), [("t/0/0 a", 0), ("t/0/1 b", 1), ("t/0/2 c", 0)])
    def test_after_an_unknown_end_it_goes_back_or_on(self, five, record, found):
        five.committed("w9", "u/0/1")
        self.read(five, commit=False)
        five.left_unknown("x")
        five.initialised("w1")
        five.polled("w1", record)
        assert five.finds(RESUME) == found

    def test_back_to_where_the_transaction_had_begun(self, five):
        """Its session began by a seek, and nothing was ever committed."""
        five.note("w1", "open", role="worker", group="g", reset="earliest")
        five.committed("w9", "u/0/1")
        five.assign("w1", "t/0")
        five.sought("w1", "t/0/2")
        five.began("x", consumers=["w1"])
        five.polled("w1", "t/0/2 c", "t/0/3 d")
        five.aborted("x")
        five.polled("w1", "t/0/2 c")
        assert five.finds(RESUME) == 0

    def test_a_process_whose_polls_the_transaction_need_not_take_back_goes_on(self, five):
        five.note("w1", "open", role="worker", group="g", reset="earliest")
        five.committed("w1", "u/0/1")
        five.began("x")
        five.polled("w1", "t/0/0 a")
        five.aborted("x")
        five.polled("w1", "t/0/1 b")
        assert five.finds(RESUME) == 0

    def test_without_an_end_it_is_over_when_its_producer_goes_on(self, five):
        self.read(five)
        five.initialised("w1")
        five.began("y", consumers=["w1"])
        five.polled("w1", "t/0/1 b")
        assert five.finds(RESUME) == 1
