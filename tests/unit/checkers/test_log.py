"""The log: phantom, corrupted, misrouted, inconsistent-offset, log-duplicate, reorder, dishonest-outcome."""

import pytest

PHANTOM = "phantom"


class TestPhantom:
    def test_what_was_sent_is_none_whatever_became_of_the_send(self, story):
        story.sent("a", "t/0/0")
        story.fail(story.send("b"))
        story.info(story.send("c"))
        story.send("d")
        story.polled("c1", *(f"t/0/{number} {id_}" for number, id_ in enumerate("abcd")))
        assert story.finds(PHANTOM) == 0

    def test_what_nobody_sent_is_one(self, story):
        story.sent("a", "t/0/0")
        done = story.polled("c1", "t/0/0 a", "t/0/1 ghost")
        assert story.finds(PHANTOM) == 1
        (example,) = story.check(PHANTOM).examples
        assert example.events == (done,)
        assert "'ghost'" in example.text

    def test_an_id_counts_once_however_often_it_is_polled(self, story):
        story.polled("c1", "t/0/1 ghost")
        story.polled("c2", "t/0/1 ghost", group="h")
        story.polled("c2", "t/0/2 spirit", group="h")
        assert story.finds(PHANTOM) == 2

    def test_without_offsets_ids_are_found_all_the_same(self, story):
        story.sent("a", "t/0/-")
        story.polled("c1", "t/0/- a", "t/0/- ghost")
        assert story.finds(PHANTOM) == 1

    def test_a_record_at_a_place_where_another_was_acknowledged(self, story):
        story.sent("a", "t/0/0")
        story.sent("b", "t/0/1")
        story.polled("c1", "t/0/0 b", "t/0/1 a")
        assert story.finds(PHANTOM) == 0
        assert story.finds("inconsistent-offset") == 2

    def test_what_an_info_poll_tells_was_polled(self, story):
        poll = story.invoke("c1", "poll", group="g")
        story.info(poll, records=[["t", 0, 0, "ghost"]])
        assert story.finds(PHANTOM) == 1


class TestCorrupted:
    NAME = "corrupted"

    @pytest.mark.parametrize(
        "extra",
        [{}, {"crc": 7}, {"key": "k"}, {"crc": 7, "key": "k"}, {"key": {"b64": "aw=="}}, {"attempt": 2}],
    )
    def test_what_comes_as_it_was_sent(self, story, extra):
        story.sent("a", "t/0/0")
        story.polled("c1", ("t/0/0 a", extra))
        assert story.finds(self.NAME) == 0

    @pytest.mark.parametrize("extra", [{"crc": 8}, {"crc": None}, {"key": "l"}, {"key": None}, {"key": ""}])
    def test_what_comes_otherwise(self, story, extra):
        story.sent("a", "t/0/0")
        done = story.polled("c1", ("t/0/0 a", extra))
        assert story.finds(self.NAME) == 1
        (example,) = story.check(self.NAME).examples
        assert example.events == (0, done)
        assert ("another key" if "key" in extra else "another value") in example.text

    def test_a_tombstone_without_key_comes_as_such(self, story):
        story.sent("a", "t/0/0", key=None, crc=None)
        story.polled("c1", ("t/0/0 a", {"crc": None, "key": None}))
        assert story.finds(self.NAME) == 0
        story.polled("c2", ("t/0/0 a", {"crc": 0}), group="h")
        assert story.finds(self.NAME) == 1

    def test_keys_that_are_no_text_are_compared_by_their_bytes(self, story):
        story.sent("a", "t/0/0", key={"b64": "/wA="})
        story.polled("c1", ("t/0/0 a", {"key": {"b64": "/wA="}}))
        assert story.finds(self.NAME) == 0
        story.polled("c2", ("t/0/0 a", {"key": {"b64": "/wE="}}), group="h")
        assert story.finds(self.NAME) == 1

    def test_the_text_of_a_byte_is_not_that_byte(self, story):
        story.sent("a", "t/0/0", key="ÿ")
        story.polled("c1", ("t/0/0 a", {"key": {"b64": "/w=="}}))
        assert story.finds(self.NAME) == 1

    def test_aborted_records_count_for_nothing_here(self, story):
        story.sent("a", "t/0/0", txn="x")
        story.did("p1", "end", txn="x", transactional_id="p", commit=False)
        story.polled("c1", ("t/0/0 a", {"crc": 8}), isolation="read_uncommitted")
        assert story.finds(self.NAME) == 0


