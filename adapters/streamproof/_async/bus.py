"""An open connection to one backend: makes producers, consumers and the admin."""

import logging
from types import TracebackType
from typing import Any, Self, final

from streamproof._async.admin import AsyncAdmin
from streamproof._async.colour import now_s, open_driver
from streamproof._async.consumer import AsyncConsumer
from streamproof._async.namespace import AsyncNamespacedDriver
from streamproof._async.producer import AsyncProducer
from streamproof.capabilities import Capabilities
from streamproof.checks import require_topic_name
from streamproof.driver import AsyncDriver
from streamproof.errors import Closed, StreamproofError
from streamproof.observer import ConsumerObserver, ProducerObserver
from streamproof.refusals import require_consumer, require_producer
from streamproof.serialization import Format, decoder, encoder
from streamproof.settings import Settings, resolve

_log = logging.getLogger("streamproof.bus")


async def aconnect(
    url: str | None = None,
    *,
    namespace: str | None = None,
    timeout_s: float | None = None,
    **settings: object,
) -> "AsyncBus":
    """Connect to a backend, e.g. ``memory://name``, ``kafka://host:9092``, ``amqp://host/``.

    ``namespace`` is put before every topic's and group's name and taken off again, so that
    several tests or tenants share a broker without meeting. Further settings are defaults for
    the bus' producers and consumers (:mod:`streamproof.settings` lists them); what is not given
    here is taken from the URL's options, then from ``STREAMPROOF_…`` variables, then from
    ``[tool.streamproof]`` in the nearest ``pyproject.toml``.

    Raises :class:`ConfigurationError`, :class:`MissingExtra`, and, within ``timeout_s``,
    :class:`Unreachable` when no backend answers.
    """
    resolved = resolve(url, dict(settings, namespace=namespace, timeout_s=timeout_s))
    driver = await open_driver(resolved.address, resolved.timeout_s)
    _log.debug("connected to %s", resolved.address.redacted)
    return AsyncBus(driver, resolved)


@final
class AsyncBus:
    """A connection to one backend. Close it, or use it in a ``with`` statement: that closes the
    producers and consumers it made, too."""

    def __init__(self, driver: AsyncDriver, settings: Settings) -> None:
        self._driver: AsyncDriver = (
            AsyncNamespacedDriver(driver, settings.namespace) if settings.namespace else driver
        )
        self._settings = settings
        self._open: list[AsyncProducer[Any, Any] | AsyncConsumer[Any, Any]] = []
        self._is_closed = False

    @property
    def url(self) -> str:
        """The address, without password and options."""
        return self._settings.address.redacted

    @property
    def capabilities(self) -> Capabilities:
        """What this backend says it can do."""
        return self._driver.capabilities

    @property
    def native(self) -> Any:
        """The client library's own object: the way out of this interface."""
        return self._driver.native

    async def producer(
        self,
        *,
        key: Format = "bytes",
        value: Format = "bytes",
        observer: ProducerObserver | None = None,
        timeout_s: float = 30.0,
        **options: Any,
    ) -> AsyncProducer[Any, Any]:
        """A producer. ``key`` and ``value`` name their formats: ``"bytes"``, ``"text"``, ``"json"``
        or a type; ``options`` are those of :class:`ProducerOptions`. With a ``transactional_id`` it
        takes that over, within ``timeout_s``: an older producer of that id is fenced."""
        self._require_open()
        self._forget_closed()
        chosen = self._settings.producer_options(options)
        require_producer(self.capabilities, chosen)
        write_key, write_value = encoder(key), encoder(value)

        async def sibling(transactional_id: str) -> AsyncProducer[Any, Any]:
            return await self.producer(
                key=key,
                value=value,
                observer=observer,
                timeout_s=timeout_s,
                **{**options, "transactional_id": transactional_id},
            )

        driver = await self._driver.producer(chosen)
        producer = AsyncProducer[Any, Any](
            driver, write_key, write_value, chosen.transactional_id, observer, sibling
        )
        if chosen.transactional_id is not None:
            try:
                await producer.transactions.initialise(timeout_s)
            except BaseException:
                await driver.close(timeout_s)
                raise
        self._open.append(producer)
        return producer

    async def consumer(
        self,
        *topics: str,
        group: str | None = None,
        key: Format = "bytes",
        value: Format = "bytes",
        observer: ConsumerObserver | None = None,
        timeout_s: float = 30.0,
        **options: Any,
    ) -> AsyncConsumer[Any, Any]:
        """A consumer of these topics, or of ``pattern=…``; with a ``group`` it shares the work
        with the group's other members, without one it reads everything. ``options`` are those of
        :class:`ConsumerOptions`. Raises :class:`UnknownTopic`, :class:`Unsupported`."""
        self._require_open()
        self._forget_closed()
        for topic in topics:
            require_topic_name(topic)
        chosen = self._settings.consumer_options(dict(options, topics=topics, group=group))
        require_consumer(self.capabilities, chosen)
        read_key, read_value = decoder(key), decoder(value)
        driver = await self._driver.consumer(chosen)
        consumer = AsyncConsumer[Any, Any](
            driver, chosen, self.capabilities, read_key, read_value, observer or ConsumerObserver()
        )
        try:
            await consumer.start(timeout_s)
        except BaseException:
            await driver.close(timeout_s)
            raise
        self._open.append(consumer)
        return consumer

    async def admin(self) -> AsyncAdmin:
        """Topics and groups."""
        self._require_open()
        return AsyncAdmin(await self._driver.admin(), self.capabilities)

    async def close(self, timeout_s: float = 30.0) -> None:
        """Close the consumers, then the producers, then the connection, all within the bound; a
        second call does nothing. Everything is closed, then the first error is raised."""
        if self._is_closed:
            return
        self._is_closed = True
        deadline = now_s() + timeout_s
        failure: StreamproofError | None = None
        opened, self._open = self._open, []
        for part in sorted(opened, key=lambda part: isinstance(part, AsyncProducer)):
            try:
                await part.close(max(0.1, deadline - now_s()))
            except StreamproofError as error:
                failure = failure or error
        await self._driver.close(max(0.1, deadline - now_s()))
        if failure is not None:
            raise failure

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def _require_open(self) -> None:
        if self._is_closed:
            raise Closed("the bus is closed: connect again")

    def _forget_closed(self) -> None:
        self._open = [part for part in self._open if not part.is_closed]
