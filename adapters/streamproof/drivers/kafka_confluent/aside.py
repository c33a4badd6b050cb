"""Calls that overrun their bound, on a thread that may be left to them."""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

_Calls = SimpleQueue[Callable[[], Any] | None]
_Answers = SimpleQueue[Exception | None]


class NoAnswer(Exception):
    """The call is still under way."""


class Aside:
    """One call at a time. The thread is kept for the next one, since starting it takes longer than
    most calls; one whose call does not end in time is left alone, and ends with it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._worker: tuple[_Calls, _Answers] | None = None

    def failure_of(self, call: Callable[[], Any], timeout_s: float) -> Exception | None:
        """Make the call; what it raised. Raises :class:`NoAnswer`."""
        calls, answers = self._worker or self._started()
        calls.put(call)
        try:
            return answers.get(timeout=max(0.0, timeout_s))
        except Empty:
            self.stop()
            raise NoAnswer(f"no answer within {timeout_s} s") from None
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Let the thread end, once it can."""
        if self._worker is not None:
            self._worker[0].put(None)
            self._worker = None

    def _started(self) -> tuple[_Calls, _Answers]:
        worker: tuple[_Calls, _Answers] = SimpleQueue(), SimpleQueue()
        self._worker = worker
        threading.Thread(target=_serve, args=worker, name=self._name, daemon=True).start()
        return worker


def _serve(calls: _Calls, answers: _Answers) -> None:
    while (call := calls.get()) is not None:
        try:
            call()
        except Exception as raised:
            answers.put(raised)
        else:
            answers.put(None)
        # Else it would keep what it was called with until the next one.
        del call
