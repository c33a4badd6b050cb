"""Orders add up, and the oracle knows what each customer spent."""

import json
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from streamproof_harness.workloads import workload


@given(
    seed=st.integers(0, 2**63 - 1),
    customers=st.integers(1, 60),
    products=st.integers(1, 30),
    count=st.integers(1, 500),
)
@settings(max_examples=60, deadline=None)
def test_the_expected_answer_is_that_of_adding_up_by_hand(count, **parameters) -> None:
    made = workload("orders", rate=1000, seconds=(count + 0.5) / 1000, **parameters)
    orders, cents = Counter(), Counter()
    for message in made.messages():
        order = json.loads(message.value)
        total = sum(line["quantity"] * line["price_cents"] for line in order["lines"])
        assert order["total_cents"] == message.amount == total
        assert message.key == order["customer"].encode()
        orders[order["customer"]] += 1
        cents[order["customer"]] += total
    expected = made.oracle().expected()
    assert expected["orders"].values == orders
    assert expected["total"].values == cents


def test_orders_are_of_one_to_five_lines_at_the_catalogue_price() -> None:
    orders = [json.loads(message.value) for message in workload("orders", products=50).messages()]
    assert len({order["order"] for order in orders}) == len(orders) == 10_000
    assert {len(order["lines"]) for order in orders} == {1, 2, 3, 4, 5}
    lines = [line for order in orders for line in order["lines"]]
    assert {line["quantity"] for line in lines} == {1, 2, 3, 4}
    prices = {(line["product"], line["price_cents"]) for line in lines}
    assert len(prices) == 50
    assert all(100 <= price < 20_000 for _, price in prices)
