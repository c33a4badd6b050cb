"""Pauses between tries: they grow until work succeeded for a while, and stay bounded."""

from streamproof.drivers.rabbitmq.backoff import Backoff


def test_pauses_double_up_to_the_longest_and_stay_there_for_ever() -> None:
    backoff = Backoff(first_s=0.1, longest_s=5.0)
    pauses = [backoff.fail(0.0) for _ in range(5_000)]
    assert pauses[:7] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0]
    assert set(pauses[7:]) == {5.0}


def test_as_many_tries_as_there_are_other_hosts_cost_no_pause() -> None:
    backoff = Backoff(free=2, first_s=0.1)
    assert [backoff.fail(0.0) for _ in range(4)] == [0.0, 0.0, 0.1, 0.2]


def test_to_come_up_again_is_no_success_but_work_that_lasts_is() -> None:
    backoff = Backoff(first_s=0.1)
    assert [backoff.fail(now_s) for now_s in (0.0, 100.0, 200.0)] == [0.1, 0.2, 0.4]
    backoff.prove(300.0)
    backoff.prove(309.0)
    assert backoff.fail(310.0) == 0.1


def test_work_that_is_followed_by_a_failure_at_once_ends_nothing() -> None:
    backoff = Backoff(first_s=0.1)
    pauses = []
    for turn in range(4):
        backoff.prove(turn * 10.0)
        pauses.append(backoff.fail(turn * 10.0 + 1.0))
    assert pauses == [0.1, 0.2, 0.4, 0.8]