class TestMisrouted:
    NAME = "misrouted"

    def test_polled_from_where_it_was_acknowledged(self, story):
        story.sent("a", "t/1/0")
        story.polled("c1", "t/1/0 a")
        assert story.finds(self.NAME) == 0

    @pytest.mark.parametrize("place", ["t/0/0", "u/1/0"])
    def test_polled_from_another_log(self, story, place):
        story.sent("a", "t/1/0")
        story.polled("c1", f"{place} a")
        assert story.finds(self.NAME) == 1
        assert "acknowledged in t/1" in story.check(self.NAME).examples[0].text

    def test_without_an_acknowledgement_nothing_is_known_of_the_log(self, story):
        story.info(story.send("a"))
        story.polled("c1", "t/1/0 a")
        assert story.finds(self.NAME) == 0

    def test_an_info_that_tells_the_partition_is_believed(self, story):
        story.info(story.send("a"), partition=0)
        story.polled("c1", "t/1/0 a")
        assert story.finds(self.NAME) == 1

    def test_without_offsets(self, story):
        story.sent("a", "t/1/-")
        story.polled("c1", "t/0/- a")
        assert story.finds(self.NAME) == 1

    def test_what_the_broker_moved_to_the_dead_letters_is_where_it_belongs(self, story):
        story.sent("a", "t/1/0")
        story.polled("c1", "t/1/0 a")
        story.buried("a", to="t.dead")
        story.polled("c2", "t.dead/0/0 a", group="h")
        assert story.finds(self.NAME) == 0
        story.polled("c2", "t.other/0/0 a", group="h")
        assert story.finds(self.NAME) == 1

    def test_what_was_sent_off_to_a_retry_topic_too(self, story):
        story.sent("a", "t/1/0")
        story.polled("c1", "t/1/0 a")
        story.settled("nack", "c1", "t/1/0 a", to="t.retry")
        story.polled("c1", "t.retry/0/0 a")
        assert story.finds(self.NAME) == 0
        assert story.finds("duplicate-delivery") == 0

    def test_one_key_in_two_partitions(self, story):
        story.sent("a", "t/0/0")
        story.sent("b", "t/1/0")
        assert story.finds(self.NAME) == 1
        (example,) = story.check(self.NAME).examples
        assert example.events == (0, 1, 2, 3)
        assert "key 'k' went to t/0 with 'a' and to t/1 with 'b'" in example.text

    def test_one_key_in_two_partitions_as_only_polls_tell(self, story):
        story.info(story.send("a"))
        story.info(story.send("b"))
        story.polled("c1", "t/0/0 a", "t/1/0 b")
        assert story.finds(self.NAME) == 1

    @pytest.mark.parametrize("key", [None, "another"])
    def test_other_keys_may_go_elsewhere(self, story, key):
        story.sent("a", "t/0/0", key=key)
        story.sent("b", "t/1/0", key=key and "k")
        assert story.finds(self.NAME) == 0

    def test_the_caller_may_choose_the_partition(self, story):
        story.sent("a", "t/0/0")
        story.sent("b", "t/1/0", partition=1)
        assert story.finds(self.NAME) == 0

    def test_one_key_may_be_elsewhere_in_another_topic(self, story):
        story.sent("a", "t/0/0")
        story.sent("b", "u/1/0")
        assert story.finds(self.NAME) == 0

    @pytest.mark.parametrize(("counts", "found"), [((2, 4), 0), ((2, 2), 1), ((2,), 1)])
    def test_a_topic_whose_partition_count_changed_is_left_alone(self, story, counts, found):
        for count in counts:
            story.note("h", "topic", topic="t", partitions=count)
        story.sent("a", "t/0/0")
        story.sent("b", "t/1/0")
        assert story.finds(self.NAME) == found

    def test_records_that_do_not_stand_prove_nothing(self, story):
        story.sent("a", "t/0/0")
        story.sent("b", "t/1/0", txn="x")
        assert story.finds(self.NAME) == 0


