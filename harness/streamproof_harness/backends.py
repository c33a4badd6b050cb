"""The backends that a run is asked for, by name or URL, and the brokers behind them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from streamproof import ConfigurationError
from streamproof.url import parse_address
from streamproof_harness import servers
from streamproof_harness.scenario import Backend, Scenario

_OF_SCHEME: dict[str, Backend] = {"memory": "memory", "kafka": "kafka", "amqp": "rabbitmq"}


@dataclass(frozen=True, slots=True)
class Target:
    """Where to run: a URL that was given, or (``None``) a broker to be found or started."""

    backend: Backend
    url: str | None

    @property
    def label(self) -> str:
        """For tables."""
        return self.backend


def target_named(text: str) -> Target:
    """``memory``, ``kafka``, ``rabbitmq``, or a URL. :class:`ConfigurationError` for others."""
    if text in ("memory", "memory://"):
        return Target("memory", "memory://")
    if text in ("kafka", "rabbitmq"):
        return Target("kafka" if text == "kafka" else "rabbitmq", None)
    if "://" not in text:
        raise ConfigurationError(f"{text!r} is no backend: write memory, kafka, rabbitmq or a URL")
    scheme = parse_address(text).scheme
    if scheme not in _OF_SCHEME:
        known = ", ".join(f"{name}://" for name in _OF_SCHEME)
        raise ConfigurationError(f"unknown scheme {scheme!r}: use one of {known}")
    return Target(_OF_SCHEME[scheme], text)


@contextmanager
def broker_for(target: Target) -> Iterator[str]:
    """The URL of the target's broker, which is started if none was given, and stopped afterwards."""
    if target.url is not None:
        yield target.url
    else:
        with servers.start(_kind(target.backend)) as server:
            yield server.url


@contextmanager
def private_broker(backend: Backend) -> Iterator[servers.Server]:
    """A broker that a scenario may harm: always one of its own, never one that was given."""
    start = servers.kafka if _kind(backend) == "kafka" else servers.rabbitmq
    with start(private=True) as server:
        yield server


def _kind(backend: Backend) -> servers.Kind:
    assert backend != "memory", "nothing is started for the in-memory log"
    return backend


def why_not(scenario: Scenario, target: Target) -> str | None:
    """Why this scenario does not run there; ``None`` if it does."""
    if target.backend in scenario.backends:
        return None
    return scenario.why_not.get(target.backend, "not on this backend")
