"""The consumer: poll-nonmonotonic, poll-skip, commit-too-far, consumed-while-unassigned."""

import pytest

BACK, BACK_WITHIN = "poll-nonmonotonic", "internal-poll-nonmonotonic"
SKIP, SKIP_WITHIN = "poll-skip", "internal-poll-skip"
TOO_FAR, UNASSIGNED = "commit-too-far", "consumed-while-unassigned"


@pytest.fixture
def five(story):
    for number, id_ in enumerate("abcde"):
        story.sent(id_, f"t/0/{number}")
    return story


class TestMonotonic:
    def test_polls_that_go_on(self, five):
        five.polled("c1", "t/0/0 a", "t/0/1 b")
        five.polled("c1")
        five.polled("c1", "t/0/2 c")
        five.polled("c1", "t/0/3 d", "t/0/4 e")
        assert [five.finds(name) for name in (BACK, BACK_WITHIN, SKIP, SKIP_WITHIN)] == [0, 0, 0, 0]

    @pytest.mark.parametrize("again", ["t/0/0 a", "t/0/1 b"])
    def test_a_poll_that_starts_at_or_before_the_last_position(self, five, again):
        first = five.polled("c1", "t/0/0 a", "t/0/1 b")
        second = five.polled("c1", again)
        assert five.finds(BACK) == 1
        (example,) = five.check(BACK).examples
        assert example.events == (first, second)
        assert "right after offset 1" in example.text
        assert five.finds(BACK_WITHIN) == 0

    def test_empty_polls_in_between_hide_nothing(self, five):
        five.polled("c1", "t/0/1 b")
        five.polled("c1")
        five.polled("c1", "t/0/0 a")
        assert five.finds(BACK) == 1

    def test_within_one_poll(self, five):
        five.polled("c1", "t/0/1 b", "t/0/0 a", "t/0/0 a")
        assert five.finds(BACK_WITHIN) == 2
        assert five.finds(BACK) == 0

    def test_the_next_poll_is_compared_with_the_last_record_not_the_highest(self, five):
        five.polled("c1", "t/0/3 d", "t/0/0 a")
        five.polled("c1", "t/0/1 b")
        assert five.finds(BACK) == 0

    def test_logs_mixed_in_one_poll_are_compared_each_with_itself(self, story):
        for number, id_ in enumerate("ab"):
            story.sent(id_, f"t/0/{number}")
            story.sent(id_ * 2, f"t/1/{number}", key="l")
        story.polled("c1", "t/1/0 aa", "t/0/0 a", "t/1/1 bb", "t/0/1 b")
        assert story.finds(BACK_WITHIN) == story.finds(SKIP_WITHIN) == 0

    def test_two_readers_do_not_compare(self, five):
        five.polled("c1", "t/0/3 d")
        five.polled("c2", "t/0/0 a")
        five.polled("c1", "t/0/4 e")
        assert five.finds(BACK) == five.finds(SKIP) == 0

    def test_polls_without_offsets_are_not_compared(self, story):
        story.polled("c1", "t/0/- b", "t/0/- a")
        story.polled("c1", "t/0/- a")
        assert story.check(BACK).evidence == story.check(BACK_WITHIN).evidence == 0

    def test_records_that_nobody_sent_are_compared_too(self, story):
        story.polled("c1", "t/0/5 x")
        story.polled("c1", "t/0/4 y")
        assert story.finds(BACK) == 1

    def test_aborted_records_count_for_nothing(self, story):
        story.sent("a", "t/0/0")
        story.sent("b", "t/0/1", txn="x")
        story.did("p1", "end", txn="x", transactional_id="p", commit=False)
        story.polled("c1", "t/0/1 b", isolation="read_uncommitted")
        story.polled("c1", "t/0/0 a", isolation="read_uncommitted")
        assert story.finds(BACK) == 0


