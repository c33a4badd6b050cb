"""What a refusal says about a transaction: one row for every code that can come."""

import pytest

from streamproof.drivers.kafka.errors import MEANINGS
from streamproof.drivers.kafka.transactions import (
    cannot_commit,
    certain,
    is_passing,
    no_answer,
    overdue,
    refused,
    unseen,
)
from streamproof.errors import (
    AccessDenied,
    ConfigurationError,
    DeliveryUnknown,
    Fenced,
    NotAssigned,
    RecordTooLarge,
    TransactionAborted,
    TransactionUnknown,
)

FENCED = {47, 49, 90, -144}
MEMBER_GONE = {22, 25, 27, 82, 110, 113, -147, -142}
DENIED = {29, 30, 31, 33, 34, 53, 58, -169}
OF_A_MOMENT = {3, 5, 6, 7, 8, 9, 13, 14, 15, 16, 51, 52, -195, -192, -187, -185, -177, -173, -166}


@pytest.mark.parametrize("code", [*MEANINGS, 12345])
def test_every_refusal_has_a_class_and_a_remedy(code):
    cause = ValueError("native")
    error = refused(code, "the transaction was not committed", "the reason", cause)
    expected = (
        Fenced
        if code in FENCED
        else NotAssigned
        if code in MEMBER_GONE
        else AccessDenied
        if code in DENIED
        else error.__class__
    )
    assert type(error) is expected
    assert error.definite
    assert error.__cause__ is cause
    assert str(error).startswith("the transaction was not committed: the reason; ")


@pytest.mark.parametrize(
    ("code", "expected"), [(48, TransactionAborted), (120, TransactionAborted), (50, ConfigurationError)]
)
def test_some_refusals(code, expected):
    assert type(refused(code, "", "")) is expected


@pytest.mark.parametrize("code", sorted(FENCED))
def test_an_old_epoch_is_no_fencing_where_the_library_can_go_on(code):
    assert type(refused(code, "", "", can_recover=True)) is TransactionAborted


@pytest.mark.parametrize("code", [47, 48, 53, 120, -1])
def test_after_an_unanswered_attempt_a_refusal_tells_nothing_of_the_commit(code):
    error = refused(code, "", "", was_first=False)
    assert not error.definite
    assert type(error) is (Fenced if code in FENCED else TransactionUnknown)


def test_what_passes_is_asked_again():
    assert {code for code in MEANINGS if is_passing(code)} >= OF_A_MOMENT
    assert not any(map(is_passing, FENCED | MEMBER_GONE | DENIED | {48, 50, 120, -1, 12345}))


def test_what_a_doomed_transaction_sent_is_never_seen_and_that_is_certain():
    cause = ValueError("native")
    error = unseen("readings", "purged", cause)
    assert error.definite
    assert error.__cause__ is cause
    assert "read-committed" in str(error)


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (RecordTooLarge("too large"), RecordTooLarge),
        (DeliveryUnknown("no answer"), TransactionAborted),
        (Fenced("an old epoch", definite=False), Fenced),
    ],
)
def test_a_failed_send_of_a_transaction_is_certain(failure, kind):
    failure.__cause__ = ValueError("native")
    found = certain(failure, "readings")
    assert type(found) is kind
    assert found.definite
    assert found.__cause__ is failure.__cause__
    assert str(failure) in str(found)


def test_why_a_transaction_cannot_commit_is_its_cause():
    cause = NotAssigned("gone")
    error = cannot_commit(cause)
    assert error.__cause__ is cause
    assert "gone" in str(error)
    assert cannot_commit("no answer").__cause__ is None


@pytest.mark.parametrize("is_commit", [True, False])
def test_no_answer_is_not_definite(is_commit):
    error = no_answer(is_commit, 2.5, "timed out")
    assert not error.definite
    assert "2.5 s" in str(error)
    assert "timed out" in str(error)


def test_a_transaction_that_was_open_for_too_long_is_told_so():
    assert overdue(59.9, 60.0) == ""
    assert "longer than transaction_timeout_s=60:" in overdue(60.1, 60.0)
