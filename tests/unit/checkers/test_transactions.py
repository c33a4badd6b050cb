"""Transactions: aborted-read, early-read, own-read, torn-transaction, zombie-write and their kin."""

import pytest

ABORTED, EARLY, OWN, TORN = "aborted-read", "early-read", "own-read", "torn-transaction"
INTERLEAVED, ZOMBIE, HANGING = "send-interleaved", "zombie-write", "hanging-transaction"

ALL = (
    *(ABORTED, EARLY, OWN, TORN, INTERLEAVED, ZOMBIE, HANGING),
    *("write-cycle", "circular-information-flow", "abort-without-rewind"),
    *("transform-not-atomic", "transform-not-exactly-once"),
)


def test_a_history_without_transactions_has_nothing_to_judge(story):
    for number, id_ in enumerate("abc"):
        story.sent(id_, f"t/0/{number}")
    story.polled("c1", "t/0/0 a", "t/0/1 b", "t/0/2 c")
    story.drained()
    for name in ALL:
        found = story.check(name)
        assert (found.verdict, found.count, found.evidence) == ("valid", 0, 0), name


def test_an_empty_history_has_nothing_to_judge(story):
    assert all(story.check(name).verdict == "valid" for name in ALL)


@pytest.fixture
def one(story):
    """A transaction of two records."""
    story.began("x")
    story.sent("a", "t/0/0", process="w1", txn="x")
    story.sent("b", "t/0/1", process="w1", txn="x")
    return story


class TestAbortedRead:
    def test_committed_records_are_there_to_be_read(self, one):
        one.ended("x")
        one.polled("c1", "t/0/0 a", "t/0/1 b")
        assert one.finds(ABORTED) == one.finds(EARLY) == 0

    def test_each_record_of_an_aborted_transaction_that_is_read_counts(self, one):
        aborted = one.aborted("x")
        polled = one.polled("c1", "t/0/0 a", "t/0/1 b")
        assert one.finds(ABORTED) == 2
        assert one.finds(EARLY) == 0
        example = one.check(ABORTED).examples[0]
        assert example.events == (aborted, polled)
        assert "c1 polled 'a' from t/0 at offset 0" in example.text
        assert "transaction 'x', which sent it, was aborted" in example.text

    def test_a_commit_that_certainly_failed_is_an_abort(self, one):
        one.fail(one.ending("x", True))
        one.polled("c1", "t/0/0 a")
        assert one.finds(ABORTED) == 1

    def test_a_commit_that_failed_first_and_then_was_ok_is_none(self, one):
        one.fail(one.ending("x", True))
        one.ended("x")
        one.polled("c1", "t/0/0 a")
        assert one.finds(ABORTED) == 0

    def test_an_abort_after_a_commit_of_unknown_outcome(self, one):
        one.left_unknown("x")
        one.aborted("x")
        one.polled("c1", "t/0/0 a")
        assert one.finds(ABORTED) == 1

    @pytest.mark.parametrize("ending", ["unknown", "open", "none"])
    def test_what_is_not_known_to_be_aborted_is_proven_by_the_poll(self, one, ending):
        if ending == "unknown":
            one.left_unknown("x")
        elif ending == "open":
            one.ending("x", True)
        one.polled("c1", "t/0/0 a")
        assert one.finds(ABORTED) == 0

    def test_an_abort_of_unknown_outcome_is_no_abort(self, one):
        one.info(one.ending("x", False))
        one.polled("c1", "t/0/0 a")
        assert one.finds(ABORTED) == 0

    def test_who_reads_uncommitted_may_see_it(self, one):
        one.aborted("x")
        one.polled("c1", "t/0/0 a", isolation="read_uncommitted")
        assert one.finds(ABORTED) == 0

    def test_a_poll_of_unknown_outcome_tells_what_it_returned(self, one):
        one.aborted("x")
        one.info(one.invoke("c1", "poll", group="g"), records=[["t", 0, 0, "a"]])
        assert one.finds(ABORTED) == 1

    def test_evidence_are_aborted_records_that_readers_went_past(self, one):
        one.aborted("x")
        one.sent("c", "t/0/3")
        assert one.check(ABORTED).evidence == 0
        one.polled("c1", "t/0/3 c")
        assert one.check(ABORTED).evidence == 2

    def test_who_read_uncommitted_went_past_nothing(self, one):
        one.aborted("x")
        one.sent("c", "t/0/3")
        one.polled("c1", "t/0/3 c", isolation="read_uncommitted")
        assert one.check(ABORTED).evidence == 0


