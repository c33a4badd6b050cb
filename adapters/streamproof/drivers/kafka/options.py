"""Settings of Kafka's clients: from the URL, from our options, from ``native``.

Names are librdkafka's (its ``CONFIGURATION.md``), with dots; the aiokafka driver translates what it
has. What the drivers rely on cannot be overruled.
"""

from collections.abc import Iterable, Mapping

from streamproof.errors import ConfigurationError
from streamproof.options import ConsumerOptions, ProducerOptions
from streamproof.url import Address

DEFAULT_PORT = 9092

_ACKS: dict[str, str | int] = {"all": "all", "leader": 1, "none": 0}

_FIXED = {
    "bootstrap.servers": "write the brokers into the URL",
    "metadata.broker.list": "write the brokers into the URL",
    "group.id": "pass group=… to bus.consumer",
    "transactional.id": "pass transactional_id=… to bus.producer",
    "enable.auto.commit": "progress is stored by ack and commit",
    "enable.auto.offset.store": "progress is stored by ack and commit",
    "auto.offset.reset": "pass start=… to bus.consumer",
}

_REFRESH_MS = 2000
"""How soon clients see topics and partitions that were made since."""

_MAX_RECORD_BYTES = 64 * 1024 * 1024
"""The client's own limit: high, so that the topic's limit decides, which the broker knows."""

_MAX_ID_BYTES = 32_767
"""The longest string in Kafka's protocol."""


def bootstrap_servers(address: Address) -> list[str]:
    """The brokers of a URL as ``host:port``; :class:`ConfigurationError` if it names none."""
    if not address.hosts:
        raise ConfigurationError(f"{address.redacted} names no broker: write kafka://host:{DEFAULT_PORT}")
    if address.path:
        raise ConfigurationError(
            f"{address.redacted} has a path, {address.path!r}, which means nothing to Kafka: leave it out"
        )
    return [_with_port(host, address) for host in address.hosts]


def _with_port(host: str, address: Address) -> str:
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        return f"{host}:{DEFAULT_PORT}"
    if not name or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigurationError(f"{host!r} in {address.redacted} is no host:port")
    return host


def client_settings(address: Address) -> dict[str, object]:
    """What every client of this URL has in common, credentials included."""
    settings: dict[str, object] = {
        "bootstrap.servers": ",".join(bootstrap_servers(address)),
        # Else a broker that makes topics of itself would make each that is asked about.
        "allow.auto.create.topics": False,
        # The first connection to a broker waits for half of it, too.
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1000,
    }
    if address.username is not None:
        # A password never travels in the clear unless the URL asks for it.
        settings["security.protocol"] = "sasl_ssl"
        settings["sasl.mechanism"] = "PLAIN"
        settings["sasl.username"] = address.username
        settings["sasl.password"] = address.password or ""
    return {**settings, **allowed(address.options, "the URL")}


def allowed(given: Mapping[str, object], origin: str) -> dict[str, object]:
    """These settings, unless one of them is not to be chosen here."""
    settings = {_canonical(name): value for name, value in given.items()}
    for name in settings:
        if name in _FIXED:
            raise ConfigurationError(f"{name} cannot be set in {origin}: {_FIXED[name]}")
    return settings


def _canonical(name: str) -> str:
    return "sasl.mechanism" if name == "sasl.mechanisms" else name


def producer_settings(common: Mapping[str, object], options: ProducerOptions) -> dict[str, object]:
    """The settings of a producer: safe by default. What the URL or ``native`` says in the library's
    own words wins."""
    settings: dict[str, object] = {
        "acks": _ACKS[options.acks],
        "enable.idempotence": options.is_idempotent,
        "linger.ms": options.linger_ms,
        "queue.buffering.max.messages": options.buffer_records,
        "message.timeout.ms": int(options.delivery_timeout_s * 1000),
        "request.timeout.ms": min(30_000, max(1, int(options.delivery_timeout_s * 1000))),
        "compression.type": options.compression,
        "partitioner": "murmur2_random",
        "message.max.bytes": _MAX_RECORD_BYTES,
        # How long a topic that the broker does not know (yet) is waited for.
        "topic.metadata.propagation.max.ms": 1000,
    }
    if options.transactional_id is not None:
        transaction_ms = int(options.transaction_timeout_s * 1000)
        settings["transactional.id"] = checked_id(options.transactional_id)
        settings["transaction.timeout.ms"] = transaction_ms
        # What is sent in a transaction has no time after it.
        settings["message.timeout.ms"] = min(int(options.delivery_timeout_s * 1000), transaction_ms)
    return {**settings, **common, **allowed(options.native, "native")}


