"""Is a broker ready? Asked in its own protocol, over a plain socket, without a client library.

A port that accepts connections proves little: Kafka listens before it is registered with the
controller, RabbitMQ accepts before its virtual host is up. Each probe raises :class:`NotReady`
unless the broker gave the answer that a client needs first.
"""

import contextlib
import socket
import struct
from collections.abc import Iterator
from urllib.parse import unquote

from streamproof.url import Address

KAFKA_PORT = 9092
AMQP_PORT = 5672
KAFKA_METADATA = 3
# Version 4 is understood by every Kafka from 0.11 on, 4.x included (KIP-896).
KAFKA_METADATA_VERSION = 4
KAFKA_FIND_COORDINATOR = 10
KAFKA_FIND_COORDINATOR_VERSION = 1
GROUP, TRANSACTION = 0, 1
STREAM_PEER_PROPERTIES = 17


def _table(name: bytes, kind: bytes, value: bytes) -> bytes:
    """An AMQP field table of one entry."""
    entry = bytes([len(name)]) + name + kind + value
    return struct.pack(">i", len(entry)) + entry


# With this a refused password is answered by a reason; without it, by silence and then a close.
CLIENT_PROPERTIES = _table(b"capabilities", b"F", _table(b"authentication_failure_close", b"t", b"\1"))


class NotReady(Exception):
    """The broker does not answer as a ready one does; the text says how far it got."""


def host_and_port(address: Address, default_port: int) -> tuple[str, int]:
    """The first host of an address."""
    if not address.hosts:
        raise NotReady(f"{address.redacted} names no host")
    first = address.hosts[0]
    host, _, port = (first, "", "") if first.endswith("]") else first.rpartition(":")
    return (host or first).strip("[]"), int(port) if host and port else default_port


def probe_kafka(host: str, port: int, timeout_s: float) -> None:
    """Ready when a Metadata answer (KIP-4, version 4) lists a broker and names the controller.

    A broker that the controller has not let in yet ("fenced") is not in that list.
    """
    answer = _kafka_answer(
        (host, port), KAFKA_METADATA, KAFKA_METADATA_VERSION, struct.pack(">ib", 0, 0), timeout_s
    )
    _throttle_ms, brokers = answer.take(">ii")
    for _ in range(brokers):
        answer.take(">i")
        answer.string()
        answer.take(">i")
        answer.string()
    answer.string()
    (controller,) = answer.take(">i")
    if brokers < 1 or controller < 0:
        raise NotReady(f"no broker is registered yet (brokers: {brokers}, controller: {controller})")


def probe_kafka_coordinators(host: str, port: int, timeout_s: float) -> None:
    """Ready when groups and transactions have a coordinator (FindCoordinator, version 1).

    The first question makes the broker create its internal topics. Asked here, no client has to wait
    for them, which librdkafka does for 3 s.
    """
    for kind, name in ((GROUP, "group"), (TRANSACTION, "transaction")):
        key = b"streamproof-ready"
        body = struct.pack(">h", len(key)) + key + bytes([kind])
        answer = _kafka_answer(
            (host, port), KAFKA_FIND_COORDINATOR, KAFKA_FIND_COORDINATOR_VERSION, body, timeout_s
        )
        _throttle_ms, code = answer.take(">ih")
        if code != 0:
            raise NotReady(f"there is no {name} coordinator yet (error code {code})")


