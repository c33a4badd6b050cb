"""Delivery: duplicate-delivery, duplicate-effect, handler-reorder, conservation."""

import pytest

TWICE, EFFECT, ORDER, SUM = "duplicate-delivery", "duplicate-effect", "handler-reorder", "conservation"

EXCUSES = {
    "revoke": lambda story: story.revoke("c1", "t/0"),
    "lost": lambda story: story.revoke("c1", "t/0", op="lost"),
    "assign without it": lambda story: story.assign("c1", "t/1"),
    "seek": lambda story: story.sought("c1", "t/0/0"),
    "nack": lambda story: story.settled("nack", "c1", "t/0/0 a"),
    "nack of another record of the log": lambda story: story.settled("nack", "c1", "t/0/1 b"),
    "crash": lambda story: story.note("c1", "crash", role="consumer"),
    "close": lambda story: story.did("c1", "close", role="consumer"),
    "fault": lambda story: story.fault("start"),
    "fault that begins and ends": lambda story: (story.fault("start"), story.fault("stop")),
}
NO_EXCUSES = {
    "nothing": lambda story: None,
    "seek in another log": lambda story: story.sought("c1", "t/1/0"),
    "nack in another log": lambda story: story.settled("nack", "c1", "t/1/1 x"),
    "end of a session in another group": lambda story: story.revoke("x1", "t/0", group="h"),
    "a fault's end alone": lambda story: story.fault("stop"),
    "an ack": lambda story: story.settled("ack", "c1", "t/0/0 a"),
}


