"""A client in a process of the operating system, so that a crash is a crash: ``python -m`` this module.

It is given its orders as JSON on standard input, and two pipes: one for the events of the history,
one for findings. It ends on SIGTERM in an orderly way, and on SIGKILL as processes do. When the
conductor dies, standard input ends, and so does it.
"""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Literal

import msgspec

from streamproof_harness.clients._async.effector import AsyncEffector
from streamproof_harness.clients._async.reader import AsyncReader
from streamproof_harness.clients._async.transformer import AsyncTransformer
from streamproof_harness.clients._sync.effector import Effector
from streamproof_harness.clients._sync.reader import Reader
from streamproof_harness.clients._sync.transformer import Transformer
from streamproof_harness.clients.findings import PipedFindings, Reporter
from streamproof_harness.clients.plans import EffectPlan, Place, Plan, TransformPlan
from streamproof_harness.history.recorder import EventRecorder, PipeRecorder
from streamproof_harness.logs import log_to_stderr

Colour = Literal["sync", "async"]

SyncClient = Reader | Transformer | Effector
AsyncClient = AsyncReader | AsyncTransformer | AsyncEffector


class MemberOrders(msgspec.Struct, frozen=True):
    """The first line on standard input; further lines are single words for the client."""

    process: str
    place: Place
    plan: Plan
    colour: Colour
    start_ns: int
    events: int
    findings: int


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sync_client(
    orders: MemberOrders, recorder: EventRecorder, reporter: Reporter, die: Callable[[], None]
) -> SyncClient:
    """The blocking client that these orders are for."""
    process, place, plan = orders.process, orders.place, orders.plan
    if isinstance(plan, TransformPlan):
        return Transformer(process, place, plan, recorder, reporter, die)
    if isinstance(plan, EffectPlan):
        return Effector(process, place, plan, recorder, reporter, die)
    return Reader(process, place, plan, recorder, reporter, die)


def async_client(
    orders: MemberOrders, recorder: EventRecorder, reporter: Reporter, die: Callable[[], None]
) -> AsyncClient:
    """The async client that these orders are for."""
    process, place, plan = orders.process, orders.place, orders.plan
    if isinstance(plan, TransformPlan):
        return AsyncTransformer(process, place, plan, recorder, reporter, die)
    if isinstance(plan, EffectPlan):
        return AsyncEffector(process, place, plan, recorder, reporter, die)
    return AsyncReader(process, place, plan, recorder, reporter, die)


def _obey(client: SyncClient | AsyncClient) -> None:
    for line in sys.stdin:
        word = line.strip()
        if word == "stop":
            client.stop()
        elif word:
            client.order(word)
    client.stop()


def main() -> None:
    """Run one client to its end."""
    log_to_stderr()
    orders = msgspec.json.decode(sys.stdin.readline(), type=MemberOrders)
    recorder = PipeRecorder(orders.events, orders.start_ns)
    reporter = PipedFindings(orders.findings)
    make = sync_client if orders.colour == "sync" else async_client
    client = make(orders, recorder, reporter, _die)
    signal.signal(signal.SIGTERM, lambda *_: client.stop())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_obey, args=(client,), name="orders", daemon=True).start()
    if isinstance(client, AsyncReader | AsyncTransformer | AsyncEffector):
        asyncio.run(client.run())
    else:
        client.run()
    recorder.close()


if __name__ == "__main__":
    main()
