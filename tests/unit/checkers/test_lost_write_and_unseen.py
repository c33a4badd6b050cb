"""lost-write and unseen: what stands, is in a reader's range, and nobody got."""

import pytest

LOST, UNSEEN = "lost-write", "unseen"


def three_sent(story):
    for number, id_ in enumerate("abc"):
        story.sent(id_, f"t/0/{number}")


def test_nothing_is_lost_when_everything_was_polled(story):
    three_sent(story)
    story.polled("c1", "t/0/0 a", "t/0/1 b", "t/0/2 c")
    assert story.finds(LOST) == 0
    assert story.finds(UNSEEN) == 0, "decided without a drain: nothing is missing"


def test_a_record_that_readers_went_past_is_lost(story):
    three_sent(story)
    done = story.polled("c1", "t/0/0 a", "t/0/2 c")
    assert story.finds(LOST) == 1
    (example,) = story.check(LOST).examples
    assert example.events == (2, 3, done)
    assert "'b' was acknowledged in t/0 at offset 1 and never polled" in example.text
    assert "c1 polled up to offset 2" in example.text


def test_what_stands_above_the_highest_polled_is_not_yet_lost_but_unseen_after_a_drain(story):
    three_sent(story)
    story.polled("c1", "t/0/0 a")
    assert story.finds(LOST) == 0
    assert story.check(UNSEEN).verdict == "unknown"
    assert "no complete drain" in story.check(UNSEEN).note
    story.drained(complete=False)
    assert story.check(UNSEEN).verdict == "unknown"
    story.drained()
    assert story.finds(UNSEEN) == 2


def test_a_record_acknowledged_after_the_drain_leaves_it_undecided(story):
    story.sent("a", "t/0/0")
    story.polled("c1", "t/0/0 a")
    story.drained()
    story.sent("b", "t/0/1")
    assert story.check(UNSEEN).verdict == "unknown"


def test_with_empty_polls_and_a_drain_everything_is_unseen(story):
    story.sent("a", "t/0/0")
    story.polled("c1")
    story.drained()
    assert story.finds(UNSEEN) == 1
    assert story.finds(LOST) == 0


def test_without_any_reader_nothing_is_missing(story):
    story.sent("a", "t/0/0")
    story.drained()
    assert story.finds(UNSEEN) == 0


def test_a_topic_that_nobody_reads_is_nobodys_loss(story):
    story.note("c1", "open", role="consumer", group="g", topics=["t"])
    story.sent("a", "t/0/0")
    story.sent("x", "out/0/0")
    story.polled("c1", "t/0/0 a")
    story.drained()
    assert story.finds(UNSEEN) == 0


def test_a_log_of_the_opened_topic_that_was_never_polled_is_unseen(story):
    story.note("c1", "open", role="consumer", group="g", topics=["t"])
    story.sent("a", "t/0/0")
    story.sent("b", "t/1/0", key="l")
    story.polled("c1", "t/0/0 a")
    story.drained()
    assert story.finds(UNSEEN) == 1


def test_a_reader_with_assignments_answers_for_its_logs_only(story):
    story.assign("c1", "t/0")
    story.sent("a", "t/0/0")
    story.sent("b", "t/1/0", key="l")
    story.polled("c1", "t/0/0 a")
    story.drained()
    assert story.finds(UNSEEN) == 0


def test_an_assigned_log_that_was_never_polled_is_unseen(story):
    story.assign("c1", "t/0", "t/1")
    story.sent("a", "t/0/0")
    story.sent("b", "t/1/0", key="l")
    story.polled("c1", "t/0/0 a")
    story.drained()
    assert story.finds(UNSEEN) == 1


@pytest.mark.parametrize(("first", "lost"), [(0, 2), (1, 1), (2, 0)])
def test_a_range_begins_at_the_positions_of_the_assignment(story, first, lost):
    for number, id_ in enumerate("abc"):
        story.sent(id_, f"t/0/{number}")
    story.assign("c1", f"t/0/{first}")
    story.polled("c1", "t/0/2 c")
    assert story.finds(LOST) == lost


