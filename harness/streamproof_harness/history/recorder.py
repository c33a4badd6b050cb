"""Record what clients did and saw, as the events of one history.

A `Recorder` stamps every event with its index and time under one lock, so that the order in
the file is the order in which events were recorded, and writes them in batches. It may be used
from any number of threads and from any event loop; no method waits for anything but the lock
and, once in a batch, the file.

An operation is recorded in two steps, and its completion is joined to it by the returned `Call`::

    call = recorder.invoke_send("p1", "readings", "s-17", "sensor-3", 17, crc)
    ...
    recorder.ok_send(call, partition=0, offset=41)

Record the invocation *before* the operation starts and the completion *after* it has ended.
What was recorded late or early makes the history lie, and the checks believe it.

The recorder keeps what it is given until the batch is written: do not change a list or dict
after it was handed over.
"""

import base64
import gzip
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from streamproof.errors import Closed
from streamproof_harness.history.lines import (
    BeginInvoked,
    Call,
    CommitInvoked,
    EndInvoked,
    Failed,
    InitInvoked,
    InitOk,
    PlaceField,
    PollInvoked,
    PollOk,
    RecordField,
    SeekInvoked,
    SendInvoked,
    SendOk,
)

__all__ = ["BATCH", "Call", "EventRecorder", "PipeRecorder", "Recorder", "key_field"]

BATCH: Final = 512
"""Events that are held back before they are encoded and written; about 0.2 ms of work."""

_encoder: Final = msgspec.json.Encoder()


def key_field(key: bytes | str | None) -> str | dict[str, str] | None:
    """The form in which a history holds a key: text where it is UTF-8, else ``{"b64": …}``."""
    if not isinstance(key, bytes):
        return key
    try:
        return key.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(key).decode()}


