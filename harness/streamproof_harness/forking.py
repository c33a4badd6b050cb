"""Run one function in a forked child and get its answer back: arrays and a little of everything.

Only for pure computations on what the parent holds in memory. The child never returns into the
caller's code: it answers, and ends.
"""

import contextlib
import os
import pickle
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any


def can_fork() -> bool:
    """Whether a second process gains anything here, and is safe: no other threads run."""
    return hasattr(os, "fork") and (os.cpu_count() or 1) > 1 and threading.active_count() == 1


class Child:
    """A forked child that computes `work`; leaving the block ends it, whatever happened.

    Arrays in the answer travel as raw bytes beside the pickle, without being copied into it.
    """

    def __init__(self, work: Callable[[], Any]) -> None:
        reading, writing = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():
            # Python 3.12 warns of threads it did not start (BLAS): the child calls none of them.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._pid = os.fork()
        if self._pid == 0:
            os.close(reading)
            _answer_and_exit(work, writing)
        os.close(writing)
        self._pipe = os.fdopen(reading, "rb", buffering=0)

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *exception: object) -> None:
        self._pipe.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)

    def result(self) -> Any:
        """The answer, or None if the child failed; then the parent does the work itself."""
        try:
            sizes = pickle.loads(self._exactly(int.from_bytes(self._exactly(8), "little")))
            buffers = [self._exactly(size) for size in sizes[1:]]
            return pickle.loads(self._exactly(sizes[0]), buffers=buffers)
        except EOFError:
            return None

    def _exactly(self, size: int) -> bytearray:
        content = bytearray(size)
        view = memoryview(content)
        while view:
            count = self._pipe.readinto(view)
            if not count:
                raise EOFError("the child ended before it had answered")
            view = view[count:]
        return content


def _answer_and_exit(work: Callable[[], Any], descriptor: int) -> None:
    status = 1
    try:
        buffers: list[pickle.PickleBuffer] = []
        content = pickle.dumps(work(), protocol=5, buffer_callback=buffers.append)
        raw = [buffer.raw() for buffer in buffers]
        sizes = pickle.dumps([len(content), *(view.nbytes for view in raw)])
        pieces: list[bytes | memoryview] = [len(sizes).to_bytes(8, "little"), sizes, *raw, content]
        for piece in pieces:
            view = memoryview(piece)
            while view:
                view = view[os.write(descriptor, view) :]
        status = 0
    finally:
        os._exit(status)
