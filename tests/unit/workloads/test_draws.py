"""Draws depend on seed, purpose and place alone, and are spread evenly."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from streamproof_harness.workloads.draws import CHANCE_MASK, Draws, below, chance

SEEDS = st.integers(0, 2**63 - 1)


def test_a_block_is_the_keyed_hash_of_its_number() -> None:
    digest = hashlib.blake2b(b"\x05" + bytes(7), key=b"\x07" + bytes(7), person=b"readings").digest()
    expected = tuple(int.from_bytes(digest[place : place + 8], "little") for place in range(0, 64, 8))
    assert Draws(7, "readings").block(5) == expected


def test_the_sequence_is_the_one_it_always_was() -> None:
    assert list(Draws(7, "readings").run(0, 3)) == [
        3358078139190555161,
        706101493947335846,
        17364656158156425016,
    ]


@given(SEEDS, st.integers(0, 100), st.integers(0, 40))
def test_random_access_agrees_with_the_sequence(seed: int, block: int, count: int) -> None:
    draws = Draws(seed, "test")
    run = list(draws.run(block, count))
    assert run == [draws.at(8 * block + number) for number in range(count)]


@given(SEEDS, SEEDS)
def test_another_seed_or_purpose_is_another_sequence(seed: int, other: int) -> None:
    block = Draws(seed, "one").block(0)
    assert block != Draws(seed, "two").block(0)
    assert (block == Draws(other, "one").block(0)) == (seed == other)


@given(st.integers(1, 10**7), st.integers(0, 2**64 - 1))
def test_below_stays_below(limit: int, draw: int) -> None:
    assert 0 <= below(limit, draw) < limit
    assert below(limit, 0) == 0
    assert below(limit, 2**64 - 1) == limit - 1


def test_draws_are_spread_evenly() -> None:
    draws = list(Draws(1, "spread").run(0, 20_000))
    counts = [0] * 16
    for draw in draws:
        counts[below(16, draw)] += 1
    assert all(1100 < count < 1400 for count in counts), counts
    hits = sum(draw & CHANCE_MASK < chance(0.01) for draw in draws)
    assert 150 < hits < 250


def test_chance_covers_never_and_always() -> None:
    assert chance(0) == 0
    assert chance(1) > CHANCE_MASK
