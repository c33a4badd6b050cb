"""Topics that match a pattern, looked for while a consumer runs.

librdkafka can subscribe by pattern, but its expressions are POSIX's, or those of the platform's
library; one pattern is to mean the same on every backend, so Python's ``re`` decides here.
"""

import logging
import re
import threading

from streamproof.drivers.kafka_confluent.admin import ConfluentAdmin
from streamproof.errors import StreamproofError

_log = logging.getLogger("streamproof.kafka")

_INTERVAL_S = 1.0
_LOOK_S = 1.0


class PatternWatch:
    """Lists the topics every second on a thread of its own; the poll takes the news."""

    def __init__(self, pattern: str, admin: ConfluentAdmin, timeout_s: float) -> None:
        self._pattern = re.compile(pattern)
        self._admin = admin
        self._stopping = threading.Event()
        self.found = self._look(timeout_s)
        """The partition counts of the topics that match."""
        self.has_news = False
        self._thread = threading.Thread(target=self._run, name="streamproof-kafka-pattern", daemon=True)
        self._thread.start()

    def take_news(self) -> dict[str, int]:
        """All topics that match now."""
        self.has_news = False
        return self.found

    def stop(self, timeout_s: float) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join(timeout_s)

    def _look(self, timeout_s: float) -> dict[str, int]:
        counts = self._admin.partition_counts(timeout_s)
        return {name: count for name, count in counts.items() if self._pattern.fullmatch(name)}

    def _run(self) -> None:
        while not self._stopping.wait(_INTERVAL_S):
            try:
                found = self._look(_LOOK_S)
            except StreamproofError as cause:
                _log.debug("the topics could not be listed: %s", cause)
                continue
            if found != self.found:
                self.found = found
                self.has_news = True
