"""Publisher confirms with retry: a record is sent again, under one id, until it is acknowledged."""

from typing import Any, Protocol, final

from streamproof._async.colour import pause_s
from streamproof.checks import as_headers
from streamproof.deliveries import AsyncDelivery
from streamproof.delivery.identity import RECORD_ID, new_record_id
from streamproof.delivery.retry import Retry
from streamproof.errors import StreamproofError
from streamproof.records import Headers, Receipt

_RETRY = Retry("exponential", max_attempts=10, base_s=0.1, max_delay_s=5.0)


class AsyncSink(Protocol):
    """What a confirmed sender needs of a producer."""

    async def send(self, topic: str, value: Any, *, key: Any = None, headers: Headers = ()) -> AsyncDelivery:
        """See :class:`~streamproof.AsyncProducer`."""
        ...


@final
class AsyncConfirmedSender:
    """The sending half of effect-once, where there are no transactions: nothing is lost, and what is
    doubled carries one id, so that the receiving half (``AsyncEffectOnce``) drops the double.

    Records sent one after another are stored in that order; a record that had to be sent again may
    stand once more behind later ones of other senders.
    """

    def __init__(
        self, producer: AsyncSink, *, retry: Retry | None = None, delivery_timeout_s: float = 30.0
    ) -> None:
        self._producer = producer
        self._retry = retry or _RETRY
        self._delivery_timeout_s = delivery_timeout_s

    async def send(
        self, topic: str, value: Any, *, key: Any = None, headers: Any = (), record_id: str | None = None
    ) -> Receipt:
        """Send until acknowledged, and return the receipt of the attempt that was.

        ``record_id`` is the record's own id where it has one (an order's number): then a second call
        for the same record, from a process that was started anew, is the same record. Raises what is
        not retriable at once, and the last error when the attempts are used up; unless that
        ``is definite``, the record may be there.
        """
        id = record_id or new_record_id()
        all_headers = (*as_headers(headers or ()), (RECORD_ID, id.encode()))
        is_definite = True
        attempt = 1
        while True:
            try:
                delivery = await self._producer.send(topic, value, key=key, headers=all_headers)
                return await delivery.result(self._delivery_timeout_s)
            except StreamproofError as error:
                is_definite = is_definite and error.definite
                if attempt >= self._retry.max_attempts or not self._retry.is_retriable(error):
                    # An earlier attempt may be there though the last one certainly is not.
                    error.definite = is_definite
                    raise
            await pause_s(self._retry.delay(attempt, id))
            attempt += 1
