"""RabbitMQ for blocking code, over pika: ``amqp://user:password@host:port/vhost?log=on``.

How topics, groups and records map to RabbitMQ: :mod:`~streamproof.drivers.rabbitmq.topology`,
:mod:`~streamproof.drivers.rabbitmq.codec`, :mod:`~streamproof.drivers.rabbitmq.catalogue`; what
becomes of a publish: :mod:`~streamproof.drivers.rabbitmq.errors`; groups:
:mod:`streamproof.core.membership`. One connection follows the definitions and serves the admin;
each producer and each consumer has its own, because the server stops reading from connections that
publish when memory runs short, acknowledgements included.
"""

import time
from typing import Any

from streamproof.capabilities import Capabilities
from streamproof.driver import ConsumerDriver, ProducerDriver
from streamproof.drivers.rabbitmq.descriptions import capabilities_of
from streamproof.drivers.rabbitmq.publishing import require_no_native, require_publishable
from streamproof.drivers.rabbitmq.topology import Endpoint, endpoint_of
from streamproof.drivers.rabbitmq_pika.admin import PikaAdmin
from streamproof.drivers.rabbitmq_pika.definitions import Definitions
from streamproof.drivers.rabbitmq_pika.group import PikaGroupConsumer
from streamproof.drivers.rabbitmq_pika.link import left_s
from streamproof.drivers.rabbitmq_pika.producer import PikaProducer
from streamproof.drivers.rabbitmq_pika.reader import PikaReader
from streamproof.errors import Closed, StreamproofError, Unsupported
from streamproof.options import ConsumerOptions, ProducerOptions
from streamproof.url import Address


def open_driver(address: Address, timeout_s: float) -> "PikaDriver":
    """Connect. Raises :class:`ConfigurationError`, :class:`Unreachable`, :class:`AccessDenied`."""
    driver = PikaDriver(endpoint_of(address), timeout_s)
    driver.open(timeout_s)
    return driver


class PikaDriver:
    """See :class:`~streamproof.driver.Driver`."""

    def __init__(self, endpoint: Endpoint, timeout_s: float) -> None:
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._definitions = Definitions(endpoint)
        self._parts: list[PikaProducer | PikaGroupConsumer | PikaReader] = []
        self._is_closed = False

    def open(self, timeout_s: float) -> None:
        """Connect, and know the definitions as they stand."""
        deadline_s = time.monotonic() + timeout_s
        self._definitions.open(timeout_s)
        try:
            self._definitions.wait_synced(left_s(deadline_s))
        except StreamproofError:
            self._definitions.close(1.0)
            raise

    @property
    def capabilities(self) -> Capabilities:
        """What RabbitMQ can do, with or without a log."""
        return capabilities_of(self._endpoint.has_log)

    @property
    def native(self) -> Any:
        """The pika connection that follows the definitions. It lives on another thread: use its
        ``ioloop.add_callback_threadsafe``. ``None`` while the connection is lost."""
        return self._definitions.link.connection

    def producer(self, options: ProducerOptions) -> ProducerDriver:
        """A producer, connected."""
        self._require_open()
        require_publishable(options)
        producer = PikaProducer(self._endpoint, self._definitions, options)
        producer.open(self._timeout_s)
        self._parts.append(producer)
        return producer

    def consumer(self, options: ConsumerOptions) -> ConsumerDriver:
        """A consumer; it connects when it starts."""
        self._require_open()
        require_no_native(options.native)
        consumer: PikaGroupConsumer | PikaReader
        if options.group is not None:
            consumer = PikaGroupConsumer(self._endpoint, self._definitions, options)
        elif self._endpoint.has_log:
            consumer = PikaReader(self._endpoint, self._definitions, options)
        else:
            raise Unsupported("reading without a group needs a log: connect with log=on, or name a group")
        self._parts.append(consumer)
        return consumer

    def admin(self) -> PikaAdmin:
        """The admin verbs."""
        self._require_open()
        return PikaAdmin(self._definitions, self._endpoint.has_log)

    def close(self, timeout_s: float) -> None:
        """Close its consumers and producers, then the connection; a second call does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        deadline_s = time.monotonic() + timeout_s
        failure: StreamproofError | None = None
        for part in sorted(self._parts, key=lambda part: isinstance(part, PikaProducer)):
            try:
                part.close(max(0.2, left_s(deadline_s)))
            except StreamproofError as error:
                failure = failure or error
        self._definitions.close(max(0.2, left_s(deadline_s)))
        if failure is not None:
            raise failure

    def _require_open(self) -> None:
        if self._is_closed:
            raise Closed("the connection is closed: connect again")
        self._parts = [part for part in self._parts if not part.is_closed]
