"""Weights are exact floors of a power; ranks follow them."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamproof_harness.workloads.draws import Draws
from streamproof_harness.workloads.zipf import Zipf, weight


@given(st.integers(1, 10**6), st.integers(0, 32))
def test_a_weight_is_the_floor_of_the_power(rank: int, eighths: int) -> None:
    found = weight(rank, eighths)
    assert found**8 * rank**eighths <= 2**512 < (found + 1) ** 8 * rank**eighths


@pytest.mark.parametrize(("rank", "eighths", "expected"), [(1, 9, 2**64), (3, 8, 2**64 // 3), (4, 4, 2**63)])
def test_weights_known_by_hand(rank: int, eighths: int, expected: int) -> None:
    assert weight(rank, eighths) == expected


@given(st.integers(1, 50), st.integers(0, 16), st.integers(0, 2**64 - 1))
def test_a_rank_is_the_first_whose_running_sum_exceeds_the_draw(count: int, eighths: int, draw: int) -> None:
    weights = [weight(rank, eighths) for rank in range(1, count + 1)]
    place, running, expected = Fraction(draw * sum(weights), 2**64), 0, None
    for rank, each in enumerate(weights):
        running += each
        if expected is None and place < running:
            expected = rank
    assert Zipf(count, eighths / 8).rank(draw) == expected


def test_frequencies_follow_the_law() -> None:
    zipf, counts = Zipf(100, 1.0), [0] * 100
    for draw in Draws(1, "zipf").run(0, 50_000):
        counts[zipf.rank(draw)] += 1
    harmonic = sum(1 / rank for rank in range(1, 101))
    for rank in (1, 2, 4, 8):
        expected = 50_000 / rank / harmonic
        assert 0.9 * expected < counts[rank - 1] < 1.1 * expected


def test_exponent_zero_makes_all_alike() -> None:
    zipf = Zipf(4, 0)
    assert [zipf.rank(quarter << 62) for quarter in range(4)] == [0, 1, 2, 3]
