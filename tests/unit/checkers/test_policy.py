"""Policy: attempts-wrong and dead-letter-wrong."""

import pytest

ATTEMPTS, DEAD = "attempts-wrong", "dead-letter-wrong"
THREE = {"retry": {"max_attempts": 3}}
A = "t/0/0 a"


@pytest.fixture
def one(story):
    story.sent("a", "t/0/0")
    story.polled("c1", A)
    return story


def tried(story, *attempts, then=None):
    """Handlings that fail, and one that does not; nacked in between."""
    for attempt in attempts:
        story.failed("c1", A, attempt)
        story.settled("nack", "c1", A)
    if then:
        story.handled("c1", A, then)


class TestAttempts:
    @pytest.mark.parametrize(("failures", "success"), [((), 1), ((1,), 2), ((1, 2), 3)])
    def test_until_the_first_success(self, one, failures, success):
        tried(one, *failures, then=success)
        one.drained()
        assert one.finds(ATTEMPTS, THREE) == 0
        assert one.check(ATTEMPTS, THREE).evidence == 1

    def test_up_to_the_maximum(self, one):
        tried(one, 1, 2, 3)
        one.buried("a", attempt=3)
        one.drained()
        assert one.finds(ATTEMPTS, THREE) == 0

    @pytest.mark.parametrize("sequence", [(2,), (1, 3), (1, 1), (1, 2, 2), (2, 1), (0, 1)])
    def test_attempts_are_counted_one_two_three(self, one, sequence):
        tried(one, *sequence)
        assert one.finds(ATTEMPTS) == 1

    def test_a_nack_is_no_excuse_for_a_wrong_number(self, one):
        one.failed("c1", A, 1)
        one.settled("nack", "c1", A)
        one.polled("c1", A)
        one.failed("c1", A, 1)
        assert one.finds(ATTEMPTS) == 1
        assert "attempt 1 right after attempt 1" in one.check(ATTEMPTS).examples[0].text

    @pytest.mark.parametrize("how", ["crash", "revoke", "lost", "seek", "fault"])
    @pytest.mark.parametrize("number", [1, 2, 3])
    def test_an_excuse_explains_a_handling_and_its_number(self, one, how, number):
        one.assign("c1", "t/0")
        one.failed("c1", A, 1)
        {
            "crash": lambda: one.note("c1", "crash", role="consumer"),
            "revoke": lambda: one.revoke("c1", "t/0"),
            "lost": lambda: one.revoke("c1", "t/0", op="lost"),
            "seek": lambda: one.sought("c1", "t/0/0"),
            "fault": lambda: one.fault("start"),
        }[how]()
        one.handled("c1", A, number)
        assert one.finds(ATTEMPTS, THREE) == 0

    def test_after_a_success_there_is_no_further_attempt(self, one):
        one.handled("c1", A, 1)
        one.handled("c1", A, 2)
        assert one.finds(ATTEMPTS) == 1
        assert "again after it had succeeded" in one.check(ATTEMPTS).examples[0].text

    def test_unless_a_crash_explains_it(self, one):
        one.handled("c1", A, 1)
        one.note("c1", "crash", role="consumer")
        one.handled("c2", A, 1)
        assert one.finds(ATTEMPTS, THREE) == 0

    def test_more_than_the_maximum(self, one):
        tried(one, 1, 2, 3, 4)
        assert one.finds(ATTEMPTS, THREE) == 1
        assert one.finds(ATTEMPTS) == 0, "without a maximum"
        assert "handled 4 times" in one.check(ATTEMPTS, THREE).examples[0].text

    def test_dead_lettered_too_soon(self, one):
        tried(one, 1, 2)
        one.buried("a", attempt=2)
        assert one.finds(ATTEMPTS, THREE) == 1
        assert one.finds(ATTEMPTS) == 0

    @pytest.mark.parametrize("why", ["reject", "unretriable", "expire"])
    def test_reasons_to_give_up_early(self, one, why):
        contract = {"retry": {"max_attempts": 3, "unretriable": ["ValueError"]}}
        one.failed("c1", A, 1, error="ValueError" if why == "unretriable" else "Boom")
        if why == "reject":
            one.settled("reject", "c1", A)
        if why == "expire":
            one.note("c1", "expire", group="g", id="a")
        else:
            one.buried("a", attempt=1)
        one.drained()
        assert one.finds(ATTEMPTS, contract) == 0
        assert one.finds(DEAD, contract) == 0

    def test_given_up_without_a_word_after_a_drain(self, one):
        tried(one, 1, 2)
        assert one.finds(ATTEMPTS, THREE) == 0, "it may still be under way"
        one.drained()
        assert one.finds(ATTEMPTS, THREE) == 1

    def test_each_group_counts_for_itself(self, one):
        one.handled("c1", A, 1)
        one.failed("x1", A, 1, group="h")
        one.handled("x1", A, 2, group="h")
        assert one.finds(ATTEMPTS, THREE) == 0

    def test_copies_in_a_retry_topic_are_attempts_of_their_root(self, one):
        one.failed("c1", A, 1)
        one.sent("a2", "t.retry/0/0", process="c1", from_=["a"])
        one.failed("c1", "t.retry/0/0 a2", 2)
        one.sent("a3", "t.retry/0/1", process="c1", from_=["a2"])
        one.handled("c1", "t.retry/0/1 a3", 3)
        one.drained()
        assert one.finds(ATTEMPTS, THREE) == 0
        assert one.check(ATTEMPTS, THREE).evidence == 1
        assert one.finds(DEAD, THREE) == 0

    def test_copies_that_are_not_counted_on_are_wrong(self, one):
        one.failed("c1", A, 1)
        one.settled("nack", "c1", A, to="t.retry")
        one.sent("a2", "t.retry/0/0", process="c1", from_=["a"])
        one.handled("c1", "t.retry/0/0 a2", 1)
        assert one.finds(ATTEMPTS) == 1

    def test_outputs_are_no_attempts_of_their_input(self, one):
        handling = one.handling("c1", A)
        one.sent("o1", "out/0/0", process="c1", from_=["a"])
        one.sent("o2", "out/0/1", process="c1", from_=["a"])
        one.ok(handling)
        one.handled("x1", "out/0/0 o1", group="h")
        one.handled("x1", "out/0/1 o2", group="h")
        assert one.finds(ATTEMPTS, THREE) == 0

    def test_what_a_producer_sends_again_is_no_attempt(self, story):
        story.info(story.send("a"))
        story.sent("a~2", "t/0/1", from_=["a"])
        story.polled("c1", "t/0/0 a", "t/0/1 a~2")
        story.handled("c1", "t/0/0 a")
        story.handled("c1", "t/0/1 a~2")
        story.drained()
        assert story.finds(ATTEMPTS, THREE) == 0
        assert story.finds(DEAD, THREE) == 0

    def test_a_redriven_record_is_counted_anew(self, one):
        tried(one, 1, 2, 3)
        one.buried("a", to="t.dead", attempt=3)
        one.sent("a-again", "t/0/5", process="ops", from_=["a"])
        one.handled("c1", "t/0/5 a-again", 1)
        one.drained()
        assert one.finds(ATTEMPTS, THREE) == 0
        assert one.finds(DEAD, THREE) == 0

    def test_links_in_a_circle_do_no_harm(self, story):
        story.sent("a", "t/0/0", from_=["b"])
        story.sent("b", "t/0/1", from_=["a"])
        story.failed("c1", "t/0/0 a")
        story.failed("c1", "t/0/1 b", 2)
        story.drained()
        assert story.check(ATTEMPTS, THREE).verdict == "invalid"


