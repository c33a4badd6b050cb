"""AMQP 0-9-1 frames as bytes: publishing written and deliveries read without an object a frame.

Client libraries in plain Python spend most of a message's cost on building and taking apart
frame objects. The two hot paths, ``basic.publish`` out and ``basic.deliver``, ``basic.ack`` and
``basic.nack`` in, are done here on bytes; every other frame goes through the client library
untouched. No I/O. Source: AMQP 0-9-1 specification, sections 2.3.5 (frames) and 4.2.3 to 4.2.6.
"""

from collections.abc import Callable
from struct import Struct

_METHOD, _HEADER, _BODY = 1, 2, 3
_END = b"\xce"
_FRAME = Struct(">BHI")
_HEADER_FRAME = Struct(">BHIHHQ")
_BODY_SIZE = Struct(">Q")
_DELIVERY = Struct(">QB")
_INDEX = Struct(">I")
_PUBLISH = Struct(">HHH")
_ACK_FRAME = Struct(">BHIHHQ?B")
_BASIC = 60
_CLOSE = Struct(">HB")
_CONNECTION_CLOSE = 10 << 16 | 50
_CHANNEL_CLOSE = 20 << 16 | 40
_BASIC_RETURN = 60 << 16 | 50
_BASIC_DELIVER = 60 << 16 | 60
_BASIC_ACK = 60 << 16 | 80
_BASIC_NACK = 60 << 16 | 120
_MANDATORY = b"\x01"
_FRAME_OVERHEAD = 8
_HEADER_START = 12
"""Class, weight and body size stand before the properties in a header frame."""

HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"
"""The frame of a heartbeat."""

Deliver = Callable[[int, bool, bytes, bytes], None]
"""Called with delivery tag, whether it was redelivered, the raw properties, the body."""

Return = Callable[[bytes], None]
"""Called with the raw properties of a mandatory message that no queue took; its confirm follows."""

Confirm = Callable[[int, bool, bool], None]
"""Called with delivery tag, whether all lower ones are meant too, whether it is an ack."""


def short_string(text: str) -> bytes:
    """A string of at most 255 bytes, with its length before it."""
    raw = text.encode()
    return bytes((len(raw),)) + raw


def publish_method(channel: int, exchange: str, routing_key: str) -> bytes:
    """The frame of one ``basic.publish``, mandatory; the same for every message to one place."""
    payload = _PUBLISH.pack(_BASIC, 40, 0) + short_string(exchange) + short_string(routing_key) + _MANDATORY
    return _FRAME.pack(_METHOD, channel, len(payload)) + payload + _END


def close_reason(frame: bytes) -> tuple[int, str] | None:
    """Reply code and text of a ``connection.close``; ``None`` for any other frame."""
    if len(frame) < 15 or frame[0] != _METHOD or _INDEX.unpack_from(frame, 7)[0] != _CONNECTION_CLOSE:
        return None
    code, size = _CLOSE.unpack_from(frame, 11)
    return code, frame[14 : 14 + size].decode("utf-8", "replace")


def ack_method(channel: int, tag: int, is_multiple: bool) -> bytes:
    """The frame of one ``basic.ack``."""
    return _ACK_FRAME.pack(_METHOD, channel, 13, _BASIC, 80, tag, is_multiple, 0xCE)


def content_frames(method: bytes, channel: int, properties: bytes, body: bytes, frame_max: int) -> bytes:
    """The frames of one message after its ``method`` frame, with it, as one piece."""
    size = len(body)
    header = _HEADER_FRAME.pack(_HEADER, channel, _HEADER_START + len(properties), _BASIC, 0, size)
    if 0 < size <= frame_max - _FRAME_OVERHEAD:
        return b"".join((method, header, properties, _END, _FRAME.pack(_BODY, channel, size), body, _END))
    pieces = [method, header, properties, _END]
    step = frame_max - _FRAME_OVERHEAD
    for start in range(0, size, step):
        part = body[start : start + step]
        pieces += (_FRAME.pack(_BODY, channel, len(part)), part, _END)
    return b"".join(pieces)


