"""One seed, one sequence: in any process, whatever the hash seed, and the same as ever."""

import hashlib
import json
import os
import subprocess
import sys
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import astuple

from streamproof_harness.workloads import Message, Workload, workload
from streamproof_harness.workloads.clickstream import Clickstream, ClickstreamParameters
from streamproof_harness.workloads.names import Names

SMALL = {
    "sensors": {"devices": 50, "zones": 4, "rate": 1000, "seconds": 2, "late": 0.05, "bursts": 0.1},
    "clickstream": {"users": 50, "pages": 20, "sessions": 7, "rate": 1000, "seconds": 2},
    "orders": {"customers": 30, "rate": 1000, "seconds": 2},
}
NAMES = Names(("Ada", "Béla", "Chloé"), ("Lovelace", "Bartók"), ("Köln", "Łódź", "Nantes"))

PRINT_DIGEST = """
import hashlib, json, sys
from msgspec.structs import astuple
from streamproof_harness.workloads import workload
made = workload(sys.argv[1], seed=7, **json.loads(sys.argv[2]))
print(hashlib.sha256("".join(repr(astuple(message)) for message in made.messages()).encode()).hexdigest())
"""


def digest_of(made: Workload) -> str:
    return hashlib.sha256("".join(repr(astuple(message)) for message in made.messages()).encode()).hexdigest()


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("hash_seed", ["0", "4711"])
def test_another_process_makes_the_same_bytes(name: str, hash_seed: str) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    found = subprocess.run(
        [sys.executable, "-c", PRINT_DIGEST, name, json.dumps(SMALL[name])],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip() == digest_of(workload(name, seed=7, **SMALL[name]))


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (
            workload("sensors", seed=7, **SMALL["sensors"]),
            "9151426ece735b29639dc6e2f2459b1f6ca511591febd7533547518130cf32f0",
        ),
        (
            Clickstream(ClickstreamParameters(seed=7, **SMALL["clickstream"]), NAMES),
            "4d4b5d91f74947194ecb8d5cd68b7719facc5e73a93f08444984b679cd6e4548",
        ),
        (
            workload("orders", seed=7, **SMALL["orders"]),
            "42a48be8d0dcb4b719f30900d40bfb3f51c1751a891bfb6bae0e7054a14f9258",
        ),
    ],
    ids=list(SMALL),
)
def test_the_sequence_is_the_one_it_always_was(made: Workload, expected: str) -> None:
    """A change here breaks the replay of every recorded seed: say so in the changelog."""
    assert digest_of(made) == expected


@pytest.mark.parametrize("name", SMALL)
def test_iterators_do_not_disturb_each_other(name: str) -> None:
    made = workload(name, seed=7, **SMALL[name])
    whole = list(made.messages())
    one, other = made.messages(), made.messages()
    assert list(islice(one, 100)) == whole[:100]
    assert list(other) == whole
    assert list(one) == whole[100:]


@pytest.mark.parametrize("name", SMALL)
def test_another_seed_is_another_sequence(name: str) -> None:
    assert digest_of(workload(name, seed=7, **SMALL[name])) != digest_of(
        workload(name, seed=8, **SMALL[name])
    )


@given(
    name=st.sampled_from(list(SMALL)),
    seed=st.integers(0, 2**63 - 1),
    rate=st.integers(1, 10_000_000),
    count=st.integers(1, 400),
)
@settings(max_examples=60, deadline=None)
def test_every_sequence_keeps_the_promises_of_a_message(name: str, seed: int, rate: int, count: int) -> None:
    sizes = {key: value for key, value in SMALL[name].items() if key not in ("rate", "seconds")}
    made = workload(name, seed=seed, rate=rate, seconds=(count + 0.5) / rate, **sizes)
    messages = list(made.messages())
    assert len(messages) <= made.message_limit == count
    assert len({message.id for message in messages}) == len(messages)
    assert [message.due_ns for message in messages] == sorted(message.due_ns for message in messages)
    assert all(0 <= message.due_ns <= count * 10**9 // rate for message in messages)
    check_seqs(messages)
    epoch_ms = made.parameters["epoch_ms"]
    assert isinstance(epoch_ms, int)
    for message in messages:
        assert message.headers == (("id", message.id.encode()),)
        assert message.timestamp_ms >= epoch_ms
        assert message.partition is None


def check_seqs(messages: list[Message]) -> None:
    following: dict[bytes | None, int] = {}
    for message in messages:
        assert message.seq == following.get(message.key, 0)
        following[message.key] = message.seq + 1


def test_names_come_with_the_version_they_depend_on() -> None:
    import faker

    made = workload("clickstream", **SMALL["clickstream"])
    assert made.library_versions == {"faker": faker.VERSION}
    assert workload("sensors", **SMALL["sensors"]).library_versions == {}


def test_a_missing_faker_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from streamproof.errors import MissingExtra

    monkeypatch.setitem(sys.modules, "faker", None)
    with pytest.raises(MissingExtra, match=r"pip install 'streamproof\[harness\]'"):
        workload("clickstream")
