"""Which way leads to a broker here: a given URL, a local process, a container, or none."""

import os
import shutil

from streamproof_harness.servers.availability import (
    URL_VARIABLES,
    Absent,
    Availability,
    Container,
    Given,
    Kind,
    Local,
)
from streamproof_harness.servers.container import engine_problem, wanted_image
from streamproof_harness.servers.java import NEEDED, find_java
from streamproof_harness.servers.kafka_jars import cached_jars, wanted_version
from streamproof_harness.servers.rabbitmq_node import find_rabbitmq


def find(kind: Kind, *, private: bool = False) -> Availability:
    """The first of the three ways that is open, or :class:`Absent` with the reasons why none is.

    Starts nothing, contacts no broker, takes up to some seconds where a container engine hangs.
    A ``private`` broker is one that may be harmed, so never a given one.
    """
    given = os.environ.get(URL_VARIABLES[kind])
    if given and not private:
        return Given(kind, given)
    local = find_local_kafka() if kind == "kafka" else find_local_rabbitmq()
    if isinstance(local, Local):
        return local
    problem = engine_problem()
    if problem is None:
        return Container(kind, wanted_image(kind))
    return Absent(kind, f"{local.reason}; {problem}", local.remedy)


def find_local_kafka() -> Local | Absent:
    """Java and the jars, or Maven to bring them."""
    version = wanted_version()
    advice = (
        f"install Java {NEEDED} and Maven (Debian: apt-get install openjdk-17-jre-headless maven), "
        f"start a container engine, or set {URL_VARIABLES['kafka']}"
    )
    java = find_java()
    if java is None:
        return Absent("kafka", "java is not on the PATH", advice)
    if java.major < NEEDED:
        return Absent("kafka", f"{java.command} is Java {java.major}, Kafka needs {NEEDED}", advice)
    if cached_jars(version) is None and shutil.which("mvn") is None:
        return Absent(
            "kafka", f"the jars of Kafka {version} are not in the cache and mvn is not on the PATH", advice
        )
    return Local("kafka", f"Kafka {version} on Java {java.major}")


def find_local_rabbitmq() -> Local | Absent:
    """An installed RabbitMQ and its Erlang."""
    program = find_rabbitmq()
    if program is None:
        return Absent(
            "rabbitmq",
            "RabbitMQ is not installed",
            "install it (Debian: apt-get install rabbitmq-server), start a container engine, "
            f"or set {URL_VARIABLES['rabbitmq']}",
        )
    return Local("rabbitmq", f"RabbitMQ {program.version} in {program.home}")
