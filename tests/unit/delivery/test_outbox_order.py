"""How far an outbox's table is final, and what may be under way together."""

from hypothesis import given
from hypothesis import strategies as st

from streamproof.delivery.stores.outbox import Horizon, OutboxRow, waves


def test_without_adders_all_is_final() -> None:
    assert Horizon().look(7, []) == 7


def test_adders_hold_back_what_was_drawn_by_then() -> None:
    horizon = Horizon()
    assert horizon.look(3, []) == 3
    assert horizon.look(5, ["a"]) == 3
    assert horizon.look(9, ["a", "b"]) == 3
    assert horizon.look(9, ["b"]) == 5, "a has ended, b came later"
    assert horizon.look(9, []) == 9


def test_a_prepared_transaction_may_be_the_one_that_vanished() -> None:
    horizon = Horizon()
    horizon.look(5, ["a"])
    assert horizon.look(5, ["-1/77"]) == 0
    assert horizon.look(5, []) == 5


STEPS = st.lists(st.tuples(st.sampled_from(["begin", "add", "end", "look"]), st.integers(0, 3)), max_size=60)


@given(STEPS)
def test_nothing_appears_at_or_below_what_was_called_final(steps: list[tuple[str, int]]) -> None:
    """Transactions of four sessions, in any interleaving; a name is never used again."""
    horizon = Horizon()
    last_id, begun = 0, 0
    adding: dict[int, tuple[str, list[int]]] = {}
    final = 0
    for verb, session in steps:
        if verb in ("begin", "add") and session not in adding:
            begun += 1
            adding[session] = (f"{session}/{begun}", [])
        if verb == "add":
            last_id += 1
            assert last_id > final
            adding[session][1].append(last_id)
        if verb == "end":
            adding.pop(session, None)
        if verb == "look":
            reached = horizon.look(last_id, [name for name, _ in adding.values()])
            assert reached >= final, "it never goes back"
            final = reached
            open_ids = [id for _, ids in adding.values() for id in ids]
            assert not [id for id in open_ids if id <= final]
    # When all have ended two looks show it all.
    for _ in range(2):
        final = horizon.look(last_id, [])
    assert final == last_id


@given(STEPS)
def test_it_gets_on_while_others_come_and_go(steps: list[tuple[str, int]]) -> None:
    """What was added before a transaction began is final when that one's elders have ended."""
    horizon = Horizon()
    for number in range(len(steps)):
        # Always somebody is adding, nobody for longer than two looks.
        horizon.look(number, [f"a{number}", f"a{number + 1}"])
    assert horizon.reached >= len(steps) - 6


KEYS = st.one_of(st.none(), st.sampled_from([b"a", b"b", b"c"]))


@given(st.lists(st.tuples(st.sampled_from(["t", "u"]), KEYS), max_size=30))
def test_waves_keep_each_lane_in_order(places: list[tuple[str, bytes | None]]) -> None:
    rows = [OutboxRow(id, topic, key, b"", ()) for id, (topic, key) in enumerate(places)]
    found = waves(rows, "key")
    sent = [row for wave in found for row in wave]
    assert sorted(row.id for row in sent) == [row.id for row in rows]
    for wave in found:
        assert len({row.lane for row in wave}) == len(wave) > 0
    for lane in {row.lane for row in rows}:
        assert [row for row in sent if row.lane == lane] == [row for row in rows if row.lane == lane]
    assert [row for wave in waves(rows, "total") for row in wave] == rows
    assert all(len(wave) == 1 for wave in waves(rows, "total"))


def test_records_without_a_key_go_together() -> None:
    rows = [OutboxRow(id, "t", None, b"", ()) for id in range(5)]
    assert waves(rows, "key") == [rows]
