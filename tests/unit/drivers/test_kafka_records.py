"""The library's messages as records."""

from dataclasses import dataclass

import pytest

from streamproof.drivers.kafka_confluent.records import records_of
from streamproof.records import Record


@dataclass
class Message:
    """As the library's: each field behind a method."""

    fields: dict[str, object]

    def __getattr__(self, name):
        return lambda: self.fields[name]


def message(offset, **fields):
    common = {"topic": "t", "partition": 2, "offset": offset, "key": b"k", "value": b"v", "error": None}
    return Message({**common, "timestamp": (1, 1000 + offset), "headers": None, **fields})


@pytest.mark.parametrize("one_topic", ["t", None])
def test_messages_become_records_in_their_order(one_topic):
    pairs = [("a", b"1"), ("a", None)]
    found = records_of([message(0), message(1, headers=pairs), message(2, key=None, value=None)], one_topic)
    assert found == [
        Record("t", 2, 0, b"k", b"v", 1000),
        Record("t", 2, 1, b"k", b"v", 1001, headers=(("a", b"1"), ("a", None))),
        Record("t", 2, 2, None, None, 1002),
    ]


def test_errors_are_no_records():
    assert records_of([], "t") == []
    kept = records_of([message(0), message(1, error="broken"), message(2)], "t")
    assert [record.offset for record in kept] == [0, 2]