class TestDeadLetters:
    def test_handled_or_buried_or_expired(self, story):
        for number, id_ in enumerate("abc"):
            story.sent(id_, f"t/0/{number}")
        story.polled("c1", "t/0/0 a", "t/0/1 b", "t/0/2 c")
        story.handled("c1", "t/0/0 a")
        story.failed("c1", "t/0/1 b")
        story.buried("b")
        story.note("c1", "expire", group="g", id="c")
        story.drained()
        assert story.finds(DEAD) == 0
        assert story.check(DEAD).evidence == 3

    def test_delivered_and_then_nothing(self, story):
        story.sent("a", "t/0/0")
        story.sent("b", "t/0/1")
        polled = story.polled("c1", "t/0/0 a", "t/0/1 b")
        story.handled("c1", "t/0/0 a")
        assert story.check(DEAD).verdict == "unknown"
        drained = story.drained()
        assert story.finds(DEAD) == 1
        (example,) = story.check(DEAD).examples
        assert example.events == (polled, drained)
        assert "'b' was delivered, and was neither handled" in example.text

    def test_tried_and_then_nothing(self, one):
        one.failed("c1", A)
        one.drained()
        assert one.finds(DEAD) == 1

    def test_groups_that_do_not_handle_are_not_judged(self, one):
        one.drained()
        assert one.finds(DEAD) == 0

    def test_groups_that_were_not_drained_are_not_judged(self, one):
        one.failed("c1", A)
        one.drained(groups=["other"])
        assert one.check(DEAD).verdict == "unknown"

    def test_two_ends(self, one):
        one.failed("c1", A)
        one.buried("a")
        one.handled("c1", A, 2)
        one.drained()
        assert one.finds(DEAD) == 1
        assert "was both handled and dead-lettered" in one.check(DEAD).examples[0].text

    def test_handled_twice_is_one_end(self, one):
        one.handled("c1", A)
        one.handled("c1", A)
        one.drained()
        assert one.finds(DEAD) == 0

    @pytest.mark.parametrize("tries", [0, 1, 2])
    def test_buried_without_cause(self, one, tries):
        tried(one, *range(1, tries + 1))
        one.buried("a", attempt=tries)
        one.drained()
        assert one.finds(DEAD, THREE) == 1
        assert "without cause" in one.check(DEAD, THREE).examples[0].text

    def test_any_failure_is_a_cause_where_the_contract_names_no_maximum(self, one):
        tried(one, 1)
        one.buried("a")
        assert one.finds(DEAD) == 0

    def test_none_is_not(self, one):
        one.buried("a")
        one.handled("c1", "t/0/9 other")
        assert one.finds(DEAD, THREE) == 1

    def test_a_cause_must_come_before(self, one):
        one.buried("a")
        tried(one, 1, 2, 3)
        assert one.finds(DEAD, THREE) == 1

    def test_a_record_past_its_expiry(self, story):
        story.sent("a", "t/0/0", expires=3)
        story.polled("c1", A)
        story.buried("a")
        story.drained()
        assert story.finds(DEAD, THREE) == 0

    def test_where_the_broker_counts_deliveries_they_are_the_cause(self, story):
        story.sent("a", "t/0/-")
        for _ in range(3):
            story.polled("c1", "t/0/- a")
            story.settled("nack", "c1", "t/0/- a")
        story.buried("a", to="t.dead", attempt=3)
        story.drained()
        assert story.finds(DEAD, THREE) == 0
        assert story.finds(DEAD, {"retry": {"max_attempts": 4}}) == 1

    def test_a_group_that_reads_its_own_dead_letters_ends_nothing_twice(self, one):
        tried(one, 1, 2, 3)
        one.buried("a", to="t.dead", attempt=3)
        one.polled("c1", "t.dead/0/0 a")
        one.handled("c1", "t.dead/0/0 a", 1)
        one.drained()
        assert one.finds(DEAD, THREE) == 0
        assert one.finds(ATTEMPTS, THREE) == 0

    def test_a_copy_sent_to_the_dead_letters_is_a_record_of_its_own(self, one):
        tried(one, 1, 2, 3)
        one.sent("a@1", "t.dead/0/0", process="c1/dead", from_=["a"])
        one.buried("a", to="t.dead", attempt=3)
        one.polled("x1", "t.dead/0/0 a@1", group="h")
        one.handled("x1", "t.dead/0/0 a@1", 1, group="h")
        one.drained()
        assert one.finds(DEAD, THREE) == 0
        assert one.finds(ATTEMPTS, THREE) == 0
