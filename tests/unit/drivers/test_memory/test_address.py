"""``memory://`` URLs: names, options, and what is wrong with others."""

import pytest

from streamproof.drivers.memory import cluster_at, forget, open_driver
from streamproof.errors import ConfigurationError
from streamproof.url import parse_address


@pytest.fixture(autouse=True)
def _forget_names():
    yield
    forget("shared")


def at(url):
    return cluster_at(parse_address(url))


def test_without_a_name_everybody_gets_a_cluster_of_their_own():
    assert at("memory://") is not at("memory://")


def test_a_name_is_shared_until_it_is_forgotten():
    cluster = at("memory://shared")
    assert at("memory://shared") is cluster
    assert open_driver(parse_address("memory://shared"), 1).native is cluster
    forget("shared")
    assert at("memory://shared") is not cluster
    forget("never heard of")


def test_options_make_the_cluster_and_are_kept_to():
    cluster = at("memory://shared?partitions=3&auto_create=on&max_message_bytes=2000")
    assert cluster.settings.partitions == 3
    assert cluster.settings.auto_create
    assert cluster.settings.max_message_bytes == 2000
    assert at("memory://shared") is cluster
    assert at("memory://shared?partitions=3&auto_create=yes&max_message_bytes=2000") is cluster
    with pytest.raises(ConfigurationError, match="partitions=3"):
        at("memory://shared?partitions=4")


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("memory://shared?colour=red", "'colour'.*partitions, auto_create, max_message_bytes"),
        ("memory://shared?partitions=many", "partitions='many'"),
        ("memory://shared?partitions=0", "partitions=0"),
        ("memory://shared?max_message_bytes=-1", "max_message_bytes=-1"),
        ("memory://shared?auto_create=perhaps", "auto_create='perhaps'"),
        ("memory://shared/path", "memory://shared/path"),
        ("memory://one,two", "one,two"),
        ("memory://user@shared", "user@shared"),
    ],
)
def test_what_is_wrong_with_a_url_is_named(url, named):
    with pytest.raises(ConfigurationError, match=named):
        at(url)
    with pytest.raises(ConfigurationError):
        open_driver(parse_address(url), 1)
