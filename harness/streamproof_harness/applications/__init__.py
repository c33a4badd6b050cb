"""What the transforming processes of a run compute: small applications with state, and their oracles.

Plain folds: no I/O, no clock. Processes of the operating system find them by name.
"""

from collections.abc import Callable, Mapping
from functools import partial

from streamproof_harness.applications.application import Application
from streamproof_harness.applications.checkout import CheckoutStep
from streamproof_harness.applications.minute_averages import MinuteAverages
from streamproof_harness.applications.relay import Relay

APPLICATIONS: Mapping[str, Callable[[], Application]] = {
    "minute-averages": MinuteAverages,
    "paid": partial(CheckoutStep, "paid", is_first=True),
    "shipped": partial(CheckoutStep, "shipped"),
    "notified": partial(CheckoutStep, "notified"),
    "relay": partial(Relay, partitions=4),
}
"""What a plan can name."""

__all__ = ["APPLICATIONS", "Application", "CheckoutStep", "MinuteAverages"]
