"""Real brokers for measurements: found or started when the first one asks, stopped at the end."""

from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from streamproof.url import parse_address
from streamproof_harness import servers
from streamproof_harness.servers import Kind, Server, ServerError


class BrokerAbsent(Exception):
    """There is no such broker here; the text says why."""


class Brokers:
    """What was found of each kind; each is looked for once."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._found: dict[Kind, Server | str] = {}

    def url(self, kind: Kind) -> str:
        """Where to connect. Raises :class:`BrokerAbsent`."""
        if kind not in self._found:
            try:
                server: Server = self._stack.enter_context(servers.start(kind))
            except ServerError as error:
                self._found[kind] = str(error)
            else:
                self._found[kind] = server
        found = self._found[kind]
        if isinstance(found, str):
            raise BrokerAbsent(found)
        return found.url

    def described(self) -> dict[str, str]:
        """Each kind that was asked for: what runs, or why nothing does."""
        return {
            kind: found if isinstance(found, str) else f"{version_of(found)} ({found.how})"
            for kind, found in self._found.items()
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()


def version_of(server: Server) -> str:
    """The version, asked of the broker itself."""
    return _rabbitmq_version(server.url) if server.kind == "rabbitmq" else _kafka_version(server.url)


def _rabbitmq_version(url: str) -> str:
    import pika

    address = parse_address(url)
    with pika.BlockingConnection(pika.URLParameters(url.partition("?")[0])) as connection:
        found: Any = connection._impl.server_properties or {}
    product, version = (
        text.decode() if isinstance(text, bytes) else str(text)
        for text in (found.get("product", "AMQP broker"), found.get("version", "?"))
    )
    return f"{product} {version} at {address.redacted}"


def _kafka_version(url: str) -> str:
    """Kafka's protocol does not tell the version of a broker: only who started it knows."""
    return f"at {parse_address(url).redacted}"
