"""Free ports that stay ours while a broker is down.

They are drawn from below the kernel's ephemeral range. Inside it, a client that keeps calling the
port of a dead broker can be given that very port as its own, and ends up connected to itself.
"""

import contextlib
import random
import socket
from collections.abc import Iterator
from pathlib import Path

from streamproof_harness.servers.availability import ServerError

LOOPBACK = "127.0.0.1"
LOWEST = 12_000


class Ports:
    """Distinct free ports of the loopback address, claimed against other users of this class.

    A claim is an abstract Unix socket named after the port: the kernel drops it with the process.
    """

    def __init__(self, count: int) -> None:
        self._claims: list[socket.socket] = []
        self.numbers: list[int] = []
        for port in _candidates():
            if len(self.numbers) == count:
                break
            if (claim := _claim(port)) is not None:
                self._claims.append(claim)
                self.numbers.append(port)
        if len(self.numbers) < count:
            self.release()
            raise ServerError(f"found no {count} free ports at {LOOPBACK} between {LOWEST} and {_ceiling()}")

    def release(self) -> None:
        """Let others have these ports."""
        for claim in self._claims:
            claim.close()
        self._claims.clear()


def _ceiling() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        return 32_768


def _candidates() -> Iterator[int]:
    ceiling = _ceiling()
    if ceiling - LOWEST < 1_000:
        # An unusual machine: its ephemeral range begins low, so take from where ranges commonly end.
        yield from random.sample(range(61_000, 65_535), 1_000)
        return
    yield from random.sample(range(LOWEST, ceiling), 1_000)


def _claim(port: int) -> socket.socket | None:
    """The claim on a port that nobody listens on, or nothing."""
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with contextlib.suppress(OSError), socket.socket() as probe:
        claim.bind(f"\0streamproof-port-{port}")
        probe.bind((LOOPBACK, port))
        return claim
    claim.close()
    return None
