"""Workload *clickstream*: the users of a web site go from page to page.

Which user opens a session, and which page is viewed, follows Zipf's law. A session is 1 to 16
views; ``sessions`` of them are open at a time, so one view of a session follows the other after
``sessions * pace / rate`` seconds of event time (12 with the defaults), and a user comes back when
drawn again. Some views have an event time of up to 90 seconds before their turn, as from a
telephone that was off line.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import msgspec

from streamproof_harness.workloads import parameters as check
from streamproof_harness.workloads.message_oracle import MessageOracle
from streamproof_harness.workloads.names import Names, draw_names
from streamproof_harness.workloads.oracle import Oracle
from streamproof_harness.workloads.site import Site
from streamproof_harness.workloads.views import Views
from streamproof_harness.workloads.workload import ID_HEADER, Message, Parameter
from streamproof_harness.workloads.zipf import Zipf


@dataclass(frozen=True, slots=True, kw_only=True)
class ClickstreamParameters:
    """Raises ``ConfigurationError`` if one is of a wrong type or out of range.

    * ``rate``: views a second; ``seconds``: how long the run lasts.
    * ``sessions``: how many are open at a time.
    * ``user_exponent``, ``page_exponent``: of Zipf's law, multiples of 1/8; 0 makes all alike.
    * ``pace``: seconds of event time in one second of the run.
    * ``late``: share of the views with an earlier event time.
    * ``epoch_ms``: where event time begins.
    """

    seed: int = 0
    rate: int = 1_000
    seconds: float = 10
    users: int = 1_000
    pages: int = 200
    sessions: int = 200
    user_exponent: float = 1.0
    page_exponent: float = 1.0
    pace: int = 60
    late: float = 0.02
    epoch_ms: int = check.EPOCH_MS
    topic: str = "page-views"

    def __post_init__(self) -> None:
        check.run(self.seed, self.rate, self.seconds, self.epoch_ms, self.topic)
        for name in ("users", "pages", "sessions"):
            check.whole(name, getattr(self, name), 1, 1_000_000)
        check.whole("pace", self.pace, 1, 100_000)
        check.number("late", self.late, 0, 1)
        for name in ("user_exponent", "page_exponent"):
            check.exponent(name, getattr(self, name))


class Clickstream:
    """See ``Workload``. A message is one page view: its key the user, its amount 1."""

    name = "clickstream"

    def __init__(self, parameters: ClickstreamParameters, names: Names | None = None) -> None:
        """``names``: the pools to name users from; by default faker's. ``MissingExtra`` without faker."""
        seed = parameters.seed
        self._parameters = parameters
        self._names = draw_names(seed) if names is None else names
        users = Zipf(parameters.users, parameters.user_exponent)
        pages = Zipf(parameters.pages, parameters.page_exponent)
        self._views = Views(
            f"{self.name}-{seed}-",
            seed,
            Site(seed, self._names, users, pages),
            count=check.slots(parameters.rate, parameters.seconds),
            seats=parameters.sessions,
            late=parameters.late,
            rate=parameters.rate,
            pace=parameters.pace,
            epoch_ms=parameters.epoch_ms,
        )

    @property
    def topic(self) -> str:
        return self._parameters.topic

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return asdict(self._parameters)

    @property
    def library_versions(self) -> Mapping[str, str]:
        return dict(self._names.library_versions)

    @property
    def message_limit(self) -> int:
        return self._views.count

    def oracle(self) -> Oracle:
        return MessageOracle(self._views)

    def messages(self) -> Iterator[Message]:
        prefix, keys, rate = self._views.id_prefix, self._views.site.user_keys, self._parameters.rate
        encode = msgspec.json.Encoder().encode
        seqs = [0] * len(keys)
        for number, user, view in self._views.drawn():
            seq = seqs[user]
            seqs[user] = seq + 1
            id = f"{prefix}{number}"
            headers = ((ID_HEADER, id.encode()),)
            due_ns = number * 1_000_000_000 // rate
            yield Message(id, keys[user], encode(view), headers, view.time_ms, due_ns, seq, 1)
