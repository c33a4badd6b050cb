"""What a group tells, and the whole assignment kept from its changes."""

import pytest

from streamproof.drivers.kafka.group import (
    HeldLogs,
    generation_of,
    membership_of,
    require_member,
    state_word,
)
from streamproof.errors import NotAssigned
from streamproof.records import GroupMembership, TopicPartition


@pytest.mark.parametrize(
    ("metadata", "generation"),
    [
        (b"CGMDv2:\x01\x00\x00\x00group\x00member\x00\x01", 1),
        (b"CGMDv2:\x00\x01\x00\x00group\x00member\x00\x01", 256),
        (b"CGMDv2:\xff\xff\xff\xffgroup\x00\x00\x01", None),
        (b"CGMDv2:\x01\x00", None),
        (b"CGMDv9:\x01\x00\x00\x00group\x00", None),
        (b"", None),
    ],
)
def test_the_generation_is_inside_the_metadata(metadata, generation):
    assert generation_of(metadata) == generation


def test_the_member_is_inside_the_metadata_and_those_go_along():
    metadata = b"CGMDv2:\x07\x00\x00\x00group\x00m\xc3\xbcmber\x00instance\x00"
    member = membership_of(metadata, "group")
    assert member == GroupMembership("group", "mümber", 7, metadata)
    require_member(member)


def test_outside_of_a_group_there_is_no_member():
    outside = membership_of(b"CGMDv2:\xff\xff\xff\xffgroup\x00\x00\x01", "group")
    assert outside[:3] == ("group", "", -1)
    with pytest.raises(NotAssigned, match="no member of group group"):
        require_member(outside)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("STABLE", "stable"),
        ("PREPARING_REBALANCING", "preparing-rebalancing"),
        ("PreparingRebalance", "preparing-rebalance"),
        ("Empty", "empty"),
    ],
)
def test_states_are_one_lower_case_word(name, word):
    assert state_word(name) == word


def logs(*numbers):
    return [TopicPartition("t", number) for number in numbers]


def test_logs_come_and_go_and_the_whole_is_sorted():
    held = HeldLogs()
    assert held.add(logs(3, 1)) == logs(1, 3)
    assert held.add(logs(1, 2)) == logs(2)
    assert held.all == tuple(logs(1, 2, 3))
    assert held.remove(logs(3, 7)) == logs(3)
    assert held.all == tuple(logs(1, 2))
    assert len(held) == 2
    assert TopicPartition("t", 1) in held
    assert TopicPartition("t", 3) not in held


def test_the_version_changes_when_logs_are_lost_and_only_then():
    held = HeldLogs()
    held.add(logs(1, 2))
    version = held.version
    held.add(logs(3))
    held.remove(logs(9))
    assert held.version == version
    held.remove(logs(1))
    assert held.version != version
