"""Read a history into columns, on two processes where the file is large enough to gain by it.

The second half of a large file is decoded by a forked child, which hands its columns back through
a pipe. Forking keeps Python's hash seed, so that both halves hash an id alike. Nothing is forked
for small files, without `os.fork`, or in a program that has other threads.
"""

import mmap
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from streamproof_harness.history import HistoryError, decode_header, inflate
from streamproof_harness.history.codes import Content
from streamproof_harness.history.columns import History
from streamproof_harness.history.decoding import Part, decode_part, split_lines
from streamproof_harness.history.forking import Child, can_fork

FORK_BYTES: Final = 16 << 20
"""Smaller files are decoded by one process: it is done before a second one has started."""

_CHUNK: Final = 1 << 20
_NEWLINE: Final = ord("\n")


def load(source: Path | str | bytes, *, processes: int | None = None) -> History:
    """Decode and validate a history: a file (plain or gzipped), or its bytes.

    `processes`: 1 or 2; None decides by size. Time and memory are linear in the input.
    Raises HistoryError, which names the line and the rule.
    """
    content = _open(source)
    end_of_header = content.find(b"\n") + 1 or len(content)
    if end_of_header == 0:
        raise HistoryError("no history: the file is empty", line=1)
    header = decode_header(content[:end_of_header])
    parts = _decode(content, end_of_header, processes or processes_for(len(content)))
    return History(header, parts, _line_reader(content), len(content))


def processes_for(size: int) -> int:
    """How many processes to decode or judge a history of `size` bytes with: 1 or 2."""
    return 2 if size >= FORK_BYTES and can_fork() else 1


def _open(source: Path | str | bytes) -> Content:
    if isinstance(source, bytes):
        return inflate(source) if source[:2] == b"\x1f\x8b" else source
    try:
        with Path(source).open("rb") as file:
            if file.read(2) == b"\x1f\x8b":
                file.seek(0)
                return inflate(file.read())
            if os.fstat(file.fileno()).st_size == 0:
                return b""
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise HistoryError(f"cannot read {source}: {reason}") from error


def _line_reader(content: Content) -> Callable[[int], bytes]:
    lines: list[_Lines] = []

    def line_of(number: int) -> bytes:
        if not lines:
            lines.append(_Lines(content))
        return lines[0].line(number)

    return line_of


class _Lines:
    """Finds lines by number. Counts the newlines of each megabyte first, and looks into those it needs."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._text = np.frombuffer(content, np.uint8)
        chunks = range(0, len(content), _CHUNK)
        counts = [np.count_nonzero(self._text[at : at + _CHUNK] == _NEWLINE) for at in chunks]
        self._before = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])

    def line(self, number: int) -> bytes:
        start = self._newline(number - 1) + 1 if number else 0
        return self._content[start : self._newline(number)]

    def _newline(self, number: int) -> int:
        """Where the newline at the end of a line stands; after the last, where the content ends."""
        if number >= self._before[-1]:
            return len(self._content)
        chunk = int(np.searchsorted(self._before, number, side="right")) - 1
        text = self._text[chunk * _CHUNK : (chunk + 1) * _CHUNK]
        return chunk * _CHUNK + int(np.flatnonzero(text == _NEWLINE)[number - self._before[chunk]])


def _decode(content: Content, start: int, processes: int) -> list[Part]:
    middle = content.find(b"\n", start + (len(content) - start) // 2) + 1
    if processes < 2 or not middle:
        return [_decode_range(content, start, len(content), 0)]
    # Columns take less room than the text they come from.
    with Child(lambda: _decode_range(content, middle, len(content), None), len(content)) as child:
        first = _decode_range(content, start, middle, 0)
        second: Part | None = child.result()
    if second is None:  # the child died: its half is decoded here
        second = _decode_range(content, middle, len(content), None)
    return [first, _require_continuation(first, second)]


def _decode_range(content: Content, start: int, stop: int, first_index: int | None) -> Part:
    """Decode one range. A HistoryError of the second half is kept: its line is not yet known."""
    part = Part()
    try:
        part = decode_part(split_lines(content, start, stop), first_index)
    except HistoryError as error:
        if first_index is not None:
            raise HistoryError(error.message, line=(error.line or 0) + 1) from error
        part.error = (error.message, error.line or 0)
    return part


def _require_continuation(first: Part, second: Part) -> Part:
    if second.error is not None:
        message, line = second.error
        raise HistoryError(message, line=first.events + 1 + line)
    line = first.events + 2
    if second.first_index != first.events:
        raise HistoryError(
            f"index is {second.first_index}, must be {first.events}: indexes count 0, 1, 2 … without a gap",
            line=line,
        )
    if second.first_time < first.last_time:
        raise HistoryError(
            f"time goes back from {first.last_time} to {second.first_time}: it must never decrease",
            line=line,
        )
    return second
