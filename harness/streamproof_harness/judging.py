"""Judge a history: run every check, weigh the findings by the contract, give the verdict."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from streamproof_harness.checkers import CHECKS, Check
from streamproof_harness.contract import ANOMALIES, Contract, Severity, contract_of
from streamproof_harness.history.columns import History
from streamproof_harness.history.loading import load
from streamproof_harness.terms import Terms
from streamproof_harness.verdict import CheckVerdict, Finding, HistoryVerdict

NOT_YET: Final = "not implemented in this version"


def judge(
    source: Path | str | bytes,
    contract: Contract | Mapping[str, Any] | str | Path | None = None,
    *,
    processes: int | None = None,
) -> HistoryVerdict:
    """Judge a history: a file (plain or gzipped), or its bytes.

    `contract`: a contract, its fields, the name of a base or a JSON file; None: the one in the
    header, and without one at-least-once. `processes` (1 or 2) decode it; None decides by size. Raises
    HistoryError for input that cannot be judged.
    """
    chosen = None if contract is None else contract_of(contract)
    history = load(source, processes=processes)
    return judge_history(history, chosen or contract_of(history.header.contract))


def judge_history(history: History, contract: Contract, *, processes: int | None = None) -> HistoryVerdict:
    """The verdict of a decoded history: every row of the table, in its order."""
    terms = Terms(history)
    capabilities = history.header.capabilities
    lacking = {name: _lacking(CHECKS.get(name), capabilities) for name in ANOMALIES}
    rows = {
        name: _set_aside(name, lacking[name], contract)
        if lacking[name]
        else _weigh(name, run(CHECKS[name], terms, contract), contract)
        for name in ANOMALIES
    }
    return HistoryVerdict(history.events, contract.title, rows)


def _lacking(check: Check | None, capabilities: Mapping[str, Any]) -> str:
    """Why a check cannot be run, or nothing."""
    if check is None:
        return NOT_YET
    missing = [name for name in check.needs if capabilities.get(name) is False]
    return f"needs {' and '.join(missing)}, which the backend does not have" if missing else ""


def _set_aside(name: str, reason: str, contract: Contract) -> CheckVerdict:
    severity: Severity = "forbidden" if contract.forbids_by_name(name) else "allowed"
    return CheckVerdict("unknown", severity, 0, (), note=reason, is_lacking=True)


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
