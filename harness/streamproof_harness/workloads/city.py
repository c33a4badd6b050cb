"""What the sensors of a made-up city measure: each reading a function of seed, device and second.

Reading number ``n`` is that of device ``n % devices`` in second ``n // devices``. Temperatures and
traffic follow the time of day, and now and then a zone has a pollution spike, of 3 to 15 seconds
within a window of 20. Everything is computed in whole numbers.
"""

import msgspec

from streamproof_harness.workloads.draws import CHANCE_MASK, Draws, chance

SAFE_AIR = 3500
"""35 µg/m³ of PM2.5, the 24-hour standard of the United States (40 CFR 50.18), as a safe level."""

SPIKE_WINDOW_S = 20
_DAY_S = 86_400
_HALF_DAY_S = _DAY_S // 2
_WARMEST_S = 14 * 3600
_BUSIEST_S = 17 * 3600
_MOST_WINDOWS = 1024

Spike = tuple[int, int, int]
"""Of one zone in one window: its first second, the one after its last, how much it adds."""


class Reading(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """What one device measured in one second of event time (``second``, from 0).

    ``temperature``: hundredths of a degree Celsius; ``traffic``: vehicles in a minute; ``air``:
    hundredths of a microgram of PM2.5 in a cubic metre.
    """

    device: str
    zone: str
    second: int
    temperature: int
    traffic: int
    air: int


class Weather(msgspec.Struct, frozen=True, gc=False):
    """What all devices of one second share: warmth, traffic, and the spike in each zone."""

    warmth: int
    traffic: int
    spikes: tuple[int, ...]


class City:
    """Devices, zones and weather. Safe to share between threads: it keeps no position.

    Memory: proportional to devices, and to zones times some of the windows asked about.
    """

    def __init__(self, seed: int, devices: int, zones: int, spikes: float) -> None:
        """``spikes``: the share of windows in which a zone has a pollution spike."""
        self.devices = devices
        width = len(str(devices - 1))
        self.names = [f"d{index:0{width}}" for index in range(devices)]
        self.index_of = {name: index for index, name in enumerate(self.names)}
        self.keys = [name.encode() for name in self.names]
        self.zones = [f"z{zone:0{len(str(zones - 1))}}" for zone in range(zones)]
        self._zone_of = [self.zones[index % zones] for index in range(devices)]
        self._places = list(Draws(seed, "places").run(0, devices))
        self._spikes = Draws(seed, "spikes")
        self._spike_limit = chance(spikes)
        self._windows: dict[int, tuple[Spike, ...]] = {}
        self._latest = 0, self._weather(0)

    def reading(self, index: int, second: int, weather: Weather, draw: int) -> Reading:
        """The reading of device ``index``; ``draw`` is its own 64 bits, of which 23 to 52 are used."""
        place = self._places[index]
        return Reading(
            self.names[index],
            self._zone_of[index],
            second,
            weather.warmth + (place & 255) + (draw >> 23 & 127),
            weather.traffic + (place >> 8 & 15) + (draw >> 33 & 7),
            800 + (place >> 16 & 511) + (draw >> 43 & 1023) + weather.spikes[index % len(self.zones)],
        )

    def weather(self, second: int) -> Weather:
        """The weather of one second."""
        known_second, known = self._latest
        if second == known_second:
            return known
        weather = self._weather(second)
        self._latest = second, weather  # one assignment of one object: threads see old or new, never half
        return weather

    def _weather(self, second: int) -> Weather:
        window, in_window = divmod(second, SPIKE_WINDOW_S)
        return Weather(
            2600 - _apart_s(second, _WARMEST_S) * 800 // _HALF_DAY_S,
            60 - _apart_s(second, _BUSIEST_S) * 50 // _HALF_DAY_S,
            tuple(height if start <= in_window < end else 0 for start, end, height in self._window(window)),
        )

    def _window(self, window: int) -> tuple[Spike, ...]:
        """For each zone its spike in one window."""
        found = self._windows.get(window)
        if found is None:
            count = len(self.zones)
            found = tuple(self._spike(self._spikes.at(window * count + zone)) for zone in range(count))
            if len(self._windows) >= _MOST_WINDOWS:
                self._windows.clear()
            self._windows[window] = found
        return found

    def _spike(self, draw: int) -> Spike:
        if draw & CHANCE_MASK >= self._spike_limit:
            return 0, 0, 0
        length_s = 3 + (draw >> 20 & 0xFFFF) % 13
        start_s = (draw >> 36 & 0xFFFF) % (SPIKE_WINDOW_S + 1 - length_s)
        return start_s, start_s + length_s, 1500 + (draw >> 52)


def _apart_s(second: int, clock_s: int) -> int:
    """How far a second is from a time of day, the shorter way round: 0 to 43,200."""
    apart = abs(second % _DAY_S - clock_s)
    return min(apart, _DAY_S - apart)
