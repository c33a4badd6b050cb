"""Decode event lines into columns: numpy arrays, one for each field, with interned integers.

Lines are decoded in pieces of half a megabyte: the structs of one piece stay in the processor's
cache, are turned into arrays, and are gone. The rules of the format are held to with array
operations; when one fails, the piece is read again line by line, to name the line.

Strings that few events share (topics, processes, groups) become indexes into a list. Strings that
are (nearly) unique, ids and keys, become 64-bit hashes (Python's own): that any two of a million
ids are taken for one has a chance of 1 in 37 million. The text of an example reads the ids
themselves from the file again.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
import numpy as np

from streamproof_harness.history import MAX_OFFSET, TYPES, Event, HistoryError, decode_event
from streamproof_harness.history.codes import OP, Array, Content
from streamproof_harness.history.pieces import (
    AnyTraffic,
    BrokenRule,
    Piece,
    Tables,
    Traffic,
    calls_of,
    interned,
    numbers,
)

PIECE_BYTES: Final = 1 << 19
_TRY_AGAIN: Final = 16

_TYPE_CODES: Final = {type_: code * 32 for code, type_ in enumerate(TYPES)}
_plain_decoder: Final = msgspec.json.Decoder(Traffic)
_any_decoder: Final = msgspec.json.Decoder(AnyTraffic)
_event_decoder: Final = msgspec.json.Decoder(Event)
_encoder: Final = msgspec.json.Encoder()


class Part:
    """The columns of consecutive lines.

    `columns` holds, by name, one array a piece. `error`, if a rule was broken, is the rule and
    the line, counted within this part from 1.
    """

    def __init__(self) -> None:
        self.columns: dict[str, list[Array]] = {}
        self.tables = Tables()
        self.rare: list[Event] = []
        self.events = 0
        self.sends = 0
        self.pieces = 0
        self.is_plain = True
        self.first_index: int | None = None
        self.first_time = 0
        self.last_time = 0
        self.error: tuple[str, int] | None = None

    def add(self, name: str, values: Array) -> None:
        self.columns.setdefault(name, []).append(values)

    def __getstate__(self) -> dict[str, Any]:
        """For the way between processes: one array a column, and the structs as JSON."""
        state = dict(self.__dict__)
        state["columns"] = {name: [np.concatenate(pieces)] for name, pieces in self.columns.items()}
        state["rare"] = _encoder.encode(self.rare)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.rare = msgspec.json.decode(state["rare"], type=list[Event])


def decode_part(pieces: Iterable[bytes], first_index: int | None = 0) -> Part:
    """Decode `pieces` (whole lines each, as `split_lines` makes them) into one part.

    With `first_index` None any index may stand first, and the caller compares `part.first_index`
    with what it has to be. Raises HistoryError; its line is counted from 1 within the pieces.
    """
    part = Part()
    part.first_index = first_index
    for piece in pieces:
        try:
            _decode_piece(part, piece)
        except (BrokenRule, msgspec.MsgspecError, struct.error, TypeError, ValueError) as error:
            _explain(part, piece, error)
    return part


def split_lines(content: Content, start: int, stop: int, size: int = PIECE_BYTES) -> Iterator[bytes]:
    """Cut ``content[start:stop]`` at newlines into pieces of about `size` bytes."""
    while start < stop:
        end = content.find(b"\n", min(start + size, stop) - 1, stop) + 1
        if end == 0:
            end = stop
        yield content[start:end]
        start = end


def _traffic_of(part: Part, piece: bytes) -> list[Traffic]:
    """The events of a piece, as plain traffic if they are; a part that is not is seldom tried again."""
    if part.is_plain:
        try:
            return _plain_decoder.decode_lines(piece)
        except msgspec.ValidationError:
            pass
    # The first lines of a file are never plain, so the next piece is tried; then every 16th.
    part.pieces += 1
    part.is_plain = part.pieces % _TRY_AGAIN == 1
    events: list[Traffic] = [*_any_decoder.decode_lines(piece)]
    return events


def _decode_piece(part: Part, piece: bytes) -> None:
    events = _traffic_of(part, piece)
    count = len(events)
    is_newline = np.frombuffer(piece, np.uint8) == ord("\n")
    if np.count_nonzero(is_newline) + (not piece.endswith(b"\n")) != count:
        raise BrokenRule("a blank line")
    index = numbers([e.index for e in events])
    times = numbers([e.time for e in events])
    first = int(index[0]) if part.first_index is None else part.first_index + part.events
    rules_hold = (
        index[0] == first
        and bool((index[1:] - index[:-1] == 1).all())
        and times[0] >= part.last_time
        and bool((times[1:] >= times[:-1]).all())
        and times[-1] < MAX_OFFSET
    )
    if not rules_hold:
        raise BrokenRule("index or time")
    kinds = np.frombuffer(bytes([_TYPE_CODES[e.type] | OP[e.op] for e in events]), np.uint8)
    columns = Piece(events, kinds, first, part.tables, part.sends)
    columns.decode_sends()
    columns.decode_polls()
    others = np.flatnonzero(columns.others())
    if len(others):
        ends = np.concatenate([[-1], np.flatnonzero(is_newline), [len(piece)]])
        spans = zip((ends[others] + 1).tolist(), ends[others + 1].tolist(), strict=True)
        columns.decode_others([_event_decoder.decode(piece[start:end]) for start, end in spans])
    elif bool((kinds >= TYPES.index("note") * 32).any()):
        raise BrokenRule("no note")
    calls = calls_of(events, kinds)
    # Nothing may fail from here on: `_explain` decodes a piece a second time.
    part.add("time", times)
    part.add("kind", kinds)
    part.add("call", calls)
    part.add("process", interned([e.process for e in events], part.tables.processes))
    for name, column in columns.columns.items():
        part.add(name, column)
    part.rare += columns.rare
    if part.events == 0:
        part.first_index, part.first_time = first, int(times[0])
    part.sends += len(columns.columns.get("sent.at", ()))
    part.events += count
    part.last_time = int(times[-1])


def _explain(part: Part, piece: bytes, cause: Exception) -> None:
    """Find the first line of `piece` that breaks a rule, and raise what it breaks.

    Where none does, a field that does not belong to its operation has an unusual type: the piece
    is decoded again without such fields.
    """
    expected = None if part.first_index is None else part.first_index + part.events
    last_time = part.last_time
    events = []
    for number, line in enumerate(_lines(piece), start=part.events + 1):
        event = decode_event(line, number)
        events.append(event)
        expected = event.index if expected is None else expected
        if event.index != expected:
            raise HistoryError(
                f"index is {event.index}, must be {expected}: indexes count 0, 1, 2 … without a gap",
                line=number,
            ) from cause
        if event.time < last_time:
            raise HistoryError(
                f"time goes back from {last_time} to {event.time}: it must never decrease", line=number
            ) from cause
        expected += 1
        last_time = event.time
    _decode_piece(part, _encoder.encode_lines(events))


def _lines(piece: bytes) -> list[bytes]:
    lines = piece.split(b"\n")
    return lines[:-1] if piece.endswith(b"\n") else lines
