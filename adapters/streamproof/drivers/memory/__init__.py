"""``memory://``: an in-memory log with Kafka's semantics, in the program's own process.

``memory://`` makes a cluster of its own for each connection; ``memory://name`` is shared by all
connections of the process to that name, whatever their colour, thread or event loop, until
``forget(name)``. To hold a cluster oneself, make a
:class:`~streamproof.drivers.memory.cluster.MemoryCluster` and take ``cluster.driver()`` or
``cluster.async_driver()``: nothing is shared but by passing it on.

Options: ``partitions``, ``auto_create``, ``max_message_bytes``, ``transaction_version``; see
:class:`~streamproof.drivers.memory.settings.MemorySettings`.
"""

import threading

from streamproof.drivers.memory.async_driver import AsyncMemoryDriver
from streamproof.drivers.memory.cluster import MemoryCluster
from streamproof.drivers.memory.settings import MemorySettings
from streamproof.drivers.memory.sync_driver import MemoryDriver
from streamproof.errors import ConfigurationError
from streamproof.url import Address

# The one place that is shared by the whole process, because a name in a URL means just that.
_named: dict[str, MemoryCluster] = {}
_named_lock = threading.Lock()


def open_driver(address: Address, timeout_s: float) -> MemoryDriver:
    """A blocking driver on the cluster that the address names."""
    return cluster_at(address).driver()


async def open_async_driver(address: Address, timeout_s: float) -> AsyncMemoryDriver:
    """An async driver on the cluster that the address names."""
    return cluster_at(address).async_driver()


def cluster_at(address: Address) -> MemoryCluster:
    """The cluster of that name, made now if it is not there; a new one where there is no name.

    Raises :class:`ConfigurationError` for a URL that says more than a name and known options, or
    other options than the cluster of that name was made with.
    """
    if address.path or len(address.hosts) > 1 or address.username or address.password:
        raise ConfigurationError(f"{address.redacted} is not possible: write memory:// or memory://name")
    settings = MemorySettings.from_options(address.options)
    if not address.hosts:
        return MemoryCluster(settings=settings)
    name = address.hosts[0]
    with _named_lock:
        cluster = _named.get(name)
        if cluster is None:
            cluster = _named[name] = MemoryCluster(name, settings=settings)
    if address.options and settings != cluster.settings:
        raise ConfigurationError(
            f"memory://{name} is open with {cluster.settings}: connect with the same options, or with none"
        )
    return cluster


def forget(name: str) -> None:
    """Let go of the shared cluster of that name, if there is one: the next connection to the name
    gets a new one. Who holds the old one keeps it."""
    with _named_lock:
        _named.pop(name, None)