def checked_id(transactional_id: str) -> str:
    """A ``transactional_id`` that fits into Kafka's requests: a longer one would make the broker hang
    up without a word."""
    size = len(transactional_id.encode())
    if size > _MAX_ID_BYTES:
        raise ConfigurationError(
            f"a transactional_id of {size} bytes is not possible: Kafka takes {_MAX_ID_BYTES} at most"
        )
    return transactional_id


def consumer_settings(
    common: Mapping[str, object], options: ConsumerOptions, group: str
) -> dict[str, object]:
    """The settings of a consumer; ``group`` is a name nobody else has when the options name none."""
    native = allowed(options.native, "native")
    is_new_protocol = (
        str(native.get("group.protocol", common.get("group.protocol", ""))).lower() == "consumer"
    )
    settings: dict[str, object] = {
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        # A new place to read at waits for the fetch that is out at the end of the log.
        "fetch.wait.max.ms": 100,
        # After prefetching its fill the library stops for this long: its default is a second.
        "fetch.queue.backoff.ms": 20,
        # Where to begin is decided here, at assignment: what is left to the client is an error.
        "auto.offset.reset": "error",
        "isolation.level": options.isolation,
        "topic.metadata.refresh.interval.ms": _REFRESH_MS,
        "max.poll.interval.ms": _poll_interval_ms(options),
    }
    if not is_new_protocol:
        # In KIP-848 groups these are the broker's to decide.
        session_ms = int(options.session_timeout_s * 1000)
        settings["session.timeout.ms"] = session_ms
        settings["heartbeat.interval.ms"] = max(1, min(1000, session_ms // 3))
        settings["partition.assignment.strategy"] = "cooperative-sticky"
    if options.client_id is not None:
        settings["client.id"] = options.client_id
    return {**settings, **common, **native}


def _poll_interval_ms(options: ConsumerOptions) -> int:
    if options.max_poll_interval_s < options.session_timeout_s:
        raise ConfigurationError(
            f"max_poll_interval_s={options.max_poll_interval_s} is below "
            f"session_timeout_s={options.session_timeout_s}: choose it at least as long"
        )
    return int(options.max_poll_interval_s * 1000)


def is_cooperative(settings: Mapping[str, object]) -> bool:
    """Whether rebalances with these settings take away only the logs that move (KIP-429, KIP-848)."""
    if str(settings.get("group.protocol", "")).lower() == "consumer":
        return True
    strategy = str(settings.get("partition.assignment.strategy", ""))
    return _words(strategy) == {"cooperative-sticky"}


def _words(text: str) -> set[str]:
    return {word.strip() for word in text.split(",") if word.strip()}


def topic_settings(
    retention_ms: int | None, retention_bytes: int | None, is_compacted: bool
) -> dict[str, str]:
    """A topic's settings in Kafka's words."""
    settings: dict[str, str] = {}
    if retention_ms is not None:
        settings["retention.ms"] = str(retention_ms)
    if retention_bytes is not None:
        settings["retention.bytes"] = str(retention_bytes)
    if is_compacted:
        settings["cleanup.policy"] = "compact"
    return settings


def limit(text: str | None) -> int | None:
    """A retention limit as described: ``None`` where there is none."""
    if text is None or int(text) < 0:
        return None
    return int(text)


def own_topics(names: Iterable[str]) -> list[str]:
    """Topics without Kafka's internal ones, sorted."""
    return sorted(name for name in names if not name.startswith("__"))
