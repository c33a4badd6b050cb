"""The clickstream has popular users and pages, sessions, and an oracle that counts."""

import json
from collections import Counter, defaultdict
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from streamproof_harness.workloads import workload
from streamproof_harness.workloads.clickstream import Clickstream, ClickstreamParameters
from streamproof_harness.workloads.names import Names

NAMES = Names(("Ada", "Béla"), ("Lovelace",), ("Köln",))
EPOCH_MS = 1_704_067_200_000


def views_of(**parameters) -> list[dict]:
    made = workload("clickstream", **parameters)
    return [json.loads(message.value) for message in made.messages()]


@given(
    seed=st.integers(0, 2**63 - 1),
    users=st.integers(1, 60),
    pages=st.integers(1, 30),
    sessions=st.integers(1, 40),
    count=st.integers(1, 800),
    late=st.sampled_from([0, 0.02, 1]),
    pace=st.sampled_from([1, 60, 3600]),
)
@settings(max_examples=60, deadline=None)
def test_the_expected_answer_is_that_of_counting_by_hand(count, **parameters) -> None:
    parameters |= {"rate": 1000, "seconds": (count + 0.5) / 1000}
    made = Clickstream(ClickstreamParameters(**parameters), NAMES)
    pages, minutes = Counter(), Counter()
    for message in made.messages():
        view = json.loads(message.value)
        assert message.key == view["user"].encode()
        assert message.timestamp_ms == view["time_ms"]
        pages[view["page"]] += 1
        minutes[view["page"], (view["time_ms"] - EPOCH_MS) // 60_000] += 1
    expected = made.oracle().expected()
    assert expected["views"].values == pages
    assert expected["views in a minute"].values == minutes


def test_a_session_is_one_user_going_from_page_to_page() -> None:
    sessions = defaultdict(list)
    for view in views_of(rate=10_000, seconds=2):
        sessions[view["session"]].append(view)
    for views in sessions.values():
        assert len({view["user"] for view in views}) == 1
        assert [view["referrer"] for view in views] == [None, *(view["page"] for view in views[:-1])]
    lengths = Counter(len(views) for views in sessions.values())
    assert set(lengths) == set(range(1, 17))


def test_views_of_a_session_follow_each_other_at_the_stated_gap() -> None:
    times = defaultdict(list)
    for view in views_of(rate=1000, seconds=10, sessions=200, pace=60, late=0):
        times[view["session"]].append(view["time_ms"])
    gaps = {after - before for each in times.values() for before, after in pairwise(each)}
    assert gaps == {12_000}


def test_a_user_comes_back_in_another_session() -> None:
    sessions = defaultdict(set)
    for view in views_of(users=20, rate=1000, seconds=10):
        sessions[view["user"]].add(view["session"])
    assert len(sessions) == 20
    assert all(len(each) > 1 for each in sessions.values())


def test_the_first_user_and_page_are_the_most_popular() -> None:
    views = views_of(users=100, pages=100, rate=20_000, seconds=2)
    pages = Counter(view["page"] for view in views)
    assert pages.most_common(1)[0][0] == "/"
    assert 1.7 < pages["/"] / pages["/products/1"] < 2.3
    users = Counter({view["session"]: view["user"] for view in views}.values())
    assert users.most_common(1)[0][0] == "u00"


def test_late_views_have_an_earlier_time_and_never_one_before_the_epoch() -> None:
    times = [view["time_ms"] for view in views_of(rate=1000, seconds=10, late=0.1)]
    behind = [number * 60 + EPOCH_MS - time_ms for number, time_ms in enumerate(times)]
    assert 850 < sum(each > 0 for each in behind) < 1150
    assert max(behind) <= 90_000
    assert min(behind) == 0
    assert min(times) >= EPOCH_MS


def test_a_user_has_one_name_and_one_place() -> None:
    known = defaultdict(set)
    for view in views_of(users=50, rate=1000, seconds=5):
        known[view["user"]].add((view["name"], view["city"]))
    assert all(len(each) == 1 for each in known.values())
    assert len(set().union(*known.values())) > 40
