"""The client processes of a run as the conductor holds them: threads, tasks, or processes of their own.

Whatever they are made of, an actor is started, told to stop, made to crash, and waited for.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import msgspec

from streamproof.records import AtTime, Position
from streamproof_harness.clients._async.recorded import Crash as AsyncCrash
from streamproof_harness.clients._async.sender import AsyncSender
from streamproof_harness.clients._sync.recorded import Crash
from streamproof_harness.clients._sync.sender import Sender
from streamproof_harness.clients.findings import Reporter, replay
from streamproof_harness.clients.member import (
    AsyncClient,
    Colour,
    MemberOrders,
    SyncClient,
    async_client,
    sync_client,
)
from streamproof_harness.clients.plans import Place, Plan
from streamproof_harness.history.recorder import Recorder


class Actor(Protocol):
    """One client process of a run."""

    process: str

    def stop(self) -> None:
        """Ask it to end in an orderly way; returns at once."""
        ...

    def crash(self) -> None:
        """Make it vanish without a word; returns at once."""
        ...

    def order(self, verb: str, argument: Position | None = None) -> None:
        """Ask a reader to ``pause``, ``resume`` or ``seek`` before its next poll."""
        ...

    @property
    def is_over(self) -> bool:
        """Whether it ended."""
        ...

    @property
    def is_crashed(self) -> bool:
        """Whether it ended by a crash."""
        ...


class ThreadActor:
    """A blocking client on a thread of its own."""

    def __init__(self, client: Sender | SyncClient) -> None:
        self.process = client.process
        self._client = client
        self._thread = threading.Thread(target=client.run, name=client.process, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._client.stop()

    def crash(self) -> None:
        self.order("crash")

    def order(self, verb: str, argument: Position | None = None) -> None:
        assert not isinstance(self._client, Sender), "senders take no orders"
        self._client.order(verb, argument)

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    @property
    def is_crashed(self) -> bool:
        return not isinstance(self._client, Sender) and self._client.is_crashed


class TaskActor:
    """An async client as a task of the conductor's loop."""

    def __init__(self, client: AsyncSender | AsyncClient) -> None:
        self.process = client.process
        self._client = client
        running: Coroutine[Any, Any, None] = client.run()
        self._task = asyncio.get_running_loop().create_task(running, name=client.process)

    def stop(self) -> None:
        self._client.stop()

    def crash(self) -> None:
        self.order("crash")

    def order(self, verb: str, argument: Position | None = None) -> None:
        assert not isinstance(self._client, AsyncSender), "senders take no orders"
        self._client.order(verb, argument)

    @property
    def is_over(self) -> bool:
        if self._task.done() and not self._task.cancelled():
            self._task.result()
        return self._task.done()

    @property
    def is_crashed(self) -> bool:
        return not isinstance(self._client, AsyncSender) and self._client.is_crashed


class MemberActor:
    """A reader in a process of the operating system."""

    def __init__(self, orders: MemberOrders, recorder: Recorder, reporter: Reporter) -> None:
        self.process = orders.process
        self._recorder = recorder
        self._reporter = reporter
        self._is_noted = False
        events_in, events_out = os.pipe()
        findings_in, findings_out = os.pipe()
        orders = msgspec.structs.replace(orders, events=events_out, findings=findings_out)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "streamproof_harness.clients.member"],
            stdin=subprocess.PIPE,
            pass_fds=(events_out, findings_out),
        )
        os.close(events_out)
        os.close(findings_out)
        recorder.attach(events_in)
        self._replayer = threading.Thread(target=self._replay, args=(findings_in,), daemon=True)
        self._replayer.start()
        self._write(msgspec.json.encode(orders))

    def stop(self) -> None:
        self.wake()
        self._write(b"stop")

    def crash(self) -> None:
        self._process.send_signal(signal.SIGKILL)

    def wake(self) -> None:
        """Let a process that hangs go on."""
        self._process.send_signal(signal.SIGCONT)

    def order(self, verb: str, argument: Position | None = None) -> None:
        assert argument is None, "a reader in a process of its own takes no positions"
        self._write(verb.encode())

    @property
    def is_over(self) -> bool:
        code = self._process.poll()
        if code is None or self._replayer.is_alive():
            return False
        if code == -signal.SIGKILL and not self._is_noted:
            self._is_noted = True
            self._reporter.assigned(self.process, 0)
            self._reporter.pending(self.process, 0)
        elif code not in (0, -signal.SIGKILL) and not self._is_noted:
            self._is_noted = True
            self._reporter.failed(self.process, f"the process ended with status {code}")
        return True

    @property
    def is_crashed(self) -> bool:
        return self._process.poll() == -signal.SIGKILL

    def _replay(self, descriptor: int) -> None:
        with os.fdopen(descriptor, "rb") as pipe:
            replay(pipe, self._reporter)
        self._process.wait()
        if self._process.returncode == -signal.SIGKILL:
            self._recorder.note(self.process, "crash")

    def _write(self, line: bytes) -> None:
        assert self._process.stdin is not None
        # A process that is gone needs no orders.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line + b"\n")
            self._process.stdin.flush()


def client_actor(
    process: str,
    place: Place,
    plan: Plan,
    colour: Colour,
    recorder: Recorder,
    reporter: Reporter,
    *,
    is_isolated: bool,
) -> Actor:
    """Start a reading or transforming client; ``is_isolated`` gives it a process of the operating
    system."""
    orders = MemberOrders(process, place, plan, colour, recorder.start_ns, -1, -1)
    if is_isolated:
        return MemberActor(orders, recorder, reporter)
    if colour == "sync":
        return ThreadActor(sync_client(orders, recorder, reporter, _raise_crash))
    return TaskActor(async_client(orders, recorder, reporter, _raise_async_crash))


def _raise_crash() -> None:
    raise Crash


def _raise_async_crash() -> None:
    raise AsyncCrash


async def until(
    condition: Callable[[], bool], timeout_s: float, clock: Callable[[], float] = time.monotonic
) -> bool:
    """Wait for the condition, looking often; false if the bound passed first."""
    deadline = clock() + timeout_s
    while not condition():
        if clock() >= deadline:
            return False
        await asyncio.sleep(0.005)
    return True


__all__ = ["Actor", "AtTime", "MemberActor", "TaskActor", "ThreadActor", "client_actor", "until"]
