"""What tells that two records are one, and what keys of marks can be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamproof import ConfigurationError, Record, UsageError
from streamproof.delivery import RECORD_ID, identity_by, new_record_id, record_identity
from streamproof.delivery.identity import KEY_LIMIT, require_key, require_scope, scoped


def record(id: bytes | None = None, offset: int | None = 7, header: str = RECORD_ID) -> Record:
    headers = () if id is None else ((header, id),)
    return Record("orders", 2, offset, None, b"v", headers=headers)


def test_an_id_comes_before_the_place() -> None:
    assert record_identity(record(b"order-1")) == "id:order-1"
    assert record_identity(record(b"order-1", offset=8)) == "id:order-1"
    assert record_identity(record()) == "at:orders/2/7"
    assert record_identity(record(b"")) == "at:orders/2/7"


def test_another_header_can_carry_the_id() -> None:
    assert identity_by("order-number")(record(b"1", header="order-number")) == "id:1"
    assert identity_by("order-number")(record(b"1")) == "at:orders/2/7"


def test_a_record_without_either_is_refused_with_the_remedy() -> None:
    with pytest.raises(
        UsageError, match=r"orders has neither the header 'streamproof-id' nor an offset"
    ) as found:
        record_identity(record(offset=None))
    assert "new_record_id()" in str(found.value)
    assert not found.value.retriable


def test_ids_are_drawn_once_for_each_record() -> None:
    assert len({new_record_id() for _ in range(1000)}) == 1000


@given(st.binary(max_size=400))
def test_any_id_makes_a_key(id: bytes) -> None:
    key = scoped("billing", record_identity(record(id)))
    require_key(key)
    assert len(key) <= KEY_LIMIT


@given(st.lists(st.binary(min_size=1, max_size=300), min_size=2, max_size=2, unique=True))
def test_two_ids_make_two_keys(ids: list[bytes]) -> None:
    assert record_identity(record(ids[0])) != record_identity(record(ids[1]))


@pytest.mark.parametrize(
    "ids", [(b"a" * 300, b"a" * 301), (b"\xff", b"\xfe"), (b"a", b"a "), (b"a", b"A"), (b"a\0", b"a")]
)
def test_no_id_is_cut_or_folded(ids: tuple[bytes, bytes]) -> None:
    assert record_identity(record(ids[0])) != record_identity(record(ids[1]))


SCOPES = st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable())


@given(st.tuples(SCOPES, SCOPES), st.tuples(st.text(max_size=20), st.text(max_size=20)))
def test_no_two_scopes_share_a_key(scopes: tuple[str, str], identities: tuple[str, str]) -> None:
    keys = [scoped(scope, identity) for scope, identity in zip(scopes, identities, strict=True)]
    assert (keys[0] == keys[1]) == ((scopes[0], identities[0]) == (scopes[1], identities[1]))


@pytest.mark.parametrize("scope", ["", None, 7, "x" * 201])
def test_a_scope_is_a_short_text(scope: object) -> None:
    with pytest.raises(ConfigurationError, match="scope"):
        require_scope(scope)
