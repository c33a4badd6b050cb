"""The table of Kafka's error codes: names and numbers as the libraries have them, outcomes of sends."""

import pytest

from streamproof.drivers.kafka.errors import MEANINGS, MOVING, Stored, call_error, meaning_of, send_error
from streamproof.errors import (
    AccessDenied,
    BackendError,
    DeliveryUnknown,
    Fenced,
    NotAssigned,
    RecordTooLarge,
    StreamproofError,
    TimedOut,
    UnknownTopic,
)

UNSTORED = {10, 17, 18, 21, 32, 76, 87, -186}
UNSTORED_AT_FIRST = {3, 29, 31, -190, -188}


def test_codes_have_librdkafkas_names():
    library = pytest.importorskip("confluent_kafka")
    assert {code: library.KafkaError(code).name() for code in MEANINGS} == {
        code: meaning.name for code, meaning in MEANINGS.items()
    }


def test_codes_have_the_protocols_numbers():
    errors = pytest.importorskip("aiokafka.errors")
    known = set(errors.kafka_errors)
    assert {code for code in MEANINGS if 0 < code <= 72} <= known


def test_only_what_is_validated_before_the_append_is_certain():
    found = {code: meaning.stored for code, meaning in MEANINGS.items() if meaning.stored is not Stored.MAYBE}
    assert found == {
        **dict.fromkeys(UNSTORED, Stored.NEVER),
        **dict.fromkeys(UNSTORED_AT_FIRST, Stored.NOT_AT_FIRST),
    }


@pytest.mark.parametrize("was_first", [True, False])
@pytest.mark.parametrize("code", [*MEANINGS, 12345])
def test_what_a_send_becomes(code, was_first):
    cause = ValueError("native")
    error = send_error(code, "readings", "the reason", cause, was_first=was_first)
    is_certain = code in UNSTORED or (code in UNSTORED_AT_FIRST and was_first)
    assert error.definite is is_certain
    assert error.__cause__ is cause
    assert "readings" in str(error)
    assert "the reason" in str(error)
    if is_certain:
        assert type(error) is meaning_of(code).error
        assert meaning_of(code).remedy in str(error)
    else:
        assert type(error) is (Fenced if meaning_of(code).error is Fenced else DeliveryUnknown)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (10, RecordTooLarge),
        (3, UnknownTopic),
        (22, NotAssigned),
        (29, AccessDenied),
        (82, Fenced),
        (-185, TimedOut),
        (12345, BackendError),
    ],
)
def test_what_a_call_raises(code, expected):
    cause = ValueError("native")
    error = call_error(code, "the topics cannot be listed", "the reason", cause)
    assert type(error) is expected
    assert isinstance(error, StreamproofError)
    assert str(error) == f"the topics cannot be listed: the reason; {meaning_of(code).remedy}"
    assert error.definite
    assert error.__cause__ is cause


@pytest.mark.parametrize(
    ("code", "is_open"), [(-185, True), (-195, True), (-1, True), (29, False), (22, False)]
)
def test_a_change_whose_answer_was_lost_is_not_definite(code, is_open):
    assert call_error(code, "no commit", "lost", definite=False).definite is not is_open


def test_what_passes_while_leaders_move_is_worth_asking_again():
    assert all(call_error(code, "", "").retriable for code in MOVING)
