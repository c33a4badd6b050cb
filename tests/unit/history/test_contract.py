"""Contracts: what they say, and the one clear error when they cannot be meant."""

from pathlib import Path

import msgspec
import pytest

from streamproof_harness.checkers import CHECKS
from streamproof_harness.contract import ANOMALIES, BASES, Contract, ContractError, contract_of
from streamproof_harness.history import HistoryError

# The table as it was specified: the log, the consumer, delivery, policy, transactions.
TABLE = [
    "lost-write",
    "FFR",
    "unseen",
    "FFR",
    "phantom",
    "FFF",
    "corrupted",
    "FFF",
    "misrouted",
    "FFF",
    "inconsistent-offset",
    "FFF",
    "log-duplicate",
    "RFR",
    "ack-in-the-past",
    "FFF",
    "producer-reorder",
    "FFF",
    "internal-producer-reorder",
    "FFF",
    "key-stale",
    "FFF",
    "dishonest-outcome",
    "FFF",
    "poll-nonmonotonic",
    "FFF",
    "internal-poll-nonmonotonic",
    "FFF",
    "poll-skip",
    "FFF",
    "internal-poll-skip",
    "FFF",
    "resume-not-at-commit",
    "FFF",
    "commit-too-far",
    "FF-",
    "commit-regression",
    "FFF",
    "consumed-while-unassigned",
    "FFF",
    "dual-ownership",
    "FFF",
    "group-incomplete",
    "FFR",
    "prefetch-exceeded",
    "FFF",
    "close-leaks",
    "FFF",
    "duplicate-delivery",
    "FFF",
    "duplicate-bound",
    "RFF",
    "duplicate-effect",
    "RFF",
    "handler-reorder",
    "FFF",
    "ack-not-final",
    "FFF",
    "nack-lost",
    "FFR",
    "conservation",
    "RFR",
    "stall",
    "RRR",
    "attempts-wrong",
    "FFF",
    "backoff-wrong",
    "FFF",
    "dead-letter-wrong",
    "FFF",
    "dead-letter-changed",
    "FFF",
    "poison-spreads",
    "FFF",
    "too-early",
    "FFF",
    "expired",
    "FFF",
    "aborted-read",
    "FFF",
    "early-read",
    "FFF",
    "own-read",
    "FFF",
    "torn-transaction",
    "FFF",
    "send-interleaved",
    "-R-",
    "write-cycle",
    "RRR",
    "circular-information-flow",
    "RFR",
    "abort-without-rewind",
    "FFF",
    "transform-not-atomic",
    "RFR",
    "transform-not-exactly-once",
    "RFR",
    "zombie-write",
    "FFF",
    "hanging-transaction",
    "FFF",
]
LETTERS = {"forbidden": "F", "reported": "R", "allowed": "-"}


def test_every_anomaly_has_its_severities():
    names, letters = TABLE[::2], TABLE[1::2]
    assert tuple(names) == ANOMALIES
    for name, expected in zip(names, letters, strict=True):
        told = "".join(LETTERS[Contract(base=base).severity_of(name)] for base in BASES[:3])
        assert told == expected, name


def test_every_check_is_of_the_table():
    assert set(CHECKS) <= set(ANOMALIES)


def test_effect_once_is_at_least_once_whose_effects_happen_once():
    effect_once, at_least_once = Contract(base="effect-once"), Contract()
    differing = {
        name for name in ANOMALIES if effect_once.severity_of(name) != at_least_once.severity_of(name)
    }
    assert differing == {"duplicate-effect", "conservation"}
    assert all(effect_once.severity_of(name) == "forbidden" for name in differing)


def test_without_one_at_least_once_holds():
    assert contract_of(None) == Contract(base="at-least-once")
    assert contract_of({}) == Contract(base="at-least-once")
    assert contract_of(None).title == "at-least-once"


@pytest.mark.parametrize("base", BASES)
def test_the_name_of_a_base_is_a_contract(base):
    assert contract_of(base).title == contract_of({"base": base}).title == base


def test_what_a_contract_sets_goes_before_its_base():
    contract = contract_of({"base": "exactly-once", "severity": {"phantom": "allowed", "stall": "forbidden"}})
    assert contract.severity_of("phantom") == "allowed"
    assert contract.severity_of("unseen") == "forbidden"
    assert contract.forbids_by_name("stall")
    assert not contract.forbids_by_name("unseen")


def test_a_file_holds_the_fields(tmp_path: Path):
    fields = {
        "name": "mine",
        "base": "at-most-once",
        "evidence": {"poll-skip": 1000},
        "order": "partition",
        "retry": {"growth": "fixed", "base_s": 0.1, "max_attempts": 5, "unretriable": ["ValueError"]},
        "prefetch": 10,
        "bounds": {"stall": 5},
        "slack_ns": 3,
    }
    path = tmp_path / "contract.json"
    path.write_bytes(msgspec.json.encode(fields))
    contract = contract_of(str(path))
    assert contract == contract_of(path) == contract_of(fields)
    assert contract.title == "mine"
    assert contract.max_attempts == 5
    assert contract.unretriable == {"ValueError"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"base": "twice"}, "no contract base 'twice': there are at-least-once, exactly-once"),
        ({"severity": {"lost-wirte": "allowed"}}, "\"severity\" names 'lost-wirte', which is no check"),
        ({"severity": {"phantom": "bad"}}, "Invalid enum value 'bad'"),
        ({"evidence": {"nothing": 1}}, "\"evidence\" names 'nothing', which is no check"),
        ({"evidence": {"phantom": -1}}, '"evidence" for phantom must not be negative'),
        ({"order": "time"}, "Invalid enum value 'time'"),
        ({"order": "none", "severity": {"handler-reorder": "forbidden"}}, 'and says "order": "none"'),
        ({"retry": {"max_attempts": 0}}, '"max_attempts" must be a whole number of at least 1, is 0'),
        ({"retry": {"max_attempts": True}}, '"max_attempts" must be a whole number'),
        ({"retry": {"max_attempts": 2.5}}, '"max_attempts" must be a whole number'),
        ({"retry": {"unretriable": "ValueError"}}, '"unretriable" must be a list'),
        ({"prefetch": 0}, '"prefetch" must be at least 1'),
        ({"slack_ns": -1}, '"slack_ns" and "bounds" must not be negative'),
        ({"bounds": {"stall": -1}}, '"slack_ns" and "bounds" must not be negative'),
        ({"severities": {}}, "unknown field `severities`"),
    ],
)
def test_a_contract_that_cannot_be_meant(fields, message):
    with pytest.raises(ContractError) as caught:
        contract_of(fields)
    assert message in str(caught.value)
    assert isinstance(caught.value, HistoryError)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"exactly-once"', b"\xff"])
def test_a_file_that_holds_no_contract(tmp_path: Path, content: bytes):
    path = tmp_path / "contract.json"
    path.write_bytes(content)
    with pytest.raises(ContractError, match="contract file"):
        contract_of(str(path))


def test_an_unknown_name_is_no_contract():
    with pytest.raises(ContractError, match="give one of at-least-once, exactly-once"):
        contract_of("at-leats-once")
