"""What is asked about the clickstream: how often each page was viewed, in all and in each minute."""

from collections.abc import Hashable

from streamproof_harness.workloads.answer import Answer, Figure, Table
from streamproof_harness.workloads.site import View

_MINUTE_MS = 60_000


class ViewTally:
    """Counts views. Memory: pages times minutes of event time."""

    def __init__(self, epoch_ms: int) -> None:
        """``epoch_ms``: where the minutes are counted from."""
        self._epoch_ms = epoch_ms
        self._pages: dict[str, dict[int, int]] = {}

    def add(self, view: View) -> None:
        """Count one view in."""
        minutes = self._pages.setdefault(view.page, {})
        minute = (view.time_ms - self._epoch_ms) // _MINUTE_MS
        minutes[minute] = minutes.get(minute, 0) + 1

    def answer(self) -> Answer:
        """Both tables, pages by name and minutes by time."""
        pages: dict[Hashable, Figure] = {}
        by_minute: dict[Hashable, Figure] = {}
        for page, minutes in sorted(self._pages.items()):
            pages[page] = sum(minutes.values())
            by_minute.update({(page, minute): minutes[minute] for minute in sorted(minutes)})
        return Answer(
            (
                Table("views", "page", pages),
                Table("views in a minute", "page", by_minute, label=_page_and_minute),
            )
        )


def _page_and_minute(name: Hashable) -> str:
    page, minute = name if isinstance(name, tuple) else (name, "?")
    return f"{page} in minute {minute}"
