"""RabbitMQ for coroutines, over aio-pika: ``amqp://user:password@host:port/vhost?log=on``.

The same mapping, the same procedures and the same group protocol as the blocking driver: see
:mod:`rabbitmq_pika`.
"""

import time
from typing import Any

from streamproof.capabilities import Capabilities
from streamproof.driver import AsyncConsumerDriver, AsyncProducerDriver
from streamproof.drivers.rabbitmq.descriptions import capabilities_of
from streamproof.drivers.rabbitmq.publishing import require_no_native, require_publishable
from streamproof.drivers.rabbitmq.topology import Endpoint, endpoint_of
from streamproof.drivers.rabbitmq_aio_pika.admin import AioPikaAdmin
from streamproof.drivers.rabbitmq_aio_pika.definitions import AioDefinitions
from streamproof.drivers.rabbitmq_aio_pika.group import AioPikaGroupConsumer
from streamproof.drivers.rabbitmq_aio_pika.producer import AioPikaProducer
from streamproof.drivers.rabbitmq_aio_pika.reader import AioPikaReader
from streamproof.errors import Closed, StreamproofError, Unsupported
from streamproof.options import ConsumerOptions, ProducerOptions
from streamproof.url import Address


async def open_driver(address: Address, timeout_s: float) -> "AioPikaDriver":
    """Connect. Raises :class:`ConfigurationError`, :class:`Unreachable`, :class:`AccessDenied`."""
    driver = AioPikaDriver(endpoint_of(address), timeout_s)
    await driver.open(timeout_s)
    return driver


class AioPikaDriver:
    """See :class:`~streamproof.driver.AsyncDriver`."""

    def __init__(self, endpoint: Endpoint, timeout_s: float) -> None:
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._definitions = AioDefinitions(endpoint)
        self._parts: list[AioPikaProducer | AioPikaGroupConsumer | AioPikaReader] = []
        self._is_closed = False

    async def open(self, timeout_s: float) -> None:
        """Connect, and know the definitions as they stand."""
        deadline_s = time.monotonic() + timeout_s
        await self._definitions.open(timeout_s)
        try:
            await self._definitions.wait_synced(max(0.0, deadline_s - time.monotonic()))
        except BaseException:
            await self._definitions.close(1.0)
            raise

    @property
    def capabilities(self) -> Capabilities:
        """What RabbitMQ can do, with or without a log."""
        return capabilities_of(self._endpoint.has_log)

    @property
    def native(self) -> Any:
        """The aio-pika connection that follows the definitions; ``None`` while it is lost."""
        return self._definitions.link.native

    async def producer(self, options: ProducerOptions) -> AsyncProducerDriver:
        """A producer, connected."""
        self._require_open()
        require_publishable(options)
        producer = AioPikaProducer(self._endpoint, self._definitions, options)
        await producer.open(self._timeout_s)
        self._parts.append(producer)
        return producer

    async def consumer(self, options: ConsumerOptions) -> AsyncConsumerDriver:
        """A consumer; it connects when it starts."""
        self._require_open()
        require_no_native(options.native)
        consumer: AioPikaGroupConsumer | AioPikaReader
        if options.group is not None:
            consumer = AioPikaGroupConsumer(self._endpoint, self._definitions, options)
        elif self._endpoint.has_log:
            consumer = AioPikaReader(self._endpoint, self._definitions, options)
        else:
            raise Unsupported("reading without a group needs a log: connect with log=on, or name a group")
        self._parts.append(consumer)
        return consumer

    async def admin(self) -> AioPikaAdmin:
        """The admin verbs."""
        self._require_open()
        return AioPikaAdmin(self._definitions, self._endpoint.has_log)

    async def close(self, timeout_s: float) -> None:
        """Close its consumers and producers, then the connection; a second call does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        deadline_s = time.monotonic() + timeout_s
        failure: StreamproofError | None = None
        for part in sorted(self._parts, key=lambda part: isinstance(part, AioPikaProducer)):
            try:
                await part.close(max(0.2, deadline_s - time.monotonic()))
            except StreamproofError as error:
                failure = failure or error
        await self._definitions.close(max(0.2, deadline_s - time.monotonic()))
        if failure is not None:
            raise failure

    def _require_open(self) -> None:
        if self._is_closed:
            raise Closed("the connection is closed: connect again")
        self._parts = [part for part in self._parts if not part.is_closed]
