"""Formats: what comes back is what was sent, and what cannot be is one kind of error."""

from dataclasses import dataclass
from typing import Any, TypedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamproof.errors import ConfigurationError, SerializationError
from streamproof.serialization import decoder, encoder


@dataclass
class Reading:
    device: str
    celsius: float


class Event(msgspec.Struct):
    name: str
    count: int = 1


class Place(TypedDict):
    zone: str
    floor: int


def there_and_back(format: Any, value: Any) -> Any:
    write, read = encoder(format), decoder(format)
    assert write is not None
    assert read is not None
    return read(write(value))


@pytest.mark.parametrize(
    ("format", "value"),
    [
        ("text", "grün 🌱"),
        ("text", ""),
        ("json", {"a": [1, 2.5, None, True, "ü"]}),
        ("json", []),
        (Reading, Reading("d1", 21.5)),
        (Event, Event("click", 3)),
        (Place, {"zone": "north", "floor": 2}),
        (list[int], [1, 2, 3]),
        (dict[str, Reading], {"a": Reading("d1", 1.0)}),
        (int | str, 7),
    ],
)
def test_a_value_comes_back(format: Any, value: Any) -> None:
    assert there_and_back(format, value) == value


@pytest.mark.parametrize("format", ["text", "json", Reading, Place, list[int]])
def test_none_stays_none(format: Any) -> None:
    write, read = encoder(format), decoder(format)
    assert write is not None
    assert read is not None
    assert write(None) is None
    assert read(None) is None


def test_bytes_are_left_alone() -> None:
    assert encoder("bytes") is None
    assert decoder("bytes") is None


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(), st.lists))
def test_json_comes_back(value: Any) -> None:
    assert there_and_back("json", value) == value


@pytest.mark.parametrize(
    ("format", "value"),
    [
        ("text", b"bytes"),
        ("text", 7),
        ("text", "\ud800"),
        ("json", object()),
        ("json", {1j: 2}),
        (Reading, {"device": "d1", "celsius": 1.0}),
        (Reading, Event("click")),
    ],
)
def test_what_cannot_be_written_is_refused(format: Any, value: Any) -> None:
    write = encoder(format)
    assert write is not None
    with pytest.raises(SerializationError) as caught:
        write(value)
    assert caught.value.definite


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def test_what_is_nested_too_deep_is_refused_both_ways() -> None:
    write, read = encoder("json"), decoder("json")
    assert write is not None
    assert read is not None
    with pytest.raises(SerializationError):
        write(nested(100_000))
    with pytest.raises(SerializationError):
        read(b"[" * 100_000 + b"]" * 100_000)


@pytest.mark.parametrize(
    ("format", "written"),
    [
        ("text", b"\xff"),
        ("json", b"{"),
        ("json", b""),
        ("json", b'"\xff"'),
        (Reading, b"{}"),
        (Reading, b'{"device":1,"celsius":2}'),
        (Place, b'{"zone":"a"}'),
        (list[int], b'["a"]'),
    ],
)
def test_what_cannot_be_read_is_refused(format: Any, written: bytes) -> None:
    read = decoder(format)
    assert read is not None
    with pytest.raises(SerializationError) as caught:
        read(written)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("make", [encoder, decoder])
@pytest.mark.parametrize("format", ["yaml", "", object(), 7])
def test_an_unknown_format_is_refused_at_once(make: Any, format: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"format|JSON"):
        make(format)
