"""Judge a history: run every check, weigh the findings by the contract, give the verdict."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streamproof_harness.checkers import CHECKS, Check
from streamproof_harness.columns import History
from streamproof_harness.contract import ANOMALIES, Contract, Severity, contract_of
from streamproof_harness.loading import load
from streamproof_harness.terms import Terms
from streamproof_harness.verdict import CheckVerdict, Finding, HistoryVerdict

NOT_YET = "not implemented in this version"


def judge(
    source: Path | str | bytes,
    contract: Contract | Mapping[str, Any] | str | Path | None = None,
    *,
    processes: int | None = None,
) -> HistoryVerdict:
    """Judge a history: a file (plain or gzipped), or its bytes.

    `contract`: a contract, its fields, the name of a base or a JSON file; None: the one in the
    header, and without one at-least-once. Raises HistoryError for input that cannot be judged.
    """
    chosen = None if contract is None else contract_of(contract)
    history = load(source, processes=processes)
    return judge_history(history, chosen or contract_of(history.header.contract))


def judge_history(history: History, contract: Contract) -> HistoryVerdict:
    """The verdict of a decoded history: every row of the table, in its order."""
    terms = Terms(history)
    rows = {name: _row(name, CHECKS.get(name), terms, contract) for name in ANOMALIES}
    return HistoryVerdict(history.events, contract.title, rows)


def _row(name: str, check: Check | None, terms: Terms, contract: Contract) -> CheckVerdict:
    lacking = _lacking(check, terms.history.header.capabilities)
    if check is None or lacking:
        severity: Severity = "forbidden" if contract.forbids_by_name(name) else "allowed"
        return CheckVerdict("unknown", severity, 0, (), note=lacking, is_lacking=True)
    return _weigh(name, run(check, terms, contract), contract)


def _lacking(check: Check | None, capabilities: Mapping[str, Any]) -> str:
    if check is None:
        return NOT_YET
    missing = [name for name in check.needs if capabilities.get(name) is False]
    return f"needs {' and '.join(missing)}, which the backend does not have" if missing else ""


def run(check: Check, terms: Terms, contract: Contract) -> Finding:
    """What a check found; a check that fails has decided nothing, and says why."""
    try:
        return check.judge(terms, contract)
    except Exception as error:
        return Finding(undecided=f"the check itself failed: {type(error).__name__}: {error}")


def _weigh(name: str, finding: Finding, contract: Contract) -> CheckVerdict:
    verdict, note = finding.verdict, finding.undecided
    least = contract.evidence.get(name, 0)
    if verdict == "valid" and finding.evidence < least:
        verdict = "unknown"
        note = f"exercised {finding.evidence} times, the contract asks for {least}"
    return CheckVerdict(
        verdict, contract.severity_of(name), finding.count, finding.examples, finding.evidence, note
    )
