"""What the transforming processes of a run compute: small applications with state, and their oracles.

Plain folds: no I/O, no clock. Processes of the operating system find them by name.
"""

from collections.abc import Callable, Mapping

from streamproof_harness.applications.application import Application
from streamproof_harness.applications.minute_averages import MinuteAverages

APPLICATIONS: Mapping[str, Callable[[], Application]] = {"minute-averages": MinuteAverages}

__all__ = ["APPLICATIONS", "Application", "MinuteAverages"]
