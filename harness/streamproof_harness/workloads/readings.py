"""The readings of a run by number: those that are sent, and those that are missing."""

from collections.abc import Iterator

import msgspec

from streamproof_harness.workloads.city import City, Reading
from streamproof_harness.workloads.draws import CHANCE_MASK, Draws, chance
from streamproof_harness.workloads.sensor_tally import SensorTally


class Readings:
    """A ``Source``: reading ``n`` is that of device ``n % devices`` in second ``n // devices``."""

    def __init__(
        self, id_prefix: str, seed: int, city: City, count: int, missing: float, safe_air: int
    ) -> None:
        """``count``: readings of all devices together; ``missing``: the share that is never sent."""
        self.id_prefix = id_prefix
        self.city = city
        self.count = count
        self.missing_limit = chance(missing)
        self.decode = msgspec.json.Decoder(Reading).decode
        self._safe_air = safe_air
        self._draws = Draws(seed, "readings")

    def drawn(self) -> Iterator[tuple[int, int, Reading]]:
        """Number, draw and content of each reading that is not missing, in the order of the numbers."""
        devices, reading, weather_of = self.city.devices, self.city.reading, self.city.weather
        index, second, weather = 0, 0, weather_of(0)
        for number, draw in enumerate(self._draws.run(0, self.count)):
            if index == devices:
                index, second = 0, second + 1
                weather = weather_of(second)
            if draw & CHANCE_MASK >= self.missing_limit:
                yield number, draw, reading(index, second, weather, draw)
            index += 1

    def items(self) -> Iterator[tuple[int, Reading]]:
        """Number and content of each reading that is not missing."""
        return ((number, reading) for number, _, reading in self.drawn())

    def item(self, number: int) -> Reading | None:
        """One reading, ``None`` if it is missing or beyond the end."""
        if number >= self.count:
            return None
        draw = self._draws.at(number)
        if draw & CHANCE_MASK < self.missing_limit:
            return None
        second, index = divmod(number, self.city.devices)
        return self.city.reading(index, second, self.city.weather(second), draw)

    def key(self, item: Reading) -> bytes:
        """The device."""
        return item.device.encode()

    def tally(self) -> SensorTally:
        """An empty tally."""
        return SensorTally(self.city, self._safe_air, self.count)
