"""Transactional requests to a real Kafka, byte by byte: what no client library lets a test ask.

One connection, one request at a time; versions are chosen so that both transaction protocols can
be spoken (KIP-98: version 1; KIP-890: version 2). One broker is assumed, so it is every coordinator.
"""

import socket
import struct
import time
from urllib.parse import urlsplit

from aiokafka.record.default_records import DefaultRecordBatchBuilder

PATIENCE_S = 30.0

LATER = {
    "CONCURRENT_TRANSACTIONS",
    "COORDINATOR_LOAD_IN_PROGRESS",
    "COORDINATOR_NOT_AVAILABLE",
    "NOT_COORDINATOR",
    "NOT_LEADER_OR_FOLLOWER",
}

NAMES = {
    -1: "UNKNOWN_SERVER_ERROR",
    0: "NONE",
    3: "UNKNOWN_TOPIC_OR_PARTITION",
    6: "NOT_LEADER_OR_FOLLOWER",
    14: "COORDINATOR_LOAD_IN_PROGRESS",
    15: "COORDINATOR_NOT_AVAILABLE",
    16: "NOT_COORDINATOR",
    22: "ILLEGAL_GENERATION",
    25: "UNKNOWN_MEMBER_ID",
    42: "INVALID_REQUEST",
    45: "OUT_OF_ORDER_SEQUENCE_NUMBER",
    46: "DUPLICATE_SEQUENCE_NUMBER",
    47: "INVALID_PRODUCER_EPOCH",
    48: "INVALID_TXN_STATE",
    49: "INVALID_PRODUCER_ID_MAPPING",
    50: "INVALID_TRANSACTION_TIMEOUT",
    51: "CONCURRENT_TRANSACTIONS",
    55: "OPERATION_NOT_ATTEMPTED",
    59: "UNKNOWN_PRODUCER_ID",
    69: "GROUP_ID_NOT_FOUND",
    88: "UNSTABLE_OFFSET_COMMIT",
    90: "PRODUCER_FENCED",
    105: "TRANSACTIONAL_ID_NOT_FOUND",
    120: "TRANSACTION_ABORTABLE",
}


def text(value):
    """A compact nullable string."""
    return b"\0" if value is None else uvarint(len(value) + 1) + value.encode()


def uvarint(value):
    """An unsigned varint."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def array(items):
    """A compact array of what is encoded already."""
    return uvarint(len(items) + 1) + b"".join(items)


def batch(pid, epoch, sequence, count, *, is_transactional):
    """A record batch of ``count`` records."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=1 if is_transactional else 0,
        producer_id=pid,
        producer_epoch=epoch,
        base_sequence=sequence,
        batch_size=1 << 20,
    )
    for index in range(count):
        builder.append(index, timestamp=int(time.time() * 1000), key=None, value=b"value", headers=[])
    return bytes(builder.build())