class TestEarlyRead:
    def test_before_the_commit_is_invoked(self, one):
        polled = one.polled("c1", "t/0/0 a")
        commit = one.ended("x")
        assert one.finds(EARLY) == 1
        example = one.check(EARLY).examples[0]
        assert example.events == (polled, commit - 1)
        assert "before transaction 'x', which sent it, was committed" in example.text

    def test_once_the_commit_is_invoked_it_may_be_seen(self, one):
        end = one.ending("x", True)
        one.polled("c1", "t/0/0 a")
        one.ok(end)
        assert one.finds(EARLY) == 0

    def test_a_poll_under_way_when_the_commit_is_invoked_may_see_it(self, one):
        poll = one.invoke("c1", "poll", group="g")
        end = one.ending("x", True)
        one.ok(poll, records=[["t", 0, 0, "a"]])
        one.ok(end)
        assert one.finds(EARLY) == 0

    def test_the_first_of_several_attempts_to_commit_counts(self, one):
        one.left_unknown("x")
        one.polled("c1", "t/0/0 a")
        one.ended("x")
        assert one.finds(EARLY) == 0

    def test_of_a_transaction_that_crashed_before_its_commit(self, one):
        one.note("w1", "crash", role="worker")
        one.polled("c1", "t/0/0 a")
        assert one.finds(EARLY) == 1
        assert "it never was committed" in one.check(EARLY).examples[0].text

    def test_of_a_transaction_that_was_aborted_later(self, one):
        one.polled("c1", "t/0/0 a")
        one.aborted("x")
        assert one.finds(EARLY) == one.finds(ABORTED) == 1

    def test_after_the_abort_it_is_an_aborted_read_alone(self, one):
        one.aborted("x")
        one.polled("c1", "t/0/0 a")
        assert one.finds(EARLY) == 0

    def test_who_reads_uncommitted_may_see_it(self, one):
        one.polled("c1", "t/0/0 a", isolation="read_uncommitted")
        one.ended("x")
        assert one.finds(EARLY) == 0

    def test_records_of_no_transaction_are_there_at_once(self, story):
        send = story.send("a")
        story.polled("c1", "t/0/0 a")
        story.ok(send, partition=0, offset=0)
        assert story.finds(EARLY) == 0


