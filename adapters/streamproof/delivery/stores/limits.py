"""What all stores let their users set, checked in one place."""

import math
import re
from dataclasses import dataclass

from streamproof.errors import ConfigurationError

DAY_S = 86_400.0
RETENTION_S = 7 * DAY_S
TIMEOUT_S = 10.0
LEASE_S = 60.0

FORGET_INTERVAL_S = 60.0
"""How often, at most, a store that must drop old marks by itself looks for them."""

FORGET_BATCH = 1000
"""Marks dropped at once, so that no effect waits long for the housekeeping before it."""

_PART = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,49}")


@dataclass(frozen=True, slots=True)
class Limits:
    """``retention_s``: how long a mark is kept at least, longer than a duplicate can be late.
    ``timeout_s``: the bound of each wait, for a store that is slow and for another who has the key."""

    retention_s: float = RETENTION_S
    timeout_s: float = TIMEOUT_S

    def __post_init__(self) -> None:
        require_duration("retention_s", self.retention_s)
        require_duration("timeout_s", self.timeout_s)


def require_duration(name: str, value: object) -> None:
    """Seconds that something can last."""
    if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise ConfigurationError(f"{name}={value!r} is not possible: give seconds, more than 0")


def quoted_table(name: object, *, may_have_schema: bool) -> str:
    """A table's name, quoted for SQL; only plain names are taken, so that nothing can hide in one."""
    parts = name.split(".") if isinstance(name, str) else []
    most = 2 if may_have_schema else 1
    if not 1 <= len(parts) <= most or not all(_PART.fullmatch(part) for part in parts):
        form = "name or schema.name" if may_have_schema else "name"
        raise ConfigurationError(
            f"table={name!r} is no table's name: write {form}, at most 50 letters, digits and _ each"
        )
    return ".".join(f'"{part}"' for part in parts)
