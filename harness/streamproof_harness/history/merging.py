"""Merge the events of several processes of one host into one history.

Every source stamps its events with the same clock (CLOCK_MONOTONIC less the same start), so the
order by time is the true order, as far as anybody can know it. Indexes are assigned anew, calls
are renumbered so that they stay unique, and the order within each source is kept.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from streamproof_harness.history import HistoryError


def merge_lines(sources: Sequence[Iterable[bytes]]) -> Iterator[bytes]:
    """Yield the event lines of all `sources` by time, each with a newline at its end.

    Where times are equal, the earlier source comes first. A time that goes back within a source
    is raised to the last one, as a recorder does. Raises HistoryError for a line that is no event.
    """
    encoder = msgspec.json.Encoder()
    count = len(sources)
    streams = [_events(lines, source) for source, lines in enumerate(sources)]
    for index, (now, source, event) in enumerate(heapq.merge(*streams, key=lambda entry: entry[0])):
        event["index"] = index
        event["time"] = now
        call = event.get("call")
        if isinstance(call, int):
            event["call"] = call * count + source
        elif call is not None:
            event["call"] = f"{source}:{call}"
        yield encoder.encode(event) + b"\n"


def _events(lines: Iterable[bytes], source: int) -> Iterator[tuple[int, int, dict[str, Any]]]:
    decoder = msgspec.json.Decoder(dict[str, Any])
    last = 0
    for number, line in enumerate(lines, start=1):
        try:
            event = decoder.decode(line)
            last = max(last, int(event["time"]))
        except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
            raise HistoryError(f"source {source}, event {number}: not an event ({error})") from error
        yield last, source, event