class TestDuplicateDelivery:
    def test_each_group_gets_a_record_once(self, story):
        story.sent("a", "t/0/0")
        story.polled("c1", "t/0/0 a")
        story.polled("x1", "t/0/0 a", group="h")
        story.polled("y1", "t/0/0 a", group=None)
        story.polled("y2", "t/0/0 a", group=None)
        assert story.finds(TWICE) == 0

    @pytest.mark.parametrize("group", ["g", None])
    def test_the_same_reader_gets_it_twice(self, story, group):
        story.sent("a", "t/0/0")
        first = story.polled("c1", "t/0/0 a", group=group)
        second = story.polled("c1", "t/0/0 a", group=group)
        assert story.finds(TWICE) == 1
        (example,) = story.check(TWICE).examples
        assert example.events == (first, second)
        assert ("group g got 'a'" if group else "process c1 got 'a'") in example.text

    def test_two_members_get_it(self, story):
        story.sent("a", "t/0/0")
        story.polled("c1", "t/0/0 a")
        story.polled("c2", "t/0/0 a")
        assert story.finds(TWICE) == 1

    def test_twice_in_one_poll(self, story):
        story.sent("a", "t/0/0")
        story.polled("c1", "t/0/0 a", "t/0/0 a")
        assert story.finds(TWICE) == 1

    def test_records_that_nobody_sent_can_come_twice_too(self, story):
        story.polled("c1", "t/0/0 ghost")
        story.polled("c1", "t/0/0 ghost")
        assert story.finds(TWICE) == 1

    def test_without_offsets(self, story):
        story.sent("a", "t/0/-")
        story.polled("c1", "t/0/- a")
        story.polled("c1", "t/0/- a")
        assert story.finds(TWICE) == 1

    @pytest.mark.parametrize("name", EXCUSES)
    @pytest.mark.parametrize("second", ["c1", "c2"])
    @pytest.mark.parametrize("is_assigned", [True, False])
    def test_what_excuses_it(self, story, name, second, is_assigned):
        story.sent("a", "t/0/0")
        if is_assigned:
            story.assign("c1", "t/0")
        story.polled("c1", "t/0/0 a")
        EXCUSES[name](story)
        story.polled(second, "t/0/0 a")
        assert story.finds(TWICE) == 0

    @pytest.mark.parametrize("name", NO_EXCUSES)
    @pytest.mark.parametrize("is_assigned", [True, False])
    def test_what_does_not(self, story, name, is_assigned):
        story.sent("a", "t/0/0")
        if is_assigned:
            story.assign("c1", "t/0")
        story.polled("c1", "t/0/0 a")
        NO_EXCUSES[name](story)
        story.polled("c1", "t/0/0 a")
        assert story.finds(TWICE) == 1

    @pytest.mark.parametrize("name", EXCUSES)
    def test_an_excuse_before_the_first_or_after_the_second_explains_nothing(self, story, name):
        story.sent("a", "t/0/0")
        story.sent("x", "t/0/1")
        story.assign("c1", "t/0")
        story.polled("c1", "t/0/1 x")
        if "fault" not in name or "ends" in name:
            EXCUSES[name](story)
        story.polled("c2", "t/0/0 a")
        story.polled("c2", "t/0/0 a")
        EXCUSES[name](story)
        assert story.finds(TWICE) == 1

    def test_a_fault_that_was_on_all_the_time(self, story):
        story.sent("a", "t/0/0")
        story.fault("start")
        story.polled("c1", "t/0/0 a")
        story.polled("c1", "t/0/0 a")
        story.fault("stop")
        assert story.finds(TWICE) == 0
        story.polled("c1", "t/0/0 a")
        assert story.finds(TWICE) == 0, "it was on after the second delivery"
        story.polled("c1", "t/0/0 a")
        assert story.finds(TWICE) == 1

    def test_of_two_faults_one_may_still_be_on(self, story):
        story.sent("a", "t/0/0")
        story.fault("start", "kill")
        story.fault("start", "cut")
        story.fault("stop", "kill")
        story.polled("c1", "t/0/0 a")
        story.polled("c1", "t/0/0 a")
        assert story.finds(TWICE) == 0

    def test_a_session_that_ends_while_the_first_poll_returns(self, story):
        story.sent("a", "t/0/0")
        story.assign("c1", "t/0")
        poll = story.invoke("c1", "poll", group="g")
        story.revoke("c1", "t/0")
        story.ok(poll, records=[["t", 0, 0, "a"]])
        story.polled("c2", "t/0/0 a")
        assert story.finds(TWICE) == 0

    def test_a_crash_of_a_member_that_never_read_the_log_excuses_nothing(self, story):
        story.sent("a", "t/0/0")
        story.assign("c1", "t/0")
        story.assign("c2", "t/1")
        story.polled("c1", "t/0/0 a")
        story.note("c2", "crash", role="consumer")
        story.polled("c1", "t/0/0 a")
        assert story.finds(TWICE) == 1

    def test_every_repetition_without_excuse_counts(self, story):
        story.sent("a", "t/0/0")
        story.polled("c1", "t/0/0 a")
        story.polled("c1", "t/0/0 a")
        story.sought("c1", "t/0/0")
        story.polled("c1", "t/0/0 a")
        story.polled("c1", "t/0/0 a")
        assert story.finds(TWICE) == 2

    def test_the_dead_letter_that_the_broker_moved_is_no_repetition(self, story):
        story.sent("a", "t/0/0")
        story.polled("c1", "t/0/0 a")
        story.buried("a", to="t.dead")
        story.polled("c1", "t.dead/0/0 a")
        assert story.finds(TWICE) == 0

    def test_an_aborted_record_counts_for_nothing(self, story):
        story.sent("a", "t/0/0", txn="x")
        story.polled("c1", "t/0/0 a", isolation="read_uncommitted")
        story.polled("c1", "t/0/0 a", isolation="read_uncommitted")
        assert story.finds(TWICE) == 0


class TestDuplicateEffect:
    def test_one_effect_for_each_record(self, story):
        story.handled("c1", "t/0/0 a", effect="a")
        story.handled("c1", "t/0/1 b", effect="b")
        story.handled("x1", "t/0/0 a", group="h", effect="a")
        assert story.finds(EFFECT) == 0

    def test_one_effect_twice(self, story):
        first = story.handled("c1", "t/0/0 a", effect="pay-1")
        second = story.handled("c2", "t/0/9 b", effect="pay-1")
        story.handled("c2", "t/0/9 b", effect="pay-1")
        assert story.finds(EFFECT) == 1
        (example,) = story.check(EFFECT).examples
        assert example.events == (first, second)
        assert "'pay-1' with 'a' and again with 'b'" in example.text

    @pytest.mark.parametrize("ending", ["fail", "info"])
    def test_a_handling_that_is_not_ok_applied_nothing_for_certain(self, story, ending):
        story.handled("c1", "t/0/0 a", effect="a")
        getattr(story, ending)(story.handling("c1", "t/0/0 a", attempt=2), effect="a")
        assert story.finds(EFFECT) == 0

    def test_handlings_without_an_effect_are_left_alone(self, story):
        story.handled("c1", "t/0/0 a")
        story.handled("c1", "t/0/0 a")
        assert story.finds(EFFECT) == 0

    def test_severity_by_contract(self, story):
        bases = "at-least-once", "exactly-once", "at-most-once", "effect-once"
        severities = [story.check(EFFECT, base).severity for base in bases]
        assert severities == ["reported", "forbidden", "forbidden", "forbidden"]


