"""Have a broker: use the given one, or start one."""

from collections.abc import Mapping

from streamproof_harness.servers.availability import (
    Absent,
    Availability,
    Given,
    Kind,
    Local,
    ServerAbsent,
    ServerError,
)
from streamproof_harness.servers.container import ContainerServer
from streamproof_harness.servers.finding import find
from streamproof_harness.servers.java import find_java
from streamproof_harness.servers.kafka_jars import fetch_jars, wanted_version
from streamproof_harness.servers.kafka_node import KafkaNode
from streamproof_harness.servers.local import LocalServer, Node
from streamproof_harness.servers.rabbitmq_node import RabbitMQNode, find_rabbitmq
from streamproof_harness.servers.server import GivenServer, Server

START_BOUND_S = 90.0


def kafka(
    *,
    private: bool = False,
    settings: Mapping[str, str] | None = None,
    version: str | None = None,
    heap_mb: int = 512,
    timeout_s: float = START_BOUND_S,
) -> Server:
    """A Kafka that answers: the given one, a local process (3 s), or a container.

    ``private``: one of its own that may be killed, never the given one. ``settings`` go into
    server.properties; with settings, or a ``version``, the broker is private as well. Blocks up to
    ``timeout_s``, and the first time also while Maven brings the jars. Raises
    :class:`ServerAbsent` when there is no way, :class:`ServerError` when one failed.
    """
    is_private = private or bool(settings) or version is not None
    return opened(find("kafka", private=is_private), settings or {}, version, heap_mb, timeout_s)


def rabbitmq(
    *, private: bool = False, settings: Mapping[str, str] | None = None, timeout_s: float = START_BOUND_S
) -> Server:
    """A RabbitMQ that answers, with streams: the given one, a local node (6 s), or a container.

    ``settings`` go into rabbitmq.conf; everything else as with :func:`kafka`.
    """
    is_private = private or bool(settings)
    return opened(find("rabbitmq", private=is_private), settings or {}, None, 0, timeout_s)


def opened(
    how: Availability, settings: Mapping[str, str], version: str | None, heap_mb: int, timeout_s: float
) -> Server:
    """Go the way that :func:`find` found."""
    if isinstance(how, Absent):
        raise ServerAbsent(how)
    if isinstance(how, Given):
        return GivenServer(how)
    if isinstance(how, Local):
        node: Node = (
            _kafka_node(settings, version, heap_mb) if how.kind == "kafka" else _rabbitmq_node(settings)
        )
        return LocalServer(node, how, timeout_s)
    return ContainerServer(how, settings, heap_mb, timeout_s)


def start(kind: Kind, *, private: bool = False) -> Server:
    """:func:`kafka` or :func:`rabbitmq`, with the usual settings."""
    return kafka(private=private) if kind == "kafka" else rabbitmq(private=private)


def _kafka_node(settings: Mapping[str, str], version: str | None, heap_mb: int) -> KafkaNode:
    java = find_java()
    if java is None:
        raise ServerError("java is not on the PATH any more")
    return KafkaNode(java.command, fetch_jars(version or wanted_version()), settings, heap_mb)


def _rabbitmq_node(settings: Mapping[str, str]) -> RabbitMQNode:
    program = find_rabbitmq()
    if program is None:
        raise ServerError("RabbitMQ is not installed any more")
    return RabbitMQNode(program, settings)
