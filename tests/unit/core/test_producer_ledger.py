"""A log's knowledge of its producers, against the whole story walked from its beginning."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from streamproof.core.batch import ProducerStamp
from streamproof.core.producer_errors import (
    InvalidProducerEpoch,
    InvalidTransactionState,
    OutOfOrderSequence,
)
from streamproof.core.producer_ledger import ProducerLedger, following_sequence
from streamproof.errors import StreamproofError

LAST = 2**31 - 1


class Batch:
    def __init__(self, stamp, count, offset, time):
        self.stamp, self.count, self.offset, self.time = stamp, count, offset, time
        self.first = stamp.sequence
        self.last = (stamp.sequence + count - 1) % 2**31


class Marker:
    def __init__(self, epoch, time):
        self.epoch, self.time = epoch, time


class Attempt:
    def __init__(self, epoch, sequence, version, time):
        self.epoch, self.sequence, self.version, self.time = epoch, sequence, version, time


class Story:
    """All that happened to one producer id, in order; every answer is found by walking it."""

    def __init__(self):
        self.events = []

    def stored(self):
        return [event for event in self.events if not isinstance(event, Attempt)]

    def epoch(self):
        epochs = [event.stamp.epoch if isinstance(event, Batch) else event.epoch for event in self.stored()]
        return epochs[-1] if epochs else None

    def batches(self):
        """Of the present epoch, since it was entered."""
        found = []
        for event in reversed(self.stored()):
            if (event.stamp.epoch if isinstance(event, Batch) else event.epoch) != self.epoch():
                break
            if isinstance(event, Batch):
                found.insert(0, event)
        return found

    def opened(self):
        """Where its open transaction begins."""
        first = None
        for event in self.stored():
            if isinstance(event, Marker):
                first = None
            elif event.stamp.is_transactional and first is None:
                first = event.offset
        return first

    def attempts(self):
        """Those since a transaction last wrote or ended."""
        found = []
        for event in self.events:
            if isinstance(event, Attempt):
                found.append(event)
            elif isinstance(event, Marker) or event.stamp.is_transactional:
                found = []
        return found

    def expected(self, stamp, count, is_verified):
        for batch in self.batches()[-5:]:
            if (batch.stamp.epoch, batch.first) == (stamp.epoch, stamp.sequence) and batch.count == count:
                return batch.offset
        is_open = self.opened() is not None and self.epoch() == stamp.epoch
        if stamp.is_transactional and not is_verified and not is_open:
            return InvalidTransactionState
        if self.epoch() is not None and stamp.epoch < self.epoch():
            return InvalidProducerEpoch
        attempts = self.attempts()
        if attempts:
            newest = max(attempt.epoch for attempt in attempts)
            lowest = min(attempt.sequence for attempt in attempts if attempt.epoch == newest)
            if stamp.sequence > lowest:
                return OutOfOrderSequence
        wanted = 0
        if self.epoch() is None:
            wanted = 0 if attempts and attempts[0].version == 2 else stamp.sequence
        elif self.epoch() == stamp.epoch and self.batches():
            wanted = (self.batches()[-1].last + 1) % 2**31
        if stamp.sequence != wanted:
            return OutOfOrderSequence
        if self.opened() is not None and not stamp.is_transactional:
            return InvalidTransactionState
        return None


def answer(call):
    try:
        return call()
    except StreamproofError as error:
        return type(error)


class LedgerAgainstStory(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.ledger = ProducerLedger()
        self.stories = {}
        self.offset = 0
        self.time = 0

    def story(self, producer):
        return self.stories.setdefault(producer, Story())

    producers = st.sampled_from([1, 2, 3])

    @rule(
        producer=producers,
        kind=st.sampled_from(["next", "next", "next", "again", "any", "end"]),
        any_sequence=st.sampled_from([0, 1, 2, 5, LAST - 1, LAST]),
        count=st.integers(1, 3),
        step=st.sampled_from([0, 0, 0, 0, 1, -1]),
        version=st.sampled_from([0, 1, 2]),
        is_transactional=st.booleans(),
        back=st.integers(1, 7),
    )
    def produce(self, producer, kind, any_sequence, count, step, version, is_transactional, back):
        story = self.story(producer)
        epoch = max(0, (story.epoch() or 0) + step)
        batches = story.batches()
        sequence = any_sequence
        if kind == "next" and step == 0 and batches:
            sequence = (batches[-1].last + 1) % 2**31
        elif kind == "next":
            sequence = 0
        elif kind == "again" and batches:
            again = batches[-min(back, len(batches))]
            sequence, count = again.first, again.count
        stamp = ProducerStamp(producer, epoch, sequence, is_transactional)
        is_open = self.ledger.is_open(producer, epoch)
        assert is_open == (story.opened() is not None and story.epoch() == epoch)
        is_verified = is_transactional and version > 0
        if is_verified and not is_open:
            refused = story.epoch() is not None and epoch < story.epoch()
            tried = answer(lambda: self.ledger.attempt(stamp, version, self.time))
            assert tried == (InvalidProducerEpoch if refused else None)
            if refused:
                return
            story.events.append(Attempt(epoch, sequence, version, self.time))
        expected = story.expected(stamp, count, is_verified)
        assert answer(lambda: self.ledger.check(stamp, count, is_verified)) == expected
        if expected is None:
            self.ledger.appended(stamp, count, self.offset, self.time)
            story.events.append(Batch(stamp, count, self.offset, self.time))
            self.offset += count

    @rule(producer=producers, step=st.sampled_from([0, 0, 1, 2, -1]))
    def end(self, producer, step):
        story = self.story(producer)
        epoch = max(0, (story.epoch() or 0) + step)
        expected = story.opened()
        if story.epoch() is not None and epoch < story.epoch():
            expected = InvalidProducerEpoch
        assert answer(lambda: self.ledger.ended(producer, epoch, self.time)) == expected
        if expected is not InvalidProducerEpoch:
            story.events.append(Marker(epoch, self.time))
            self.offset += 1

    @rule(passed=st.integers(0, 8))
    def expire(self, passed):
        self.time += passed
        self.ledger.expire(self.time, 10)
        for story in self.stories.values():
            stored = story.stored()
            attempts = story.attempts()
            if attempts and self.time - attempts[0].time >= 10:
                story.events = [event for event in story.events if event not in attempts]
                attempts = []
            if stored and story.opened() is None and self.time - stored[-1].time >= 10:
                story.events = attempts

    @rule()
    def clear(self):
        self.ledger.clear()
        self.stories.clear()

    @invariant()
    def the_rest_agrees(self):
        opened = [story.opened() for story in self.stories.values() if story.opened() is not None]
        assert self.ledger.first_open == min(opened, default=None)
        known = {producer: story for producer, story in self.stories.items() if story.stored()}
        assert {producer for producer, _ in self.ledger} == known.keys()
        assert len(self.ledger) == len(known)
        for producer, found in self.ledger:
            story = known[producer]
            assert (found.epoch, found.first_offset) == (story.epoch(), story.opened())
            remembered = [(batch.first, batch.last, batch.offset) for batch in story.batches()[-5:]]
            assert [batch[:3] for batch in found.batches] == remembered
            assert found.last_sequence == (remembered[-1][1] if remembered else -1)
            assert self.ledger.find(producer) is found


TestLedgerAgainstStory = LedgerAgainstStory.TestCase
TestLedgerAgainstStory.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)


class Sender:
    """One producer and the ledger of one log."""

    def __init__(self, producer_id=7):
        self.ledger = ProducerLedger()
        self.id = producer_id
        self.end = 0

    def send(self, sequence, count=1, epoch=0, is_transactional=False, version=0):
        stamp = ProducerStamp(self.id, epoch, sequence, is_transactional)
        if version:
            self.ledger.attempt(stamp, version, 0)
        found = self.ledger.check(stamp, count, version > 0)
        if found is not None:
            return found
        self.ledger.appended(stamp, count, self.end, 0)
        self.end += count
        return self.end - count


@pytest.fixture
def sender():
    return Sender()


def test_sequences_follow_without_a_gap(sender):
    assert [sender.send(0, 3), sender.send(3), sender.send(4, 2)] == [0, 3, 4]
    for wrong in (7, 5, 12):
        with pytest.raises(OutOfOrderSequence, match=r"sequence \d+ where 6 follows"):
            sender.send(wrong, 4)


def test_each_of_the_last_five_batches_is_answered_again_and_the_sixth_is_not(sender):
    for first in range(6):
        sender.send(first)
    assert [sender.send(first) for first in range(1, 6)] == [1, 2, 3, 4, 5]
    with pytest.raises(OutOfOrderSequence):
        sender.send(0)
    assert sender.end == 6


def test_a_repetition_has_exactly_the_same_sequences(sender):
    sender.send(0, 4)
    for first, count in ((0, 3), (1, 3), (0, 5)):
        with pytest.raises(OutOfOrderSequence):
            sender.send(first, count)


def test_after_the_last_sequence_comes_zero(sender):
    sender.send(LAST - 1, 3)  # LAST - 1, LAST, 0
    assert sender.send(1) == 3
    assert sender.send(LAST - 1, 3) == 0
    other = Sender(8)
    other.send(LAST - 2, 3)
    assert other.send(0) == 3
    assert following_sequence(LAST, 1) == 0


def test_a_new_epoch_begins_at_zero_and_the_old_one_is_over(sender):
    sender.send(0, 2)
    with pytest.raises(OutOfOrderSequence):
        sender.send(2, epoch=1)
    assert sender.send(0, epoch=1) == 2
    for sequence in (0, 2):  # neither a repetition nor a continuation
        with pytest.raises(InvalidProducerEpoch, match="epoch 0 of producer 7 is over"):
            sender.send(sequence, 2)


def test_an_unknown_producer_begins_anywhere_unless_in_a_transaction_of_the_second_version(sender):
    assert sender.send(41) == 0
    assert Sender().send(41, is_transactional=True, version=1) == 0
    with pytest.raises(OutOfOrderSequence):
        Sender().send(41, is_transactional=True, version=2)


def test_a_transactional_batch_is_asked_for_once_in_a_transaction(sender):
    with pytest.raises(InvalidTransactionState):
        sender.send(0, is_transactional=True)
    sender.send(0, is_transactional=True, version=1)
    assert sender.send(1, is_transactional=True) == 1
    sender.ledger.ended(7, 0, 0)
    with pytest.raises(InvalidTransactionState):
        sender.send(2, is_transactional=True)


def test_no_batch_goes_before_one_that_the_coordinator_refused(sender):
    sender.ledger.attempt(ProducerStamp(7, 0, 5, True), 1, 0)
    with pytest.raises(OutOfOrderSequence):
        sender.send(6, is_transactional=True, version=1)
    assert sender.send(5, is_transactional=True, version=1) == 0


def test_within_a_transaction_nothing_is_stored_beside_it(sender):
    sender.send(0, is_transactional=True, version=2)
    with pytest.raises(InvalidTransactionState, match="not part of it"):
        sender.send(1)
    sender.ledger.ended(7, 0, 0)
    assert sender.send(1) == 1


def test_a_marker_of_a_higher_epoch_fences(sender):
    sender.send(0, is_transactional=True, version=1)
    assert sender.ledger.ended(7, 3, 0) == 0
    with pytest.raises(InvalidProducerEpoch):
        sender.send(1, is_transactional=True, version=1)
    with pytest.raises(InvalidProducerEpoch):
        sender.ledger.ended(7, 2, 0)
    assert sender.send(0, epoch=3) == 1


def test_the_oldest_open_transaction_ends_what_is_stable():
    ledger = ProducerLedger()
    for producer in (1, 2, 3):
        ledger.appended(ProducerStamp(producer, 0, 0, True), 1, producer * 10, 0)
    assert ledger.first_open == 10
    assert ledger.ended(2, 0, 0) == 20
    assert ledger.first_open == 10
    assert ledger.ended(1, 0, 0) == 10
    assert ledger.first_open == 30
    assert ledger.ended(1, 0, 0) is None
    assert ledger.ended(3, 0, 0) == 30
    assert ledger.first_open is None


def test_time_forgets_a_producer_but_none_with_a_transaction_open():
    ledger = ProducerLedger()
    ledger.appended(ProducerStamp(1, 0, 0), 1, 0, 100)
    ledger.appended(ProducerStamp(2, 0, 0, True), 1, 1, 100)
    ledger.expire(199, 100)
    assert len(ledger) == 2
    ledger.expire(200, 100)
    assert [producer for producer, _ in ledger] == [2]
    assert ledger.check(ProducerStamp(1, 0, 77), 1) is None
