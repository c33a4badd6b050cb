"""Generations: which of two assignments or commits is the older one.

A whole number is a generation of a classic group, and may be compared with all others of the
group. KIP-848 has epochs of members instead: they are written ``"<member>:<epoch>"``, and only
those of one member may be compared.
"""

from typing import Final

from msgspec import UnsetType

from streamproof_harness.history.codes import Interned

NO_LINEAGE: Final = -1
"""Of what has no generation."""


class Generations:
    """Turns a generation into two numbers: its lineage, and its place within that."""

    def __init__(self) -> None:
        self._lineages = Interned()
        self._classic = self._lineages[None]

    def of(self, generation: int | str | UnsetType | None) -> tuple[int, int]:
        """Two generations are comparable if they have one lineage; (NO_LINEAGE, 0) if there is none."""
        if isinstance(generation, int):
            return self._classic, generation
        if not isinstance(generation, str):
            return NO_LINEAGE, 0
        member, _, epoch = generation.rpartition(":")
        if epoch.isdecimal() and len(epoch) < 19:
            return self._lineages[member], int(epoch)
        return self._lineages[generation], 0
