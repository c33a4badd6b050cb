"""An open connection to Kafka, for coroutines."""

from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from streamproof.capabilities import Capabilities
from streamproof.drivers.kafka_aiokafka.admin import AiokafkaAdmin
from streamproof.drivers.kafka_aiokafka.client import Deadline, finished
from streamproof.drivers.kafka_aiokafka.consumer import AiokafkaConsumer
from streamproof.drivers.kafka_aiokafka.producer import AiokafkaProducer
from streamproof.drivers.kafka_aiokafka.settings import (
    AddressSettings,
    consumer_settings,
    producer_settings,
)
from streamproof.drivers.kafka_aiokafka.transactions import AiokafkaTransactionalProducer
from streamproof.errors import Closed
from streamproof.options import ConsumerOptions, ProducerOptions
from streamproof.url import Address

_LEAST_S = 0.1

_AnyProducer = AiokafkaProducer | AiokafkaTransactionalProducer


class AiokafkaDriver:
    """See :class:`~streamproof.driver.AsyncDriver`."""

    def __init__(
        self,
        settings: AddressSettings,
        admin: Any,
        address: Address,
        timeout_s: float,
        capabilities: Capabilities,
    ) -> None:
        self._settings = settings
        self._native_admin: Any = admin
        self._admin = AiokafkaAdmin(admin._client)
        self._address = address
        self._timeout_s = timeout_s
        self._capabilities = capabilities
        self._open: list[_AnyProducer | AiokafkaConsumer] = []

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    @property
    def native(
        self,
    ) -> dict[str, AIOKafkaAdminClient | list[AIOKafkaProducer] | list[AIOKafkaConsumer] | None]:
        """``admin``: the :class:`aiokafka.admin.AIOKafkaAdminClient`; ``producers`` and ``consumers``:
        the :class:`aiokafka.AIOKafkaProducer` and :class:`aiokafka.AIOKafkaConsumer` of those that are
        open, in the order they were made."""
        return {
            "admin": self._native_admin,
            "producers": [part.native for part in self._open if isinstance(part, _AnyProducer)],
            "consumers": [part.native for part in self._open if isinstance(part, AiokafkaConsumer)],
        }

    async def producer(self, options: ProducerOptions) -> _AnyProducer:
        self._require_open()
        settings = producer_settings(self._settings, options)
        producer: _AnyProducer
        if options.transactional_id is None:
            producer = AiokafkaProducer(settings, options, self._admin, self._forget)
        else:
            producer = AiokafkaTransactionalProducer(settings, options, self._admin, self._forget)
        try:
            await producer.connect(self._timeout_s)
        except BaseException:
            await producer.close(0.0)
            raise
        self._open.append(producer)
        return producer

    async def consumer(self, options: ConsumerOptions) -> AiokafkaConsumer:
        self._require_open()
        settings = consumer_settings(self._settings, options)
        consumer = AiokafkaConsumer(settings, options, self._admin, self._forget)
        self._open.append(consumer)
        return consumer

    async def admin(self) -> AiokafkaAdmin:
        self._require_open()
        return self._admin

    async def close(self, timeout_s: float) -> None:
        admin, self._native_admin = self._native_admin, None
        if admin is None:
            return
        deadline = Deadline(timeout_s)
        try:
            for part in tuple(self._open):
                await part.close(max(_LEAST_S, deadline.left_s))
        finally:
            await finished(admin.close(), max(_LEAST_S, deadline.left_s), "closing the admin client")

    def _forget(self, part: Any) -> None:
        """It was closed."""
        with suppress(ValueError):
            self._open.remove(part)

    def _require_open(self) -> None:
        if self._native_admin is None:
            raise Closed(f"the connection to {self._address.redacted} is closed: connect again")