class TestHandlerReorder:
    @pytest.fixture
    def abc(self, story):
        for number, id_ in enumerate("abc"):
            story.sent(id_, f"t/0/{number}")
        story.sent("z", "t/0/3", key="other")
        story.sent("n1", "t/0/4", key=None)
        story.sent("n2", "t/0/5", key=None)
        return story

    def test_in_order(self, abc):
        for number, id_ in enumerate("abc"):
            abc.handled("c1", f"t/0/{number} {id_}")
        assert abc.finds(ORDER) == 0
        assert abc.check(ORDER).evidence == 2

    def test_a_record_handled_after_a_later_one(self, abc):
        early = abc.handled("c1", "t/0/1 b")
        late = abc.handled("c2", "t/0/0 a")
        assert abc.finds(ORDER) == 1
        (example,) = abc.check(ORDER).examples
        assert example.events == (early, late)
        assert "handled 'a' only after 'b', which was sent later" in example.text

    def test_the_completion_of_the_handling_counts(self, abc):
        one, two = abc.handling("c1", "t/0/0 a"), abc.handling("c1", "t/0/1 b")
        abc.ok(two)
        abc.ok(one)
        assert abc.finds(ORDER) == 1

    def test_only_the_first_ok_handling_counts(self, abc):
        abc.handled("c1", "t/0/0 a")
        abc.handled("c1", "t/0/1 b")
        abc.handled("c1", "t/0/0 a")
        assert abc.finds(ORDER) == 0

    def test_handlings_that_failed_do_not_count(self, abc):
        abc.failed("c1", "t/0/1 b")
        abc.handled("c1", "t/0/0 a")
        abc.handled("c1", "t/0/1 b", attempt=2)
        assert abc.finds(ORDER) == 0

    def test_other_keys_groups_and_records_without_key_have_no_order(self, abc):
        abc.handled("c1", "t/0/3 z")
        abc.handled("c1", "t/0/5 n2")
        abc.handled("c1", "t/0/4 n1")
        abc.handled("x1", "t/0/1 b", group="h")
        abc.handled("c1", "t/0/0 a")
        assert abc.finds(ORDER) == 0

    def test_other_processes_have_an_order_of_their_own(self, story):
        story.sent("a", "t/0/0", seq=5)
        story.sent("b", "t/0/1", process="p2", seq=1)
        story.handled("c1", "t/0/0 a")
        story.handled("c1", "t/0/1 b")
        assert story.finds(ORDER) == 0

    @pytest.mark.parametrize("how", ["dead-letter", "retry topic"])
    def test_records_that_left_the_path_are_left_out(self, abc, how):
        abc.failed("c1", "t/0/0 a")
        if how == "dead-letter":
            abc.buried("a", to="t.dead")
        else:
            abc.settled("nack", "c1", "t/0/0 a", to="t.retry")
        abc.handled("c1", "t/0/1 b")
        abc.sent("a2", "t/0/9", process="c1", seq=1, from_=["a"])
        abc.handled("c1", "t/0/0 a", attempt=2)
        abc.handled("c1", "t/0/9 a2")
        assert abc.finds(ORDER) == 0

    def test_a_nack_that_keeps_the_record_on_its_path_does_not(self, abc):
        abc.failed("c1", "t/0/0 a")
        abc.settled("nack", "c1", "t/0/0 a", delay_ns=5)
        abc.handled("c1", "t/0/1 b")
        abc.handled("c1", "t/0/0 a", attempt=2)
        assert abc.finds(ORDER) == 1

    def test_under_order_partition_positions_count(self, abc):
        abc.handled("c1", "t/0/3 z")
        abc.handled("c1", "t/0/0 a")
        assert abc.finds(ORDER) == 0
        assert abc.finds(ORDER, {"order": "partition"}) == 1

    def test_under_order_partition_without_offsets_a_process_own_sends_do(self, story):
        story.sent("a", "t/0/-")
        story.sent("b", "t/0/-", key="other")
        story.sent("c", "t/0/-", process="p2", key="third")
        story.handled("c1", "t/0/- c")
        story.handled("c1", "t/0/- b")
        story.handled("c1", "t/0/- a")
        assert story.finds(ORDER) == 0
        assert story.finds(ORDER, {"order": "partition"}) == 1

    def test_under_order_none_nothing_is_judged(self, abc):
        abc.handled("c1", "t/0/1 b")
        abc.handled("c1", "t/0/0 a")
        assert abc.finds(ORDER, {"order": "none"}) == 0


