"""Which driver serves which URL scheme: the built-in ones, and those that other packages offer.

A package offers one by an entry point in the group ``streamproof.backends``, named as the scheme,
that loads to a :class:`Backend`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from streamproof.driver import AsyncDriver, Driver
from streamproof.errors import ConfigurationError, MissingExtra, Unsupported
from streamproof.url import Address

OpenDriver = Callable[[Address, float], Driver]
OpenAsyncDriver = Callable[[Address, float], Awaitable[AsyncDriver]]


@dataclass(frozen=True, slots=True)
class Backend:
    """How to open one backend. Each is ``module:function``, called with the address and a timeout
    in seconds; ``None`` where the backend does not come in that colour."""

    sync: str | None
    asynchronous: str | None
    extra: str | None = None
    async_extra: str | None = None


_BUILT_IN = {
    "memory": Backend(
        "streamproof.drivers.memory:open_driver", "streamproof.drivers.memory:open_async_driver"
    ),
    "kafka": Backend(
        "streamproof.drivers.kafka_confluent:open_driver",
        "streamproof.drivers.kafka_aiokafka:open_driver",
        extra="kafka",
        async_extra="aiokafka",
    ),
    "amqp": Backend(
        "streamproof.drivers.rabbitmq_pika:open_driver",
        "streamproof.drivers.rabbitmq_aio_pika:open_driver",
        extra="rabbitmq",
        async_extra="aio-rabbitmq",
    ),
}


def backend_for(scheme: str) -> Backend:
    """The backend that serves this scheme; :class:`ConfigurationError` names the known ones."""
    if scheme in _BUILT_IN:
        return _BUILT_IN[scheme]
    offered = {point.name: point for point in entry_points(group="streamproof.backends")}
    if scheme in offered:
        backend = offered[scheme].load()
        if not isinstance(backend, Backend):
            raise ConfigurationError(
                f"the entry point of scheme {scheme!r} is a {type(backend).__name__}, not a Backend"
            )
        return backend
    known = ", ".join(f"{name}://" for name in sorted({*_BUILT_IN, *offered}))
    raise ConfigurationError(f"unknown scheme {scheme!r}: use one of {known}")


def opener(scheme: str) -> OpenDriver:
    """The function that opens a blocking driver."""
    backend = backend_for(scheme)
    found: OpenDriver = _load(scheme, backend.sync, backend.extra, "blocking")
    return found


def async_opener(scheme: str) -> OpenAsyncDriver:
    """The function that opens an async driver."""
    backend = backend_for(scheme)
    found: OpenAsyncDriver = _load(scheme, backend.asynchronous, backend.async_extra, "async")
    return found


def _load(scheme: str, target: str | None, extra: str | None, colour: str) -> Any:
    if target is None:
        raise Unsupported(f"{scheme}:// has no {colour} driver: use the other colour")
    module, _, function = target.partition(":")
    try:
        return getattr(import_module(module), function)
    except ImportError as cause:
        if extra is None or (cause.name or "").startswith("streamproof"):
            raise
        library = str(cause.name).partition(".")[0]
        raise MissingExtra(
            f"{scheme}:// needs {library}, which is not installed: pip install 'streamproof[{extra}]'"
        ) from cause
