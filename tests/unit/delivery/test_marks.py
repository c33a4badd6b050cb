"""The table of marks that memory and Redis stores follow, against what it promises."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streamproof.delivery.stores.marks import Marks

LEASE_S, RETENTION_S = 10.0, 100.0


def marks(max_marks: int = 1000) -> Marks:
    return Marks(LEASE_S, RETENTION_S, max_marks)


def test_a_claim_is_held_until_its_deadline() -> None:
    table = marks()
    assert table.claim("k", "a", 0.0).state == "claimed"
    other = table.claim("k", "b", 4.0)
    assert (other.state, other.held_for_s) == ("held", 6.0)
    assert table.claim("k", "a", 4.0).state == "claimed", "who holds it may ask again"


def test_a_lease_that_ran_out_leaves_a_doubt_until_it_is_done() -> None:
    table = marks()
    table.claim("k", "a", 0.0)
    taken = table.claim("k", "b", LEASE_S)
    assert (taken.state, taken.is_doubtful) == ("claimed", True)
    table.release("k", "b", 11.0)
    again = table.claim("k", "c", 12.0)
    assert (again.state, again.is_doubtful) == ("claimed", True)
    assert not table.finish("k", "a", 13.0), "it was taken over"
    assert table.finish("k", "c", 13.0)
    assert table.claim("k", "d", 14.0).state == "done"


def test_a_late_finish_counts_while_nobody_took_over() -> None:
    table = marks()
    table.claim("k", "a", 0.0)
    assert table.finish("k", "a", 5 * LEASE_S)
    assert table.claim("k", "b", 5 * LEASE_S).state == "done"


def test_a_release_without_doubt_leaves_nothing() -> None:
    table = marks()
    table.claim("k", "a", 0.0)
    table.release("k", "b", 1.0)
    assert table.claim("k", "b", 1.0).state == "held", "only the holder releases"
    table.release("k", "a", 1.0)
    assert len(table) == 0
    assert not table.claim("k", "b", 1.0).is_doubtful


def test_marks_are_forgotten_after_their_retention_and_not_before() -> None:
    table = marks()
    table.claim("k", "a", 0.0)
    table.finish("k", "a", 0.0)
    assert table.forget(RETENTION_S - 1) == 0
    assert table.claim("k", "b", RETENTION_S - 1).state == "done"
    assert table.forget(RETENTION_S) == 1
    assert table.claim("k", "b", RETENTION_S).state == "claimed"


def test_the_oldest_give_way_to_the_newest() -> None:
    table = marks(max_marks=3)
    for key in "abcd":
        table.claim(key, "t", 0.0)
        table.finish(key, "t", 0.0)
    assert [table.claim(key, "u", 0.0).state for key in "bcd"] == ["done"] * 3
    assert table.claim("a", "u", 0.0).state == "claimed"
    assert len(table) == 3


class Workers(RuleBasedStateMachine):
    """Workers that claim, apply, finish, give back and die, on a clock that only rises."""

    def __init__(self) -> None:
        super().__init__()
        self.table = marks()
        self.now = 0.0
        self.tokens = 0
        self.leases: dict[str, list[tuple[str, float, bool]]] = {}
        self.done: set[str] = set()

    keys = st.sampled_from("xyz")

    @rule(duration=st.sampled_from([0.0, 1.0, 5.0, LEASE_S]))
    def wait(self, duration: float) -> None:
        self.now += duration

    @rule(key=keys)
    def claim(self, key: str) -> None:
        self.tokens += 1
        token = str(self.tokens)
        held = [lease for lease in self.leases.get(key, []) if lease[1] > self.now]
        claim = self.table.claim(key, token, self.now)
        if key in self.done:
            assert claim.state == "done"
        elif held:
            assert claim.state == "held"
            assert claim.held_for_s == held[-1][1] - self.now
        else:
            assert claim.state == "claimed"
            # Whoever had it and neither finished nor gave it back may have applied it.
            assert claim.is_doubtful == bool(self.leases.get(key))
            self.leases.setdefault(key, []).append((token, self.now + LEASE_S, claim.is_doubtful))

    def current(self, key: str) -> tuple[str, float, bool]:
        return self.leases[key][-1]

    @precondition(lambda self: any(self.leases.values()))
    @rule(data=st.data())
    def finish(self, data: Any) -> None:
        key = data.draw(st.sampled_from(sorted(key for key, leases in self.leases.items() if leases)))
        place = data.draw(st.integers(0, len(self.leases[key]) - 1))
        token = self.leases[key][place][0]
        is_latest = token == self.current(key)[0]
        assert self.table.finish(key, token, self.now) == is_latest
        if is_latest:
            self.done.add(key)

    @precondition(lambda self: any(len(leases) == 1 for leases in self.leases.values()))
    @rule(data=st.data())
    def give_back(self, data: Any) -> None:
        """The first holder says that it applied nothing: as if it had never been."""
        keys = sorted(key for key, leases in self.leases.items() if len(leases) == 1 and key not in self.done)
        if keys:
            key = data.draw(st.sampled_from(keys))
            self.table.release(key, self.current(key)[0], self.now)
            self.leases[key] = []

    @invariant()
    def at_most_one_lease_is_in_force(self) -> None:
        for leases in self.leases.values():
            assert len([lease for lease in leases if lease[1] > self.now]) <= 1


Workers.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestWorkers = Workers.TestCase
