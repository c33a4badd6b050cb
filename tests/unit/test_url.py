"""Backend URLs: taken apart, refused with a reason, never showing a secret."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamproof.errors import ConfigurationError
from streamproof.url import Address, parse_address, parse_flag


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("memory://name", Address("memory", ("name",), "")),
        ("memory://", Address("memory", (), "")),
        ("kafka://a:9092,b:9093", Address("kafka", ("a:9092", "b:9093"), "")),
        ("KAFKA://a:9092, b", Address("kafka", ("a:9092", "b"), "")),
        ("kafka://[::1]:9092", Address("kafka", ("[::1]:9092",), "")),
        ("kafka://[::1]", Address("kafka", ("[::1]",), "")),
        ("amqp://h/", Address("amqp", ("h",), "")),
        ("amqp://h:5672/shop?log=off", Address("amqp", ("h:5672",), "shop", options={"log": "off"})),
        ("kafka://h?a=1&b=", Address("kafka", ("h",), "", options={"a": "1", "b": ""})),
        ("amqp://me@h", Address("amqp", ("h",), "", username="me")),
        ("amqp://me:p%40ss%2F@h/v", Address("amqp", ("h",), "v", username="me", password="p@ss/")),
        ("amqp://me:p@ss@h", Address("amqp", ("h",), "", username="me", password="p@ss")),
        ("kafka://h?sasl.password=p@ss", Address("kafka", ("h",), "", options={"sasl.password": "p@ss"})),
    ],
)
def test_takes_a_url_apart(url: str, address: Address) -> None:
    assert parse_address(url) == address


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("localhost:9092", "not a backend URL"),
        ("", "not a backend URL"),
        (None, "not a backend URL"),
        (7, "not a backend URL"),
        ("kafka://h?a=1&a=2", "'a' stands twice"),
        ("kafka://h:port", "port"),
        ("kafka://h:99999", "port"),
        ("kafka://:9092", "port"),
        ("kafka://h:", "port"),
    ],
)
def test_refuses_what_is_no_url(url: object, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        parse_address(url)  # type: ignore[arg-type]


SECRET = "hunter2"


def test_a_secret_is_shown_nowhere() -> None:
    address = parse_address(f"amqp://me:{SECRET}@host:5672/shop?token={SECRET}")
    assert address.password == SECRET
    assert address.redacted == "amqp://me@host:5672/shop"
    for shown in (address.redacted, repr(address), str(address)):
        assert SECRET not in shown


@pytest.mark.parametrize(
    "url",
    [
        f"amqp://me:1/{SECRET}@host/shop",
        f"amqp://me:{SECRET}/1@host/shop",
        f"amqp://me:1?{SECRET}@host/shop",
        f"amqp://me:{SECRET}?1@host/shop",
        f"amqp:me:{SECRET}@host",
        f"amqp://me:x@host:{SECRET}",
    ],
)
def test_a_password_that_was_not_escaped_is_not_shown_in_the_error(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_address(url)
    assert SECRET not in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_gives_an_address_or_one_clear_error(text: str) -> None:
    try:
        address = parse_address("kafka://" + text)
    except ConfigurationError:
        return
    assert address.scheme == "kafka"


@given(password=st.text(min_size=1, max_size=20))
def test_an_escaped_password_comes_back_whatever_is_in_it(password: str) -> None:
    from urllib.parse import quote

    encoded = quote(password, safe="", errors="surrogatepass")
    address = parse_address(f"amqp://me:{encoded}@host:5672/v")
    assert (address.username, address.hosts, address.path) == ("me", ("host:5672",), "v")
    assert address.password == password


@pytest.mark.parametrize("word", ["1", "true", "ON", "yes"])
def test_flags_that_are_on(word: str) -> None:
    assert parse_flag("log", word) is True


@pytest.mark.parametrize("word", ["0", "False", "off", "no"])
def test_flags_that_are_off(word: str) -> None:
    assert parse_flag("log", word) is False


@pytest.mark.parametrize("word", ["", "maybe", "2"])
def test_other_flags_are_refused(word: str) -> None:
    with pytest.raises(ConfigurationError, match="log="):
        parse_flag("log", word)
