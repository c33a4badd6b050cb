"""Groups without a coordinator: never two tenants of one log, and peace in the end."""

from hypothesis import given, settings
from hypothesis import strategies as st

from streamproof.core.membership import (
    Event,
    Expired,
    GroupSnapshot,
    GroupState,
    Joined,
    Left,
    Progressed,
    Released,
    Subscribed,
    Tenure,
    decode,
    encode,
)
from streamproof.records import TopicPartition

T0, T1 = TopicPartition("t", 0), TopicPartition("t", 1)


def fold(*events: Event) -> GroupState:
    state = GroupState()
    for offset, event in enumerate(events):
        state.apply(offset, event)
    return state


def joined(member: str, partitions: int = 2, replaces: str = "") -> Joined:
    return Joined(member, {"t": partitions}, 10.0, replaces)


def test_the_first_member_gets_everything():
    state = fold(joined("a"))
    assert state.owners == {T0: Tenure("a", 1), T1: Tenure("a", 1)}
    assert state.is_settled


def test_a_log_changes_hands_only_when_its_owner_let_go():
    state = fold(joined("a"), joined("b"))
    assert set(state.targets.values()) == {"a", "b"}
    assert {tenure.member for tenure in state.owners.values()} == {"a"}
    assert not state.is_settled
    moving = next(log for log, member in state.targets.items() if member == "b")
    state.apply(2, Released("a", [(moving, 1)]))
    assert state.owners[moving] == Tenure("b", 3)
    assert state.is_settled


def test_a_member_that_is_gone_holds_nothing():
    for gone in (Left("a"), Expired("a", by="b")):
        state = fold(joined("a"), joined("b"), gone)
        assert {tenure.member for tenure in state.owners.values()} == {"b"}
        assert state.is_settled


def test_a_release_of_a_tenure_that_is_over_is_void():
    state = fold(joined("a"), joined("b"), Left("b"))
    before = dict(state.owners)
    state.apply(3, Released("a", [(T0, 99)]))
    state.apply(4, Released("b", [(T0, 1)]))
    assert state.owners == before


def test_a_log_that_came_back_to_its_owner_is_given_anew_after_its_release():
    state = fold(joined("a"), joined("b"))
    moving = next(log for log, member in state.targets.items() if member == "b")
    state.apply(2, Left("b"))
    assert state.owners[moving] == Tenure("a", 1)
    state.apply(3, Released("a", [(moving, 1)]))
    assert state.owners[moving].member == "a"
    assert state.owners[moving].since > 1


def test_a_member_that_came_back_replaces_its_former_self():
    state = fold(joined("a"), joined("a2", replaces="a"))
    assert list(state.members) == ["a2"]
    assert {tenure.member for tenure in state.owners.values()} == {"a2"}


def test_progress_counts_from_the_owner_alone():
    state = fold(joined("a"))
    state.apply(1, Progressed("a", T0, 1, 10))
    state.apply(2, Progressed("b", T0, 1, 99))
    state.apply(3, Progressed("a", T0, 7, 99))
    assert state.progress == {T0: 10}


def test_a_topic_nobody_reads_any_more_is_let_go():
    state = fold(joined("a"), Subscribed("a", {"u": 1}))
    assert state.targets == {TopicPartition("u", 0): "a"}
    state.apply(2, Released("a", [(T0, 1), (T1, 1)]))
    assert set(state.owners) == {TopicPartition("u", 0)}
    assert state.is_settled


names = st.sampled_from(["a", "b", "c", "d"])
topics = st.dictionaries(st.sampled_from(["t", "u"]), st.integers(1, 4))
logs = st.builds(TopicPartition, st.sampled_from(["t", "u"]), st.integers(0, 3))
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(Joined, names, topics, st.just(1.0), st.just("") | names),
    st.builds(Subscribed, names, topics),
    st.builds(Left, names),
    st.builds(Expired, names, names),
    st.builds(Released, names, st.lists(st.tuples(logs, st.integers(1, 12)), max_size=3)),
    st.builds(Progressed, names, logs, st.integers(1, 12), st.integers(0, 100)),
)


@given(st.lists(events, max_size=25))
def test_whatever_happens_the_state_is_sound(history):
    state = GroupState()
    generation = 0
    for offset, event in enumerate(history):
        before = dict(state.owners)
        state.apply(offset, decode(encode(event)))
        assert state.generation >= generation
        changed = [log for log in {*before, *state.owners} if before.get(log) != state.owners.get(log)]
        if changed:
            assert state.generation > generation
        for log in changed:
            if log in state.owners:
                assert state.owners[log].since == state.generation
        assert all(tenure.member in state.members for tenure in state.owners.values())
        assert all(member in state.members for member in state.targets.values())
        assert all(log in state.owners for log in state.targets)
        generation = state.generation


@given(st.lists(events, max_size=25), st.integers(0, 25))
def test_a_snapshot_stands_for_the_events_before_it(history, place):
    whole, restored = GroupState(), GroupState()
    for offset, event in enumerate(history):
        if offset == place:
            snapshot = decode(encode(whole.snapshot()))
            assert isinstance(snapshot, GroupSnapshot)
            restored.restore(snapshot)
        whole.apply(offset, event)
        if offset >= place:
            restored.apply(offset, event)
    if place < len(history):
        assert restored.snapshot() == whole.snapshot()


@settings(max_examples=50)
@given(st.lists(events, max_size=25))
def test_all_who_read_the_same_events_agree(history):
    assert fold(*history).snapshot() == fold(*history).snapshot()


def test_an_event_of_a_later_version_changes_nothing():
    state = fold(joined("a"))
    before = state.snapshot()
    state.apply(0, decode(b'{"type": "paused", "member": "a"}'))
    assert state.snapshot() == before
