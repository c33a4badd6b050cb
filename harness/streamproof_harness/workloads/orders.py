"""Workload *orders*: customers order from a shop; no order may be lost or taken twice."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import msgspec

from streamproof_harness.workloads import parameters as check
from streamproof_harness.workloads.message_oracle import MessageOracle
from streamproof_harness.workloads.oracle import Oracle
from streamproof_harness.workloads.shop import Sales
from streamproof_harness.workloads.workload import ID_HEADER, Message, Parameter


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderParameters:
    """Raises ``ConfigurationError`` if one is of a wrong type or out of range.

    ``rate``: orders a second; ``seconds``: how long the run lasts; ``epoch_ms``: where event time
    begins, which then passes like real time.
    """

    seed: int = 0
    rate: int = 1_000
    seconds: float = 10
    customers: int = 1_000
    products: int = 200
    epoch_ms: int = check.EPOCH_MS
    topic: str = "orders"

    def __post_init__(self) -> None:
        check.run(self.seed, self.rate, self.seconds, self.epoch_ms, self.topic)
        check.whole("customers", self.customers, 1, check.LARGEST_COUNT)
        check.whole("products", self.products, 1, 1_000_000)


class Orders:
    """See ``Workload``. A message is one order: its key the customer, its amount the total in cents."""

    name = "orders"

    def __init__(self, parameters: OrderParameters) -> None:
        self._parameters = parameters
        self._sales = Sales(
            f"{self.name}-{parameters.seed}-",
            parameters.seed,
            count=check.slots(parameters.rate, parameters.seconds),
            customers=parameters.customers,
            products=parameters.products,
            rate=parameters.rate,
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
        return {}

    @property
    def message_limit(self) -> int:
        return self._sales.count

    def oracle(self) -> Oracle:
        return MessageOracle(self._sales)

    def messages(self) -> Iterator[Message]:
        prefix, keys, rate = self._sales.id_prefix, self._sales.customer_keys, self._parameters.rate
        encode = msgspec.json.Encoder().encode
        seqs = [0] * len(keys)
        for number, customer, order in self._sales.drawn():
            seq = seqs[customer]
            seqs[customer] = seq + 1
            id = f"{prefix}{number}"
            headers = ((ID_HEADER, id.encode()),)
            due_ns = number * 1_000_000_000 // rate
            yield Message(
                id, keys[customer], encode(order), headers, order.placed_ms, due_ns, seq, order.total_cents
            )