ENDS = {
    "revoke": lambda story: story.revoke("c1", "t/0"),
    "lost": lambda story: story.revoke("c1", "t/0", op="lost"),
    "assign without it": lambda story: (story.assign("c1", "t/1"), story.assign("c1", "t/0", "t/1")),
    "seek": lambda story: story.sought("c1", "t/0/0"),
    "seek of unknown outcome": lambda story: story.info(story.invoke("c1", "seek", offsets=[["t", 0, 0]])),
    "nack": lambda story: story.settled("nack", "c1", "t/0/1 b"),
    "crash": lambda story: story.note("c1", "crash", role="consumer"),
    "open": lambda story: story.note("c1", "open", role="consumer"),
    "close": lambda story: story.did("c1", "close", role="consumer"),
}
NO_ENDS = {
    "nothing": lambda story: None,
    "revoke of another log": lambda story: story.revoke("c1", "t/1"),
    "revoke of another process": lambda story: story.revoke("c2", "t/0"),
    "assign that keeps it": lambda story: story.assign("c1", "t/0", "t/1"),
    "seek in another log": lambda story: story.sought("c1", "t/1/0"),
    "seek that failed": lambda story: story.fail(story.invoke("c1", "seek", offsets=[["t", 0, 0]])),
    "nack in another log": lambda story: story.settled("nack", "c1", "t/1/1 b"),
    "ack": lambda story: story.settled("ack", "c1", "t/0/1 b"),
    "reject": lambda story: story.settled("reject", "c1", "t/0/1 b"),
    "crash of another process": lambda story: story.note("c2", "crash", role="consumer"),
    "fault": lambda story: (story.fault("start"), story.fault("stop")),
    "commit": lambda story: story.committed("c1", "t/0/2"),
}


class TestSessions:
    def told(self, five, what):
        five.assign("c1", "t/0", "t/1")
        five.polled("c1", "t/0/0 a", "t/0/1 b")
        what(five)
        if five.events[-1]["op"] != "assign":
            five.assign("c1", "t/0", "t/1")
        five.polled("c1", "t/0/0 a", "t/0/1 b")
        five.polled("c1", "t/0/2 c")
        return five

    @pytest.mark.parametrize("name", ENDS)
    def test_after_its_end_a_reader_may_go_back(self, five, name):
        assert self.told(five, ENDS[name]).finds(BACK) == 0

    @pytest.mark.parametrize("name", NO_ENDS)
    def test_nothing_else_ends_a_session(self, five, name):
        assert self.told(five, NO_ENDS[name]).finds(BACK) == 1

    @pytest.mark.parametrize("name", ENDS)
    def test_after_its_end_a_reader_may_go_ahead(self, five, name):
        five.polled("c1", "t/0/0 a")
        ENDS[name](five)
        five.polled("c1", "t/0/4 e")
        assert five.finds(SKIP) == 0

    @pytest.mark.parametrize("name", NO_ENDS)
    def test_without_an_end_it_may_not(self, five, name):
        five.polled("c1", "t/0/0 a")
        NO_ENDS[name](five)
        five.polled("c1", "t/0/4 e")
        assert five.finds(SKIP) == 1

    @pytest.mark.parametrize(("commit", "found"), [(True, 1), (False, 0)])
    def test_a_transaction_that_did_not_commit_ends_it(self, five, commit, found):
        five.did("w1", "begin", txn="x", transactional_id="w", consumers=["c1"])
        five.polled("c1", "t/0/0 a", "t/0/1 b")
        five.did("w1", "end", txn="x", transactional_id="w", commit=commit)
        five.polled("c1", "t/0/0 a")
        assert five.finds(BACK) == found

    @pytest.mark.parametrize("who", ["poll", "begin"])
    def test_it_covers_polls_that_name_it_and_those_of_its_own_process(self, five, who):
        process = "c1" if who == "poll" else "w1"
        five.did("w1", "begin", txn="x", transactional_id="w")
        five.polled(process, "t/0/0 a", **({"txn": "x"} if who == "poll" else {}))
        five.did("w1", "end", txn="x", transactional_id="w", commit=False)
        five.polled(process, "t/0/0 a")
        assert five.finds(BACK) == 0

    def test_a_transaction_without_an_end_ends_with_the_next_one(self, five):
        five.did("w1", "begin", txn="x", transactional_id="w", consumers=["c1"])
        five.polled("c1", "t/0/0 a")
        five.did("w1", "begin", txn="y", transactional_id="w", consumers=["c1"])
        five.polled("c1", "t/0/0 a")
        assert five.finds(BACK) == 0

    def test_a_nack_ends_it_twice(self, five):
        five.polled("c1", "t/0/0 a", "t/0/1 b")
        nack = five.invoke("c1", "nack", group="g", topic="t", partition=0, offset=0, id="a")
        five.polled("c1", "t/0/0 a", "t/0/1 b")
        five.ok(nack)
        five.polled("c1", "t/0/0 a")
        assert five.finds(BACK) == 0

    def test_a_poll_belongs_to_the_session_at_its_completion(self, five):
        five.assign("c1", "t/0")
        five.polled("c1", "t/0/0 a")
        poll = five.invoke("c1", "poll", group="g")
        five.revoke("c1", "t/0")
        five.assign("c1", "t/0/2")
        five.ok(poll, records=[["t", 0, 2, "c"]])
        five.polled("c1", "t/0/4 e")
        assert five.finds(SKIP) == 1

    def test_a_poll_in_which_the_log_was_lost_belongs_to_the_session_before(self, five):
        five.assign("c1", "t/0")
        five.polled("c1", "t/0/0 a")
        poll = five.invoke("c1", "poll", group="g")
        five.revoke("c1", "t/0", op="lost")
        five.ok(poll, records=[["t", 0, 2, "c"]])
        five.assign("c1", "t/0")
        five.polled("c1", "t/0/0 a")
        assert five.finds(SKIP) == 1
        assert five.finds(BACK) == 0


