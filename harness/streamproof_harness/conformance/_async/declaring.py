"""Capabilities: flags that agree with each other, and a refusal for each that is off.

Most flags are held in the cases of what they promise; here are those without cases of their own.
"""

import pytest

from streamproof import Unsupported
from streamproof_harness.conformance._async.stage import AsyncStage, case


class AsyncDeclaring(AsyncStage):
    """See the module's docstring."""

    @case
    async def test_the_flags_agree(self) -> None:
        can = self.can
        assert can.acknowledgement in ("offset", "message")
        if can.acknowledgement == "offset":
            assert can.has_group_offsets, "offsets are stored: they can be asked for"
        if can.can_seek_time:
            assert can.can_seek, "a time is a place like others"
        if can.can_seek:
            assert can.has_group_offsets, "a place is an offset"
        for name, value in can.as_mapping().items():
            assert name == "acknowledgement" or isinstance(value, bool)

    @case
    async def test_transactions_are_there_or_refused(self) -> None:
        if self.can.can_transact:
            await self.producer(transactional_id=self.name("id"))
            return
        with pytest.raises(Unsupported, match="effect-once"):
            await self.bus.producer(transactional_id=self.name("id"))

    @case
    async def test_headers_and_timestamps_that_cannot_be_kept_are_refused(self) -> None:
        topic = await self.topic()
        producer = await self.producer()
        for is_kept, options in (
            (self.can.has_headers, {"headers": {"name": b"value"}}),
            (self.can.has_timestamps, {"timestamp_ms": 1_700_000_000_000}),
        ):
            if is_kept:
                await (await producer.send(topic, b"v", **options)).result(self.patience_s)
                continue
            with pytest.raises(Unsupported):
                await (await producer.send(topic, b"v", **options)).result(self.patience_s)
