"""Every store, in both colours, keeps every promise of the one interface; and broken ones are found out."""

import asyncio

import pytest

from tests.real.stores import claims
from tests.real.stores.broken import DEFECTS, SketchGround
from tests.real.stores.claims import CLAIMS

EACH = pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)


@EACH
def test_a_store_keeps(claim, ground):
    asyncio.run(claim(ground))


@EACH
def test_the_claim_bites(claim, monkeypatch):
    """It passes the sound sketch, and fails on the one with the defect that it is there to find."""
    asyncio.run(claim(SketchGround()))
    monkeypatch.setattr(claims, "PATIENCE_S", 1.0)
    with pytest.raises((AssertionError, pytest.fail.Exception, TimeoutError, TypeError)):
        asyncio.run(claim(SketchGround(DEFECTS[claim.__name__])))


def test_every_claim_has_its_defect():
    assert sorted(DEFECTS) == sorted(claim.__name__ for claim in CLAIMS)
