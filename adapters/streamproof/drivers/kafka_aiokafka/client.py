"""What every part of the async Kafka driver needs of aiokafka: connections, errors, waiting.

aiokafka's own client asks for metadata in the way that makes a broker create the topics it is asked
about, and offers no setting for it, and it forgets why it could not connect. ``adopt`` makes a client
of a producer or consumer one that does neither.
"""

import asyncio
import logging
import random
import socket
import ssl
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from aiokafka import client as native_client
from aiokafka import errors as native_errors
from aiokafka.conn import create_conn
from aiokafka.protocol.metadata import MetadataRequest

from streamproof.drivers.kafka.errors import call_error
from streamproof.errors import StreamproofError, TimedOut

_T = TypeVar("_T")

# Few of the insides have types.
_Client: Any = native_client.AIOKafkaClient
_connect: Any = create_conn

# Without a handler of the application's, Python would print the library's lines to standard error.
logging.getLogger("aiokafka").addHandler(logging.NullHandler())
_log = logging.getLogger("streamproof.kafka")
_log.addHandler(logging.NullHandler())

FOREIGN = (native_errors.KafkaError, native_errors.ConsumerStoppedError, OSError, asyncio.TimeoutError)
"""What a call into aiokafka can raise for a reason that lies outside of this program."""

_OUR_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (native_errors.AuthenticationFailedError, -169),
    (native_errors.AuthenticationMethodNotSupported, -169),
    (native_errors.KafkaTimeoutError, -185),
    (native_errors.CommitFailedError, -142),
    (native_errors.IllegalStateError, -142),
    (native_errors.NoOffsetForPartitionError, -140),
    (native_errors.ProducerFenced, 90),
    (native_errors.UnsupportedCodecError, -170),
    (native_errors.IncompatibleBrokerVersion, -165),
    (native_errors.UnrecognizedBrokerVersion, -165),
    (native_errors.ProducerClosed, -197),
    (native_errors.ConsumerStoppedError, -197),
    (native_errors.KafkaConnectionError, -195),
    (native_errors.NodeNotReadyError, -195),
    (native_errors.NoBrokersAvailable, -195),
    (native_errors.StaleMetadata, -195),
    (native_errors.KafkaProtocolError, -195),
    (ssl.SSLError, -181),
    (socket.gaierror, -193),
    (asyncio.TimeoutError, -185),
    (OSError, -195),
)
"""aiokafka raises classes where librdkafka has codes; the first that fits counts."""


def code_of(error: BaseException) -> int:
    """The code of an exception in the table of :mod:`~streamproof.drivers.kafka.errors`."""
    if isinstance(error, native_errors.BrokerResponseError):
        return int(error.errno)
    if isinstance(error.__cause__, native_errors.BrokerResponseError | ssl.SSLError | socket.gaierror):
        return code_of(error.__cause__)
    return next((code for kind, code in _OUR_CODES if isinstance(error, kind)), -1)


def reason_of(error: BaseException) -> str:
    """What an exception says, and what its cause says."""
    text = str(error) or type(error).__name__
    return f"{text} ({error.__cause__})" if error.__cause__ is not None else text


def translated(error: BaseException, what: str, *, definite: bool = True) -> StreamproofError:
    """Our error for the library's exception in a call that is no send."""
    return call_error(code_of(error), what, reason_of(error), error, definite=definite)


def refusal(code: int, what: str, message: str | None = None, *, definite: bool = True) -> StreamproofError:
    """Our error for a code inside of a broker's answer."""
    cause = native_errors.for_code(code)(message or "")
    return call_error(code, what, message or type(cause).__name__, cause, definite=definite)