class TestInconsistentOffset:
    NAME = "inconsistent-offset"

    def test_one_record_at_each_offset(self, story):
        story.sent("a", "t/0/0")
        story.sent("b", "t/1/0", key="l")
        story.polled("c1", "t/0/0 a", "t/1/0 b")
        story.polled("c2", "t/0/0 a", "t/1/0 b", group="h")
        assert story.finds(self.NAME) == 0

    def test_two_sends_acknowledged_at_one_offset(self, story):
        one = story.sent("a", "t/0/0")
        two = story.sent("b", "t/0/0")
        assert story.finds(self.NAME) == 1
        (example,) = story.check(self.NAME).examples
        assert example.events == (one, two)
        assert example.text == "t/0 at offset 0 is 'a' and also 'b'"

    def test_a_poll_that_shows_another_record_than_was_acknowledged(self, story):
        sent = story.sent("a", "t/0/0")
        story.info(story.send("b"))
        polled = story.polled("c1", "t/0/0 b")
        assert story.finds(self.NAME) == 1
        assert story.check(self.NAME).examples[0].events == (sent, polled)

    def test_two_polls_that_show_different_records(self, story):
        story.info(story.send("a"))
        story.info(story.send("b"))
        story.polled("c1", "t/0/0 a")
        story.polled("c2", "t/0/0 b", group="h")
        assert story.finds(self.NAME) == 1

    def test_three_ids_at_one_offset_are_one_anomaly(self, story):
        story.sent("a", "t/0/0")
        story.polled("c1", "t/0/0 b", group="g")
        story.polled("c2", "t/0/0 c", group="h")
        assert story.finds(self.NAME) == 1

    def test_an_unproven_send_claims_no_offset(self, story):
        story.sent("a", "t/0/0")
        story.info(story.send("b"), partition=0, offset=0)
        story.sent("c", "t/0/0", txn="x")
        assert story.finds(self.NAME) == 0


class TestLogDuplicate:
    NAME = "log-duplicate"

    def test_polled_twice_at_its_one_offset(self, story):
        story.sent("a", "t/0/0")
        story.polled("c1", "t/0/0 a")
        story.polled("c2", "t/0/0 a", group="h")
        assert story.finds(self.NAME) == 0

    def test_polled_elsewhere_than_acknowledged(self, story):
        sent = story.sent("a", "t/0/0")
        polled = story.polled("c1", "t/0/1 a")
        assert story.finds(self.NAME) == 1
        (example,) = story.check(self.NAME).examples
        assert example.events == (sent, polled)
        assert "'a' stands at t/0 at offset 0 and again at t/0 at offset 1" in example.text

    @pytest.mark.parametrize("known", ["sent", "unknown", "phantom"])
    def test_polled_at_two_offsets(self, story, known):
        if known == "sent":
            story.sent("a", "t/0/0")
        if known == "unknown":
            story.info(story.send("a"))
        story.polled("c1", "t/0/0 a", "t/0/1 a", "t/0/2 a")
        assert story.finds(self.NAME) == 1

    def test_one_offset_in_two_partitions_is_two_offsets_of_the_topic(self, story):
        story.info(story.send("a"))
        story.polled("c1", "t/0/0 a", "t/1/0 a")
        assert story.finds(self.NAME) == 1

    def test_another_topic_is_another_matter(self, story):
        story.sent("a", "t/0/0")
        story.polled("c1", "t/0/0 a", "u/0/5 a")
        assert story.finds(self.NAME) == 0
        story.polled("c1", "u/0/6 a")
        assert story.finds(self.NAME) == 1

    def test_it_is_reported_only_under_at_least_once_and_forbidden_under_exactly_once(self, story):
        story.sent("a", "t/0/0")
        story.polled("c1", "t/0/0 a", "t/0/1 a")
        assert story.check(self.NAME).severity == "reported"
        assert story.check(self.NAME, "exactly-once").severity == "forbidden"


