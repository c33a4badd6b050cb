"""Rates and latencies of a run, from its history alone.

Latency is counted from the *intended* time of a send to the end of the handler's first success:
a sender that falls behind makes it longer, not shorter (no coordinated omission).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
import numpy as np

from streamproof_harness.clients.identity import is_marker, root_of


@dataclass(frozen=True, slots=True)
class Measures:
    """Counts are of messages; times in seconds; a figure is ``None`` where nothing was measured."""

    sent: int
    handled: int
    sent_per_s: float | None
    handled_per_s: float | None
    latency_p50_s: float | None
    latency_p99_s: float | None


class _Line(msgspec.Struct):
    time: int = 0
    type: str = ""
    op: str = ""
    call: int | str | None = None
    id: str | None = None
    due: int | None = None


def measure(lines: Iterable[bytes]) -> Measures:
    """Measure a history given as its event lines, without the header."""
    decode = msgspec.json.Decoder(_Line).decode
    due: dict[str, int] = {}
    handling: dict[int | str, str] = {}
    sends: set[int | str] = set()
    sent_at: list[int] = []
    handled_at: dict[str, int] = {}
    for raw in lines:
        line = decode(raw)
        if line.op == "send" and line.call is not None:
            if line.type == "invoke" and line.id is not None and not is_marker(line.id):
                sends.add(line.call)
                if line.due is not None:
                    due[line.id] = line.due
            elif line.type == "ok" and line.call in sends:
                sent_at.append(line.time)
        elif line.op == "handle" and line.call is not None:
            if line.type == "invoke" and line.id is not None:
                handling[line.call] = root_of(line.id)
            elif line.type == "ok":
                id = handling.pop(line.call, None)
                if id is not None and not is_marker(id):
                    handled_at.setdefault(id, line.time)
    waits = np.array([at - due[id] for id, at in handled_at.items() if id in due], dtype=np.float64) / 1e9
    return Measures(
        sent=len(sent_at),
        handled=len(handled_at),
        sent_per_s=_rate(sent_at),
        handled_per_s=_rate(list(handled_at.values())),
        latency_p50_s=float(np.percentile(waits, 50)) if len(waits) else None,
        latency_p99_s=float(np.percentile(waits, 99)) if len(waits) else None,
    )


def _rate(times_ns: list[int]) -> float | None:
    if len(times_ns) < 2:
        return None
    span_s = (max(times_ns) - min(times_ns)) / 1e9
    return (len(times_ns) - 1) / span_s if span_s > 0 else None
