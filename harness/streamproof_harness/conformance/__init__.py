"""The suite that any driver runs, also a third party's: what it must do, and what it must refuse.

In a test module of the driver's own::

    from streamproof_harness.conformance import AsyncConformanceSuite, ConformanceSuite


    class TestMine(ConformanceSuite):
        url = "mine://127.0.0.1:7000"


    class TestMineAsync(AsyncConformanceSuite):
        url = "mine://127.0.0.1:7000"

Override ``connect`` where a URL is not enough. Needs pytest, no plugin. What a driver declares in
:class:`~streamproof.Capabilities` decides what is asked of it: each flag is held to, or its refusal
is. The cases wait for conditions, use names of their own and share one connection; a run takes
seconds in memory and about a minute on a real broker.
"""

import pytest

# Before the cases are imported: their assertions tell what they compared.
pytest.register_assert_rewrite(
    "streamproof_harness.conformance._async", "streamproof_harness.conformance._sync"
)

from streamproof_harness.conformance._async.suite import AsyncConformanceSuite  # noqa: E402
from streamproof_harness.conformance._sync.suite import ConformanceSuite  # noqa: E402

__all__ = ["AsyncConformanceSuite", "ConformanceSuite"]
