"""Settings of aiokafka's clients: from the URL, from our options, from ``native``.

A URL means the same to both Kafka drivers, so its options have librdkafka's names, with dots; those
that aiokafka has are translated, the others refused. ``native`` takes aiokafka's own names, and
librdkafka's where there is one.
"""

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from streamproof.drivers.kafka.options import allowed, bootstrap_servers, checked_id, client_settings
from streamproof.errors import ConfigurationError
from streamproof.options import ConsumerOptions, ProducerOptions
from streamproof.url import Address, parse_flag

Settings = dict[str, Any]

_ACKS: dict[str, str | int] = {"all": "all", "leader": 1, "none": 0}

_FIXED = {
    "bootstrap_servers": "write the brokers into the URL",
    "group_id": "pass group=… to bus.consumer",
    "transactional_id": "pass transactional_id=… to bus.producer",
    "enable_auto_commit": "progress is stored by ack and commit",
    "auto_offset_reset": "pass start=… to bus.consumer",
    "key_serializer": "pass serializers to bus.producer",
    "value_serializer": "pass serializers to bus.producer",
    "key_deserializer": "pass serializers to bus.consumer",
    "value_deserializer": "pass serializers to bus.consumer",
    "partitioner": "it is murmur2 everywhere",
    "loop": "it is the running one",
}

_REFRESH_MS = 2000
"""How soon clients see topics and partitions that were made since."""

_REQUEST_MS = 30_000
_FETCH_WAIT_MS = 100
"""A new place to read at waits for the fetch that is out at the end of the log."""

_BATCH_BYTES = 128 * 1024
"""Larger than aiokafka's 16 KiB, since it sends one batch a partition at a time; well below the
1 MiB that topics take by default."""


def _number(text: object) -> int:
    return int(str(text))


def _fraction(text: object) -> float:
    return float(str(text))


def _upper(text: object) -> str:
    return str(text).upper()


def _protocol(text: object) -> str:
    protocol = _upper(text)
    if protocol not in ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"):
        raise ValueError("give plaintext, ssl, sasl_plaintext or sasl_ssl")
    return protocol


def _assignor(text: object) -> str:
    name = str(text).strip()
    if name not in ("sticky", "range", "roundrobin"):
        raise ValueError("aiokafka has sticky, range and roundrobin, one of them at a time")
    return name


_Translation = tuple[str, Callable[[object], object]]

_COMMON: dict[str, _Translation] = {
    "client.id": ("client_id", str),
    "client.rack": ("client_rack", str),
    "metadata.max.age.ms": ("metadata_max_age_ms", _number),
    "topic.metadata.refresh.interval.ms": ("metadata_max_age_ms", _number),
    "socket.timeout.ms": ("request_timeout_ms", _number),
    "request.timeout.ms": ("request_timeout_ms", _number),
    "retry.backoff.ms": ("retry_backoff_ms", _number),
    "connections.max.idle.ms": ("connections_max_idle_ms", _number),
    "security.protocol": ("security_protocol", _protocol),
    "sasl.mechanism": ("sasl_mechanism", _upper),
    "sasl.username": ("sasl_plain_username", str),
    "sasl.password": ("sasl_plain_password", str),
    "sasl.kerberos.service.name": ("sasl_kerberos_service_name", str),
}
_PRODUCER: dict[str, _Translation] = {
    "linger.ms": ("linger_ms", _fraction),
    "queue.buffering.max.ms": ("linger_ms", _fraction),
    "batch.size": ("max_batch_size", _number),
    "message.max.bytes": ("max_request_size", _number),
    "compression.type": ("compression_type", str),
    "compression.codec": ("compression_type", str),
}
_CONSUMER: dict[str, _Translation] = {
    "fetch.wait.max.ms": ("fetch_max_wait_ms", _number),
    "fetch.min.bytes": ("fetch_min_bytes", _number),
    "fetch.max.bytes": ("fetch_max_bytes", _number),
    "max.partition.fetch.bytes": ("max_partition_fetch_bytes", _number),
    "fetch.message.max.bytes": ("max_partition_fetch_bytes", _number),
    "session.timeout.ms": ("session_timeout_ms", _number),
    "heartbeat.interval.ms": ("heartbeat_interval_ms", _number),
    "max.poll.interval.ms": ("max_poll_interval_ms", _number),
    "group.instance.id": ("group_instance_id", str),
    "partition.assignment.strategy": ("partition_assignment_strategy", _assignor),
    "check.crcs": ("check_crcs", lambda text: parse_flag("check.crcs", str(text))),
    "isolation.level": ("isolation_level", str),
}
_SSL = ("ssl.ca.location", "ssl.certificate.location", "ssl.key.location", "ssl.key.password")
_CHECKS = ("ssl.endpoint.identification.algorithm", "enable.ssl.certificate.verification")

# What the other driver's client needs and this one does of itself.
_IGNORED = frozenset({"allow.auto.create.topics", "reconnect.backoff.ms", "reconnect.backoff.max.ms"})


@dataclass(frozen=True, slots=True)
class AddressSettings:
    """What a URL says, sorted by the kind of client that takes it."""

    common: Settings
    producer: Settings
    consumer: Settings


