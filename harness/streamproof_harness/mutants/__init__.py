"""Mutants: broken drivers, clients and workers, one defect each, that the checks must catch in a run.

A suite that only ever sees systems that work proves nothing about its checks. Here each check is
shown a defect of the kind it is there for: a line or two over the real part, on the real backend,
in a scenario of the catalogue. It must be found in the history alone.
"""

from streamproof_harness.mutants.catalogue import MUTANTS, mutant_named
from streamproof_harness.mutants.mutant import Mutant

__all__ = ["MUTANTS", "Mutant", "mutant_named"]
