"""How long to wait before something that failed is tried again. Pure: time is passed in."""

_FIRST_S = 0.05
_LONGEST_S = 5.0
_DOUBLINGS = 20
"""Beyond these every pause is the longest one; powers of two grow faster than any number."""
_WELL_S = 2.0


class Backoff:
    """Pauses that double with every failure in a row, up to a longest one.

    To be connected, or to be let in, is no success: a server that is not well yet takes
    connections and refuses all work on them. The row ends only with work that succeeded (``prove``)
    and was not followed by the next failure within two seconds. The first ``free`` failures cost no
    pause: there are other hosts to try.
    """

    def __init__(self, free: int = 0, first_s: float = _FIRST_S, longest_s: float = _LONGEST_S) -> None:
        self.failures = 0
        self._free = free
        self._first_s = first_s
        self._longest_s = longest_s
        self._proven_s: float | None = None

    def prove(self, now_s: float) -> None:
        """What it is for works. Only the first time after a failure counts."""
        if self._proven_s is None:
            self._proven_s = now_s

    def fail(self, now_s: float) -> float:
        """It failed; the seconds to wait before the next try."""
        if self._proven_s is not None and now_s - self._proven_s >= _WELL_S:
            self.failures = 0
        self._proven_s = None
        self.failures += 1
        paid = self.failures - self._free
        if paid <= 0:
            return 0.0
        return min(self._longest_s, self._first_s * 2.0 ** min(paid - 1, _DOUBLINGS))
