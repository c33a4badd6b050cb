"""An open connection to Kafka, for threads."""

import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress

from streamproof.capabilities import Capabilities
from streamproof.drivers.kafka.options import consumer_settings, is_cooperative, producer_settings
from streamproof.drivers.kafka_confluent.admin import ConfluentAdmin
from streamproof.drivers.kafka_confluent.client import (
    CAPABILITIES,
    AdminClient,
    Consumer,
    Producer,
    Trouble,
    let_go,
)
from streamproof.drivers.kafka_confluent.consumer import ConfluentConsumer
from streamproof.drivers.kafka_confluent.producer import ConfluentProducer
from streamproof.drivers.kafka_confluent.transactions import ConfluentTransactionalProducer
from streamproof.errors import Closed
from streamproof.options import ConsumerOptions, ProducerOptions
from streamproof.url import Address

_LEAST_S = 0.1

_AnyProducer = ConfluentProducer | ConfluentTransactionalProducer


class ConfluentDriver:
    """See :class:`~streamproof.driver.AsyncDriver`."""

    def __init__(
        self,
        settings: Mapping[str, object],
        admin: AdminClient,
        trouble: Trouble,
        address: Address,
        timeout_s: float,
    ) -> None:
        self._timeout_s = timeout_s
        self._settings = settings
        self._native_admin: AdminClient | None = admin
        self._admin = ConfluentAdmin(admin, trouble)
        self._address = address
        self._lock = threading.Lock()
        self._open: list[_AnyProducer | ConfluentConsumer] = []
        self._is_closed = False

    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    @property
    def native(self) -> dict[str, AdminClient | list[Producer] | list[Consumer] | None]:
        """``admin``: the :class:`confluent_kafka.admin.AdminClient`; ``producers`` and ``consumers``:
        the :class:`confluent_kafka.Producer` and :class:`confluent_kafka.Consumer` of those that are
        open, in the order they were made."""
        with self._lock:
            opened = tuple(self._open)
        return {
            "admin": self._native_admin,
            "producers": [part.native for part in opened if isinstance(part, _AnyProducer)],
            "consumers": [part.native for part in opened if isinstance(part, ConfluentConsumer)],
        }

    def producer(self, options: ProducerOptions) -> _AnyProducer:
        self._require_open()
        settings = producer_settings(self._settings, options)
        producer: _AnyProducer
        if options.transactional_id is None:
            producer = ConfluentProducer(settings, options, self._forget)
        else:
            producer = ConfluentTransactionalProducer(settings, options, self._address, self._forget)
        try:
            producer.connect(self._address, self._timeout_s)
        except BaseException:
            producer.close(0.0)
            raise
        with self._lock:
            self._open.append(producer)
        return producer

    def consumer(self, options: ConsumerOptions) -> ConfluentConsumer:
        self._require_open()
        # The library wants a group always; one that never commits leaves no trace on the broker.
        group = options.group or f"streamproof-reader-{uuid.uuid4().hex}"
        settings = consumer_settings(self._settings, options, group)
        consumer = ConfluentConsumer(settings, options, self._admin, is_cooperative(settings), self._forget)
        with self._lock:
            self._open.append(consumer)
        return consumer

    def admin(self) -> ConfluentAdmin:
        self._require_open()
        return self._admin

    def close(self, timeout_s: float) -> None:
        with self._lock:
            opened = tuple(self._open)
            admin, self._native_admin = self._native_admin, None
            self._is_closed = True
        if admin is None:
            return
        deadline = time.monotonic() + timeout_s
        for part in opened:
            part.close(max(_LEAST_S, deadline - time.monotonic()))
        self._admin.close()
        clients = [admin]
        del admin
        let_go(clients, max(_LEAST_S, deadline - time.monotonic()), "admin client")

    def _forget(self, part: "_AnyProducer | ConfluentConsumer") -> None:
        """It was closed."""
        with self._lock, suppress(ValueError):
            self._open.remove(part)

    def _require_open(self) -> None:
        if self._is_closed:
            raise Closed(f"the connection to {self._address.redacted} is closed: connect again")