class TestProducerReorder:
    NAME = "producer-reorder"

    def test_rising_offsets_with_gaps(self, story):
        for number, offset in enumerate((0, 1, 5, 6, 20)):
            story.sent(f"s{number}", f"t/0/{offset}")
        assert story.finds(self.NAME) == 0

    def test_a_later_send_before_an_earlier_one(self, story):
        story.sent("a", "t/0/1")
        story.sent("b", "t/0/0")
        assert story.finds(self.NAME) == 1
        (example,) = story.check(self.NAME).examples
        assert example.events == (0, 1, 2, 3)
        assert "p1 sent 'a' and then 'b' to t/0" in example.text

    def test_later_means_invoked_later_whatever_completes_first(self, story):
        one, two = story.send("a"), story.send("b")
        story.ok(two, partition=0, offset=1)
        story.ok(one, partition=0, offset=0)
        assert story.finds(self.NAME) == 0

    def test_pipelined_sends_that_swap(self, story):
        one, two = story.send("a"), story.send("b")
        story.ok(one, partition=0, offset=1)
        story.ok(two, partition=0, offset=0)
        assert story.finds(self.NAME) == 1

    def test_every_send_behind_an_earlier_one_counts(self, story):
        for number, offset in enumerate((5, 1, 2, 6)):
            story.sent(f"s{number}", f"t/0/{offset}")
        assert story.finds(self.NAME) == 2
        assert story.check(self.NAME).examples[1].events == (0, 1, 4, 5)

    def test_the_same_offset_twice(self, story):
        story.sent("a", "t/0/3")
        story.sent("b", "t/0/3")
        assert story.finds(self.NAME) == 1

    def test_other_processes_and_logs_have_orders_of_their_own(self, story):
        story.sent("a", "t/0/5")
        story.sent("b", "t/0/1", process="p2")
        story.sent("c", "t/1/0", key="l")
        story.sent("d", "u/0/0")
        assert story.finds(self.NAME) == 0

    def test_polls_tell_where_a_send_without_offset_stands(self, story):
        story.info(story.send("a"))
        story.sent("b", "t/0/-")
        story.polled("c1", "t/0/0 b", "t/0/1 a")
        assert story.finds(self.NAME) == 1

    def test_what_does_not_stand_has_no_place(self, story):
        story.info(story.send("a"), partition=0, offset=9)
        story.sent("b", "t/0/1")
        assert story.finds(self.NAME) == 0


class TestInternalProducerReorder:
    NAME = "internal-producer-reorder"

    def commit(self, story, txn="x"):
        story.did("p1", "end", txn=txn, transactional_id="p", commit=True)

    def test_out_of_order_within_a_transaction(self, story):
        story.sent("a", "t/0/1", txn="x")
        story.sent("b", "t/0/0", txn="x")
        assert story.finds(self.NAME) == 0, "not committed: it counts for nothing"
        self.commit(story)
        assert story.finds(self.NAME) == 1
        assert story.finds("producer-reorder") == 1

    def test_in_order_or_in_two_transactions(self, story):
        story.sent("a", "t/0/0", txn="x")
        story.sent("b", "t/0/2", txn="x")
        self.commit(story)
        story.sent("c", "t/0/1", txn="y")
        self.commit(story, "y")
        assert story.finds(self.NAME) == 0
        assert story.finds("producer-reorder") == 1


