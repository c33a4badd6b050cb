"""Is a database ready? Asked in its own protocol, over a plain socket, without a client library."""

import socket
import struct

from streamproof_harness.servers.probe import NotReady

POSTGRESQL_PORT = 5432
REDIS_PORT = 6379
PROTOCOL_3_0 = 3 << 16
LONGEST_ANSWER_BYTES = 1 << 20
DUPLICATE_DATABASE = b"42P04"


def probe_postgresql(
    place: tuple[str, int], user: str, database: str, timeout_s: float, statement: str = ""
) -> None:
    """Ready when a session of that user begins ("ready for query") and, if there is one, the statement
    is carried out; that a database exists already is as good as its creation.

    See "Frontend/Backend Protocol" in PostgreSQL's documentation. Needs no password.
    """
    parameters = b"".join(part.encode() + b"\0" for part in ("user", user, "database", database)) + b"\0"
    try:
        with socket.create_connection(place, timeout_s) as connection:
            start = struct.pack(">i", PROTOCOL_3_0) + parameters
            connection.sendall(struct.pack(">i", len(start) + 4) + start)
            _until_ready(connection)
            if statement:
                query = statement.encode() + b"\0"
                connection.sendall(b"Q" + struct.pack(">i", len(query) + 4) + query)
                _until_ready(connection)
            connection.sendall(b"X" + struct.pack(">i", 4))
    except OSError as error:
        raise NotReady(f"{place[0]}:{place[1]}: {error}") from error


def accepts_postgresql(place: tuple[str, int], timeout_s: float) -> None:
    """Ready when PostgreSQL answers whether it speaks TLS: asked of servers whose passwords we lack."""
    try:
        with socket.create_connection(place, timeout_s) as connection:
            connection.sendall(struct.pack(">ii", 8, 80877103))
            answer = connection.recv(1)
    except OSError as error:
        raise NotReady(f"{place[0]}:{place[1]}: {error}") from error
    if answer not in (b"S", b"N"):
        raise NotReady(f"the answer {answer!r} is not PostgreSQL's")


def probe_redis(place: tuple[str, int], timeout_s: float) -> None:
    """Ready when PING is answered by PONG, or, as that shows a Redis too, by the wish for a password."""
    try:
        with socket.create_connection(place, timeout_s) as connection:
            connection.sendall(b"PING\r\n")
            answer = connection.recv(256)
    except OSError as error:
        raise NotReady(f"{place[0]}:{place[1]}: {error}") from error
    if not answer.startswith((b"+PONG", b"-NOAUTH")):
        raise NotReady(f"PING was answered by {answer.decode(errors='replace').strip()!r}")


def _until_ready(connection: socket.socket) -> None:
    """Read messages up to ReadyForQuery; an ErrorResponse is a reason not to be ready."""
    while True:
        kind, size = struct.unpack(">ci", _exactly(connection, 5))
        body = _exactly(connection, size - 4)
        if kind == b"Z":
            return
        if kind == b"E":
            fields = {part[:1]: part[1:] for part in body.split(b"\0") if part}
            if fields.get(b"C") != DUPLICATE_DATABASE:
                raise NotReady(f"refused: {fields.get(b'M', b'').decode(errors='replace')}")
        if kind == b"R" and struct.unpack(">i", body[:4]) != (0,):
            raise NotReady("it wants a password")


def _exactly(connection: socket.socket, size: int) -> bytes:
    if not 0 <= size <= LONGEST_ANSWER_BYTES:
        raise NotReady(f"an answer of {size} bytes is none of this protocol's")
    received = bytearray()
    while len(received) < size:
        part = connection.recv(size - len(received))
        if not part:
            raise NotReady("the connection was closed before the answer")
        received += part
    return bytes(received)
