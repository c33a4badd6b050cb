"""Checks of what a workload is asked for: one clear error, before anything is sent."""

from math import isfinite

from streamproof.errors import ConfigurationError
from streamproof_harness.workloads.zipf import EXPONENT_STEP

LARGEST_SEED = 2**63 - 1
LARGEST_RATE = 10_000_000
LONGEST_S = 31 * 24 * 3600
LARGEST_COUNT = 10_000_000
LATEST_EPOCH_MS = 253_402_300_799_999
EPOCH_MS = 1_704_067_200_000
"""2024-01-01T00:00:00Z, where event time begins unless told otherwise: fixed, so that a seed gives
the same bytes on every day, and in the past, because brokers refuse timestamps from the future
(Kafka ≥ 4.0: more than an hour, ``message.timestamp.after.max.ms``)."""


def whole(name: str, value: object, low: int, high: int) -> int:
    """``value``, a whole number from ``low`` to ``high``; else ``ConfigurationError``."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(name, value, f"is no whole number; give one from {low} to {high}")
    if not low <= value <= high:
        raise _wrong(name, value, f"is out of range; give a whole number from {low} to {high}")
    return value


def number(name: str, value: object, low: float, high: float) -> int | float:
    """``value``, a number from ``low`` to ``high``; else ``ConfigurationError``."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(name, value, f"is no number; give one from {low} to {high}")
    if not (isfinite(value) and low <= value <= high):
        raise _wrong(name, value, f"is out of range; give a number from {low} to {high}")
    return value


def run(seed: object, rate: object, seconds: object, epoch_ms: object, topic: object) -> None:
    """What every workload takes; ``ConfigurationError`` if one of them is wrong."""
    whole("seed", seed, 0, LARGEST_SEED)
    slots(whole("rate", rate, 1, LARGEST_RATE), number("seconds", seconds, 0, LONGEST_S))
    whole("epoch_ms", epoch_ms, 0, LATEST_EPOCH_MS)
    if not isinstance(topic, str) or not topic:
        raise _wrong("topic", topic, "is no topic; give a name that is not empty")


def exponent(name: str, value: object) -> None:
    """A Zipf exponent is a number from 0 to 4 in steps of 1/8; else ``ConfigurationError``."""
    if number(name, value, 0, 4) % EXPONENT_STEP:
        raise _wrong(name, value, f"is no multiple of {EXPONENT_STEP}; give e.g. 1.0 or 1.125")


def slots(rate: int, seconds: float) -> int:
    """How many messages a run of ``seconds`` at ``rate`` a second has room for: at least one."""
    count = int(rate * seconds)
    if count < 1:
        raise ConfigurationError(
            f"rate {rate} for {seconds} seconds leaves room for no message; raise rate or seconds"
        )
    return count


def _wrong(name: str, value: object, rest: str) -> ConfigurationError:
    return ConfigurationError(f"workload parameter {name!r}: {value!r} {rest}")
