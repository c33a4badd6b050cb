"""A reader in a process of the operating system, so that a crash is a crash: ``python -m`` this module.

It is given its orders as JSON on standard input, and two pipes: one for the events of the history,
one for findings. It ends on SIGTERM in an orderly way, and on SIGKILL as processes do. When the
conductor dies, standard input ends, and so does it.
"""

import asyncio
import os
import signal
import sys
import threading
from typing import Literal

import msgspec

from streamproof_harness.clients._async.reader import AsyncReader
from streamproof_harness.clients._sync.reader import Reader
from streamproof_harness.clients.findings import PipedFindings
from streamproof_harness.clients.plans import Place, ReaderPlan
from streamproof_harness.history.recorder import PipeRecorder
from streamproof_harness.logs import log_to_stderr

Colour = Literal["sync", "async"]


class MemberOrders(msgspec.Struct, frozen=True):
    """The first line on standard input; further lines are single words for the reader."""

    process: str
    place: Place
    plan: ReaderPlan
    colour: Colour
    start_ns: int
    events: int
    findings: int


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _obey(reader: Reader | AsyncReader) -> None:
    for line in sys.stdin:
        word = line.strip()
        if word == "stop":
            reader.stop()
        elif word:
            reader.order(word)
    reader.stop()


def main() -> None:
    """Run one reader to its end."""
    log_to_stderr()
    orders = msgspec.json.decode(sys.stdin.readline(), type=MemberOrders)
    recorder = PipeRecorder(orders.events, orders.start_ns)
    reporter = PipedFindings(orders.findings)
    make = Reader if orders.colour == "sync" else AsyncReader
    reader = make(orders.process, orders.place, orders.plan, recorder, reporter, _die)
    signal.signal(signal.SIGTERM, lambda *_: reader.stop())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_obey, args=(reader,), name="orders", daemon=True).start()
    if isinstance(reader, AsyncReader):
        asyncio.run(reader.run())
    else:
        reader.run()
    recorder.close()


if __name__ == "__main__":
    main()