class TestSkip:
    def test_a_poll_that_jumps_over_records(self, five):
        first = five.polled("c1", "t/0/0 a")
        second = five.polled("c1", "t/0/3 d")
        assert five.finds(SKIP) == 1
        (example,) = five.check(SKIP).examples
        assert example.events == (3, first, second)
        assert "went from offset 0 to 3 of t/0 over 'b', 'c'" in example.text

    def test_within_one_poll(self, five):
        five.polled("c1", "t/0/0 a", "t/0/2 c", "t/0/4 e")
        assert five.finds(SKIP_WITHIN) == 2
        assert five.finds(SKIP) == 0

    def test_control_records_leave_gaps_that_nobody_skips(self, story):
        for id_, offset in (("a", 0), ("b", 2), ("c", 7)):
            story.sent(id_, f"t/0/{offset}")
        story.polled("c1", "t/0/0 a")
        story.polled("c1", "t/0/2 b", "t/0/7 c")
        assert story.finds(SKIP) == story.finds(SKIP_WITHIN) == 0

    def test_a_record_whose_place_only_another_poll_tells(self, story):
        story.sent("a", "t/0/0")
        story.info(story.send("b"))
        story.sent("c", "t/0/2")
        story.polled("c1", "t/0/0 a", "t/0/2 c")
        assert story.finds(SKIP_WITHIN) == 0
        story.polled("c2", "t/0/1 b", group="h")
        assert story.finds(SKIP_WITHIN) == 1

    @pytest.mark.parametrize(("ending", "found"), [(True, 1), (False, 0), (None, 0)])
    def test_records_of_transactions_count_if_these_stand(self, story, ending, found):
        story.sent("a", "t/0/0")
        story.sent("b", "t/0/1", txn="x")
        story.sent("c", "t/0/2")
        if ending is not None:
            story.did("p1", "end", txn="x", transactional_id="p", commit=ending)
        story.polled("c1", "t/0/0 a", "t/0/2 c")
        assert story.finds(SKIP_WITHIN) == found

    @pytest.mark.parametrize(("first", "found"), [(2, 1), (3, 0)])
    def test_what_was_trimmed_cannot_be_skipped(self, five, first, found):
        five.polled("c1", "t/0/0 a")
        five.trimmed(f"t/0/{first}")
        five.polled("c1", "t/0/3 d")
        assert five.finds(SKIP) == found

    def test_phantoms_are_no_obstacle(self, story):
        story.sent("a", "t/0/0")
        story.sent("c", "t/0/2")
        story.polled("c2", "t/0/1 ghost", group="h")
        story.polled("c1", "t/0/0 a", "t/0/2 c")
        assert story.finds(SKIP_WITHIN) == 0

    def test_the_first_poll_of_a_session_skips_nothing(self, five):
        five.polled("c1", "t/0/4 e")
        assert five.finds(SKIP) == 0


