"""A namespace a test on the run's RabbitMQ, a proxy whose connections can be cut, and members that
are processes of their own."""

import contextlib
import selectors
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator

import pytest

import streamproof

PATIENCE_S = 30.0


@pytest.fixture
def namespace() -> str:
    return f"test-{uuid.uuid4().hex[:12]}."


@pytest.fixture
def bus(rabbitmq_url: str, namespace: str) -> Iterator[streamproof.Bus]:
    with streamproof.connect(rabbitmq_url, namespace=namespace) as bus:
        yield bus
        admin = bus.admin()
        admin.delete_topics(*admin.list_topics())


class Proxy:
    """Forwards TCP to the broker. ``cut`` ends all connections; while ``is_stopped`` nothing is
    forwarded and nobody is let in."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.is_stopped = False
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        with self._lock:
            for side in list(self._pairs):
                # Shut down, not closed: the loop finds the end and takes both sides out.
                with contextlib.suppress(OSError):
                    side.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._is_closed = True
        self.cut()
        self._thread.join(5)
        self._listener.close()

    def _run(self) -> None:
        while not self._is_closed:
            for key, _ in self._selector.select(0.02):
                if self.is_stopped:
                    time.sleep(0.005)
                elif key.fileobj is self._listener:
                    self._accept()
                else:
                    self._forward(key.fileobj)
        for side in list(self._pairs):
            side.close()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        try:
            server = socket.create_connection(self._target)
        except OSError:
            client.close()
            return
        with self._lock:
            self._pairs.update({client: server, server: client})
        for side in (client, server):
            self._selector.register(side, selectors.EVENT_READ)

    def _forward(self, side: socket.socket) -> None:
        other = self._pairs.get(side)
        if other is None:
            return
        try:
            data = side.recv(65536)
            if data:
                other.sendall(data)
                return
        except OSError:
            pass
        with self._lock:
            for end in (side, other):
                self._pairs.pop(end, None)
                self._selector.unregister(end)
                end.close()


@pytest.fixture
def proxy(rabbitmq_url: str) -> Iterator[Proxy]:
    host, _, port = rabbitmq_url.partition("@")[2].partition("/")[0].rpartition(":")
    proxy = Proxy(host, int(port))
    yield proxy
    proxy.close()


@pytest.fixture
def proxied_url(rabbitmq_url: str, proxy: Proxy) -> str:
    credentials, _, rest = rabbitmq_url.partition("@")
    return f"{credentials}@127.0.0.1:{proxy.port}/{rest.partition('/')[2]}"


MEMBER = """
import sys, streamproof
url, namespace, topic, group, session_s, acks = sys.argv[1:]
with streamproof.connect(url, namespace=namespace) as bus:
    consumer = bus.consumer(topic, group=group, session_timeout_s=float(session_s))
    while True:
        for record in consumer.poll(10, 0.5):
            print(record.partition, record.value.decode(), flush=True)
            if acks == "acks":
                consumer.ack(record)
"""


class MemberProcess:
    """A member in a process of its own, which prints the records it gets."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", MEMBER, *arguments], stdout=subprocess.PIPE, text=True
        )

    def read(self, lines: int) -> list[str]:
        assert self.process.stdout is not None
        return [self.process.stdout.readline().strip() for _ in range(lines)]

    def end(self) -> None:
        self.process.kill()
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def start_member(rabbitmq_url: str, namespace: str) -> Iterator[Callable[..., MemberProcess]]:
    started: list[MemberProcess] = []

    def start(topic: str, group: str, session_s: float = 10.0, acks: str = "acks") -> MemberProcess:
        started.append(MemberProcess(rabbitmq_url, namespace, topic, group, str(session_s), acks))
        return started[-1]

    yield start
    for member in started:
        member.end()


def wait_until(is_so: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    deadline_s = time.monotonic() + patience_s
    while not is_so():
        assert time.monotonic() < deadline_s, f"not within {patience_s} s: {what}"
        time.sleep(0.005)


def read_all(consumer: streamproof.Consumer, count: int, acks: bool = True) -> list[streamproof.Record]:
    """Poll until so many records came."""
    records: list[streamproof.Record] = []
    deadline_s = time.monotonic() + PATIENCE_S
    while len(records) < count:
        assert time.monotonic() < deadline_s, f"{len(records)} of {count} records came"
        batch = consumer.poll(500, 0.5)
        records += batch
        if acks:
            consumer.ack(batch)
    return records
