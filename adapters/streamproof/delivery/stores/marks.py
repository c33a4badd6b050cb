"""Marks that are made before the effect and confirmed after it, as a state machine with time passed in.

The states of one key: *unknown* → (claim) → *held* by a token until a deadline → (finish) → *done*.
A release makes a held key unknown again. A lease whose deadline passed can be claimed by another, who
is told that the effect is in *doubt*: the former holder may have applied it and died before it could
say so. The doubt stays, through releases, until the key is done. Redis' scripts follow the same table.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

Claimed = Literal["claimed", "done", "held"]


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to apply one effect now, from a store that lies apart from what is effected.

    ``is_doubtful``: an earlier lease of this key ran out unfinished, so the effect may have been
    applied already; ask the other side before applying it again, where it can be asked.
    """

    key: str
    token: str
    is_doubtful: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """The answer to a claim: ``held`` tells for how much longer at most, ``claimed`` whether in doubt."""

    state: Claimed
    held_for_s: float = 0.0
    is_doubtful: bool = False


@dataclass(frozen=True, slots=True)
class _Mark:
    state: Literal["held", "free", "done"]
    token: str
    deadline_s: float
    is_doubtful: bool
    forget_at_s: float


class Marks:
    """All marks of a memory store, oldest change first. Not safe for threads by itself."""

    def __init__(self, lease_s: float, retention_s: float, max_marks: int) -> None:
        self._lease_s = lease_s
        self._retention_s = retention_s
        self._max_marks = max_marks
        self._marks: OrderedDict[str, _Mark] = OrderedDict()

    def __len__(self) -> int:
        return len(self._marks)

    def claim(self, key: str, token: str, now_s: float) -> Claim:
        """Ask for the key. A token that holds it already holds on to it."""
        mark = self._marks.get(key)
        if mark is not None and mark.forget_at_s <= now_s and not self._is_held(mark, now_s):
            mark = None
        is_doubtful = False
        if mark is not None:
            if mark.state == "done":
                return Claim("done")
            if mark.token != token and self._is_held(mark, now_s):
                return Claim("held", held_for_s=mark.deadline_s - now_s)
            is_doubtful = mark.is_doubtful if mark.token == token else True
        deadline_s = now_s + self._lease_s
        self._put(key, _Mark("held", token, deadline_s, is_doubtful, deadline_s + self._retention_s))
        return Claim("claimed", is_doubtful=is_doubtful)

    def finish(self, key: str, token: str, now_s: float) -> bool:
        """The effect is applied: mark it done. False if another has, or had, the key by now."""
        mark = self._marks.get(key)
        if mark is not None and mark.token != token:
            return False
        self._put(key, _Mark("done", token, 0.0, False, now_s + self._retention_s))
        return True

    def release(self, key: str, token: str, now_s: float) -> None:
        """The effect was not applied: let the next one have the key at once."""
        mark = self._marks.get(key)
        if mark is None or mark.token != token or mark.state != "held":
            return
        if mark.is_doubtful:
            self._put(
                key, _Mark("free", token="", deadline_s=0.0, is_doubtful=True, forget_at_s=mark.forget_at_s)
            )
        else:
            del self._marks[key]

    def forget(self, now_s: float) -> int:
        """Drop what is older than the retention; returns how many were dropped. Costs what it drops:
        the oldest change stands in front, and one that is not due yet hides those behind it for a while."""
        dropped = 0
        while self._marks and next(iter(self._marks.values())).forget_at_s <= now_s:
            self._marks.popitem(last=False)
            dropped += 1
        return dropped

    def _is_held(self, mark: _Mark, now_s: float) -> bool:
        return mark.state == "held" and mark.deadline_s > now_s

    def _put(self, key: str, mark: _Mark) -> None:
        self._marks[key] = mark
        self._marks.move_to_end(key)
        # The front is the oldest change: a held one among many newer ones is nobody's any more.
        while len(self._marks) > self._max_marks:
            self._marks.popitem(last=False)
