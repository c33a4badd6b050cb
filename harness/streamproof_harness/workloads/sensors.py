"""Workload *sensors*: a city's devices, each sending what it measures once a second of event time.

Not all goes well: a reading may be *missing* (never measured, so never sent), *late* (sent 2 to 8
seconds of event time after it was measured, so behind newer ones of its device), or part of a
*burst* (a device is silent for a window of 5 seconds and then sends all of it at once).

The rate is that of all devices together. If it equals their number, event time passes like real
time; twice the rate is twice as fast. What is still held back at the end of the run is due then.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from heapq import heappop, heappush

import msgspec

from streamproof.errors import ConfigurationError
from streamproof_harness.workloads import parameters as check
from streamproof_harness.workloads.city import SAFE_AIR, City, Reading
from streamproof_harness.workloads.draws import CHANCE_MASK, Draws, chance
from streamproof_harness.workloads.message_oracle import MessageOracle
from streamproof_harness.workloads.oracle import Oracle
from streamproof_harness.workloads.readings import Readings
from streamproof_harness.workloads.workload import ID_HEADER, Message, Parameter

BURST_S = 5
_LEAST_LATE_S = 2
_LATENESSES = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorParameters:
    """Raises ``ConfigurationError`` if one is of a wrong type or out of range.

    * ``rate``: readings a second, of all devices together; ``seconds``: how long the run lasts.
    * ``late``, ``missing``: shares of the readings.
    * ``bursts``: share of the windows of 5 seconds in which a device sends in a burst.
    * ``spikes``: share of the windows of 20 seconds in which a zone has a pollution spike.
    * ``safe_air``: hundredths of µg/m³; a reading above it is an alert.
    * ``epoch_ms``: where event time begins.
    """

    seed: int = 0
    devices: int = 10_000
    zones: int = 10
    rate: int = 10_000
    seconds: float = 10
    late: float = 0.01
    missing: float = 0.005
    bursts: float = 0.01
    spikes: float = 0.2
    safe_air: int = SAFE_AIR
    epoch_ms: int = check.EPOCH_MS
    topic: str = "sensors"

    def __post_init__(self) -> None:
        check.run(self.seed, self.rate, self.seconds, self.epoch_ms, self.topic)
        check.whole("devices", self.devices, 1, check.LARGEST_COUNT)
        check.whole("zones", self.zones, 1, 1000)
        check.whole("safe_air", self.safe_air, 0, 1_000_000)
        for name in ("late", "missing", "bursts", "spikes"):
            check.number(name, getattr(self, name), 0, 1)
        if self.late + self.missing > 1:
            raise ConfigurationError(
                f"workload parameters 'late' and 'missing': {self.late} and {self.missing} "
                "are more than 1 together; lower one of them"
            )


class Sensors:
    """See ``Workload``. A message is one reading: its key the device, its amount the traffic."""

    name = "sensors"
    library_versions: Mapping[str, str] = {}

    def __init__(self, parameters: SensorParameters) -> None:
        self._parameters = parameters
        self._readings = Readings(
            f"{self.name}-{parameters.seed}-",
            parameters.seed,
            City(parameters.seed, parameters.devices, parameters.zones, parameters.spikes),
            check.slots(parameters.rate, parameters.seconds),
            parameters.missing,
            parameters.safe_air,
        )

    @property
    def topic(self) -> str:
        return self._parameters.topic

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return asdict(self._parameters)

    @property
    def message_limit(self) -> int:
        return self._readings.count

    def oracle(self) -> Oracle:
        return MessageOracle(self._readings)

    def messages(self) -> Iterator[Message]:
        prefix, keys, devices = self._readings.id_prefix, self._readings.city.keys, self._parameters.devices
        rate, epoch_ms, end = self._parameters.rate, self._parameters.epoch_ms, self._readings.count
        encode = msgspec.json.Encoder().encode
        seqs = [0] * devices
        for slot, number, reading in self._scheduled():
            index = number % devices
            seq = seqs[index]
            seqs[index] = seq + 1
            id = f"{prefix}{number}"
            yield Message(
                id,
                keys[index],
                encode(reading),
                ((ID_HEADER, id.encode()),),
                epoch_ms + number * 1000 // devices,
                min(slot, end) * 1_000_000_000 // rate,
                seq,
                reading.traffic,
            )

    def _scheduled(self) -> Iterator[tuple[int, int, Reading]]:
        """Slot, number and content of each reading in the order of sending.

        Slot ``n`` is when reading ``n`` is measured. What is held back waits in a heap: a small
        share of the readings of the last few seconds.
        """
        devices = self._parameters.devices
        late_limit = self._readings.missing_limit + chance(self._parameters.late)
        silent, window_end = self._silent(0), BURST_S * devices
        held: list[tuple[int, int, Reading]] = []
        for number, draw, reading in self._readings.drawn():
            while held and held[0][0] <= number:
                yield heappop(held)
            if number >= window_end:
                window = number // (BURST_S * devices)
                silent, window_end = self._silent(window), (window + 1) * BURST_S * devices
            if silent and number % devices in silent:
                heappush(held, (window_end + number % devices, number, reading))
            elif draw & CHANCE_MASK < late_limit:
                late_s = _LEAST_LATE_S + (draw >> 20 & 7) % _LATENESSES
                heappush(held, (number + late_s * devices, number, reading))
            else:
                yield number, number, reading
        while held:
            yield heappop(held)

    def _silent(self, window: int) -> frozenset[int]:
        """The devices that hold their readings back in a window, to send them in a burst after it."""
        limit, devices = chance(self._parameters.bursts), self._parameters.devices
        if limit == 0:
            return frozenset()
        first_block = window * ((devices + 7) // 8)
        draws = Draws(self._parameters.seed, "bursts").run(first_block, devices)
        return frozenset(index for index, draw in enumerate(draws) if draw & CHANCE_MASK < limit)
