"""A set of bits behaves as a set of numbers."""

from hypothesis import given
from hypothesis import strategies as st

from streamproof_harness.workloads.bits import Bits

NUMBERS = st.lists(st.integers(0, 5000))


def bits_of(numbers: list[int]) -> Bits:
    bits = Bits()
    for number in numbers:
        bits.add(number)
    return bits


@given(NUMBERS, NUMBERS)
def test_it_is_a_set(some: list[int], others: list[int]) -> None:
    bits, other = bits_of(some), bits_of(others)
    assert list(bits) == sorted(set(some))
    assert len(bits) == len(set(some))
    assert list(bits.minus(other)) == sorted(set(some) - set(others))
    assert (bits == other) == (set(some) == set(others))
    assert all((number in bits) == (number in some) for number in [*some, *others, 0, 9999])


@given(NUMBERS)
def test_adding_tells_what_is_new(numbers: list[int]) -> None:
    bits, known = Bits(), set()
    for number in numbers:
        assert bits.add(number) == (number not in known)
        known.add(number)


def test_a_copy_does_not_follow() -> None:
    bits = bits_of([1])
    copy = bits.copy()
    bits.add(2)
    assert list(copy) == [1]
    assert len(copy) == 1


def test_a_negative_number_is_no_member() -> None:
    assert -1 not in bits_of([0, 1, 2, 3, 4, 5, 6, 7])
