"""RabbitMQ, held to what every backend must do."""

import pytest

from streamproof_harness.conformance import AsyncConformanceSuite, ConformanceSuite

LIMIT = "max_message_bytes=1500000"
"""The server's own limit is far above what a test should send."""
NOBODY = "amqp://guest:guest@127.0.0.1:1/"


class TestRabbitMQ(ConformanceSuite):
    unreachable_url = NOBODY

    @pytest.fixture(autouse=True)
    def _address(self, rabbitmq_url: str) -> None:
        type(self).url = f"{rabbitmq_url}?{LIMIT}"


class TestRabbitMQAsync(AsyncConformanceSuite):
    unreachable_url = NOBODY

    @pytest.fixture(autouse=True)
    def _address(self, rabbitmq_url: str) -> None:
        type(self).url = f"{rabbitmq_url}?{LIMIT}"
