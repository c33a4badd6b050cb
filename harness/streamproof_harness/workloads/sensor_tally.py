"""What is asked about the sensors: sums per device, averages per type and zone, the alerts."""

from collections.abc import Hashable, Mapping

from streamproof_harness.workloads.answer import Answer, Figure, Mean, Members, Table
from streamproof_harness.workloads.bits import Bits
from streamproof_harness.workloads.city import City, Reading

_TYPES = (("temperature", 2, "°C"), ("traffic", 0, "vehicles/min"), ("air", 2, "µg/m³"))

Sums = list[int]
"""Count of readings, then the sums of temperature, traffic and air."""


class SensorTally:
    """Adds readings up, exactly. Memory: devices and zones, and one bit a reading for the alerts.

    An alert is a device and a second in which ``air`` was above ``safe_air``.
    """

    def __init__(self, city: City, safe_air: int, count: int) -> None:
        """``count``: how many readings there can be; a reading beyond is taken as a stray."""
        self._city = city
        self._safe_air = safe_air
        self._count = count
        self._devices: dict[str, Sums] = {}
        self._zones: dict[str, Sums] = {}
        self._alerts = Bits()
        self._strays: set[str] = set()

    def add(self, reading: Reading) -> None:
        """Count one reading in."""
        device = self._devices.get(reading.device)
        if device is None:
            device = self._devices[reading.device] = [0, 0, 0, 0]
        zone = self._zones.get(reading.zone)
        if zone is None:
            zone = self._zones[reading.zone] = [0, 0, 0, 0]
        for sums in (device, zone):
            sums[0] += 1
            sums[1] += reading.temperature
            sums[2] += reading.traffic
            sums[3] += reading.air
        if reading.air > self._safe_air:
            self._alert(reading)

    def answer(self) -> Answer:
        """The tables, devices and zones by name."""
        tables: list[Table | Members] = [_sums("readings", self._devices, 0)]
        for column, (what, decimals, unit) in enumerate(_TYPES, 1):
            tables.append(_sums(f"sum of {what}", self._devices, column, decimals, unit))
        for column, (what, decimals, unit) in enumerate(_TYPES, 1):
            tables.append(_means(f"average {what}", self._zones, column, decimals, unit))
        tables.append(Members("alerts", self._alerts.copy(), self._alert_name, frozenset(self._strays)))
        return Answer(tuple(tables))

    def _alert(self, reading: Reading) -> None:
        index = self._city.index_of.get(reading.device)
        number = -1 if index is None else reading.second * self._city.devices + index
        if 0 <= number < self._count:
            self._alerts.add(number)
        else:  # a corrupted reading: no bit is kept for it
            self._strays.add(f"{reading.device} in second {reading.second}")

    def _alert_name(self, number: int) -> str:
        second, index = divmod(number, self._city.devices)
        return f"{self._city.names[index]} in second {second}"


def _sums(what: str, devices: Mapping[str, Sums], column: int, decimals: int = 0, unit: str = "") -> Table:
    values: dict[Hashable, Figure] = {name: devices[name][column] for name in sorted(devices)}
    return Table(what, "device", values, decimals, unit)


def _means(what: str, zones: Mapping[str, Sums], column: int, decimals: int, unit: str) -> Table:
    values: dict[Hashable, Figure] = {
        name: Mean(zones[name][column], zones[name][0]) for name in sorted(zones)
    }
    return Table(what, "zone", values, decimals, unit)
