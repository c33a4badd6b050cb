"""What a mutant is: one defect, planted in a client that otherwise works, and the check that must find it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from streamproof.options import ConsumerOptions
from streamproof.records import Headers
from streamproof_harness.clients.identity import is_marker
from streamproof_harness.clients.plans import ReaderPlan
from streamproof_harness.workloads.workload import ID_HEADER


@dataclass(frozen=True, slots=True)
class Mutant:
    """One defect and the run that shows it.

    ``breaks`` says in one sentence what it does wrong. ``check`` must find it, in the history of
    the ``scenario`` run with these ``parameters``, where every other forbidden check must find
    nothing, but for those that ``others`` names, each with the reason why it sees it too. Some of the
    small runs are over before a real broker has let a group join or confirmed a record: there
    ``broker_parameters`` hold, if they are given. ``needs`` names capabilities that the
    defect itself lies in.

    The broken part stands under the mutant's name in a module of this package's ``_async``, or it
    is the ``plan`` that readers are given, or the ``options`` that their driver is. A part strikes once in
    each client, at the ``at``-th record of the workload that goes through it or at the next one that
    fits; ``group`` leaves the readers of all other groups unbroken. ``is_in_engine``: it is the
    in-memory cluster that is broken, see :mod:`~streamproof_harness.mutants.engine`, and there is no
    such thing elsewhere.
    """

    name: str
    check: str
    breaks: str
    scenario: str
    parameters: Mapping[str, int | float] = field(default_factory=dict)
    others: Mapping[str, str] = field(default_factory=dict)
    at: int = 40
    group: str | None = None
    plan: Callable[[ReaderPlan], ReaderPlan] | None = None
    options: Callable[[ConsumerOptions], ConsumerOptions] | None = None
    is_in_engine: bool = False
    patience_s: float = 15.0
    broker_parameters: Mapping[str, int | float] | None = None
    needs: tuple[str, ...] = ()

    def parameters_on(self, backend: str) -> Mapping[str, int | float]:
        """The scenario's parameters on this backend."""
        if backend == "memory" or self.broker_parameters is None:
            return self.parameters
        return self.broker_parameters

    def reaches(self, group: str | None) -> bool:
        """Whether readers of this group (``None``: of none) are broken."""
        return self.group is None or self.group == group


class Turn:
    """When a broken part strikes: once, after enough records of the workload went through it.

    The harness' own end marks do not count, and parts leave them alone: they end the run.
    """

    def __init__(self, at: int, report: Callable[[], None]) -> None:
        self._left = at
        self._report = report
        self._is_over = False

    def count(self, records: Iterable[Headers]) -> bool:
        """Records with these headers go by. Returns ``is_due``."""
        self._left -= sum(1 for headers in records if not has_mark(headers))
        return self.is_due

    @property
    def is_due(self) -> bool:
        """Whether it is time, and was not done yet."""
        return self._left <= 0 and not self._is_over

    @property
    def is_over(self) -> bool:
        """Whether it was done: for parts that do harm from their turn on."""
        return self._is_over

    def strike(self) -> None:
        """The part does its harm now; a part that strikes by turns does it once."""
        if not self._is_over:
            self._is_over = True
            self._report()


def has_mark(headers: Headers) -> bool:
    """Whether these are the headers of an end mark."""
    return any(name == ID_HEADER and value and is_marker(value.decode()) for name, value in headers)
