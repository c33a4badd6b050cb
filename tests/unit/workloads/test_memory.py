"""Memory is proportional to devices, pages and customers; of each message one bit is kept."""

import tracemalloc

import pytest

from streamproof_harness.workloads import workload


def peak_bytes(name: str, count: int, **sizes: int) -> int:
    """The most that making, receiving and judging so many messages held at one time."""
    made = workload(name, rate=100_000, seconds=count / 100_000, **sizes)
    tracemalloc.start()
    try:
        oracle = made.oracle()
        for message in made.messages():
            oracle.receive(message.id, message.key, message.value)
        assert oracle.report().is_right
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("sensors", {"devices": 100}),
        ("clickstream", {"users": 100, "pages": 20, "pace": 1}),
        ("orders", {"customers": 100}),
    ],
)
def test_more_messages_cost_a_few_bits_each(name: str, sizes: dict[str, int]) -> None:
    """A list of the ids alone would cost 70 bytes a message."""
    few, many = peak_bytes(name, 5_000, **sizes), peak_bytes(name, 35_000, **sizes)
    assert many - few < 2 * 30_000
    assert many < 500_000