def probe_amqp(address: Address, timeout_s: float) -> None:
    """Ready when an AMQP 0-9-1 connection gets as far as ``connection.open-ok``."""
    host, port = host_and_port(address, AMQP_PORT)
    user, password = address.username or "guest", address.password or "guest"
    vhost = (unquote(address.path) or "/").encode()
    plain = f"\0{user}\0{password}".encode()
    with _connection(host, port, timeout_s) as connection:
        connection.sendall(b"AMQP\0\0\x09\x01")
        _amqp_expect(connection, (10, 10))
        start_ok = CLIENT_PROPERTIES + b"\x05PLAIN" + struct.pack(">i", len(plain)) + plain + b"\x05en_US"
        _amqp_send(connection, (10, 11), start_ok)
        _amqp_send(connection, (10, 31), _amqp_expect(connection, (10, 30)))
        _amqp_send(connection, (10, 40), bytes([len(vhost)]) + vhost + b"\0\0")
        _amqp_expect(connection, (10, 41))
        _amqp_send(connection, (10, 50), struct.pack(">h", 200) + b"\0" + struct.pack(">hh", 0, 0))
        _amqp_expect(connection, (10, 51))


def probe_stream(host: str, port: int, timeout_s: float) -> None:
    """Ready when RabbitMQ's stream listener answers PeerProperties."""
    request = struct.pack(">hhii", STREAM_PEER_PROPERTIES, 1, 1, 0)
    with _connection(host, port, timeout_s) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        answer = _Reader(_exactly(connection, struct.unpack(">i", _exactly(connection, 4))[0]))
    key, _version, _correlation, code = answer.take(">HHiH")
    if key != STREAM_PEER_PROPERTIES | 0x8000 or code != 1:
        raise NotReady(f"the stream listener answered key {key:#x} with code {code}")


def _kafka_answer(place: tuple[str, int], api: int, version: int, body: bytes, timeout_s: float) -> "_Reader":
    """The body of the answer to one request, header version 1, without a client id."""
    request = struct.pack(">hhih", api, version, 1, -1) + body
    with _connection(*place, timeout_s) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        answer = _Reader(_exactly(connection, struct.unpack(">i", _exactly(connection, 4))[0]))
    if answer.take(">i") != (1,):
        raise NotReady("the answer is not Kafka's")
    return answer


def _amqp_send(connection: socket.socket, method: tuple[int, int], arguments: bytes) -> None:
    payload = struct.pack(">hh", *method) + arguments
    connection.sendall(struct.pack(">bhi", 1, 0, len(payload)) + payload + b"\xce")


def _amqp_expect(connection: socket.socket, method: tuple[int, int]) -> bytes:
    """The arguments of the method frame that must come next on channel 0."""
    while True:
        kind, _channel, size = struct.unpack(">bhi", _exactly(connection, 7))
        payload = _exactly(connection, size + 1)[:-1]
        if kind == 8:
            continue  # a heartbeat
        got = struct.unpack(">hh", payload[:4])
        if got == method:
            return payload[4:]
        if got == (10, 50):
            code, length = struct.unpack(">hB", payload[4:7])
            raise NotReady(f"refused: {code} {payload[7 : 7 + length].decode(errors='replace')}")
        raise NotReady(f"expected AMQP method {method}, got {got}")


@contextlib.contextmanager
def _connection(host: str, port: int, timeout_s: float) -> Iterator[socket.socket]:
    """A connection whose every failure is :class:`NotReady`."""
    try:
        with socket.create_connection((host, port), timeout_s) as connection:
            yield connection
    except (OSError, struct.error) as error:
        raise NotReady(f"{host}:{port}: {error}") from error


def _exactly(connection: socket.socket, size: int) -> bytes:
    if not 0 <= size <= 1 << 20:
        raise NotReady(f"an answer of {size} bytes is none of this protocol's")
    received = bytearray()
    while len(received) < size:
        part = connection.recv(size - len(received))
        if not part:
            raise NotReady("the connection was closed before the answer")
        received += part
    return bytes(received)


class _Reader:
    """Takes fields off the front of one answer."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, layout: str) -> tuple[int, ...]:
        try:
            fields = struct.unpack_from(layout, self._data, self._at)
        except struct.error as error:
            raise NotReady(f"the answer is cut short: {error}") from error
        self._at += struct.calcsize(layout)
        return fields

    def string(self) -> None:
        """Step over a nullable string."""
        (length,) = self.take(">h")
        self._at += max(length, 0)
