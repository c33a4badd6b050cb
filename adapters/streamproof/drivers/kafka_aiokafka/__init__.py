"""Apache Kafka for coroutines, over aiokafka.

aiokafka runs on the event loop it was made on, in tasks of its own; ours run in their callers. It
offers few of the things the seam asks for, so some of its insides are used, all of them in this
package: they were read in 0.14.0.
"""

import asyncio
from typing import Any

from streamproof.capabilities import Capabilities
from streamproof.drivers.kafka_aiokafka.client import Deadline, code_of, reason_of
from streamproof.drivers.kafka_aiokafka.settings import AddressSettings, address_settings
from streamproof.errors import AccessDenied, Unreachable
from streamproof.url import Address

__all__ = ["CAPABILITIES", "open_driver"]

_BETWEEN_ATTEMPTS_S = 0.05

CAPABILITIES = Capabilities(
    acknowledgement="offset",
    has_send_offsets=True,
    has_group_offsets=True,
    has_generations=True,
    can_seek=True,
    can_seek_time=True,
    can_replay=True,
    can_match_pattern=True,
    can_retain=True,
    can_compact=True,
    can_transact=True,
    has_idempotence=True,
    has_member_fencing=False,
)


async def open_driver(address: Address, timeout_s: float) -> Any:
    """Connect to the brokers of ``address``; the result is a :class:`~streamproof.driver.AsyncDriver`.

    Raises :class:`ConfigurationError` for an option that aiokafka does not have, and, when the
    brokers do not answer within ``timeout_s``, :class:`Unreachable` or :class:`AccessDenied`.
    """
    from streamproof.drivers.kafka_aiokafka.driver import AiokafkaDriver

    settings = address_settings(address)
    admin = await _connected(settings, address, timeout_s)
    return AiokafkaDriver(settings, admin, address, timeout_s, CAPABILITIES)


async def _connected(settings: AddressSettings, address: Address, timeout_s: float) -> Any:
    """An admin client that knows the brokers."""
    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.errors import KafkaError

    from streamproof.drivers.kafka_aiokafka.client import adopt, made

    deadline = Deadline(timeout_s)
    what = f"no answer from {address.redacted} within {timeout_s} s"
    failure: BaseException = TimeoutError("no connection was made")
    while True:
        admin: Any = made(AIOKafkaAdminClient, dict(settings.common))
        adopt(admin._client)
        try:
            async with asyncio.timeout(max(0.01, deadline.left_s)):
                await admin.start()
                return admin
        except (KafkaError, OSError, TimeoutError) as cause:
            failure = cause if not isinstance(cause, TimeoutError) else failure
            await admin.close()
        except BaseException:
            await admin.close()
            raise
        if code_of(failure) in (33, 34, 58, -169):
            raise AccessDenied(f"{what}: {reason_of(failure)}; check the credentials") from failure
        if deadline.left_s <= _BETWEEN_ATTEMPTS_S:
            raise Unreachable(
                f"{what}: {reason_of(failure)}; check the address and whether the broker runs"
            ) from failure
        await asyncio.sleep(_BETWEEN_ATTEMPTS_S)
