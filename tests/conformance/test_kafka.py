"""Apache Kafka, held to what every backend must do."""

import pytest

from streamproof_harness.conformance import AsyncConformanceSuite, ConformanceSuite

NOBODY = "kafka://127.0.0.1:1"


class TestKafka(ConformanceSuite):
    unreachable_url = NOBODY

    @pytest.fixture(autouse=True)
    def _address(self, kafka_url: str) -> None:
        type(self).url = kafka_url


class TestKafkaAsync(AsyncConformanceSuite):
    unreachable_url = NOBODY

    @pytest.fixture(autouse=True)
    def _address(self, kafka_url: str) -> None:
        type(self).url = kafka_url