class Deadline:
    """What is left of a bound."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._at_s = time.monotonic() + timeout_s

    @property
    def left_s(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self._at_s - time.monotonic())

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._at_s


async def bounded(
    call: Coroutine[Any, Any, _T], what: str, deadline: Deadline, *, definite: bool = True
) -> _T:
    """The result of a call into aiokafka within the bound; what it raises is translated."""
    try:
        async with asyncio.timeout(max(0.01, deadline.left_s)):
            return await call
    except TimeoutError as cause:
        raise TimedOut(
            f"{what}: no answer within {deadline.timeout_s} s; try again with more time", definite=definite
        ) from cause
    except FOREIGN as cause:
        raise translated(cause, what, definite=definite) from cause


async def ended(tasks: Iterable["asyncio.Task[Any]"], timeout_s: float) -> bool:
    """Cancel these tasks and wait for them within the bound; whether all have ended. What they
    raise is taken out, so that nothing complains later."""
    some = [task for task in tasks if task is not asyncio.current_task()]
    for task in some:
        task.cancel()
    if some:
        await asyncio.wait(some, timeout=timeout_s)
    for task in some:
        if task.done() and not task.cancelled():
            task.exception()
    return all(task.done() for task in some)


async def finished(call: Coroutine[Any, Any, Any], timeout_s: float, what: str) -> bool:
    """Run a closing call within the bound, cancelling it then; whether it came to its end."""
    task = asyncio.ensure_future(call)
    try:
        await asyncio.wait([task], timeout=max(0.0, timeout_s))
    finally:
        is_over_time = not task.done()
        if is_over_time:
            await ended([task], 1.0)
    if is_over_time or task.cancelled():
        _log.debug("%s was cut short", what)
        return False
    if (error := task.exception()) is not None:
        _log.debug("%s: %s", what, error)
    return error is None


_BETWEEN_LOOKS_S = 0.1


class CarefulClient(_Client):  # type: ignore[misc]
    """The library's connections, metadata included, without making topics by asking for them."""

    wants_all = False
    """Whether an empty list of topics stands for all of them, as aiokafka means it."""

    _is_incomplete = False

    async def _metadata_update(self, cluster_metadata: Any, topics: Any) -> bool:
        """As in aiokafka, but the request says that no topic is to be made, and what is missing is not
        asked for again and again without a pause."""
        is_all = topics is None or (self.wants_all and not topics)
        if self._is_incomplete:
            await asyncio.sleep(_BETWEEN_LOOKS_S)
        try:
            metadata = await self.metadata(None if is_all else list(topics))
        except (TimeoutError, native_errors.KafkaError) as cause:
            _log.debug("no metadata: %s", cause)
            cluster_metadata.failed_update(None)
            return False
        if not metadata.brokers:
            return False
        self._is_incomplete = any(topic[0] for topic in metadata.topics)
        cluster_metadata.update_metadata(metadata)
        return True

    async def metadata(self, topics: list[str] | None) -> Any:
        """The answer of the first broker that gives one; of all topics for ``None``."""
        nodes = [broker.nodeId for broker in self.cluster.brokers()]
        random.shuffle(nodes)
        failure: BaseException | None = None
        for node in nodes:
            connection = await self._get_conn(node)
            if connection is None:
                continue
            try:
                return await connection.send(MetadataRequest(topics, False))
            except (TimeoutError, native_errors.KafkaError) as cause:
                failure = cause
        raise native_errors.KafkaConnectionError("no broker gave metadata") from failure

    async def bootstrap(self) -> None:
        """As in aiokafka, but until there is a broker: one that has just come up may tell of none, and
        aiokafka would have nobody to ask ever after."""
        while True:
            await self._bootstrap()
            if self.cluster.brokers():
                return
            kept = self._conns.pop(("bootstrap", native_client.ConnectionGroup.DEFAULT), None)
            if kept is not None:
                kept.close()
            await asyncio.sleep(_BETWEEN_LOOKS_S)

    async def _bootstrap(self) -> None:
        """Once; the cause of a failure is kept."""
        try:
            await super().bootstrap()
        except native_errors.KafkaConnectionError as failure:
            for host, port, _ in self.hosts:
                try:
                    connection = await _connect(host, port, **self._connection_settings())
                except (TimeoutError, OSError, native_errors.KafkaError) as cause:
                    raise failure from cause
                connection.close()
            raise

    def _connection_settings(self) -> dict[str, Any]:
        return {
            "client_id": self._client_id,
            "request_timeout_ms": self._request_timeout_ms,
            "ssl_context": self._ssl_context,
            "security_protocol": self._security_protocol,
            "sasl_mechanism": self._sasl_mechanism,
            "sasl_plain_username": self._sasl_plain_username,
            "sasl_plain_password": self._sasl_plain_password,
            "sasl_kerberos_service_name": self._sasl_kerberos_service_name,
            "sasl_kerberos_domain_name": self._sasl_kerberos_domain_name,
            "sasl_oauth_token_provider": self._sasl_oauth_token_provider,
        }


def adopt(client: Any, *, wants_all: bool = False) -> CarefulClient:
    """Make a client careful. aiokafka makes it deep inside of its producers and consumers, and takes
    no other; so its class is changed before it is started."""
    client.__class__ = CarefulClient
    assert isinstance(client, CarefulClient)
    client.wants_all = wants_all
    return client


def made(kind: Callable[..., _T], settings: dict[str, Any]) -> _T:
    """A client of the library; :class:`ConfigurationError` for a setting that it does not take."""
    from streamproof.errors import ConfigurationError

    try:
        return kind(**settings)
    except (TypeError, ValueError, RuntimeError, AssertionError) as cause:
        raise ConfigurationError(f"aiokafka refuses a setting: {cause}") from cause
