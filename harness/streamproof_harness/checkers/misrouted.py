"""misrouted: a record is not in the log that it belongs to."""

import numpy as np

from streamproof_harness.checkers.wording import Words, example, finding
from streamproof_harness.contract import Contract
from streamproof_harness.history.codes import NULL, Ints
from streamproof_harness.terms import Terms
from streamproof_harness.verdict import Example, Finding

_MIX = np.int64(0x9E3779B97F4A7C1)


def judge(terms: Terms, contract: Contract) -> Finding:
    """Polled from another log than acknowledged; or one key in two partitions of a topic.

    The second for non-null keys, sent without an explicit partition, in topics whose partition
    count did not change. What the broker itself moved is where it belongs. One anomaly for each
    polled record and for each key. Evidence: records and keyed sends that were compared.
    """
    records, sends = terms.history.records, terms.history.sends
    acked = (terms.record_send >= 0) & ~terms.is_moved & terms.counts
    at = np.flatnonzero(acked)
    at = at[terms.send_log[terms.record_send[at]] >= 0]
    astray = at[terms.record_log[at] != terms.send_log[terms.record_send[at]]]
    keyed = _keyed_sends(terms)
    split = _split_keys(terms, keyed)
    words = Words(terms)

    def show(row: int) -> Example:
        if row < 0:
            return _show_key(terms, words, split[~row])
        send, poll = int(terms.record_send[row]), int(records.poll[row])
        text = (
            f"{words.record(row)} was acknowledged in {terms.logs.name(int(terms.send_log[send]))}, and "
            f"{words.poll_process(poll)} polled it from {terms.logs.name(int(terms.record_log[row]))}"
        )
        return example(int(sends.completed[send]), int(terms.history.polls.completed[poll]), text=text)

    rows = [*astray.tolist(), *(~number for number in range(len(split)))]
    return finding(len(rows), rows, show, evidence=len(at) + len(keyed))


def _keyed_sends(terms: Terms) -> Ints:
    """Sends whose partition the key alone decided, in topics that kept their partition count."""
    sends = terms.history.sends
    keyed = terms.is_effective & (sends.key != NULL) & (terms.home >= 0)
    keyed[sends.chosen.rows] = False
    counts: dict[str, set[object]] = {}
    for note in terms.history.notes_of.get("topic", ()):
        counts.setdefault(str(note.topic), set()).add(note.partitions)
    changed = [terms.logs.topic_number[topic] for topic, known in counts.items() if len(known) > 1]
    if changed:
        keyed &= ~np.isin(sends.topic, changed)
    at = np.flatnonzero(keyed)
    in_topic: Ints = at[terms.logs.topic_of(terms.home[at]) == sends.topic[at]]
    return in_topic


def _split_keys(terms: Terms, keyed: Ints) -> list[tuple[int, int]]:
    """For each key in two partitions, two of its sends: the first, and the first elsewhere.

    Linear: keys are first thrown into a table by some of their bits, and only those that share
    their slot with another log are looked at one by one.
    """
    if not len(keyed):
        return []
    sends = terms.history.sends
    mixed = sends.key[keyed] ^ (sends.topic[keyed] * _MIX)
    bits = max(10, int(2 * len(keyed)).bit_length())
    slots = mixed & ((1 << bits) - 1)
    log = terms.home[keyed]
    table = np.full(1 << bits, -1, np.int64)
    table[slots] = log
    crowded = np.zeros(1 << bits, np.bool_)
    crowded[slots[table[slots] != log]] = True
    first: dict[int, int] = {}
    split: dict[int, tuple[int, int]] = {}
    for at in np.flatnonzero(crowded[slots]).tolist():
        name = int(mixed[at])
        earlier = first.setdefault(name, at)
        if log[earlier] != log[at]:
            split.setdefault(name, (int(keyed[earlier]), int(keyed[at])))
    return list(split.values())


def _show_key(terms: Terms, words: Words, pair: tuple[int, int]) -> Example:
    one, other = pair
    sends = terms.history.sends
    key = terms.history.event(int(sends.invoked[one]))["key"]
    text = (
        f"the key {key!r} went to {terms.logs.name(int(terms.home[one]))} with {words.send(one)} "
        f"and to {terms.logs.name(int(terms.home[other]))} with {words.send(other)}"
    )
    events = [int(sends.invoked[row]) for row in pair] + [int(sends.completed[row]) for row in pair]
    return example(*events, text=text)