class TestCommitTooFar:
    def test_a_commit_of_what_was_handled(self, five):
        five.polled("c1", "t/0/0 a", "t/0/1 b")
        five.handled("c1", "t/0/0 a")
        five.handled("c1", "t/0/1 b")
        five.committed("c1", "t/0/2")
        assert five.finds(TOO_FAR) == 0

    def test_a_commit_before_the_handler_is_done(self, five):
        polled = five.polled("c1", "t/0/0 a", "t/0/1 b")
        five.handled("c1", "t/0/0 a")
        handling = five.handling("c1", "t/0/1 b")
        committed = five.committed("c1", "t/0/2")
        five.ok(handling)
        assert five.finds(TOO_FAR) == 1
        (example,) = five.check(TOO_FAR).examples
        assert example.events == (polled, committed - 1)
        assert "committed t/0 at offset 2 before 'b' at offset 1 was handled" in example.text

    @pytest.mark.parametrize("ending", ["fail", "info", "open"])
    def test_a_handling_that_is_not_ok_is_none(self, five, ending):
        five.polled("c1", "t/0/0 a")
        handling = five.handling("c1", "t/0/0 a")
        if ending != "open":
            getattr(five, ending)(handling)
        five.committed("c1", "t/0/1")
        assert five.finds(TOO_FAR) == 1

    @pytest.mark.parametrize("instead", ["reject", "dead-letter", "expire", "retry topic"])
    def test_what_else_is_done_with_a_record(self, five, instead):
        five.polled("c1", "t/0/0 a", "t/0/1 b")
        five.handled("c1", "t/0/0 a")
        five.failed("c1", "t/0/1 b")
        if instead == "reject":
            five.settled("reject", "c1", "t/0/1 b")
        elif instead == "dead-letter":
            five.buried("b")
        elif instead == "expire":
            five.note("c1", "expire", group="g", id="b")
        else:
            five.settled("nack", "c1", "t/0/1 b", to="t.retry")
        five.committed("c1", "t/0/2")
        assert five.finds(TOO_FAR) == 0

    def test_a_nack_alone_is_not_enough(self, five):
        five.polled("c1", "t/0/0 a")
        five.failed("c1", "t/0/0 a")
        five.settled("nack", "c1", "t/0/0 a")
        five.committed("c1", "t/0/1")
        assert five.finds(TOO_FAR) == 1

    def test_another_groups_handling_does_not_count(self, five):
        five.polled("c1", "t/0/0 a")
        five.polled("c2", "t/0/0 a", group="h")
        five.handled("c2", "t/0/0 a", group="h")
        five.handled("c1", "t/0/4 e")
        five.committed("c1", "t/0/1")
        assert five.finds(TOO_FAR) == 1

    def test_another_members_handling_counts(self, five):
        five.polled("c1", "t/0/0 a")
        five.revoke("c1", "t/0")
        five.polled("c2", "t/0/0 a")
        five.handled("c2", "t/0/0 a")
        five.committed("c2", "t/0/1")
        assert five.finds(TOO_FAR) == 0

    def test_what_comes_again_was_handled_before(self, five):
        five.polled("c1", "t/0/0 a")
        five.handled("c1", "t/0/0 a")
        five.sought("c1", "t/0/0")
        five.polled("c1", "t/0/0 a")
        five.committed("c1", "t/0/1")
        assert five.finds(TOO_FAR) == 0

    def test_out_of_order_handling_with_a_low_water_commit(self, five):
        five.polled("c1", *(f"t/0/{number} {id_}" for number, id_ in enumerate("abc")))
        five.handled("c1", "t/0/2 c")
        five.committed("c1", "t/0/0")
        five.handled("c1", "t/0/0 a")
        five.committed("c1", "t/0/1")
        five.handled("c1", "t/0/1 b")
        five.committed("c1", "t/0/3")
        assert five.finds(TOO_FAR) == 0

    def test_every_commit_that_leaves_a_record_behind_counts(self, five):
        five.polled("c1", "t/0/0 a", "t/0/1 b", "t/0/2 c")
        five.handled("c1", "t/0/1 b")
        five.committed("c1", "t/0/2")
        five.handled("c1", "t/0/2 c")
        five.committed("c1", "t/0/3")
        five.handled("c1", "t/0/0 a")
        five.committed("c1", "t/0/3")
        assert five.finds(TOO_FAR) == 2

    def test_commits_that_go_back_are_judged_too(self, five):
        five.polled("c1", "t/0/0 a", "t/0/1 b", "t/0/2 c")
        five.handled("c1", "t/0/0 a")
        five.committed("c1", "t/0/3")
        five.committed("c1", "t/0/1")
        five.committed("c1", "t/0/2")
        assert five.finds(TOO_FAR) == 2

    def test_a_commit_that_certainly_failed_is_not_judged(self, five):
        five.polled("c1", "t/0/0 a")
        five.failed("c1", "t/0/0 a")
        five.fail(five.invoke("c1", "commit", group="g", offsets=[["t", 0, 1]]))
        assert five.finds(TOO_FAR) == 0
        five.info(five.invoke("c1", "commit", group="g", offsets=[["t", 0, 1]]))
        assert five.finds(TOO_FAR) == 1

    def test_without_handle_events_delivery_is_enough(self, five):
        five.polled("c1", "t/0/0 a", "t/0/1 b")
        five.committed("c1", "t/0/2")
        assert five.finds(TOO_FAR) == 0

    @pytest.mark.parametrize(("offset", "found"), [(2, 0), (3, 1), (5, 1), (99, 1)])
    def test_no_commit_above_the_last_delivered_position(self, five, offset, found):
        five.polled("c1", "t/0/0 a", "t/0/1 b")
        five.committed("c1", f"t/0/{offset}")
        assert five.finds(TOO_FAR) == found

    def test_gaps_of_control_records_may_be_committed_over(self, story):
        story.sent("a", "t/0/0")
        story.sent("b", "t/0/5")
        story.polled("c1", "t/0/0 a")
        story.committed("c1", "t/0/5")
        story.polled("c1", "t/0/5 b")
        story.committed("c1", "t/0/9")
        assert story.finds(TOO_FAR) == 0

    def test_a_commit_without_any_delivery(self, five):
        five.committed("c1", "t/0/0")
        assert five.finds(TOO_FAR) == 0
        five.committed("c1", "t/0/1")
        assert five.finds(TOO_FAR) == 1
        assert "had got nothing of it" in five.check(TOO_FAR).examples[0].text

    def test_another_groups_deliveries_do_not_count(self, five):
        five.polled("c2", "t/0/0 a", group="h")
        five.committed("c1", "t/0/1")
        assert five.finds(TOO_FAR) == 1

    @pytest.mark.parametrize("how", ["assign", "seek"])
    def test_where_reading_was_told_to_begin_may_be_committed(self, five, how):
        if how == "assign":
            five.assign("c1", "t/0/3")
        else:
            five.sought("c1", "t/0/3")
        five.committed("c1", "t/0/3")
        assert five.finds(TOO_FAR) == 0
        five.committed("c1", "t/0/4")
        assert five.finds(TOO_FAR) == 1

    def test_a_delivery_after_the_commit_comes_too_late(self, five):
        five.committed("c1", "t/0/1")
        five.polled("c1", "t/0/0 a")
        assert five.finds(TOO_FAR) == 1

    def test_it_is_allowed_under_at_most_once(self, five):
        five.committed("c1", "t/0/3")
        assert five.check(TOO_FAR, "at-most-once").severity == "allowed"