class TestConservation:
    def told(self, story, *handled, drained=True):
        for number, id_ in enumerate("abc"):
            story.sent(id_, f"t/0/{number}", amount=10 + number)
        story.polled("c1", "t/0/0 a", "t/0/1 b", "t/0/2 c")
        for what in handled:
            story.handled("c1", what)
        if drained:
            story.drained()
        return story

    ALL = ("t/0/0 a", "t/0/1 b", "t/0/2 c")

    def test_everything_handled_once(self, story):
        assert self.told(story, *self.ALL).finds(SUM) == 0
        assert story.check(SUM).evidence == 3

    def test_what_was_never_handled(self, story):
        self.told(story, "t/0/0 a", "t/0/2 c")
        assert story.finds(SUM) == 1
        (example,) = story.check(SUM).examples
        assert example.text == "group g handled 22 of 33 in all: 'b' was never handled"
        assert example.events == (2, len(story.events) - 1)
        assert story.check(SUM, "exactly-once").severity == "forbidden"

    def test_a_root_counts_once_however_often_it_was_handled(self, story):
        assert self.told(story, *self.ALL, "t/0/1 b").finds(SUM) == 0

    def test_without_a_drain_it_is_unknown(self, story):
        assert self.told(story, *self.ALL, drained=False).check(SUM).verdict == "unknown"

    def test_without_amounts_nothing_applies(self, story):
        story.sent("a", "t/0/0")
        story.handled("c1", "t/0/0 a")
        assert story.finds(SUM) == 0

    def test_the_handlers_own_amount_counts(self, story):
        story.sent("a", "t/0/0", amount=5)
        story.handled("c1", "t/0/0 a", amount=6)
        story.drained()
        assert story.finds(SUM) == 1
        assert "another amount" in story.check(SUM).examples[0].text

    def test_a_copy_of_a_root_counts_for_it(self, story):
        story.sent("a", "t/0/0", amount=5)
        story.failed("c1", "t/0/0 a")
        story.sent("a2", "t.retry/0/0", process="c1", from_=["a"], amount=5)
        story.handled("c1", "t.retry/0/0 a2", attempt=2)
        story.drained()
        assert story.finds(SUM) == 0

    def test_a_root_that_failed_stands_by_what_was_sent_again(self, story):
        story.fail(story.send("a", amount=5))
        story.sent("a~2", "t/0/0", from_=["a"], amount=5)
        story.handled("c1", "t/0/0 a~2")
        story.drained()
        assert story.finds(SUM) == 0

    def test_what_does_not_stand_is_not_owed(self, story):
        story.sent("a", "t/0/0", amount=5)
        story.fail(story.send("b", amount=7))
        story.info(story.send("c", amount=7))
        story.sent("d", "t/0/3", amount=7, txn="x")
        story.handled("c1", "t/0/0 a")
        story.drained()
        assert story.finds(SUM) == 0

    def test_each_group_answers_for_its_topics(self, story):
        story.sent("a", "t/0/0", amount=5)
        story.sent("b", "u/0/0", amount=7)
        story.handled("c1", "t/0/0 a")
        story.handled("x1", "u/0/0 b", group="h")
        story.drained()
        assert story.finds(SUM) == 0
        story.sent("c", "u/0/1", amount=1)
        story.drained()
        assert story.finds(SUM) == 0, "nobody reads u as far as polls and assignments tell"
        story.assign("x1", "u/0", group="h")
        story.drained()
        assert story.finds(SUM) == 1

    def test_only_drained_groups_are_judged(self, story):
        self.told(story, "t/0/0 a", drained=False)
        story.drained(groups=["other"])
        assert story.finds(SUM) == 0

    def test_the_workloads_oracle_is_heard(self, story):
        story.drained(oracle=[{"name": "count", "expected": 3, "received": 3}])
        assert story.finds(SUM) == 0
        story.drained(oracle=[{"name": "count", "expected": 3, "received": 2}])
        assert story.finds(SUM) == 1
        assert "count expected 3 and received 2" in story.check(SUM).examples[0].text