class EventRecorder:
    """The recording methods; where the lines go is decided by the subclass' `_write`.

    `clock` returns nanoseconds since the run began and must not go backwards (if it does, the
    last time is kept). Without one, CLOCK_MONOTONIC less `start_ns` is used.
    """

    def __init__(
        self, *, clock: Callable[[], int] | None = None, start_ns: int | None = None, batch: int = BATCH
    ) -> None:
        self._clock = clock or time.monotonic_ns
        now_ns = 0 if clock else time.monotonic_ns()
        self.start_ns = now_ns if start_ns is None else start_ns
        self._batch = batch
        self._lock = threading.Lock()
        self._held: list[Any] = []
        self._index = 0
        self._calls = 0
        self._last = 0
        self._closed = False

    # -- the fast path: sends and polls ---------------------------------------------------------------------

    def invoke_send(
        self,
        process: str,
        topic: str,
        id: str,
        key: str | dict[str, str] | None,
        seq: int,
        crc: int | None,
        partition: int | UnsetType = UNSET,
        due: int | UnsetType = UNSET,
        txn: str | UnsetType = UNSET,
        amount: int | UnsetType = UNSET,
        from_ids: Sequence[str] | UnsetType = UNSET,
    ) -> Call:
        """Record that a send starts. `partition` only if the caller chose it; `due` in ns.

        `txn`: the transaction it is part of; `from_ids`: the ids that it derives from (``from``).
        For the fields that are missing here (``expires`` …) use `invoke`.
        """
        with self._lock:
            index, now = self._stamp()
            call = self._calls
            self._calls = call + 1
            event = SendInvoked(
                index,
                now,
                process,
                "invoke",
                "send",
                call,
                topic,
                id,
                key,
                seq,
                crc,
                partition,
                due,
                txn,
                amount,
                from_ids,
            )
            self._held.append(event)
            if len(self._held) >= self._batch:
                self._flush()
        return event

    def ok_send(self, call: Call, partition: int, offset: int | None) -> None:
        """Record that a send was acknowledged; `offset` is None where the system tells none."""
        with self._lock:
            index, now = self._stamp()
            self._held.append(SendOk(index, now, call.process, "ok", "send", call.call, partition, offset))
            if len(self._held) >= self._batch:
                self._flush()

    def invoke_poll(
        self,
        process: str,
        group: str | UnsetType = UNSET,
        txn: str | UnsetType = UNSET,
        isolation: str | UnsetType = UNSET,
    ) -> Call:
        """Record that a poll starts. `isolation` only if it is not ``read_committed``."""
        with self._lock:
            index, now = self._stamp()
            call = self._calls
            self._calls = call + 1
            event = PollInvoked(index, now, process, "invoke", "poll", call, group, txn, isolation)
            self._held.append(event)
            if len(self._held) >= self._batch:
                self._flush()
        return event

    def ok_poll(self, call: Call, records: Sequence[RecordField]) -> None:
        """Record what a poll returned, in its order; an empty list if nothing came."""
        with self._lock:
            index, now = self._stamp()
            self._held.append(PollOk(index, now, call.process, "ok", "poll", call.call, records))
            if len(self._held) >= self._batch:
                self._flush()

    # -- transactions ------------------------------------------------------------------------

    def invoke_init(self, process: str, transactional_id: str) -> Call:
        """Record that a transactional producer initialises: whoever did so before is fenced."""
        with self._lock:
            index, now, call = self._stamp_call()
            event = InitInvoked(index, now, process, "invoke", "init", call, transactional_id)
            self._take(event)
        return event

    def ok_init(self, call: Call, epoch: int | UnsetType = UNSET) -> None:
        """Record that the producer has initialised; `epoch` where the client tells it."""
        with self._lock:
            index, now = self._stamp()
            self._take(InitOk(index, now, call.process, "ok", "init", call.call, epoch))

    def invoke_begin(
        self, process: str, txn: str, transactional_id: str, consumers: Sequence[str] | UnsetType = UNSET
    ) -> Call:
        """Record that a transaction begins. `txn` is a name that no other transaction of the run has.

        `consumers`: the processes whose polls since their last commit or rewind it covers.
        """
        with self._lock:
            index, now, call = self._stamp_call()
            event = BeginInvoked(
                index, now, process, "invoke", "begin", call, txn, transactional_id, consumers
            )
            self._take(event)
        return event

    def invoke_end(self, process: str, txn: str, transactional_id: str, commit: bool) -> Call:
        """Record that a transaction is committed (`commit` True) or aborted."""
        with self._lock:
            index, now, call = self._stamp_call()
            event = EndInvoked(index, now, process, "invoke", "end", call, txn, transactional_id, commit)
            self._take(event)
        return event

    def invoke_commit(
        self,
        process: str,
        group: str,
        offsets: Sequence[PlaceField],
        generation: int | str | UnsetType = UNSET,
        txn: str | UnsetType = UNSET,
    ) -> Call:
        """Record that a group's progress is stored, by itself or, with `txn`, with a transaction.

        `offsets` holds the next offset to read of each log.
        """
        with self._lock:
            index, now, call = self._stamp_call()
            event = CommitInvoked(
                index, now, process, "invoke", "commit", call, group, offsets, generation, txn
            )
            self._take(event)
        return event

    def invoke_seek(self, process: str, offsets: Sequence[PlaceField]) -> Call:
        """Record that a reader moves to the given offsets."""
        with self._lock:
            index, now, call = self._stamp_call()
            event = SeekInvoked(index, now, process, "invoke", "seek", call, offsets)
            self._take(event)
        return event

    # -- every operation -----------------------------------------------------------------------

    def invoke(self, process: str, op: str, /, **fields: Any) -> Call:
        """Record that an operation starts. A trailing underscore is cut (``from_`` → ``from``)."""
        with self._lock:
            index, now, number = self._stamp_call()
            call = Call(index, now, process, "invoke", op, number)
            self._hold(index, now, process, "invoke", op, {"call": number, **fields})
        return call

    def ok(self, call: Call, /, **fields: Any) -> None:
        """Record that the operation happened."""
        with self._lock:
            index, now = self._stamp()
            if fields:
                self._hold(index, now, call.process, "ok", call.op, {"call": call.call, **fields})
            else:
                self._take(Call(index, now, call.process, "ok", call.op, call.call))

    def fail(self, call: Call, error: BaseException | str, /, **fields: Any) -> None:
        """Record that the operation certainly did not happen. `error`: the exception or its class name."""
        self._complete(call, "fail", error, fields)

    def info(self, call: Call, error: BaseException | str, /, **fields: Any) -> None:
        """Record that nobody knows whether the operation happened."""
        self._complete(call, "info", error, fields)

    def note(self, process: str, op: str, /, **fields: Any) -> None:
        """Record something without duration: assign, revoke, fault, drained …"""
        with self._lock:
            index, now = self._stamp()
            self._hold(index, now, process, "note", op, fields)

    def now_ns(self) -> int:
        """Nanoseconds since the run began, as the next event would be stamped."""
        return max(self._last, self._clock() - self.start_ns)

    @property
    def count(self) -> int:
        """Events recorded so far."""
        return self._index

    def flush(self) -> None:
        """Hand everything recorded so far to the operating system (or to memory)."""
        with self._lock:
            if not self._closed:
                self._flush()

    # -- inside ----------------------------------------------------------------------------------

    def _complete(self, call: Call, type: str, error: BaseException | str, fields: Mapping[str, Any]) -> None:
        name = error if isinstance(error, str) else error.__class__.__name__
        with self._lock:
            index, now = self._stamp()
            if fields:
                named = {"call": call.call, "error": name, **fields}
                self._hold(index, now, call.process, type, call.op, named)
            else:
                self._take(Failed(index, now, call.process, type, call.op, call.call, name))

    def _stamp_call(self) -> tuple[int, int, int]:
        index, now = self._stamp()
        number = self._calls
        self._calls = number + 1
        return index, now, number

    def _stamp(self) -> tuple[int, int]:
        if self._closed:
            raise Closed("the recorder is closed: record every event before close()")
        index = self._index
        self._index = index + 1
        now = self._clock() - self.start_ns
        if now < self._last:
            now = self._last
        self._last = now
        return index, now

    def _take(self, event: Any) -> None:
        self._held.append(event)
        if len(self._held) >= self._batch:
            self._flush()

    def _hold(
        self, index: int, now: int, process: str, type: str, op: str, fields: Mapping[str, Any]
    ) -> None:
        event: dict[str, Any] = {
            "index": index,
            "time": now,
            "process": process,
            "type": type,
            "op": op,
        }
        for name, value in fields.items():
            event[name.rstrip("_")] = value
        self._take(event)

    def _flush(self) -> None:
        if self._held:
            lines = _encoder.encode_lines(self._held)
            self._held.clear()
            self._write(lines)

    def _write(self, lines: bytes) -> None:
        raise NotImplementedError


