"""Roots: where a record comes from, and which records the broker moved.

The root of a record is found by following single ``from`` links to the first. A record that the
broker itself moved (a `dead-letter` or a `nack` with ``to``) keeps its id: polls of it in that
topic are neither misrouted nor duplicates.
"""

import numpy as np

from streamproof_harness.history.codes import FAIL, OP, Array, Ints
from streamproof_harness.history.columns import History
from streamproof_harness.history.tables import Sparse
from streamproof_harness.terms.sends import SentIds

_MIX = np.int64(0x9E3779B97F4A7C1)


def parents_of(count: int, sent: SentIds, derived: Sparse) -> Ints:
    """The row of the one send that each send derives from; -1 where it has none, or several."""
    parents = np.full(count, -1, np.int64)
    if len(derived.rows):
        links = np.bincount(derived.rows, minlength=count)
        single = links[derived.rows] == 1
        parents[derived.rows[single]] = sent.rows(derived.values[single])
    return parents


def roots_of(parents: Ints) -> Ints:
    """The row of the root of each send. A circle of links has no first: it ends anywhere in it."""
    roots = np.where(parents >= 0, parents, np.arange(len(parents)))
    for _ in range(64):  # each round doubles the length of what is followed
        following = roots[roots]
        if bool((following == roots).all()):
            break
        roots = following
    return roots


def moved_records(history: History, topic_number: dict[str, int]) -> Array:
    """Which polled records were polled in the topic that the broker had moved them to."""
    ids: list[int] = []
    topics: list[int] = []
    for note in history.notes_of.get("dead-letter", ()):
        if isinstance(note.to, str):
            ids.append(hash(note.id))
            topics.append(topic_number.get(note.to, -1))
    handles = history.handles
    nacked = (handles.op == OP["nack"]) & (handles.to >= 0) & (handles.outcome != FAIL)
    moved = np.concatenate(
        [
            np.array(ids, np.int64) ^ (np.array(topics, np.int64) * _MIX),
            handles.id[nacked] ^ (handles.to[nacked] * _MIX),
        ]
    )
    if not len(moved):
        return np.zeros(len(history.records.id), np.bool_)
    records = history.records
    return np.isin(records.id ^ (records.topic * _MIX), moved)
