"""The orders of a made-up shop by number, and what is asked about them."""

from collections.abc import Hashable, Iterator, Mapping

import msgspec

from streamproof_harness.workloads.answer import Answer, Figure, Table
from streamproof_harness.workloads.draws import Block, Draws, below

_MOST_LINES = 5
_MOST_OF_ONE = 4
_CHEAPEST_CENTS, _PRICES = 100, 19_900


class Line(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """So many of one product at its price."""

    product: str
    quantity: int
    price_cents: int


class Order(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One order of 1 to 5 lines. ``placed_ms``: event time; ``total_cents``: the sum of the lines."""

    order: str
    customer: str
    placed_ms: int
    lines: tuple[Line, ...]
    total_cents: int


class Sales:
    """A ``Source``: the orders of a run. Memory: proportional to customers and products."""

    def __init__(
        self,
        id_prefix: str,
        seed: int,
        *,
        count: int,
        customers: int,
        products: int,
        rate: int,
        epoch_ms: int,
    ) -> None:
        self.id_prefix = id_prefix
        self.count = count
        self.decode = msgspec.json.Decoder(Order).decode
        self._rate, self._epoch_ms = rate, epoch_ms
        width = len(str(customers - 1))
        self._customers = [f"c{customer:0{width}}" for customer in range(customers)]
        self.customer_keys = [customer.encode() for customer in self._customers]
        prices = Draws(seed, "prices").run(0, products)
        self._catalogue = [
            (f"p{product}", _CHEAPEST_CENTS + below(_PRICES, draw)) for product, draw in enumerate(prices)
        ]
        self._draws = Draws(seed, "orders")

    def drawn(self) -> Iterator[tuple[int, int, Order]]:
        """Number, customer and content of each order, in order."""
        for number in range(self.count):
            draws = self._draws.block(number)
            customer = below(len(self._customers), draws[0])
            yield number, customer, self._order(number, customer, draws)

    def items(self) -> Iterator[tuple[int, Order]]:
        """Number and content of each order."""
        return ((number, order) for number, _, order in self.drawn())

    def item(self, number: int) -> Order | None:
        """One order, ``None`` if it is beyond the end."""
        if number >= self.count:
            return None
        draws = self._draws.block(number)
        return self._order(number, below(len(self._customers), draws[0]), draws)

    def key(self, item: Order) -> bytes:
        """The customer."""
        return item.customer.encode()

    def tally(self) -> "SalesTally":
        """An empty tally."""
        return SalesTally()

    def _order(self, number: int, customer: int, draws: Block) -> Order:
        lines, total_cents = [], 0
        for draw in draws[2 : 3 + below(_MOST_LINES, draws[1])]:
            product, price_cents = self._catalogue[below(len(self._catalogue), draw)]
            quantity = 1 + (draw & 0xFFFF) % _MOST_OF_ONE
            lines.append(Line(product, quantity, price_cents))
            total_cents += quantity * price_cents
        placed_ms = self._epoch_ms + number * 1000 // self._rate
        return Order(f"o{number}", self._customers[customer], placed_ms, tuple(lines), total_cents)


class SalesTally:
    """Counts orders and adds up money. Memory: customers."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._cents: dict[str, int] = {}

    def add(self, order: Order) -> None:
        """Count one order in."""
        customer = order.customer
        self._counts[customer] = self._counts.get(customer, 0) + 1
        self._cents[customer] = self._cents.get(customer, 0) + order.total_cents

    def answer(self) -> Answer:
        """Orders and their total, for each customer by name."""
        return Answer(
            (
                Table("orders", "customer", _sorted(self._counts)),
                Table("total", "customer", _sorted(self._cents), decimals=2),
            )
        )


def _sorted(figures: Mapping[str, int]) -> dict[Hashable, Figure]:
    return {name: figures[name] for name in sorted(figures)}