class Recorder(EventRecorder):
    """Records one run, to `path` (``.jsonl`` or ``.jsonl.gz``) or, without one, in memory.

    `header` holds the fields of line 1; ``streamproof_history`` is added. Events of other
    processes come in through `attach` or `absorb` and are merged by `close`, by time; each
    process' own order is kept. Until then they are held in memory.
    """

    def __init__(
        self,
        header: Mapping[str, Any],
        *,
        path: Path | str | None = None,
        clock: Callable[[], int] | None = None,
        start_ns: int | None = None,
        batch: int = BATCH,
    ) -> None:
        super().__init__(clock=clock, start_ns=start_ns, batch=batch)
        self.header: dict[str, Any] = {"streamproof_history": 1, **header}
        self.path = None if path is None else Path(path)
        self._memory: list[bytes] = []
        self._foreign: list[list[bytes]] = []
        self._readers: list[threading.Thread] = []
        self._file = None if self.path is None else _open_for_writing(self.path)
        self._write(_encoder.encode(self.header) + b"\n")

    def attach(self, descriptor: int) -> None:
        """Take the events that another process writes to a pipe (see `PipeRecorder`).

        Reads `descriptor` to its end on a thread of its own, and closes it. A last line that
        was cut off, because its process was killed, is left out.
        """
        lines: list[bytes] = []
        reader = threading.Thread(
            target=_drain_pipe, args=(descriptor, lines), name="streamproof-history", daemon=True
        )
        with self._lock:
            self._foreign.append(lines)
            self._readers.append(reader)
        reader.start()

    def absorb(self, lines: Sequence[bytes]) -> None:
        """Take the events of another process, one JSON line each, in its own order."""
        with self._lock:
            self._foreign.append(list(lines))

    def close(self, timeout_s: float = 30.0) -> None:
        """Write what is held, merge what other processes sent, close the file. Idempotent.

        Waits at most `timeout_s` for the writers of attached pipes to end; raises TimeoutError
        if one still has its end open. The events of this process are safe in any case.
        """
        with self._lock:
            if self._closed:
                return
            self._flush()
            self._closed = True
            if self._file is not None:
                self._file.close()
                self._file = None
        deadline = time.monotonic() + timeout_s
        for reader in self._readers:
            reader.join(max(0.0, deadline - time.monotonic()))
            if reader.is_alive():
                raise TimeoutError(
                    f"a process still holds its end of a history pipe after {timeout_s:g} s: "
                    "end it before the recorder is closed"
                )
        if any(self._foreign):
            self._merge()

    def data(self) -> bytes:
        """The whole history as JSON Lines. Of a recorder in memory, or of a closed one."""
        self.flush()
        if self.path is None:
            return b"".join(self._memory)
        content = self.path.read_bytes()
        return gzip.decompress(content) if self.path.suffix == ".gz" else content

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _write(self, lines: bytes) -> None:
        if self._file is None:
            self._memory.append(lines)
        else:
            self._file.write(lines)

    def _merge(self) -> None:
        from streamproof_harness.history.merging import merge_lines

        own = self.data().splitlines()[1:]
        merged = b"".join(merge_lines([own, *self._foreign]))
        content = _encoder.encode(self.header) + b"\n" + merged
        if self.path is None:
            self._memory = [content]
            return
        # A rename: whoever reads meanwhile sees the old file or the new one, never half of one.
        # The name keeps its ending, because that decides whether it is compressed.
        beside = self.path.with_name("merging-" + self.path.name)
        with _open_for_writing(beside) as file:
            file.write(content)
        os.replace(beside, self.path)


class PipeRecorder(EventRecorder):
    """Records in another process of the same host, into a pipe that a `Recorder` has attached.

    `start_ns` is the `Recorder`'s, so that both stamp on one clock. Every event is written at
    once: what was recorded before a SIGKILL arrives.
    """

    def __init__(self, descriptor: int, start_ns: int) -> None:
        super().__init__(start_ns=start_ns, batch=1)
        self._descriptor = descriptor

    def close(self) -> None:
        """Close the pipe; the `Recorder` sees the end of these events. Idempotent."""
        with self._lock:
            if not self._closed:
                self._flush()
                self._closed = True
                os.close(self._descriptor)

    def _write(self, lines: bytes) -> None:
        view = memoryview(lines)
        while view:
            view = view[os.write(self._descriptor, view) :]


def _open_for_writing(path: Path) -> IO[bytes] | gzip.GzipFile:
    if path.suffix == ".gz":
        return gzip.open(path, "wb", compresslevel=3)
    return path.open("wb", buffering=0)


def _drain_pipe(descriptor: int, lines: list[bytes]) -> None:
    with os.fdopen(descriptor, "rb") as pipe:
        lines.extend(line for line in pipe if line.endswith(b"\n"))