def test_two_readers_ranges_are_united(story):
    three_sent(story)
    story.assign("c1", "t/0/2", group="g1")
    story.assign("c2", "t/0/0", group="g2")
    story.polled("c1", "t/0/2 c", group="g1")
    assert story.finds(LOST) == 2


def test_reset_latest_begins_at_the_first_offset_polled(story):
    story.note("c1", "open", role="consumer", group="g", reset="latest")
    three_sent(story)
    story.polled("c1", "t/0/1 b", "t/0/2 c")
    story.drained()
    assert story.finds(LOST) == 0
    assert story.finds(UNSEEN) == 0


def test_reset_latest_without_any_poll_has_no_range(story):
    story.note("c1", "open", role="consumer", group="g", reset="latest", topics=["t"])
    three_sent(story)
    story.drained()
    assert story.finds(UNSEEN) == 0


def test_a_reader_that_sought_before_it_polled_begins_where_it_sought(story):
    three_sent(story)
    story.sought("c1", "t/0/2")
    story.polled("c1", "t/0/2 c")
    story.drained()
    assert story.finds(LOST) == 0
    assert story.finds(UNSEEN) == 0


def test_what_a_program_jumps_over_by_its_own_seek_is_nobodys_loss(story):
    for number, id_ in enumerate("abcde"):
        story.sent(id_, f"t/0/{number}")
    story.polled("c1", "t/0/0 a")
    story.sought("c1", "t/0/3")
    story.polled("c1", "t/0/3 d", "t/0/4 e")
    story.drained()
    assert story.finds(LOST) == 0
    assert story.finds(UNSEEN) == 0


def test_what_is_missing_after_the_seek_is_still_lost(story):
    for number, id_ in enumerate("abcde"):
        story.sent(id_, f"t/0/{number}")
    story.polled("c1", "t/0/0 a")
    story.sought("c1", "t/0/1")
    story.polled("c1", "t/0/1 b", "t/0/4 e")
    assert story.finds(LOST) == 2


def test_nothing_polled_after_a_seek_is_unseen_from_its_target_on(story):
    three_sent(story)
    story.polled("c1", "t/0/0 a")
    story.sought("c1", "t/0/2")
    story.drained()
    assert story.finds(UNSEEN) == 1


def test_a_seek_that_failed_changes_nothing(story):
    three_sent(story)
    story.polled("c1", "t/0/0 a")
    story.fail(story.invoke("c1", "seek", offsets=[["t", 0, 2]]))
    story.polled("c1", "t/0/2 c")
    assert story.finds(LOST) == 1


@pytest.mark.parametrize("cause", ["retention", "delete", "compaction", "overflow"])
def test_what_was_trimmed_is_nobodys_loss(story, cause):
    three_sent(story)
    story.trimmed("t/0/2", cause=cause)
    story.polled("c1", "t/0/2 c")
    story.drained()
    assert story.finds(LOST) == 0
    assert story.finds(UNSEEN) == 0


def test_a_trim_of_another_log_excuses_nothing(story):
    three_sent(story)
    story.trimmed("t/1/2")
    story.polled("c1", "t/0/2 c")
    assert story.finds(LOST) == 2


@pytest.mark.parametrize("outcome", ["fail", "info", "open"])
def test_only_what_stands_can_be_lost(story, outcome):
    story.sent("a", "t/0/0")
    call = story.send("b")
    if outcome == "fail":
        story.fail(call)
    if outcome == "info":
        story.info(call, partition=0, offset=1)
    story.sent("c", "t/0/2")
    story.polled("c1", "t/0/0 a", "t/0/2 c")
    story.drained()
    assert story.finds(LOST) == 0
    assert story.finds(UNSEEN) == 0


def test_without_offsets_a_record_can_be_unseen_but_not_lost(story):
    for id_ in "abc":
        story.sent(id_, "t/0/-")
    story.polled("c1", "t/0/- a", "t/0/- c")
    story.drained()
    assert story.finds(LOST) == 0
    assert story.finds(UNSEEN) == 1