def largest_properties(frame_max: int) -> int:
    """Bytes of properties that one message can carry: AMQP has no second header frame."""
    return frame_max - _FRAME_OVERHEAD - _HEADER_START


class _Partial:
    """A delivery whose frames have not all arrived."""

    __slots__ = ("chunks", "is_redelivered", "missing", "properties", "tag")

    def __init__(self, tag: int | None, is_redelivered: bool) -> None:
        # None for a message that came back.
        self.tag = tag
        self.is_redelivered = is_redelivered
        self.properties = b""
        self.missing = -1
        self.chunks: list[bytes] = []


class FrameScanner:
    """Takes the bytes of a connection apart into frames. Deliveries of channels in ``deliveries``,
    and returns and confirms, in their order, of channels in ``returns`` and ``confirms``, are handed to
    their functions; those of other channels, which nobody listens to any more, to nobody. Every
    other frame is handed, whole and in its turn, to ``rest``; before that, if the server closes a
    channel, its function in ``closes`` is called."""

    def __init__(self, rest: Callable[[bytes], None]) -> None:
        self.deliveries: dict[int, Deliver] = {}
        self.returns: dict[int, Return] = {}
        self.confirms: dict[int, Confirm] = {}
        self.closes: dict[int, Callable[[], None]] = {}
        self.bytes_taken = 0
        self._rest = rest
        self._partial: dict[int, _Partial] = {}
        self._tail = b""

    def mute(self) -> None:
        """Nobody listens any more."""
        self.deliveries.clear()
        self.returns.clear()
        self.confirms.clear()
        self.closes.clear()

    def feed(self, data: bytes) -> None:
        """Bytes as they came; whole frames are handed on before this returns."""
        buffer = self._tail + data if self._tail else data
        size = len(buffer)
        start = 0
        while start + 7 <= size:
            kind, channel, length = _FRAME.unpack_from(buffer, start)
            end = start + length + _FRAME_OVERHEAD
            if kind == 65:  # "A" of a protocol header: the server refuses our version
                end = size
            elif end > size:
                break
            self._frame(buffer, kind, channel, start, end)
            start = end
        self._tail = buffer[start:] if start < size else b""

    def _frame(self, buffer: bytes, kind: int, channel: int, start: int, end: int) -> None:
        if kind == _METHOD:
            index = _INDEX.unpack_from(buffer, start + 7)[0]
            if index == _BASIC_DELIVER:
                at = start + 12 + buffer[start + 11]
                tag, is_redelivered = _DELIVERY.unpack_from(buffer, at)
                self._partial[channel] = _Partial(tag, bool(is_redelivered))
                self.bytes_taken += end - start
                return
            if index == _BASIC_RETURN:
                self._partial[channel] = _Partial(None, False)
                self.bytes_taken += end - start
                return
            if index in (_BASIC_ACK, _BASIC_NACK):
                tag, bits = _DELIVERY.unpack_from(buffer, start + 11)
                self.bytes_taken += end - start
                confirm = self.confirms.get(channel)
                if confirm is not None:
                    confirm(tag, bool(bits & 1), index == _BASIC_ACK)
                return
            if index == _CHANNEL_CLOSE and channel in self.closes:
                self.closes.pop(channel)()
        elif channel in self._partial and kind in (_HEADER, _BODY):
            self.bytes_taken += end - start
            self._content(buffer, kind, channel, start + 7, end - 1)
            return
        self._rest(buffer[start:end])

    def _content(self, buffer: bytes, kind: int, channel: int, start: int, end: int) -> None:
        partial = self._partial[channel]
        if kind == _HEADER:
            partial.missing = _BODY_SIZE.unpack_from(buffer, start + 4)[0]
            partial.properties = buffer[start + _HEADER_START : end]
        else:
            partial.missing -= end - start
            partial.chunks.append(buffer[start:end])
        if partial.missing <= 0:
            del self._partial[channel]
            tag = partial.tag
            if tag is None:
                came_back = self.returns.get(channel)
                if came_back is not None:
                    came_back(partial.properties)
                return
            take = self.deliveries.get(channel)
            if take is not None:
                chunks = partial.chunks
                body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
                take(tag, partial.is_redelivered, partial.properties, body)