def address_settings(address: Address) -> AddressSettings:
    """The settings in a URL; :class:`ConfigurationError` for one that aiokafka does not have."""
    given = client_settings(address)
    servers = bootstrap_servers(address)
    del given["bootstrap.servers"]
    common: Settings = {
        "metadata_max_age_ms": _REFRESH_MS,
        "request_timeout_ms": _REQUEST_MS,
        "retry_backoff_ms": 50,
    }
    found = AddressSettings(common, {}, {})
    sockets = {name: given.pop(name) for name in (*_SSL, *_CHECKS) if name in given}
    for name, value in given.items():
        for table, kind in ((_COMMON, common), (_PRODUCER, found.producer), (_CONSUMER, found.consumer)):
            if name in table:
                key, translate = table[name]
                kind[key] = _translated(name, value, translate)
                break
        else:
            _require_known(name)
    common["bootstrap_servers"] = servers
    _place_rack(common, found.consumer)
    _secure(common, sockets)
    return found


def _place_rack(common: Settings, consumer: Settings) -> None:
    if "client_rack" in common:
        consumer["client_rack"] = common.pop("client_rack")


def _require_known(name: str) -> None:
    if name not in _IGNORED:
        known = sorted({*_COMMON, *_PRODUCER, *_CONSUMER, *_SSL, *_CHECKS})
        raise ConfigurationError(
            f"the async Kafka driver does not know the option {name}: it has {', '.join(known)}"
        )


def _translated(name: str, value: object, translate: Callable[[object], object]) -> object:
    try:
        return translate(value)
    except ValueError as cause:
        raise ConfigurationError(f"{name}={value!r} is not possible: {cause}") from cause


def _secure(common: Settings, files: Mapping[str, object]) -> None:
    """The TLS context, where the protocol needs one."""
    if common.get("security_protocol", "PLAINTEXT") not in ("SSL", "SASL_SSL"):
        return
    try:
        context = ssl.create_default_context(cafile=_text(files, "ssl.ca.location"))
        certificate = _text(files, "ssl.certificate.location")
        if certificate is not None:
            password = _text(files, "ssl.key.password")
            context.load_cert_chain(certificate, _text(files, "ssl.key.location"), password)
    except (OSError, ssl.SSLError) as cause:
        raise ConfigurationError(
            f"the certificates in the URL's ssl.* options cannot be used: {cause}"
        ) from cause
    if _text(files, "ssl.endpoint.identification.algorithm") == "none":
        context.check_hostname = False
    is_verified = _text(files, "enable.ssl.certificate.verification")
    if is_verified is not None and not parse_flag("enable.ssl.certificate.verification", is_verified):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    common["ssl_context"] = context


def _text(settings: Mapping[str, object], name: str) -> str | None:
    value = settings.get(name)
    return None if value is None else str(value)


def producer_settings(address: AddressSettings, options: ProducerOptions) -> Settings:
    """What an :class:`aiokafka.AIOKafkaProducer` is made with: safe by default, ``native`` last."""
    settings: Settings = {
        "acks": _ACKS[options.acks],
        "enable_idempotence": options.is_idempotent,
        "linger_ms": options.linger_ms,
        "compression_type": None if options.compression == "none" else options.compression,
        "request_timeout_ms": min(_REQUEST_MS, max(1, int(options.delivery_timeout_s * 1000))),
        "max_batch_size": _BATCH_BYTES,
    }
    if options.transactional_id is not None:
        settings["transactional_id"] = checked_id(options.transactional_id)
        settings["transaction_timeout_ms"] = max(1, int(options.transaction_timeout_s * 1000))
    return {**address.common, **settings, **address.producer, **_native(options.native, _PRODUCER)}


def consumer_settings(address: AddressSettings, options: ConsumerOptions) -> Settings:
    """What an :class:`aiokafka.AIOKafkaConsumer` is made with. ``partition_assignment_strategy`` is
    a name still."""
    session_ms = int(options.session_timeout_s * 1000)
    settings: Settings = {
        "group_id": options.group,
        "enable_auto_commit": False,
        # Where to begin is decided here, at assignment: what is left to the client is an error.
        "auto_offset_reset": "none",
        "isolation_level": options.isolation,
        "fetch_max_wait_ms": _FETCH_WAIT_MS,
        "session_timeout_ms": session_ms,
        # Members learn of a rebalance by a heartbeat's answer: short, since all wait for the last.
        "heartbeat_interval_ms": max(1, min(500, session_ms // 5)),
        "max_poll_interval_ms": _poll_interval_ms(options),
        "rebalance_timeout_ms": _poll_interval_ms(options),
        "partition_assignment_strategy": "sticky",
    }
    if options.client_id is not None:
        settings["client_id"] = options.client_id
    return {**address.common, **settings, **address.consumer, **_native(options.native, _CONSUMER)}


def _native(given: Mapping[str, object], table: Mapping[str, _Translation]) -> Settings:
    settings: Settings = {}
    for name, value in allowed(given, "native").items():
        if name in _FIXED:
            raise ConfigurationError(f"{name} cannot be set in native: {_FIXED[name]}")
        if "." not in name:
            settings[name] = value
            continue
        known = {**_COMMON, **table}
        if name not in known:
            raise ConfigurationError(f"aiokafka has nothing like {name}: use its own names in native")
        key, translate = known[name]
        settings[key] = _translated(name, value, translate)
    return settings


def _poll_interval_ms(options: ConsumerOptions) -> int:
    if options.max_poll_interval_s < options.session_timeout_s:
        raise ConfigurationError(
            f"max_poll_interval_s={options.max_poll_interval_s} is below "
            f"session_timeout_s={options.session_timeout_s}: choose it at least as long"
        )
    return int(options.max_poll_interval_s * 1000)