def test_without_offsets_and_with_a_range_from_the_middle_nothing_can_be_said(story):
    story.sent("a", "t/0/-")
    story.assign("c1", "t/0/5")
    story.drained()
    assert story.finds(UNSEEN) == 0


def test_a_record_of_a_committed_transaction_can_be_lost(story):
    story.sent("a", "t/0/0", txn="x")
    story.sent("b", "t/0/1", txn="x")
    story.did("p1", "end", txn="x", transactional_id="p", commit=True)
    story.polled("c1", "t/0/1 b")
    assert story.finds(LOST) == 1


@pytest.mark.parametrize("ending", ["abort", "commit fails", "commit unknown", "none"])
def test_records_of_other_transactions_cannot(story, ending):
    story.sent("a", "t/0/0", txn="x")
    story.sent("b", "t/0/1")
    end = {"txn": "x", "transactional_id": "p"}
    if ending == "abort":
        story.did("p1", "end", **end, commit=False)
    elif ending == "commit fails":
        story.fail(story.invoke("p1", "end", **end, commit=True))
    elif ending == "commit unknown":
        story.info(story.invoke("p1", "end", **end, commit=True))
    story.polled("c1", "t/0/1 b")
    story.drained()
    assert story.finds(LOST) == 0
    assert story.finds(UNSEEN) == 0


def test_a_transaction_of_unknown_end_is_proven_by_a_read_committed_poll(story):
    for number, id_ in enumerate("abc"):
        story.sent(id_, f"t/0/{number}", txn="x")
    story.polled("c1", "t/0/0 a", "t/0/2 c")
    assert story.finds(LOST) == 1


@pytest.mark.parametrize("how", ["abort", "commit fails"])
def test_a_transaction_that_was_aborted_is_not_proven_by_any_poll(story, how):
    for number, id_ in enumerate("abc"):
        story.sent(id_, f"t/0/{number}", txn="x")
    end = story.invoke("p1", "end", txn="x", transactional_id="p", commit=how != "abort")
    story.ok(end) if how == "abort" else story.fail(end)
    story.polled("c1", "t/0/0 a", "t/0/2 c")
    assert story.finds(LOST) == 0


def test_a_read_uncommitted_poll_proves_nothing(story):
    for number, id_ in enumerate("abc"):
        story.sent(id_, f"t/0/{number}", txn="x")
    story.polled("c1", "t/0/0 a", "t/0/2 c", isolation="read_uncommitted")
    assert story.finds(LOST) == 0


def test_an_expired_record_is_not_missing(story):
    three_sent(story)
    story.polled("c1", "t/0/0 a", "t/0/2 c")
    story.note("c1", "expire", group="g", id="b")
    story.drained()
    assert story.finds(LOST) == 0
    assert story.finds(UNSEEN) == 0


def test_a_drain_that_names_its_groups_decides_for_them_only(story):
    story.sent("a", "t/0/0")
    story.sent("b", "s/0/0")
    story.assign("c1", "t/0", group="g1")
    story.assign("c2", "s/0", group="g2")
    story.drained(groups=["g1"])
    assert story.finds(UNSEEN) == 1
    assert "'a'" in story.check(UNSEEN).examples[0].text


def test_offsets_far_apart_are_no_burden(story):
    story.sent("a", "t/0/1000000000000")
    story.sent("b", "t/0/2000000000000")
    story.sent("c", "t/0/4000000000000")
    story.polled("c1", "t/0/1000000000000 a", "t/0/4000000000000 c")
    assert story.finds(LOST) == 1
    assert story.finds("internal-poll-skip") == 1


def test_both_are_only_reported_under_at_most_once(story):
    three_sent(story)
    story.polled("c1", "t/0/2 c")
    story.drained()
    verdict = story.verdict("at-most-once")
    assert verdict.checks[LOST].severity == verdict.checks[UNSEEN].severity == "reported"
    assert verdict.checks[LOST].count == 2
    assert verdict.verdict == "valid"
