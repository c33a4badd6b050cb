"""Calls on a thread that may be left to them."""

import threading

import pytest

pytest.importorskip("confluent_kafka")

from streamproof.drivers.kafka_confluent.aside import Aside, NoAnswer

NAME = "aside-of-a-test"
BOUND_S = 10.0
AT_ONCE_S = 0.01


def threads():
    return [thread for thread in threading.enumerate() if thread.name == NAME]


@pytest.fixture
def aside():
    found = Aside(NAME)
    yield found
    found.stop()
    for thread in threads():
        thread.join(BOUND_S)
    assert threads() == []


def test_a_call_tells_what_it_raised(aside):
    refusal = ValueError("no")

    def refuse():
        raise refusal

    assert aside.failure_of(refuse, BOUND_S) is refusal
    assert aside.failure_of(lambda: "ignored", BOUND_S) is None


def test_calls_share_one_thread(aside):
    found = []
    for _ in range(3):
        aside.failure_of(lambda: found.append(threading.current_thread()), BOUND_S)
    assert len(set(found)) == 1
    assert threading.current_thread() not in found


def test_a_call_that_overruns_is_left_alone_and_does_not_hold_the_next_one_up(aside):
    is_over, ended = threading.Event(), []

    def overrun():
        is_over.wait(BOUND_S)
        ended.append(True)

    with pytest.raises(NoAnswer, match=r"0\.01 s"):
        aside.failure_of(overrun, AT_ONCE_S)
    assert aside.failure_of(lambda: None, BOUND_S) is None
    assert ended == []
    is_over.set()
    aside.stop()
    for thread in threads():
        thread.join(BOUND_S)
    assert ended == [True]


def test_it_goes_on_after_a_stop(aside):
    aside.failure_of(lambda: None, BOUND_S)
    aside.stop()
    aside.stop()
    assert aside.failure_of(lambda: None, BOUND_S) is None
