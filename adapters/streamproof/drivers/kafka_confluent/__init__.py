"""Apache Kafka for threads, over confluent-kafka.

The driver itself holds one admin client, which finds out whether the brokers are there, resolves
offsets and does the admin verbs; producers and consumers are clients of their own.
"""

from typing import Any

from streamproof.drivers.kafka.options import client_settings
from streamproof.drivers.kafka_confluent.client import AdminClient, Trouble, await_brokers, made
from streamproof.drivers.kafka_confluent.driver import ConfluentDriver
from streamproof.url import Address


def open_driver(address: Address, timeout_s: float) -> Any:
    """Connect to the brokers of ``address``; the result is a :class:`~streamproof.driver.Driver`.

    Raises :class:`ConfigurationError` for an option the library does not know, and, when the
    brokers do not answer within ``timeout_s``, :class:`Unreachable` or :class:`AccessDenied`.
    """
    settings = client_settings(address)
    trouble = Trouble()
    admin: AdminClient = made(AdminClient, settings, trouble)
    await_brokers(admin, trouble, address, timeout_s)
    return ConfluentDriver(settings, admin, trouble, address, timeout_s)