class TestOwnRead:
    def test_a_poll_that_names_the_transaction(self, one):
        polled = one.polled("c1", "t/0/0 a", txn="x")
        one.ended("x")
        assert one.finds(OWN) == 1
        assert one.finds(EARLY) == 1
        example = one.check(OWN).examples[0]
        assert example.events == (2, polled)
        assert "within transaction 'x', which sent it" in example.text

    def test_a_poll_of_its_own_process(self, one):
        one.polled("w1", "t/0/0 a")
        one.ended("x")
        assert one.finds(OWN) == 1

    def test_a_poll_of_a_consumer_that_it_covers(self, story):
        story.began("x", consumers=["c1"])
        story.sent("a", "t/0/0", process="w1", txn="x")
        story.polled("c1", "t/0/0 a")
        story.ended("x")
        assert story.finds(OWN) == 1

    def test_another_process_is_not_the_transaction(self, one):
        one.polled("c1", "t/0/0 a")
        one.ended("x")
        assert one.finds(OWN) == 0

    def test_who_reads_uncommitted_may_see_it(self, one):
        one.polled("w1", "t/0/0 a", txn="x", isolation="read_uncommitted")
        one.ended("x")
        assert one.finds(OWN) == 0

    def test_what_was_committed_before_may_be_read_in_the_next(self, one):
        one.ended("x")
        one.began("y")
        one.polled("w1", "t/0/0 a", txn="y")
        one.polled("w1", "t/0/1 b")
        one.ended("y")
        assert one.finds(OWN) == 0

    @pytest.mark.parametrize("fields", [{}, {"txn": "x"}])
    def test_a_poll_under_way_when_it_is_committed_may_see_it(self, one, fields):
        poll = one.invoke("w1", "poll", group="g", **fields)
        end = one.ending("x", True)
        one.ok(poll, records=[["t", 0, 0, "a"]])
        one.ok(end)
        assert one.finds(OWN) == 0


class TestTornTransaction:
    def test_a_part_that_was_polled_and_a_part_that_is_lost(self, one):
        one.ended("x")
        one.sent("c", "t/0/3")
        one.polled("c1", "t/0/0 a", "t/0/3 c")
        assert one.finds(TORN) == 1
        example = one.check(TORN).examples[0]
        assert example.events == (5, len(one.events) - 1)
        assert "of transaction 'x'" in example.text
        assert "'a' was polled, but 'b'" in example.text

    def test_whole_transactions(self, one):
        one.ended("x")
        one.polled("c1", "t/0/0 a", "t/0/1 b")
        assert one.finds(TORN) == 0
        assert one.check(TORN).evidence == 1

    def test_what_nobody_has_come_to_yet_is_not_lost(self, one):
        one.ended("x")
        one.polled("c1", "t/0/0 a")
        assert one.finds(TORN) == 0

    def test_lost_as_a_whole_it_is_not_torn(self, one):
        one.ended("x")
        one.sent("c", "t/0/3")
        one.polled("c1", "t/0/3 c")
        assert one.finds(TORN) == 0
        assert one.finds("lost-write") == 2

    def test_proven_by_the_part_that_was_polled(self, one):
        one.left_unknown("x")
        one.sent("c", "t/0/3")
        one.polled("c1", "t/0/0 a", "t/0/3 c")
        assert one.finds(TORN) == 1

    def test_across_two_logs(self, story):
        story.began("x")
        story.sent("a", "t/0/0", process="w1", txn="x")
        story.sent("b", "t/1/0", process="w1", txn="x")
        story.ended("x")
        story.sent("c", "t/1/2")
        story.polled("c1", "t/0/0 a", "t/1/2 c")
        assert story.finds(TORN) == 1

    def test_of_an_aborted_one_nothing_is_lost(self, one):
        one.aborted("x")
        one.sent("c", "t/0/3")
        one.polled("c1", "t/0/0 a", "t/0/3 c")
        assert one.finds(TORN) == 0

    def test_trimmed_records_are_not_lost(self, one):
        one.ended("x")
        one.sent("c", "t/0/3")
        one.polled("c1", "t/0/0 a")
        one.trimmed("t/0/2")
        one.polled("c1", "t/0/3 c")
        assert one.finds(TORN) == 0

    def test_it_needs_offsets(self, one):
        one.header["capabilities"] = {"offsets": False}
        assert one.check(TORN).mark == "–"


