"""What a test or a scenario holds of a broker, however it came to be."""

from types import TracebackType
from typing import Protocol, Self

from streamproof.errors import Unsupported
from streamproof.url import parse_address
from streamproof_harness.servers.availability import (
    URL_VARIABLES,
    Availability,
    Database,
    Given,
    Kind,
    ServerError,
)
from streamproof_harness.servers.probe import KAFKA_PORT, NotReady, host_and_port, probe_amqp, probe_kafka
from streamproof_harness.servers.probe_database import (
    POSTGRESQL_PORT,
    REDIS_PORT,
    accepts_postgresql,
    probe_redis,
)

GIVEN_PROBE_BOUND_S = 5.0


class Server(Protocol):
    """A broker that answered its protocol. Leaving the ``with`` block stops it, if it was started here.

    Every method blocks, for a bounded time, until what it names is true; else it raises
    :class:`ServerError` with the last lines of the broker's log.
    """

    @property
    def kind(self) -> Kind | Database:
        """Which broker or database it is."""
        ...

    @property
    def how(self) -> Availability:
        """Given, a local process, or a container."""
        ...

    @property
    def url(self) -> str:
        """Where clients connect; the same for the whole life, restarts included."""
        ...

    @property
    def stream_port(self) -> int | None:
        """RabbitMQ's port for the stream protocol on the host of the URL, where it is known."""
        ...

    def is_running(self) -> bool:
        """It was not killed, nor did it end by itself. A paused one is running."""
        ...

    def kill(self) -> None:
        """SIGKILL: nothing is flushed or said to clients. Data and ports stay for :meth:`restart`."""
        ...

    def restart(self, timeout_s: float | None = None) -> None:
        """Stop it in an orderly way if it runs, start it on the same data and ports, wait until ready."""
        ...

    def pause(self) -> None:
        """It holds its connections and answers nothing, as a machine that hangs."""
        ...

    def resume(self) -> None:
        """It goes on after :meth:`pause`."""
        ...

    def logs(self, lines: int = 30) -> str:
        """The last lines of its log."""
        ...

    def stop(self) -> None:
        """End it and remove its data; a second call does nothing."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class GivenServer:
    """Somebody else's broker, at a URL. It can be used, not harmed: ``kill`` and the like are refused."""

    stream_port: int | None = None

    def __init__(self, given: Given) -> None:
        self.how = given
        try:
            probe_given(given)
        except NotReady as reason:
            raise ServerError(
                f"{URL_VARIABLES[given.kind]} is set, but {parse_address(given.url).redacted} does not "
                f"answer as {given.kind}: {reason}; start it, correct the variable, or unset it"
            ) from reason

    @property
    def kind(self) -> Kind | Database:
        """Which broker or database it is."""
        return self.how.kind

    @property
    def url(self) -> str:
        """The URL as given."""
        return self.how.url

    def is_running(self) -> bool:
        """It answers now."""
        try:
            probe_given(self.how)
        except NotReady:
            return False
        return True

    def kill(self) -> None:
        """Refused."""
        self._refuse("kill")

    def restart(self, timeout_s: float | None = None) -> None:
        """Refused."""
        self._refuse("restart")

    def pause(self) -> None:
        """Refused."""
        self._refuse("pause")

    def resume(self) -> None:
        """Refused."""
        self._refuse("resume")

    def logs(self, lines: int = 30) -> str:
        """Its log is not here."""
        return ""

    def stop(self) -> None:
        """Nothing to do: it is not ours."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _refuse(self, verb: str) -> None:
        raise Unsupported(
            f"cannot {verb} the {self.kind} of {URL_VARIABLES[self.kind]}: it may have other users; "
            f"start one of your own with private=True"
        )


def probe_given(given: Given) -> None:
    """Raise :class:`NotReady` unless the broker at a given URL answers.

    With TLS or SASL among the options of a Kafka URL a plain probe cannot ask, and is left out: the
    client library will say what it finds.
    """
    address = parse_address(given.url)
    if given.kind == "rabbitmq" and address.scheme == "amqp":
        probe_amqp(address, GIVEN_PROBE_BOUND_S)
    security = address.options.get("security.protocol", "PLAINTEXT")
    if given.kind == "kafka" and security.upper() == "PLAINTEXT":
        probe_kafka(*host_and_port(address, KAFKA_PORT), GIVEN_PROBE_BOUND_S)
    if given.kind == "postgresql":
        accepts_postgresql(host_and_port(address, POSTGRESQL_PORT), GIVEN_PROBE_BOUND_S)
    if given.kind == "redis" and address.scheme == "redis":
        probe_redis(host_and_port(address, REDIS_PORT), GIVEN_PROBE_BOUND_S)
