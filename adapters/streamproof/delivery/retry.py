"""When to try again, as a value: a policy computes delays and keeps no state.

Jitter is drawn from the policy's seed and the record's token, so that a run can be repeated; see
"Exponential Backoff And Jitter" (AWS Architecture Blog, 2015) for what ``full`` and ``equal`` mean.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from streamproof.errors import ConfigurationError, StreamproofError

Growth = Literal["fixed", "linear", "exponential"]
Jitter = Literal["none", "full", "equal", "added"]


def _any_error(error: BaseException) -> bool:
    """Worth another try unless the error itself says no."""
    return error.retriable if isinstance(error, StreamproofError) else True


@dataclass(frozen=True, slots=True)
class Retry:
    """At most ``max_attempts`` attempts, the first included, with a growing delay in between.

    The delay before attempt ``n + 1`` is ``base_s`` (fixed), ``base_s * n`` (linear) or
    ``base_s * factor ** (n - 1)`` (exponential), never above ``max_delay_s``. Jitter: ``full``
    draws from 0 to the delay, ``equal`` from half of it to all of it, ``added`` adds up to
    ``jitter_s``. ``is_retriable`` tells whether an error is worth another attempt.
    """

    growth: Growth = "exponential"
    max_attempts: int = 5
    base_s: float = 2.0
    factor: float = 2.0
    max_delay_s: float = 3600.0
    jitter: Jitter = "none"
    jitter_s: float = 1.0
    seed: int = 0
    is_retriable: Callable[[BaseException], bool] = _any_error

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ConfigurationError(f"max_attempts={self.max_attempts} is not possible: give 1 or more")
        if min(self.base_s, self.max_delay_s, self.jitter_s) < 0 or self.factor < 1:
            raise ConfigurationError("delays are 0 seconds or more, and factor is 1 or more")
        if self.growth not in ("fixed", "linear", "exponential"):
            raise ConfigurationError(f"growth={self.growth!r}: use 'fixed', 'linear' or 'exponential'")
        if self.jitter not in ("none", "full", "equal", "added"):
            raise ConfigurationError(f"jitter={self.jitter!r}: use 'none', 'full', 'equal' or 'added'")

    def delay(self, attempt: int, token: str = "") -> float:
        """Seconds to wait after attempt number ``attempt`` (from 1) failed."""
        low, high = self.bounds(attempt)
        if low == high:
            return low
        return low + (high - low) * random.Random(f"{self.seed}/{token}/{attempt}").random()

    def bounds(self, attempt: int) -> tuple[float, float]:
        """The least and the most that :meth:`delay` can return for this attempt, in seconds."""
        full = min(self._undisturbed(attempt), self.max_delay_s)
        if self.jitter == "full":
            return 0.0, full
        if self.jitter == "equal":
            return full / 2, full
        if self.jitter == "added":
            return full, min(full + self.jitter_s, self.max_delay_s)
        return full, full

    def _undisturbed(self, attempt: int) -> float:
        if self.growth == "fixed":
            return self.base_s
        if self.growth == "linear":
            return self.base_s * attempt
        # An exponent beyond the cap is cut first: floats overflow at about 2 ** 1024.
        return self.base_s * self.factor ** min(attempt - 1, 900)


def exponential(max_attempts: int = 5, base_s: float = 2.0, jitter_s: float = 1.0, seed: int = 0) -> Retry:
    """2, 4, 8 … s plus up to 1 s at random."""
    return Retry("exponential", max_attempts, base_s, jitter="added", jitter_s=jitter_s, seed=seed)


def fixed(max_attempts: int = 3, base_s: float = 5.0) -> Retry:
    """The same delay every time."""
    return Retry("fixed", max_attempts, base_s)


def linear(max_attempts: int = 5, base_s: float = 1.0) -> Retry:
    """``base_s``, twice, three times … it."""
    return Retry("linear", max_attempts, base_s)
