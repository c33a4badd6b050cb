"""Verdicts: of one check, and of the whole history."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from streamproof_harness.contract import Severity

Verdict = Literal["valid", "invalid", "unknown"]

EXIT_STATUS: Final[Mapping[Verdict, int]] = {"valid": 0, "invalid": 1, "unknown": 4}
"""Exit status of a command that ends with a verdict. 2: input or usage error; 3: no broker."""

EXAMPLES: Final = 10
"""Examples kept for one check."""


@dataclass(frozen=True, slots=True)
class Example:
    """One finding: the indexes of the events that prove it, and a sentence that says it."""

    events: tuple[int, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found, whatever the contract thinks of it.

    `count` anomalies, some of them as `examples`; `evidence`: how often the property was
    exercised; `undecided`: why the history cannot decide, if nothing was found.
    """

    count: int = 0
    examples: tuple[Example, ...] = ()
    evidence: int = 0
    undecided: str = ""

    @property
    def verdict(self) -> Verdict:
        if self.count:
            return "invalid"
        return "unknown" if self.undecided else "valid"


@dataclass(frozen=True, slots=True)
class CheckVerdict:
    """The verdict of one check under a contract. `note` says why it is unknown or only allowed."""

    verdict: Verdict
    severity: Severity
    count: int
    examples: tuple[Example, ...]
    evidence: int = 0
    note: str = ""
    is_lacking: bool = False
    """It could not be judged at all (no capability): shown as a dash."""

    @property
    def mark(self) -> str:
        """The verdict as people see it in a table."""
        return "–" if self.is_lacking else self.verdict


@dataclass(frozen=True, slots=True)
class HistoryVerdict:
    """The verdict of a history: the worst among its forbidden rows (invalid, unknown, valid)."""

    events: int
    contract: str
    checks: Mapping[str, CheckVerdict] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        forbidden = {check.verdict for check in self.checks.values() if check.severity == "forbidden"}
        if "invalid" in forbidden:
            return "invalid"
        return "unknown" if "unknown" in forbidden else "valid"

    @property
    def exit_status(self) -> int:
        return EXIT_STATUS[self.verdict]

    def as_json(self) -> dict[str, Any]:
        """The verdict as ``streamproof check --json`` prints it: every check, always."""
        return {
            "verdict": self.verdict,
            "events": self.events,
            "contract": self.contract,
            "checks": {name: _check_as_json(check) for name, check in self.checks.items()},
        }


def _check_as_json(check: CheckVerdict) -> dict[str, Any]:
    examples = [{"events": list(example.events), "text": example.text} for example in check.examples]
    if check.note and not examples:
        examples = [{"events": [], "text": check.note}]
    return {
        "verdict": check.verdict,
        "severity": check.severity,
        "count": check.count,
        "examples": examples,
    }


def verdict_lines(verdict: HistoryVerdict, *, with_rows: bool = True) -> Iterator[str]:
    """The verdict as plain lines for people: one a check, then what was found, then the whole."""
    if with_rows:
        for name, check in verdict.checks.items():
            tail = f", {check.count} found" if check.count else ""
            yield f"{check.mark:8}{name} ({check.severity}{tail})"
    for name, check in verdict.checks.items():
        if check.verdict == "valid" or check.is_lacking:
            continue
        yield f"{name}: {check.note}" if check.note else f"{name}: {check.count} found"
        for example in check.examples:
            events = ", ".join(map(str, example.events))
            yield f"  {example.text} (events {events})"
        if check.count > len(check.examples) > 0:
            yield f"  and {check.count - len(check.examples)} more"
    yield f"{verdict.verdict}: {verdict.events} events under {verdict.contract}"