class TestInterleaved:
    def interleaved(self, story, **between):
        story.began("x")
        story.sent("a", "t/0/0", process="w1", txn="x")
        story.sent("o", "t/0/1", process="p2", **between)
        story.sent("b", "t/0/2", process="w1", txn="x")
        story.ended("x")
        return story

    def test_a_record_of_no_transaction_in_between(self, story):
        self.interleaved(story)
        assert story.finds(INTERLEAVED) == 1
        example = story.check(INTERLEAVED).examples[0]
        assert "'o' of p2 stands between them" in example.text
        assert len(example.events) == 3

    def test_a_record_of_another_transaction_in_between(self, story):
        story.began("y", process="p2", transactional_id="v")
        self.interleaved(story, txn="y")
        story.ended("y", process="p2", transactional_id="v")
        assert story.finds(INTERLEAVED) == 1

    def test_one_of_an_aborted_transaction_counts_for_nothing(self, story):
        story.began("y", process="p2", transactional_id="v")
        self.interleaved(story, txn="y")
        story.aborted("y", process="p2", transactional_id="v")
        assert story.finds(INTERLEAVED) == 0

    def test_control_records_and_other_logs_are_nothing_in_between(self, story):
        story.began("x")
        story.sent("a", "t/0/0", process="w1", txn="x")
        story.sent("o", "t/1/1", process="p2")
        story.sent("b", "t/0/7", process="w1", txn="x")
        story.ended("x")
        assert story.finds(INTERLEAVED) == 0
        assert story.check(INTERLEAVED).evidence == 1

    def test_of_an_aborted_transaction_nothing_is_judged(self, story):
        story.began("x")
        story.sent("a", "t/0/0", process="w1", txn="x")
        story.sent("o", "t/0/1", process="p2")
        story.sent("b", "t/0/2", process="w1", txn="x")
        story.aborted("x")
        assert story.finds(INTERLEAVED) == 0

    def test_severities(self, story):
        self.interleaved(story)
        assert story.check(INTERLEAVED).severity == "allowed"
        assert story.check(INTERLEAVED, "exactly-once").severity == "reported"


class TestZombieWrite:
    @pytest.fixture
    def brain(self, story):
        """Two processes of one transactional id; the second has fenced the first."""
        story.initialised("w1", epoch=0)
        story.began("x")
        story.sent("a", "t/0/0", process="w1", txn="x")
        self.fence = story.initialised("w2", epoch=1)
        return story

    def test_a_send_after_the_other_took_over(self, brain):
        sent = brain.sent("b", "t/0/1", process="w1", txn="x")
        assert brain.finds(ZOMBIE) == 1
        example = brain.check(ZOMBIE).examples[0]
        assert example.events == (self.fence, sent - 1, sent)
        assert "though w2 had initialised 'w' before" in example.text

    def test_offsets_after_the_other_took_over(self, brain):
        brain.committed("w1", "t/0/1", txn="x")
        assert brain.finds(ZOMBIE) == 1

    def test_the_commit_of_the_transaction_after_the_other_took_over(self, brain):
        brain.ended("x")
        assert brain.finds(ZOMBIE) == 1

    def test_a_commit_of_nothing_needs_no_coordinator(self, story):
        story.initialised("w1")
        story.initialised("w2")
        story.began("x")
        story.ended("x")
        assert story.finds(ZOMBIE) == 0

    def test_what_fails_or_is_unknown_is_no_write_but_evidence(self, brain):
        brain.fail(brain.send("b", process="w1", txn="x"), "Fenced")
        brain.info(brain.send("c", process="w1", txn="x"))
        brain.fail(brain.ending("x", True), "Fenced")
        assert brain.finds(ZOMBIE) == 0
        assert brain.check(ZOMBIE).evidence == 3

    def test_what_was_invoked_before_may_still_come_true(self, story):
        story.initialised("w1")
        story.began("x")
        send = story.send("a", process="w1", txn="x")
        init = story.invoke("w2", "init", transactional_id="w")
        other = story.send("b", process="w1", txn="x")
        story.ok(init)
        story.ok(send, partition=0, offset=0)
        story.ok(other, partition=0, offset=1)
        assert story.finds(ZOMBIE) == 0

    @pytest.mark.parametrize("end", ["fail", "info"])
    def test_an_init_that_was_not_ok_fences_nobody(self, story, end):
        story.initialised("w1")
        story.began("x")
        getattr(story, end)(story.invoke("w2", "init", transactional_id="w"))
        story.sent("a", "t/0/0", process="w1", txn="x")
        assert story.finds(ZOMBIE) == 0

    def test_who_initialises_again_is_no_zombie(self, brain):
        brain.initialised("w1", epoch=2)
        brain.began("y")
        brain.sent("b", "t/0/3", process="w1", txn="y")
        brain.ended("y")
        assert brain.finds(ZOMBIE) == 0
        brain.began("z", process="w2")
        brain.sent("c", "t/0/5", process="w2", txn="z")
        assert brain.finds(ZOMBIE) == 1

    def test_which_of_two_inits_at_once_came_last_is_not_known(self, story):
        first = story.invoke("w1", "init", transactional_id="w")
        second = story.invoke("w2", "init", transactional_id="w")
        story.ok(second)
        story.ok(first)
        story.began("x")
        story.sent("a", "t/0/0", process="w1", txn="x")
        story.began("y", process="w2")
        story.sent("b", "t/0/1", process="w2", txn="y")
        assert story.finds(ZOMBIE) == 0

    def test_another_transactional_id_fences_nobody(self, story):
        story.initialised("w1", "w")
        story.initialised("w2", "v")
        story.began("x")
        story.sent("a", "t/0/0", process="w1", txn="x")
        assert story.finds(ZOMBIE) == 0

    def test_two_lives_of_one_process_are_one_process(self, story):
        story.initialised("w1")
        story.began("x")
        story.note("w1", "crash", role="worker")
        story.note("w1", "open", role="worker")
        story.initialised("w1")
        story.began("y")
        story.sent("a", "t/0/1", process="w1", txn="y")
        story.ended("y")
        assert story.finds(ZOMBIE) == 0

    def test_a_process_that_never_initialised_is_fenced_by_any_other(self, story):
        story.began("x")
        story.initialised("w2")
        story.sent("a", "t/0/0", process="w1", txn="x")
        assert story.finds(ZOMBIE) == 1