class TestDishonestOutcome:
    NAME = "dishonest-outcome"

    def test_honest_outcomes(self, story):
        story.sent("a", "t/0/0")
        story.fail(story.send("b"))
        story.info(story.send("c"))
        story.did("p1", "flush")
        story.did("p1", "close", role="producer")
        story.polled("c1", "t/0/0 a", "t/0/1 c")
        assert story.finds(self.NAME) == 0

    def test_a_failed_send_is_polled(self, story):
        failed = story.fail(story.send("a"))
        polled = story.polled("c1", "t/0/0 a")
        assert story.finds(self.NAME) == 1
        (example,) = story.check(self.NAME).examples
        assert example.events == (failed, polled)

    def test_a_call_completes_twice(self, story):
        call = story.send("a")
        story.ok(call, partition=0, offset=0)
        story.fail(call)
        assert story.finds(self.NAME) == 1
        assert story.check(self.NAME).examples[0].events == (0, 1, 2)
        assert story.finds("phantom") == 0

    def test_the_first_completion_holds(self, story):
        call = story.send("a")
        story.fail(call)
        story.ok(call, partition=0, offset=0)
        story.polled("c1", "t/0/0 a")
        assert story.finds(self.NAME) == 2

    def test_two_completions_of_a_poll_are_one_poll(self, story):
        story.sent("a", "t/0/0")
        poll = story.invoke("c1", "poll", group="g")
        story.ok(poll, records=[["t", 0, 0, "a"]])
        story.ok(poll, records=[["t", 0, 0, "a"]])
        assert story.finds(self.NAME) == 1
        assert story.finds("duplicate-delivery") == 0

    @pytest.mark.parametrize("op", ["flush", "close"])
    def test_a_send_is_open_after_it_returned(self, story, op):
        story.send("a")
        fields = {"role": "producer"} if op == "close" else {}
        story.did("p1", op, **fields)
        assert story.finds(self.NAME) == 1
        assert story.check(self.NAME).examples[0].events == (0, 1, 2)

    def test_a_send_that_completes_too_late_was_open(self, story):
        call = story.send("a")
        story.did("p1", "flush")
        story.ok(call, partition=0, offset=0)
        assert story.finds(self.NAME) == 1

    def test_what_is_invoked_while_it_flushes_is_not_its_business(self, story):
        flush = story.invoke("p1", "flush")
        story.send("a")
        story.ok(flush)
        assert story.finds(self.NAME) == 0

    @pytest.mark.parametrize("ending", ["fail", "info", "open"])
    def test_a_flush_that_did_not_return_ok_promises_nothing(self, story, ending):
        story.send("a")
        flush = story.invoke("p1", "flush")
        if ending != "open":
            getattr(story, ending)(flush)
        assert story.finds(self.NAME) == 0

    def test_other_processes_may_have_open_calls(self, story):
        story.send("a", process="p2")
        story.did("p1", "close", role="producer")
        assert story.finds(self.NAME) == 0

    def test_calls_from_before_a_crash_are_nobodys(self, story):
        story.send("a")
        story.note("p1", "crash", role="producer")
        story.note("p1", "open", role="producer")
        story.sent("b", "t/0/0")
        story.did("p1", "close", role="producer")
        assert story.finds(self.NAME) == 0

    def test_an_open_send_counts_once_for_all_later_ends(self, story):
        story.send("a")
        for _ in range(3):
            story.did("p1", "flush")
        story.did("p1", "close", role="producer")
        assert story.finds(self.NAME) == 1

    def test_a_poll_may_be_open_at_a_flush_but_not_at_a_close(self, story):
        story.invoke("w1", "poll", group="g")
        story.did("w1", "flush")
        assert story.finds(self.NAME) == 0
        story.did("w1", "close", role="worker")
        assert story.finds(self.NAME) == 1
