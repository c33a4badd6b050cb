"""The places where a mutant takes hold of a client process of a run."""

from collections.abc import Callable
from typing import Any, cast

from streamproof import AsyncBus, AsyncConsumer, aconnect
from streamproof._async.colour import open_driver
from streamproof._async.namespace import AsyncNamespacedDriver
from streamproof._async.worker import AsyncWorkSink, AsyncWorkSource
from streamproof.capabilities import Capabilities
from streamproof.driver import AsyncAdminDriver, AsyncConsumerDriver, AsyncDriver, AsyncProducerDriver
from streamproof.options import ConsumerOptions, ProducerOptions
from streamproof.settings import resolve
from streamproof_harness.applications.application import Application
from streamproof_harness.clients.plans import Place, ReaderPlan
from streamproof_harness.mutants._async.clients import APPLICATIONS, CLIENTS, SINKS, SOURCES
from streamproof_harness.mutants._async.consumers import CONSUMERS
from streamproof_harness.mutants._async.producers import PRODUCERS
from streamproof_harness.mutants.catalogue import mutant_named
from streamproof_harness.mutants.mutant import Turn


class AsyncSeams:
    """Takes the real parts of one process, and returns them as they are, or broken.

    ``struck`` is called when a broken part does its harm, so that a run whose mutant never came
    to it can be told from one whose mutant survived.
    """

    def __init__(self, place: Place, struck: Callable[[], None]) -> None:
        self._place = place
        self._struck = struck
        self._mutant = mutant_named(place.mutant) if place.mutant else None

    async def bus(self) -> AsyncBus:
        """A bus of the place. The broken driver lies above the namespace: it sees the run's own names."""
        place = self._place
        if self._mutant is None:
            return await aconnect(place.url, namespace=place.namespace)
        settings = resolve(place.url, {})
        driver: AsyncDriver = await open_driver(settings.address, settings.timeout_s)
        if place.namespace:
            driver = AsyncNamespacedDriver(driver, place.namespace)
        return AsyncBus(AsyncBrokenDriver(driver, self), settings)

    def plan(self, plan: ReaderPlan) -> ReaderPlan:
        """What a reader shall do."""
        if self._mutant is None or self._mutant.plan is None or not self._mutant.reaches(plan.group):
            return plan
        self._struck()
        return self._mutant.plan(plan)

    def options(self, options: ConsumerOptions) -> ConsumerOptions:
        """What a driver's consumer shall do."""
        mutant = self._mutant
        if mutant is None or mutant.options is None or not mutant.reaches(options.group):
            return options
        self._struck()
        return mutant.options(options)

    def producer(self, driver: AsyncProducerDriver) -> AsyncProducerDriver:
        """A driver's producer."""
        return cast("AsyncProducerDriver", self._broken(PRODUCERS, driver))

    def consumer(self, driver: AsyncConsumerDriver, group: str | None) -> AsyncConsumerDriver:
        """A driver's consumer."""
        return cast("AsyncConsumerDriver", self._of_group(CONSUMERS, driver, group))

    def client(self, consumer: AsyncConsumer[Any, Any], group: str | None) -> AsyncConsumer[Any, Any]:
        """A consumer as applications hold it, beneath what records its calls."""
        return cast("AsyncConsumer[Any, Any]", self._of_group(CLIENTS, consumer, group))

    def source(self, source: AsyncWorkSource, group: str | None) -> AsyncWorkSource:
        """What a worker reads from, above what records its calls."""
        return cast("AsyncWorkSource", self._of_group(SOURCES, source, group))

    def sink(self, sink: AsyncWorkSink) -> AsyncWorkSink:
        """What takes a worker's dead letters, beneath what records them."""
        return cast("AsyncWorkSink", self._broken(SINKS, sink))

    def application(self, application: Application, group: str | None) -> Application:
        """What a transforming process computes."""
        return cast("Application", self._of_group(APPLICATIONS, application, group))

    def _of_group(self, parts: dict[str, Any], part: Any, group: str | None) -> Any:
        is_reached = self._mutant is not None and self._mutant.reaches(group)
        return self._broken(parts, part) if is_reached else part

    def _broken(self, parts: dict[str, Any], part: Any) -> Any:
        if self._mutant is None or self._mutant.name not in parts:
            return part
        return parts[self._mutant.name](part, Turn(self._mutant.at, self._struck))


class AsyncBrokenDriver:
    """A driver whose producers and consumers went through the seams."""

    def __init__(self, inner: AsyncDriver, seams: AsyncSeams) -> None:
        self._inner = inner
        self._seams = seams

    @property
    def capabilities(self) -> Capabilities:
        """See the driver."""
        return self._inner.capabilities

    @property
    def native(self) -> Any:
        """See the driver."""
        return self._inner.native

    async def producer(self, options: ProducerOptions) -> AsyncProducerDriver:
        """A producer, perhaps broken."""
        return self._seams.producer(await self._inner.producer(options))

    async def consumer(self, options: ConsumerOptions) -> AsyncConsumerDriver:
        """A consumer, perhaps broken."""
        driver = await self._inner.consumer(self._seams.options(options))
        return self._seams.consumer(driver, options.group)

    async def admin(self) -> AsyncAdminDriver:
        """The admin, unbroken."""
        return await self._inner.admin()

    async def close(self, timeout_s: float) -> None:
        """See the driver."""
        await self._inner.close(timeout_s)
