"""Run one function in a forked child and get its answer back: arrays and a little of everything.

Only for pure computations on what the parent holds in memory. The child never returns into the
caller's code: it answers, and ends.
"""

import contextlib
import mmap
import os
import pickle
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Final

_ALIGNMENT: Final = 64


def can_fork() -> bool:
    """Whether a second process gains anything here, and is safe: no other threads run."""
    return hasattr(os, "fork") and (os.cpu_count() or 1) > 1 and threading.active_count() == 1


class Child:
    """A forked child that computes `work`; leaving the block ends it, whatever happened.

    Arrays in the answer come back in memory that both share, if they fit into `shared_bytes` (of
    which only what is used costs anything), else through the pipe that brings the rest.
    """

    def __init__(self, work: Callable[[], Any], shared_bytes: int = 0) -> None:
        self._shared = mmap.mmap(-1, shared_bytes) if shared_bytes else None
        reading, writing = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():
            # Python 3.12 warns of threads it did not start (BLAS): the child calls none of them.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._pid = os.fork()
        if self._pid == 0:
            os.close(reading)
            _answer_and_exit(work, writing, self._shared)
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
            content_size, is_shared, *sizes = pickle.loads(self._exactly(self._number()))
            if is_shared and self._shared is not None:
                view = memoryview(self._shared)
                buffers: Sequence[Any] = [view[start : start + size] for start, size in _placed(sizes)]
            else:
                buffers = [self._exactly(size) for size in sizes]
            return pickle.loads(self._exactly(content_size), buffers=buffers)
        except EOFError:
            return None

    def _number(self) -> int:
        return int.from_bytes(self._exactly(8), "little")

    def _exactly(self, size: int) -> bytearray:
        content = bytearray(size)
        view = memoryview(content)
        while view:
            count = self._pipe.readinto(view)
            if not count:
                raise EOFError("the child ended before it had answered")
            view = view[count:]
        return content


def _placed(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Where each buffer stands in the shared memory: start and size."""
    places, start = [], 0
    for size in sizes:
        places.append((start, size))
        start += -(-size // _ALIGNMENT) * _ALIGNMENT
    return places


def _answer_and_exit(work: Callable[[], Any], descriptor: int, shared: mmap.mmap | None) -> None:
    status = 1
    try:
        buffers: list[pickle.PickleBuffer] = []
        content = pickle.dumps(work(), protocol=5, buffer_callback=buffers.append)
        raw: list[bytes | memoryview] = [buffer.raw() for buffer in buffers]
        sizes = [len(view) for view in raw]
        places = _placed(sizes)
        is_shared = shared is not None and (not places or sum(places[-1]) <= len(shared))
        if is_shared and shared is not None:
            for view, (start, size) in zip(raw, places, strict=True):
                shared[start : start + size] = view
            raw = []
        head = pickle.dumps([len(content), is_shared, *sizes])
        for piece in (len(head).to_bytes(8, "little"), head, *raw, content):
            view = memoryview(piece)
            while view:
                view = view[os.write(descriptor, view) :]
        status = 0
    finally:
        os._exit(status)
