"""The matrix mutant × check, for a terminal."""

from collections.abc import Iterator, Sequence

from streamproof_harness.mutants.matrix import Control, Trial

KILLED, OTHER, STRANGE, SURVIVED = "●", "+", "!", "○"
LEGEND = (
    f"{KILLED} killed by the check that must find it, {SURVIVED} survived it; "
    f"{OTHER} forbidden, found too, for a stated reason; {STRANGE} for none"
)


def matrix_lines(trials: Sequence[Trial]) -> Iterator[str]:
    """A row for each mutant, a numbered column for each check; then the checks by number."""
    checks = sorted(
        {name for trial in trials for name in (trial.mutant.check, *trial.others)},
        key=[*_order(trials)].index,
    )
    width = max(len(trial.mutant.name) for trial in trials)
    yield " " * width + "".join(f"{number:>3}" for number in range(1, len(checks) + 1))
    for trial in trials:
        yield f"{trial.mutant.name:<{width}}" + "".join(f"{_cell(trial, check):>3}" for check in checks)
    yield ""
    yield LEGEND
    for number, check in enumerate(checks, start=1):
        yield f"{number:>3} {check}"


def problem_lines(trials: Sequence[Trial], controls: Sequence[Control]) -> Iterator[str]:
    """What is not as it must be, and the sum of all."""
    for trial in trials:
        if trial.problem is not None:
            yield f"{trial.mutant.name} ({trial.mutant.breaks}): {trial.problem}"
    for control in controls:
        if control.problem is not None:
            yield f"control {control.result.scenario} {dict(control.parameters)}: {control.problem}"
    killed = sum(trial.is_killed for trial in trials)
    clean = sum(control.problem is None for control in controls)
    yield f"{killed} of {len(trials)} mutants killed, {clean} of {len(controls)} controls clean"


def _order(trials: Sequence[Trial]) -> Iterator[str]:
    for trial in trials:
        yield from trial.checks
    for trial in trials:
        yield trial.mutant.check


def _cell(trial: Trial, check: str) -> str:
    if check == trial.mutant.check:
        return KILLED if trial.is_killed else SURVIVED
    if check in trial.unexplained:
        return STRANGE
    return OTHER if check in trial.others else "·"
