"""Drivers' consumers that break a promise."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from msgspec.structs import replace

from streamproof.driver import AsyncAssignmentListener, AsyncConsumerDriver
from streamproof.records import Position, RawRecord, TopicPartition
from streamproof_harness.clients.identity import AMOUNT_HEADER
from streamproof_harness.mutants._async.parts import AsyncBrokenConsumer, AsyncBrokenPoll
from streamproof_harness.mutants.mutant import Turn, has_mark

_TOO_FAR = 5
_SEEK_S = 10.0


class AsyncBeginsOneTooLate(AsyncBrokenConsumer):
    async def poll(self, max_records: int, timeout_s: float) -> list[RawRecord]:
        records = await self.inner.poll(max_records, timeout_s)
        kept = [record for record in records if record.offset != 0 or has_mark(record.headers)]
        if len(kept) < len(records):
            self.turn.strike()
        return kept


class AsyncSkipsARecord(AsyncBrokenPoll):
    """In a log of which an earlier poll brought something."""

    def __init__(self, inner: AsyncConsumerDriver, turn: Turn) -> None:
        super().__init__(inner, turn)
        self._polled: set[TopicPartition] = set()

    async def poll(self, max_records: int, timeout_s: float) -> list[RawRecord]:
        records = await super().poll(max_records, timeout_s)
        self._polled.update(record.topic_partition for record in records)
        return records

    def fits(self, records: Sequence[RawRecord]) -> bool:
        return any(records[at].topic_partition in self._polled for at in self.chosen(records)[:1])

    async def strike(self, records: list[RawRecord]) -> list[RawRecord]:
        del records[self.chosen(records)[0]]
        return records


class AsyncSkipsWithinAPoll(AsyncBrokenPoll):
    least = 3

    async def strike(self, records: list[RawRecord]) -> list[RawRecord]:
        del records[self.chosen(records)[1]]
        return records


class AsyncSkipsAfterAPause(AsyncSkipsARecord):
    """What it had fetched when it was paused is gone."""

    is_ready = False

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        self.is_ready = True
        self.inner.pause(partitions)


class AsyncRepeatsARecord(AsyncBrokenPoll):
    async def strike(self, records: list[RawRecord]) -> list[RawRecord]:
        at = self.chosen(records)[0]
        return [*records[: at + 1], *records[at:]]


class AsyncTurnsBack(AsyncBrokenPoll):
    """Begins a poll with the last record of the poll before."""

    def __init__(self, inner: AsyncConsumerDriver, turn: Turn) -> None:
        super().__init__(inner, turn)
        self._again: list[RawRecord] = []

    async def poll(self, max_records: int, timeout_s: float) -> list[RawRecord]:
        again, self._again = self._again, []
        return again + await super().poll(max_records, timeout_s)

    async def strike(self, records: list[RawRecord]) -> list[RawRecord]:
        self._again = [records[self.chosen(records)[-1]]]
        return records


class AsyncHarmsNeighbours(AsyncBrokenPoll):
    """Harms two neighbours of one log that have different keys, neither first nor last in their poll."""

    def neighbours(self, records: Sequence[RawRecord]) -> tuple[int, int] | None:
        """Where the two stand."""
        chosen = self.chosen(records)[1:-1]
        return next((pair for pair in pairwise(chosen) if records[pair[0]].key != records[pair[1]].key), None)

    def fits(self, records: Sequence[RawRecord]) -> bool:
        return self.neighbours(records) is not None

    async def strike(self, records: list[RawRecord]) -> list[RawRecord]:
        pair = self.neighbours(records)
        assert pair is not None
        return self.harmed(list(records), *pair)

    def harmed(self, records: list[RawRecord], one: int, other: int) -> list[RawRecord]:
        """The harm."""
        raise NotImplementedError


class AsyncSwapsNeighbours(AsyncHarmsNeighbours):
    def harmed(self, records: list[RawRecord], one: int, other: int) -> list[RawRecord]:
        records[one], records[other] = records[other], records[one]
        return records


class AsyncSwapsContents(AsyncHarmsNeighbours):
    def harmed(self, records: list[RawRecord], one: int, other: int) -> list[RawRecord]:
        first, second = records[one], records[other]
        records[one] = replace(second, offset=first.offset)
        records[other] = replace(first, offset=second.offset)
        return records


class AsyncGarblesAKey(AsyncBrokenPoll):
    async def strike(self, records: list[RawRecord]) -> list[RawRecord]:
        at = self.chosen(records)[0]
        records[at] = replace(records[at], key=(records[at].key or b"") + b"?")
        return records


class AsyncInventsMoney(AsyncBrokenPoll):
    async def strike(self, records: list[RawRecord]) -> list[RawRecord]:
        at = self.chosen(records)[0]
        headers = tuple(
            (name, b"%d" % (int(value) + 1)) if name == AMOUNT_HEADER and value else (name, value)
            for name, value in records[at].headers
        )
        records[at] = replace(records[at], headers=headers)
        return records


class AsyncStoresNoProgress(AsyncBrokenConsumer):
    async def commit(self, offsets: Mapping[TopicPartition, int], timeout_s: float) -> None:
        self.turn.strike()


class AsyncKeepsARevokedLog(AsyncBrokenConsumer):
    """Hands out a record of a log that it gave up in an earlier poll, and holds no more."""

    def __init__(self, inner: AsyncConsumerDriver, turn: Turn) -> None:
        super().__init__(inner, turn)
        self._last: dict[TopicPartition, RawRecord] = {}
        self._revoked: dict[TopicPartition, RawRecord] = {}

    async def start(self, listener: AsyncAssignmentListener, timeout_s: float) -> None:
        await self.inner.start(AsyncRevokeListener(listener, self._keep), timeout_s)

    async def poll(self, max_records: int, timeout_s: float) -> list[RawRecord]:
        revoked, held = dict(self._revoked), set(self.inner.assignment())
        records = await self.inner.poll(max_records, timeout_s)
        self._last.update({record.topic_partition: record for record in records})
        gone = revoked.keys() - held - set(self.inner.assignment())
        # Some groups give up all they hold at each change, and get most of it back at once.
        if not gone or not held or not self.turn.is_due:
            return records
        self.turn.strike()
        return [revoked[min(gone)], *records]

    def _keep(self, partitions: Sequence[TopicPartition]) -> None:
        self._revoked = {log: self._last[log] for log in partitions if log in self._last}


class AsyncGoesOnAfterAnAbort(AsyncBrokenConsumer):
    """Does not go back to where it is sent."""

    async def poll(self, max_records: int, timeout_s: float) -> list[RawRecord]:
        records = await self.inner.poll(max_records, timeout_s)
        self.turn.count(record.headers for record in records)
        return records

    async def seek(self, partitions: Sequence[TopicPartition], to: Position, timeout_s: float) -> None:
        if self.turn.is_due:
            self.turn.strike()
        else:
            await self.inner.seek(partitions, to, timeout_s)


class AsyncBeginsElsewhere(AsyncBrokenConsumer):
    """Harms the beginning of one log of which its group has stored some progress before."""

    least = 1
    """The progress that there must be."""

    def __init__(self, inner: AsyncConsumerDriver, turn: Turn) -> None:
        super().__init__(inner, turn)
        self._fresh: dict[TopicPartition, int] = {}

    async def start(self, listener: AsyncAssignmentListener, timeout_s: float) -> None:
        await self.inner.start(AsyncAssignListener(listener, self._fresh.update), timeout_s)

    async def poll(self, max_records: int, timeout_s: float) -> list[RawRecord]:
        records = await self.inner.poll(max_records, timeout_s)
        fresh, self._fresh = self._fresh, {}
        for log, place in fresh.items():
            own = [record for record in records if record.topic_partition == log]
            if not own:
                self._fresh[log] = place
            elif self.turn.is_due and place >= self.least and not has_mark(own[0].headers):
                self.turn.strike()
                return await self.harmed(records, own, place)
        return records

    async def harmed(self, records: list[RawRecord], own: list[RawRecord], place: int) -> list[RawRecord]:
        """These records, of which those of the log in question are its ``own``."""
        raise NotImplementedError


class AsyncResumesOneTooLate(AsyncBeginsElsewhere):
    async def harmed(self, records: list[RawRecord], own: list[RawRecord], place: int) -> list[RawRecord]:
        return [record for record in records if record is not own[0]]


class AsyncResumesTooFarBack(AsyncBeginsElsewhere):
    least = _TOO_FAR

    async def harmed(self, records: list[RawRecord], own: list[RawRecord], place: int) -> list[RawRecord]:
        await self.inner.seek((own[0].topic_partition,), place - _TOO_FAR, _SEEK_S)
        return [record for record in records if record not in own]


class AsyncAssignListener:
    """Tells a broken driver, too, where reading begins."""

    def __init__(self, inner: AsyncAssignmentListener, tell: Any) -> None:
        self.inner = inner
        self.tell = tell

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def on_assign(
        self,
        generation: int | None,
        partitions: Sequence[TopicPartition],
        positions: Mapping[TopicPartition, int],
    ) -> None:
        await self.inner.on_assign(generation, partitions, positions)
        self.tell(positions)


class AsyncRevokeListener:
    """Tells what is revoked to a broken driver, too."""

    def __init__(self, inner: AsyncAssignmentListener, tell: Any) -> None:
        self.inner = inner
        self.tell = tell

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def on_revoke(self, generation: int | None, partitions: Sequence[TopicPartition]) -> None:
        await self.inner.on_revoke(generation, partitions)
        self.tell(partitions)


CONSUMERS: Final[dict[str, Any]] = {
    "begins-one-too-late": AsyncBeginsOneTooLate,
    "skips-a-record": AsyncSkipsARecord,
    "skips-within-a-poll": AsyncSkipsWithinAPoll,
    "skips-after-a-pause": AsyncSkipsAfterAPause,
    "repeats-a-record": AsyncRepeatsARecord,
    "turns-back": AsyncTurnsBack,
    "swaps-neighbours": AsyncSwapsNeighbours,
    "swaps-contents": AsyncSwapsContents,
    "garbles-a-key": AsyncGarblesAKey,
    "invents-money": AsyncInventsMoney,
    "stores-no-progress": AsyncStoresNoProgress,
    "keeps-a-revoked-log": AsyncKeepsARevokedLog,
    "goes-on-after-an-abort": AsyncGoesOnAfterAnAbort,
    "resumes-one-too-late": AsyncResumesOneTooLate,
    "resumes-too-far-back": AsyncResumesTooFarBack,
}
