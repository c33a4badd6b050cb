"""The in-memory backend, held to what every backend must do."""

from streamproof_harness.conformance import AsyncConformanceSuite, ConformanceSuite


class TestMemory(ConformanceSuite):
    url = "memory://conformance"


class TestMemoryAsync(AsyncConformanceSuite):
    url = "memory://conformance"