class TestConsumedWhileUnassigned:
    def test_a_process_without_any_assign_is_never_unassigned(self, five):
        five.polled("c1", "t/0/0 a")
        five.assign("c2", "t/0")
        assert five.finds(UNASSIGNED) == 0

    def test_records_of_an_assigned_log(self, five):
        five.assign("c1", "t/0")
        five.polled("c1", "t/0/0 a", "t/0/1 b")
        five.assign("c1", "t/0", "t/1")
        five.polled("c1", "t/0/2 c")
        assert five.finds(UNASSIGNED) == 0

    def test_before_the_first_assignment(self, five):
        done = five.polled("c1", "t/0/0 a", "t/0/1 b")
        five.assign("c1", "t/0")
        assert five.finds(UNASSIGNED) == 2
        assert five.check(UNASSIGNED).examples[0].events == (done - 1, done)

    @pytest.mark.parametrize(
        "end",
        [
            lambda story: story.revoke("c1", "t/0"),
            lambda story: story.revoke("c1", "t/0", op="lost"),
            lambda story: story.assign("c1", "t/1"),
            lambda story: story.assign("c1"),
            lambda story: story.note("c1", "crash", role="consumer"),
            lambda story: story.did("c1", "close", role="consumer"),
        ],
    )
    def test_after_it_was_gone(self, five, end):
        five.assign("c1", "t/0")
        five.polled("c1", "t/0/0 a")
        end(five)
        five.polled("c1", "t/0/1 b")
        assert five.finds(UNASSIGNED) == 1

    def test_another_log_than_the_assigned(self, story):
        story.assign("c1", "t/0")
        story.sent("a", "t/1/0")
        story.polled("c1", "t/1/0 a")
        assert story.finds(UNASSIGNED) == 1

    def test_a_poll_is_judged_against_all_assignments_in_its_course(self, five):
        five.assign("c1", "t/0")
        poll = five.invoke("c1", "poll", group="g")
        five.revoke("c1", "t/0")
        five.ok(poll, records=[["t", 0, 0, "a"]])
        poll = five.invoke("c1", "poll", group="g")
        five.assign("c1", "t/0")
        five.ok(poll, records=[["t", 0, 1, "b"]])
        assert five.finds(UNASSIGNED) == 0

    def test_held_again_later_does_not_help(self, five):
        five.assign("c1", "t/0")
        five.revoke("c1", "t/0")
        five.polled("c1", "t/0/0 a")
        five.assign("c1", "t/0")
        assert five.finds(UNASSIGNED) == 1

    def test_a_partial_revoke_leaves_the_rest(self, story):
        story.assign("c1", "t/0", "t/1")
        story.revoke("c1", "t/0")
        story.polled("c1", "t/1/0 a")
        assert story.finds(UNASSIGNED) == 0
        story.polled("c1", "t/0/0 b")
        assert story.finds(UNASSIGNED) == 1

    def test_many_logs_and_processes(self, story):
        for process in ("c1", "c2"):
            story.assign(process, *(f"t/{p}" for p in range(3)))
        story.polled("c1", "t/0/0 a", "t/1/0 b", "t/3/0 c", "t/2/0 d")
        story.polled("c2", "t/3/0 c", "t/0/0 a")
        assert story.finds(UNASSIGNED) == 2
