"""Real brokers: found, or started and never left behind.

:func:`find` says how a broker can be had here: at the URL of ``STREAMPROOF_KAFKA_URL`` or
``STREAMPROOF_RABBITMQ_URL``, as a local process, in a container, or not (:class:`Absent`, with the
reason and a remedy). :func:`kafka` and :func:`rabbitmq` go that way::

    with servers.kafka(private=True) as server:
        bus = streamproof.connect(server.url)
        ...
        server.kill()      # SIGKILL
        server.restart()   # the same data and ports; ready on return

:func:`postgresql` and :func:`redis` do the same for the databases that stores and outboxes need.

A broker started here belongs to a watchdog process of its own. When the starting process ends, by
``kill -9`` too, the watchdog kills every process of the broker and removes its data.
:func:`up` leaves brokers running until :func:`down`; :func:`doctor` tells what is there.
"""

from streamproof_harness.servers.availability import (
    DATABASES,
    KINDS,
    URL_VARIABLES,
    Absent,
    Availability,
    Container,
    Database,
    Given,
    Kind,
    Local,
    ServerAbsent,
    ServerError,
)
from streamproof_harness.servers.databases import find_database, postgresql, redis, start_database
from streamproof_harness.servers.doctor import Finding, doctor
from streamproof_harness.servers.finding import find
from streamproof_harness.servers.opening import kafka, rabbitmq, start
from streamproof_harness.servers.server import Server
from streamproof_harness.servers.standing import Standing, down, standing, up

__all__ = [
    "DATABASES",
    "KINDS",
    "URL_VARIABLES",
    "Absent",
    "Availability",
    "Container",
    "Database",
    "Finding",
    "Given",
    "Kind",
    "Local",
    "Server",
    "ServerAbsent",
    "ServerError",
    "Standing",
    "doctor",
    "down",
    "find",
    "find_database",
    "kafka",
    "postgresql",
    "rabbitmq",
    "redis",
    "standing",
    "start",
    "start_database",
    "up",
]
