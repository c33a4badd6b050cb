"""Have a database: use the given one, or start one; for the stores and outboxes of applications."""

import os
from collections.abc import Mapping

from streamproof_harness.servers.availability import (
    URL_VARIABLES,
    Absent,
    Database,
    Given,
    Local,
    ServerAbsent,
    ServerError,
)
from streamproof_harness.servers.local import LocalServer, Node
from streamproof_harness.servers.postgresql_node import PostgresqlNode, find_postgresql
from streamproof_harness.servers.redis_node import RedisNode, find_redis
from streamproof_harness.servers.server import GivenServer, Server

START_BOUND_S = 60.0
PACKAGES: dict[Database, str] = {"postgresql": "postgresql", "redis": "redis-server"}


def find_database(kind: Database, *, private: bool = False) -> Given | Local | Absent:
    """How a database can be had here: given, as a local process, or not. Starts nothing."""
    given = os.environ.get(URL_VARIABLES[kind])
    if given and not private:
        return Given(kind, given)
    if kind == "postgresql":
        program = find_postgresql()
        if program is not None:
            return Local(kind, f"PostgreSQL {program.version} in {program.home}")
    elif (version := find_redis()) is not None:
        return Local(kind, f"Redis {version}")
    remedy = f"install it (Debian: apt-get install {PACKAGES[kind]}), or set {URL_VARIABLES[kind]}"
    return Absent(kind, f"{kind} is not installed", remedy)


def postgresql(
    *, private: bool = False, settings: Mapping[str, str] | None = None, timeout_s: float = START_BOUND_S
) -> Server:
    """A PostgreSQL that answers: the given one, or a local process (2 s) with a database of its own.

    ``private``: one of its own that may be killed, never the given one. ``settings`` go into
    postgresql.conf; with settings it is private as well. Blocks up to ``timeout_s``. Raises
    :class:`ServerAbsent` when there is no way, :class:`ServerError` when one failed.
    """
    return start_database("postgresql", private=private, settings=settings, timeout_s=timeout_s)


def redis(
    *, private: bool = False, settings: Mapping[str, str] | None = None, timeout_s: float = START_BOUND_S
) -> Server:
    """A Redis that answers; ``settings`` go into redis.conf; everything else as with :func:`postgresql`."""
    return start_database("redis", private=private, settings=settings, timeout_s=timeout_s)


def start_database(
    kind: Database,
    *,
    private: bool = False,
    settings: Mapping[str, str] | None = None,
    timeout_s: float = START_BOUND_S,
) -> Server:
    """:func:`postgresql` or :func:`redis`."""
    how = find_database(kind, private=private or bool(settings))
    if isinstance(how, Absent):
        raise ServerAbsent(how)
    if isinstance(how, Given):
        return GivenServer(how)
    node: Node = RedisNode(settings or {}) if kind == "redis" else _postgresql_node(settings or {})
    return LocalServer(node, how, timeout_s)


def _postgresql_node(settings: Mapping[str, str]) -> PostgresqlNode:
    program = find_postgresql()
    if program is None:
        raise ServerError("PostgreSQL is not installed any more")
    return PostgresqlNode(program, settings)
