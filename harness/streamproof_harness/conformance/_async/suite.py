"""All cases in one class."""

from streamproof_harness.conformance._async.acknowledging import AsyncAcknowledging
from streamproof_harness.conformance._async.closing import AsyncClosing
from streamproof_harness.conformance._async.committing import AsyncCommitting
from streamproof_harness.conformance._async.concurrency import AsyncConcurrency
from streamproof_harness.conformance._async.declaring import AsyncDeclaring
from streamproof_harness.conformance._async.flowing import AsyncFlowing
from streamproof_harness.conformance._async.formats import AsyncFormats
from streamproof_harness.conformance._async.groups import AsyncGroups
from streamproof_harness.conformance._async.ordering import AsyncOrdering
from streamproof_harness.conformance._async.reading_alone import AsyncReadingAlone
from streamproof_harness.conformance._async.round_trips import AsyncRoundTrips
from streamproof_harness.conformance._async.seeking import AsyncSeeking
from streamproof_harness.conformance._async.sending import AsyncSending
from streamproof_harness.conformance._async.starting import AsyncStarting
from streamproof_harness.conformance._async.topics import AsyncTopics
from streamproof_harness.conformance._async.transacting import AsyncTransacting


class AsyncConformanceSuite(
    AsyncRoundTrips,
    AsyncFormats,
    AsyncSending,
    AsyncOrdering,
    AsyncGroups,
    AsyncReadingAlone,
    AsyncStarting,
    AsyncAcknowledging,
    AsyncCommitting,
    AsyncSeeking,
    AsyncFlowing,
    AsyncTopics,
    AsyncDeclaring,
    AsyncTransacting,
    AsyncConcurrency,
    AsyncClosing,
):
    """What a driver must do, and what it must refuse. Inherit from it in a test module, and give
    it a ``url``; see :class:`AsyncStage` for the other attributes."""