class TestHangingTransaction:
    def test_a_stable_end_below_the_end_after_a_drain(self, one):
        drained = one.drained(ends=[["t", 0, 3]], stable_ends=[["t", 0, 0]])
        assert one.finds(HANGING) == 1
        example = one.check(HANGING).examples[0]
        assert example.events == (3, drained)
        assert "t/0 ended at offset 3, and its stable end was 0" in example.text
        assert "transaction 'x' (unknown), which sent 'a'" in example.text

    def test_where_nothing_is_known_of_what_hangs(self, story):
        drained = story.drained(ends=[["t", 0, 3], ["t", 1, 1]], stable_ends=[["t", 0, 0], ["t", 1, 1]])
        assert story.finds(HANGING) == 1
        assert story.check(HANGING).evidence == 2
        assert story.check(HANGING).examples[0].events == (drained,)

    def test_both_ends_are_the_same(self, one):
        one.ended("x")
        one.drained(ends=[["t", 0, 3]], stable_ends=[["t", 0, 3]])
        assert one.finds(HANGING) == 0
        assert one.check(HANGING).evidence == 1

    def test_only_a_complete_drain_decides(self, one):
        one.drained(complete=False, ends=[["t", 0, 3]], stable_ends=[["t", 0, 0]])
        assert one.finds(HANGING) == 0

    def test_the_last_one_decides(self, one):
        one.drained(ends=[["t", 0, 3]], stable_ends=[["t", 0, 0]])
        one.ended("x")
        one.drained(ends=[["t", 0, 3]], stable_ends=[["t", 0, 3]])
        assert one.finds(HANGING) == 0

    def test_a_drain_that_tells_one_end_only(self, one):
        one.drained(ends=[["t", 0, 3]])
        assert one.check(HANGING).evidence == 0
