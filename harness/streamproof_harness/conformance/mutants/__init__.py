"""Backends broken on purpose: the suite proves itself by catching every one of them.

Each mutant is the in-memory backend with one fault and names the cases that must turn red.
"""

from streamproof_harness.conformance.mutants import closing, grouping, reading, seeking, sending, transacting
from streamproof_harness.conformance.mutants.mutant import Mutant, run, suite_on


def mutants() -> list[type[Mutant]]:
    """All of them, by name."""
    found = {
        *sending.CHANGING,
        *(
            kind
            for module in (closing, grouping, reading, seeking, sending, transacting)
            for kind in vars(module).values()
            if isinstance(kind, type) and issubclass(kind, Mutant) and kind is not Mutant
        ),
    }
    return sorted(found, key=lambda kind: kind.__name__)


__all__ = ["Mutant", "mutants", "run", "suite_on"]
