"""A backend with one fault, and the suite on it."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, ClassVar

import msgspec
import pytest

from streamproof import Bus, Capabilities, Deliveries, Delivery, Outgoing, StreamproofError
from streamproof.drivers import memory
from streamproof.registry import opener
from streamproof.settings import resolve
from streamproof_harness.conformance._sync.suite import ConformanceSuite

_numbers = itertools.count()

PATIENCE_S = 0.4
"""How long a case waits for what will never come."""


class Through:
    """Passes everything on; mutants override something."""

    def __init__(self, inner: Any, mutant: Any, options: Any = None) -> None:
        self.inner, self.mutant, self.options = inner, mutant, options

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    @contextmanager
    def transaction(self, *consumers: Any, **options: Any) -> Iterator[Any]:
        """The library looks at the class of consumers: hand over those inside."""
        with self.inner.transaction(*map(_inside, consumers), **options) as tx:
            yield _Transaction(tx, self.mutant)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.stream())


class _Transaction(Through):
    def commit_offsets(self, consumer: Any) -> None:
        self.inner.commit_offsets(_inside(consumer))


def _inside(part: Any) -> Any:
    return getattr(part, "inner", part)


class Sending(Through):
    """A producer at the seam whose every send goes through ``one``."""

    def send(self, topic: str, value: Any, key: Any, headers: Any, *where: Any) -> Any:
        partition, timestamp_ms, _ = where
        return self.one(topic, Outgoing(value, key, headers, partition, timestamp_ms))

    def send_many(self, topic: str, records: Sequence[Any], timeout_s: float) -> Any:
        return Deliveries([self.one(topic, record) for record in records])

    def one(self, topic: str, record: Any) -> Any:
        return self.passed(topic, record)

    def passed(self, topic: str, record: Any, **changed: Any) -> Any:
        """Send the record, with these fields changed."""
        record = msgspec.structs.replace(record, **changed)
        where = (record.partition, record.timestamp_ms, 1.0)
        return self.inner.send(topic, record.value, record.key, record.headers, *where)


class Mutant:
    """One fault. Nested classes replace the parts that have it; the others pass everything on.

    ``Producer``, ``Consumer`` and ``Admin`` are broken at the seam; what begins with ``Held`` in
    the application's hands, for what is done above the seam.
    """

    caught_by: tuple[str, ...] = ()
    """The cases that must turn red."""
    suite: ClassVar[Mapping[str, object]] = {}
    """Attributes of the suite."""
    flags: ClassVar[Mapping[str, Any]] = {}
    """Capabilities declared against the truth."""

    Producer: type[Through] = Through
    Consumer: type[Through] = Through
    Admin: type[Through] = Through
    HeldProducer: type[Through] = Through
    HeldConsumer: type[Through] = Through
    HeldAdmin: type[Through] = Through

    def url(self, url: str) -> str:
        """The address that is really connected to."""
        return url

    def settings(self, given: dict[str, Any]) -> dict[str, Any]:
        """The settings that are really used."""
        return given

    def sending(self, options: Any) -> Any:
        """The options that a producer at the seam really gets."""
        return options

    def reading(self, options: Any) -> Any:
        """The options that a consumer at the seam really gets."""
        return options

    def asked(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options that a consumer in the application's hands really gets."""
        return options

    def close_bus(self, bus: Any, timeout_s: float) -> None:
        """What closing a bus really does."""
        bus.close(timeout_s)


class _MutantDriver(Through):
    @property
    def capabilities(self) -> Capabilities:
        capabilities: Capabilities = self.inner.capabilities
        return replace(capabilities, **self.mutant.flags)

    def producer(self, options: Any) -> Any:
        options = self.mutant.sending(options)
        return self.mutant.Producer(self.inner.producer(options), self.mutant, options)

    def consumer(self, options: Any) -> Any:
        options = self.mutant.reading(options)
        return self.mutant.Consumer(self.inner.consumer(options), self.mutant, options)

    def admin(self) -> Any:
        return self.mutant.Admin(self.inner.admin(), self.mutant)


class _MutantBus(Through):
    def producer(self, **options: Any) -> Any:
        return self.mutant.HeldProducer(self.inner.producer(**options), self.mutant, options)

    def consumer(self, *topics: str, **options: Any) -> Any:
        options = self.mutant.asked(options)
        return self.mutant.HeldConsumer(self.inner.consumer(*topics, **options), self.mutant, options)

    def admin(self) -> Any:
        return self.mutant.HeldAdmin(self.inner.admin(), self.mutant)

    def close(self, timeout_s: float = 30.0) -> None:
        self.mutant.close_bus(self.inner, timeout_s)


def suite_on(mutant: Mutant, patience_s: float = PATIENCE_S) -> type[ConformanceSuite]:
    """The suite on an in-memory backend with this fault."""

    def connect(self: Any, url: str | None = None, **settings: Any) -> Any:
        resolved = resolve(mutant.url(url or self.url), mutant.settings(settings))
        driver = opener(resolved.address.scheme)(resolved.address, 5.0)
        return _MutantBus(Bus(_MutantDriver(driver, mutant), resolved), mutant)

    own = {"url": f"memory://mutant-{next(_numbers)}", "patience_s": patience_s, "connect": connect}
    return type("MutantSuite", (ConformanceSuite,), {**own, **mutant.suite})


def run(suite: type[ConformanceSuite], case: str) -> BaseException | None:
    """What the case says: nothing, or why it is red."""
    try:
        getattr(suite(), case)()
    except (Exception, pytest.fail.Exception) as red:
        return red
    finally:
        with suppress(StreamproofError, RuntimeError):  # broken backends need not close well
            suite.teardown_class()
        memory.forget(suite.url.removeprefix("memory://"))
    return None


def settled(answer: Any) -> Delivery:
    """A delivery with this outcome."""
    delivery = Delivery()
    delivery.settle(answer)
    return delivery
