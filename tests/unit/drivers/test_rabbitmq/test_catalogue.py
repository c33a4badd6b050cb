"""Definitions: the first in the stream stands, and a snapshot stands for what came before it."""

from hypothesis import given
from hypothesis import strategies as st

from streamproof.drivers.rabbitmq.catalogue import (
    EMPTY,
    Backlog,
    Catalogue,
    GroupOpened,
    GroupOpening,
    Marker,
    Snapshot,
    TopicCreated,
    TopicDeleted,
    decode,
    encode,
)
from streamproof.drivers.rabbitmq.replay import SNAPSHOT_EVERY, WINDOW, Replay


def folded(*definitions):
    catalogue = Catalogue()
    for offset, definition in enumerate(definitions):
        catalogue.apply(offset, decode(encode(definition)))
    return catalogue


def topic(name, topic_id="1", partitions=1):
    return TopicCreated(name, topic_id, partitions, True)


def test_the_first_definition_of_a_name_stands():
    catalogue = folded(topic("t", "1", 2), topic("t", "2", 5))
    found = catalogue.topic("t")
    assert found is not None
    assert (found.id, found.partitions) == ("1", 2)
    assert catalogue.name_of("2") is None


def test_a_deletion_of_the_loser_does_not_touch_the_winner():
    assert folded(topic("t", "1"), topic("t", "2"), TopicDeleted("2")).topic("t") is not None


def test_a_topic_that_is_created_again_has_none_of_the_old_groups():
    opened = GroupOpened("g", "1", {0: Backlog(0, 9, {"o": 3})})
    catalogue = folded(topic("t", "1"), opened, TopicDeleted("1"), topic("t", "2"))
    assert catalogue.groups() == []
    assert catalogue.opened("g", "1") is None


def test_a_group_on_a_topic_that_is_gone_is_void():
    assert folded(topic("t"), TopicDeleted("1"), GroupOpened("g", "1")).opened("g", "1") is None


def test_a_group_is_opened_once_and_its_beginnings_are_remembered():
    catalogue = folded(topic("t"), GroupOpening("g", "1"))
    assert catalogue.opened("g", "1") is None
    assert catalogue.groups_on("1") == ["g"]
    catalogue.apply(2, GroupOpened("g", "1", {0: Backlog(0, 5, {})}))
    catalogue.apply(3, GroupOpened("g", "1", {}))
    found = catalogue.opened("g", "1")
    assert found is not None
    assert found.backlog == {0: Backlog(0, 5, {})}
    assert catalogue.groups() == ["g"]


def test_watchers_hear_of_changes_until_they_stop():
    catalogue = Catalogue()
    heard = []
    stop = catalogue.watch(lambda: heard.append(catalogue.version))
    catalogue.apply(0, topic("t"))
    catalogue.apply(1, Marker("m"))
    stop()
    stop()
    catalogue.apply(2, topic("u", "2"))
    assert heard == [1]


ids = st.sampled_from(["1", "2", "3", "4"])
definitions = st.one_of(
    st.builds(topic, st.sampled_from(["t", "u"]), ids, st.integers(1, 3)),
    st.builds(TopicDeleted, ids),
    st.builds(GroupOpening, st.sampled_from(["g", "h"]), ids),
    st.builds(GroupOpened, st.sampled_from(["g", "h"]), ids),
    st.builds(Marker, st.just("m")),
)


@given(st.lists(definitions, max_size=30), st.integers(0, 30), st.integers(0, 30))
def test_a_reader_that_begins_with_a_snapshot_knows_the_same(history, upto, delay):
    """The snapshot is written after some more definitions than it covers."""
    whole = Catalogue()
    stream = []
    snapshot = None
    for place, definition in enumerate(history):
        stream.append(definition)
        whole.apply(len(stream) - 1, definition)
        if place == upto:
            snapshot = whole.snapshot()
        if snapshot is not None and place == upto + delay:
            stream.append(snapshot)
            whole.apply(len(stream) - 1, snapshot)
            snapshot = None
    found = next((at for at, one in enumerate(stream) if isinstance(one, Snapshot)), None)
    if found is None:
        return
    covered = stream[found].upto
    reader = Catalogue()
    replay = Replay(reader, EMPTY)
    replay.saw_end(len(stream) + WINDOW + covered)
    assert replay.start == len(stream) + covered
    replay.start = covered + 1
    for offset, definition in enumerate(stream):
        if offset > covered:
            replay.feed(offset, definition)
    assert replay.is_based
    assert reader.topics() == whole.topics()
    assert reader.groups() == whole.groups()
    assert [reader.groups_on(one) for one in "1234"] == [whole.groups_on(one) for one in "1234"]


def test_a_short_stream_is_read_whole():
    replay = Replay(Catalogue(), EMPTY)
    assert replay.saw_end(WINDOW - 1) == 0
    assert replay.is_based


def test_a_window_without_a_snapshot_is_widened_until_the_beginning():
    replay = Replay(Catalogue(), EMPTY)
    start = replay.saw_end(100_000)
    starts = [start]
    while not replay.is_based:
        replay.feed(start, Marker("m"))
        start = replay.widen()
        starts.append(start)
    assert starts == sorted(starts, reverse=True)
    assert starts[-1] == 0


def test_a_snapshot_that_leaves_a_gap_is_no_beginning():
    replay = Replay(Catalogue(), EMPTY)
    start = replay.saw_end(10 * WINDOW)
    assert not replay.feed(start + 5, Snapshot(start - 2, [], []))
    assert replay.feed(start + 6, Snapshot(start - 1, [], []))


def test_snapshots_are_due_now_and_then():
    catalogue = Catalogue()
    replay = Replay(catalogue, EMPTY)
    replay.saw_end(0)
    for offset in range(SNAPSHOT_EVERY - 1):
        replay.feed(offset, Marker("m"))
    assert not replay.is_snapshot_due
    replay.feed(SNAPSHOT_EVERY - 1, Marker("m"))
    assert replay.is_snapshot_due
    replay.feed(SNAPSHOT_EVERY, catalogue.snapshot())
    assert not replay.is_snapshot_due


def test_after_a_lost_connection_reading_goes_on_behind_what_is_known():
    replay = Replay(Catalogue(), EMPTY)
    replay.saw_end(5)
    for offset in range(3):
        replay.feed(offset, Marker("m"))
    assert replay.saw_end(7) == 3
    replay.feed(2, topic("double"))
    assert replay.saw_end(2) == 3


def test_a_stream_that_ends_before_what_is_known_is_another_one_and_read_from_its_beginning():
    catalogue = Catalogue()
    replay = Replay(catalogue, EMPTY)
    replay.saw_end(2)
    for offset, name in enumerate(("a", "b", "c")):
        replay.feed(offset, topic(name, name))
    assert replay.saw_end(1) == 0
    assert catalogue.topics() == []
    replay.feed(0, topic("d", "d"))
    assert [found.name for found in catalogue.topics()] == ["d"]
    assert replay.saw_end(1) == 1


def test_a_record_of_a_later_version_defines_nothing():
    assert folded(topic("t")).version == 1
    catalogue = Catalogue()
    for offset, raw in enumerate([b'{"type": "topic-renamed", "id": "1"}', b"no JSON", encode(topic("t"))]):
        catalogue.apply(offset, decode(raw))
    assert [found.name for found in catalogue.topics()] == ["t"]
