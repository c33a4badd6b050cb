"""The conformance suite against broken backends: every one of its cases can fail."""

import pytest

from streamproof_harness.conformance import ConformanceSuite
from streamproof_harness.conformance.mutants import Mutant, mutants, run, suite_on

CASES = sorted(name for name in dir(ConformanceSuite) if name.startswith("test_"))
CAUGHT = [(mutant, case) for mutant in mutants() for case in mutant.caught_by]


@pytest.mark.parametrize(
    ("mutant", "case"), CAUGHT, ids=[f"{mutant.__name__}-{case[5:]}" for mutant, case in CAUGHT]
)
def test_a_mutant_turns_the_case_red(mutant: type[Mutant], case: str) -> None:
    red = run(suite_on(mutant()), case)
    assert red is not None, "the suite takes this broken backend for a good one"


@pytest.mark.parametrize("case", CASES)
def test_the_case_is_green_without_a_fault(case: str) -> None:
    """What passes everything on breaks nothing, so that a red case above is the fault's own."""
    red = run(suite_on(Mutant(), patience_s=30.0), case)
    if red is not None:
        raise red


def test_every_case_is_caught_failing() -> None:
    assert sorted({case for _, case in CAUGHT}) == CASES
