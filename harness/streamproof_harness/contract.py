"""Contracts: what a history is held to.

A contract is a base (how severe each anomaly is) and its own settings on top::

    {"base": "at-least-once", "severity": {"log-duplicate": "forbidden"},
     "evidence": {"poll-skip": 1000}, "order": "key", "retry": {"max_attempts": 5}}

The table below is the one of ``docs/reference/histories.md``; every anomaly stands in it, in the
order in which verdicts are shown.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from streamproof_harness.history import HistoryError

Severity = Literal["forbidden", "reported", "allowed"]
Order = Literal["key", "partition", "none"]

BASES: Final = ("at-least-once", "exactly-once", "at-most-once", "effect-once")
"""Names of contracts. ``effect-once``: at-least-once delivery whose effects are applied once."""
DEFAULT: Final = "at-least-once"

_LETTERS: Final[Mapping[str, Severity]] = {"F": "forbidden", "R": "reported", "-": "allowed"}

# severity under at-least-once, exactly-once, at-most-once
_TABLE: Final[Mapping[str, str]] = {
    # the log
    "lost-write": "FFR",
    "unseen": "FFR",
    "phantom": "FFF",
    "corrupted": "FFF",
    "misrouted": "FFF",
    "inconsistent-offset": "FFF",
    "log-duplicate": "RFR",
    "ack-in-the-past": "FFF",
    "producer-reorder": "FFF",
    "internal-producer-reorder": "FFF",
    "key-stale": "FFF",
    "dishonest-outcome": "FFF",
    # the consumer
    "poll-nonmonotonic": "FFF",
    "internal-poll-nonmonotonic": "FFF",
    "poll-skip": "FFF",
    "internal-poll-skip": "FFF",
    "resume-not-at-commit": "FFF",
    "commit-too-far": "FF-",
    "commit-regression": "FFF",
    "consumed-while-unassigned": "FFF",
    "dual-ownership": "FFF",
    "group-incomplete": "FFR",
    "prefetch-exceeded": "FFF",
    "close-leaks": "FFF",
    # delivery
    "duplicate-delivery": "FFF",
    "duplicate-bound": "RFF",
    "duplicate-effect": "RFF",
    "handler-reorder": "FFF",
    "ack-not-final": "FFF",
    "nack-lost": "FFR",
    "conservation": "RFR",
    "stall": "RRR",
    # policy
    "attempts-wrong": "FFF",
    "backoff-wrong": "FFF",
    "dead-letter-wrong": "FFF",
    "dead-letter-changed": "FFF",
    "poison-spreads": "FFF",
    "too-early": "FFF",
    "expired": "FFF",
    # transactions
    "aborted-read": "FFF",
    "early-read": "FFF",
    "own-read": "FFF",
    "torn-transaction": "FFF",
    "send-interleaved": "-R-",
    "write-cycle": "RRR",
    "circular-information-flow": "RFR",
    "abort-without-rewind": "FFF",
    "transform-not-atomic": "RFR",
    "transform-not-exactly-once": "RFR",
    "zombie-write": "FFF",
    "hanging-transaction": "FFF",
}

ANOMALIES: Final = tuple(_TABLE)
"""The name of every check, in the order in which verdicts are shown."""

_EFFECT_ONCE: Final[Mapping[str, Severity]] = {
    "duplicate-effect": "forbidden",
    "conservation": "forbidden",
}


class ContractError(HistoryError):
    """A contract that names what does not exist, or contradicts itself."""


class Contract(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a history is held to. Build one with `contract_of`, which also checks it.

    `severity` and `evidence` hold what differs from the base, by check. `evidence`: the least
    number of times that a property must have been exercised. `order`: within what the handler's
    order is judged. `retry`: the policy, with ``max_attempts`` (all attempts, the first included)
    and ``unretriable`` (class names of errors after which no further attempt is made). `bounds`
    in ns, by name.
    """

    name: str = ""
    base: str = DEFAULT
    severity: dict[str, Severity] = {}
    evidence: dict[str, int] = {}
    order: Order = "key"
    retry: dict[str, Any] = {}
    prefetch: int | None = None
    bounds: dict[str, Any] = {}
    slack_ns: int = 0

    @property
    def title(self) -> str:
        """The name under which verdicts show it: its own, or that of its base."""
        return self.name or self.base

    @property
    def max_attempts(self) -> int | None:
        """Deliveries of one record before it is dead-lettered; None: the contract does not say."""
        attempts: int | None = self.retry.get("max_attempts")
        return attempts

    @property
    def unretriable(self) -> frozenset[str]:
        """Class names of errors that are not retried."""
        return frozenset(self.retry.get("unretriable", ()))

    def severity_of(self, check: str) -> Severity:
        """How severe a finding of the check is."""
        if check in self.severity:
            return self.severity[check]
        if self.base == "effect-once":
            return _EFFECT_ONCE.get(check) or _LETTERS[_TABLE[check][0]]
        return _LETTERS[_TABLE[check][BASES.index(self.base)]]

    def forbids_by_name(self, check: str) -> bool:
        """Whether this contract itself, and not its base, forbids the check's anomaly."""
        return self.severity.get(check) == "forbidden"