class Reply:
    """Reads an answer's fields in order."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        found = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return found[0] if len(found) == 1 else found

    def uvarint(self):
        shift = value = 0
        while True:
            byte = self.take(">B")
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def text(self):
        size = self.uvarint()
        raw = self.data[self.at : self.at + size - 1] if size else b""
        self.at += max(0, size - 1)
        return raw.decode()


class Wire:
    """One connection."""

    def __init__(self, url):
        address = urlsplit(url)
        self.socket = socket.create_connection((address.hostname, address.port), PATIENCE_S)
        self.number = 0

    def close(self):
        self.socket.close()

    def ask(self, key, version, body):
        """The answer's body; every request here is flexible."""
        self.number += 1
        head = struct.pack(">hhi", key, version, self.number) + struct.pack(">h", 4) + b"wire" + b"\0"
        data = head + body
        self.socket.sendall(struct.pack(">i", len(data)) + data)
        size = struct.unpack(">i", self.exactly(4))[0]
        reply = Reply(self.exactly(size))
        number = reply.take(">i")
        assert number == self.number
        reply.take(">B")  # tagged fields of the header
        return reply

    def exactly(self, size):
        data = bytearray()
        while len(data) < size:
            piece = self.socket.recv(size - len(data))
            assert piece, "the broker hung up"
            data += piece
        return bytes(data)

    def again(self, ask):
        """Until the former transaction is written to its end, as every client does."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            answer = ask()
            if answer[0] not in LATER:
                return answer
            assert time.monotonic() < deadline, answer
            time.sleep(0.02)

    # -- requests --------------------------------------------------------------------------

    def init(self, transactional_id, timeout_ms=60_000, expected=(-1, -1)):
        """``(error, (producer id, epoch))``"""

        def ask():
            reply = self.ask(
                22, 4, text(transactional_id) + struct.pack(">iqh", timeout_ms, *expected) + b"\0"
            )
            reply.take(">i")
            error, pid, epoch = reply.take(">hqh")
            return named(error), (pid, epoch)

        return self.again(ask)

    def add(self, transactional_id, producer, topic, partitions):
        """The errors by partition."""

        def ask():
            logs = array([struct.pack(">i", partition) for partition in partitions])
            body = text(transactional_id) + struct.pack(">qh", *producer)
            reply = self.ask(24, 3, body + array([text(topic) + logs + b"\0"]) + b"\0")
            reply.take(">i")
            found = {}
            for _ in range(reply.uvarint() - 1):
                reply.text()
                for _ in range(reply.uvarint() - 1):
                    partition, error = reply.take(">ih")
                    found[partition] = named(error)
                    reply.take(">B")
                reply.take(">B")
            return max(found.values()), found

        return self.again(ask)[1]

    def add_offsets(self, transactional_id, producer, group):
        def ask():
            body = text(transactional_id) + struct.pack(">qh", *producer) + text(group)
            reply = self.ask(25, 3, body + b"\0")
            reply.take(">i")
            return (named(reply.take(">h")),)

        return self.again(ask)[0]

    def end(self, transactional_id, producer, is_commit, version):
        """``(error, identity)``; in version 1 the identity is the producer's own."""

        def ask():
            body = text(transactional_id) + struct.pack(">qh?", *producer, is_commit)
            reply = self.ask(26, 5 if version == 2 else 4, body + b"\0")
            reply.take(">i")
            error = named(reply.take(">h"))
            return error, reply.take(">qh") if version == 2 else producer

        return self.again(ask)

    def offsets(self, transactional_id, producer, group, topic, offsets, version, member=("", -1)):
        """The errors by partition of a TxnOffsetCommit."""

        def ask():
            body = text(transactional_id) + text(group) + struct.pack(">qh", *producer)
            body += struct.pack(">i", member[1]) + text(member[0]) + text(None)
            logs = [
                struct.pack(">iqi", partition, offset, -1) + text("") + b"\0"
                for partition, offset in offsets.items()
            ]
            reply = self.ask(
                28, 5 if version == 2 else 3, body + array([text(topic) + array(logs) + b"\0"]) + b"\0"
            )
            reply.take(">i")
            found = {}
            for _ in range(reply.uvarint() - 1):
                reply.text()
                for _ in range(reply.uvarint() - 1):
                    partition, error = reply.take(">ih")
                    found[partition] = named(error)
                    reply.take(">B")
                reply.take(">B")
            return max(found.values()), found

        return self.again(ask)[1]

    def produce(self, transactional_id, topic, partition, records, version):
        """``(error, first offset)``"""

        def ask():
            body = text(transactional_id) + struct.pack(">hi", -1, 10_000)
            log = struct.pack(">i", partition) + uvarint(len(records) + 1) + records + b"\0"
            reply = self.ask(
                0, 12 if version == 2 else 11, body + array([text(topic) + array([log]) + b"\0"]) + b"\0"
            )
            reply.uvarint()
            reply.text()
            reply.uvarint()
            _, error, offset = reply.take(">ihq")
            return named(error), offset

        return self.again(ask)

    def describe(self, transactional_id):
        """``(error, state, (producer id, epoch), {(topic, partition)})``"""
        reply = self.ask(65, 0, array([text(transactional_id)]) + b"\0")
        reply.take(">i")
        reply.uvarint()
        error = named(reply.take(">h"))
        reply.text()
        state = reply.text()
        _, _, pid, epoch = reply.take(">iqqh")
        partitions = set()
        for _ in range(reply.uvarint() - 1):
            topic = reply.text()
            partitions |= {(topic, reply.take(">i")) for _ in range(reply.uvarint() - 1)}
            reply.take(">B")
        return error, state, (pid, epoch), partitions

    def await_end(self, transactional_id):
        """Return once no control record of the transactional id is still to be written."""
        deadline = time.monotonic() + PATIENCE_S
        while self.describe(transactional_id)[1].startswith("Prepare"):
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def await_topic(self, topic, partitions):
        """Return once the broker knows a new topic, and leads its partitions."""
        deadline = time.monotonic() + PATIENCE_S
        for partition in partitions:
            # A batch that no log takes: the producer begins in the middle of a transaction of nobody.
            while self.produce("nobody", topic, partition, batch(0, 0, 1, 1, is_transactional=True), 1)[
                0
            ] in (
                "UNKNOWN_TOPIC_OR_PARTITION",
                "NOT_LEADER_OR_FOLLOWER",
            ):
                assert time.monotonic() < deadline
                time.sleep(0.01)

    def committed(self, group, topic, partitions, *, is_stable):
        """``{partition: (error, offset)}`` of an OffsetFetch."""
        logs = array([struct.pack(">i", partition) for partition in partitions])
        topics = array([text(topic) + logs + b"\0"])
        reply = self.ask(9, 8, array([text(group) + topics + b"\0"]) + struct.pack(">?", is_stable) + b"\0")
        reply.take(">i")
        found = {}
        for _ in range(reply.uvarint() - 1):
            reply.text()
            for _ in range(reply.uvarint() - 1):
                reply.text()
                for _ in range(reply.uvarint() - 1):
                    partition, offset, _ = reply.take(">iqi")
                    reply.text()
                    found[partition] = (named(reply.take(">h")), offset)
                    reply.take(">B")
                reply.take(">B")
        return found


def named(code):
    """An error by its name in the protocol."""
    return NAMES.get(code, str(code))
