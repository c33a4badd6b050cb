"""The partitioner against the vectors of Kafka's Java client, and each of its ways against the plain one."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamproof.core import partitioner
from streamproof.core.partitioner import murmur2, partition_for, partitions_for

JAVA_VECTORS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


def plainly(key: bytes, partitions: int) -> int:
    return (murmur2(key) & 0x7FFFFFFF) % partitions


@pytest.mark.parametrize(("key", "expected"), JAVA_VECTORS.items())
def test_hashes_as_the_java_client_does(key: bytes, expected: int) -> None:
    assert murmur2(key) == expected


@given(st.binary(max_size=200), st.integers(1, 1000))
def test_a_key_has_one_partition_whether_seen_before_or_not(key: bytes, partitions: int) -> None:
    expected = plainly(key, partitions)
    assert partition_for(key, partitions) == expected
    assert partition_for(key, partitions) == expected
    assert 0 <= expected < partitions


@given(st.lists(st.none() | st.binary(max_size=70), max_size=150), st.integers(1, 50))
def test_a_batch_gives_what_single_keys_give(keys: list[bytes | None], partitions: int) -> None:
    expected = [-1 if key is None else plainly(key, partitions) for key in keys]
    assert partitions_for(keys, partitions) == expected
    assert partitions_for(keys, partitions) == expected  # all of them seen before


def test_columns_hash_every_length_and_trailing_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitioner, "_np", pytest.importorskip("numpy"))
    generator = random.Random(7)
    keys = [generator.randbytes(length) + bytes(zeros) for length in range(61) for zeros in range(4)]
    assert partitioner._columns(keys).tolist() == [murmur2(key) & 0x7FFFFFFF for key in keys]
    for length in range(65):
        alike = [generator.randbytes(length) for _ in range(50)]
        assert partitioner._columns(alike).tolist() == [murmur2(key) & 0x7FFFFFFF for key in alike]


@pytest.mark.parametrize("numpy_module", [False, "numpy"])
def test_large_batches_hash_alike_with_and_without_numpy(
    monkeypatch: pytest.MonkeyPatch, numpy_module: object
) -> None:
    module = pytest.importorskip("numpy") if numpy_module else False
    monkeypatch.setattr(partitioner, "_np", module)
    monkeypatch.setattr(partitioner, "_memo", partitioner._Memo())
    keys = [b"device-%d" % number for number in range(500)]
    expected = [plainly(key, 7) for key in keys]
    assert partitions_for(keys[::2], 7) == expected[::2]
    assert partitions_for(keys, 7) == expected  # half of them seen before
    assert partitions_for(keys, 7) == expected


def test_the_memo_is_bounded_and_follows_a_change_of_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    memo = partitioner._Memo(limit=100)
    monkeypatch.setattr(partitioner, "_memo", memo)
    old = [b"old-%d" % number for number in range(90)]
    partitions_for(old, 3)
    assert memo.hashes.keys() == set(old)
    partition_for(bytes(1000), 3)
    assert bytes(1000) not in memo.hashes
    for start in range(0, 600, 30):
        partitions_for([b"new-%d" % number for number in range(start, start + 30)], 3)
        assert 0 < len(memo.hashes) <= 100
    assert not memo.hashes.keys() & set(old)


def test_a_stream_of_new_keys_is_placed_right_also_when_nothing_is_looked_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memo = partitioner._Memo(limit=100)
    monkeypatch.setattr(partitioner, "_np", pytest.importorskip("numpy"))
    monkeypatch.setattr(partitioner, "_memo", memo)
    was_skipped = False
    for start in range(0, 6000, 60):
        keys: list[bytes | None] = [b"new-%d" % number for number in range(start, start + 59)]
        keys.append(None if start % 7 == 0 else b"x" * 70)
        was_skipped |= memo.skips > 0
        expected = [-1 if key is None else plainly(key, 11) for key in keys]
        assert partitions_for(keys[:59], 11) == expected[:59]
        assert partitions_for(keys, 11) == expected
    assert was_skipped