def contract_of(source: "Contract | Mapping[str, Any] | str | Path | None") -> Contract:
    """A checked contract from its fields, the name of a base, or a JSON file; None: at-least-once.

    Raises ContractError.
    """
    if isinstance(source, Contract):
        return source
    if source is None:
        return Contract()
    if isinstance(source, (str, Path)):
        if source in BASES:
            return Contract(base=str(source))
        source = _fields_of_file(Path(source))
    try:
        contract = msgspec.convert(dict(source), Contract)
    except msgspec.ValidationError as error:
        raise ContractError(f"the contract is wrong: {error}") from error
    _require_sense(contract)
    return contract


def _fields_of_file(path: Path) -> Mapping[str, Any]:
    try:
        fields = msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise ContractError(
            f"no contract {str(path)!r}: give one of {', '.join(BASES)}, or a JSON file"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ContractError(f"the contract file {path} does not parse as JSON: {error}") from error
    if not isinstance(fields, dict):
        raise ContractError(f"the contract file {path} must hold one JSON object")
    return fields


def _require_sense(contract: Contract) -> None:
    if contract.base not in BASES:
        raise ContractError(f"no contract base {contract.base!r}: there are {', '.join(BASES)}")
    for field in ("severity", "evidence"):
        for check in getattr(contract, field):
            if check not in _TABLE:
                raise ContractError(f'the contract\'s "{field}" names {check!r}, which is no check')
    for check, least in contract.evidence.items():
        if least < 0:
            raise ContractError(f'"evidence" for {check} must not be negative, is {least}')
    if contract.order == "none" and contract.forbids_by_name("handler-reorder"):
        raise ContractError('the contract forbids handler-reorder and says "order": "none"')
    _require_sense_of_numbers(contract)


def _require_sense_of_numbers(contract: Contract) -> None:
    attempts = contract.retry.get("max_attempts")
    if attempts is not None and (type(attempts) is not int or attempts < 1):
        raise ContractError(f'"max_attempts" must be a whole number of at least 1, is {attempts!r}')
    unretriable = contract.retry.get("unretriable", [])
    if not isinstance(unretriable, list) or not all(isinstance(name, str) for name in unretriable):
        raise ContractError('"unretriable" must be a list of class names of errors')
    if contract.prefetch is not None and contract.prefetch < 1:
        raise ContractError(f'"prefetch" must be at least 1, is {contract.prefetch}')
    bounds = [bound for bound in contract.bounds.values() if isinstance(bound, (int, float))]
    if contract.slack_ns < 0 or any(bound < 0 for bound in bounds):
        raise ContractError('"slack_ns" and "bounds" must not be negative')
