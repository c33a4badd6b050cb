"""transform-not-exactly-once: inputs and outputs of a transformation do not match one to one."""

from dataclasses import dataclass

import numpy as np

from streamproof_harness.checkers.gone import expired_sends
from streamproof_harness.checkers.producer_reorder import behind, in_lanes
from streamproof_harness.checkers.wording import Words, example, finding
from streamproof_harness.contract import Contract
from streamproof_harness.history import END_MARK
from streamproof_harness.history.codes import FAIL, OK, OP, Array, Ints
from streamproof_harness.terms import Terms
from streamproof_harness.terms.order import numbered, occurring
from streamproof_harness.verdict import Example, Finding

_Case = tuple[str, tuple[int, ...]]
"""What is wrong, and the sends that it is about."""


@dataclass(frozen=True, slots=True)
class _Links:
    """Which output was made from which input: rows of sends. `is_single`: the output has no other input."""

    output: Ints
    source: Ints
    is_single: Array


def judge(terms: Terms, contract: Contract) -> Finding:
    """Inputs and outputs (by ``from``) do not match one to one, or are out of order within a partition.

    An output is a record that stands and derives from a record of another topic, which the broker or
    the group's retries had not moved there. Wrong are: an input with two outputs in one topic; an
    output of an input that does not stand; after a complete drain an input without any output, in a
    topic of which the group's others have some (records that were dead-lettered, rejected or expired,
    and the harness' end marks, need none); and, unless the contract's ``order`` is none, an output
    that stands before one of an earlier input, both of one partition and of one input each. An output
    with several inputs is one for each of them. One anomaly for each input or output. Evidence: links.
    """
    links = _links(terms)
    if not len(links.output):
        return Finding()
    words = Words(terms)
    stands = terms.is_effective[links.source]
    cases: list[_Case] = [
        ("orphan", (int(links.output[at]), int(links.source[at]))) for at in np.flatnonzero(~stands).tolist()
    ]
    twice, is_first = _repeated(terms, links)
    cases += twice
    if contract.order != "none":
        cases += _reordered(terms, links, is_first & stands)
    missing, is_drained = _missing(terms, words, links)
    undecided = ""
    if is_drained:
        cases += [("missing", (row,)) for row in missing]
    elif missing:
        undecided = f"{len(missing)} inputs have no output, and no complete drain follows"

    def show(number: int) -> Example:
        return _show(terms, words, *cases[number])

    return finding(len(cases), range(len(cases)), show, len(links.output), undecided)


def _links(terms: Terms) -> _Links:
    sends = terms.history.sends
    derived = sends.derived
    source = terms.send_of(derived.values)
    kept = (source >= 0) & terms.is_effective[derived.rows]
    kept &= sends.topic[derived.rows] != sends.topic[source]
    moved_to = [
        terms.logs.topic_number.get(note.to, -1)
        for note in terms.history.notes_of.get("dead-letter", ())
        if isinstance(note.to, str)
    ]
    handles = terms.history.handles
    away = handles.to[(handles.op == OP["nack"]) & (handles.to >= 0) & (handles.outcome != FAIL)]
    kept &= ~np.isin(sends.topic[derived.rows], [*moved_to, *occurring(away).tolist()])
    single = np.bincount(derived.rows, minlength=len(sends.id)) == 1
    output, source = derived.rows[kept], source[kept]
    return _Links(output, source, single[output])


def _repeated(terms: Terms, links: _Links) -> tuple[list[_Case], Array]:
    """Inputs with a second output in a topic; and which links are the first of theirs there."""
    sends = terms.history.sends
    topic = sends.topic[links.output].astype(np.int64)
    lane = links.source * (int(topic.max()) + 1) + topic
    order = np.lexsort((links.output, lane))
    same = lane[order[1:]] == lane[order[:-1]]
    is_other = links.output[order[1:]] != links.output[order[:-1]]
    # The second of each run: further ones are the same anomaly.
    second = same & is_other & ~np.concatenate([[False], (same & is_other)[:-1]])
    cases: list[_Case] = [
        (
            "twice",
            (int(links.source[order[at]]), int(links.output[order[at]]), int(links.output[order[at + 1]])),
        )
        for at in np.flatnonzero(second).tolist()
    ]
    is_first = np.zeros(len(lane), np.bool_)
    is_first[order] = np.concatenate([[True], ~same])
    return cases, is_first


def _reordered(terms: Terms, links: _Links, chosen: Array) -> list[_Case]:
    """Outputs that stand after one of a later input."""
    place = terms.send_place
    chosen = chosen & links.is_single & (place[links.output] >= 0) & (place[links.source] >= 0)
    at = np.flatnonzero(chosen)
    at = at[np.argsort(place[links.output[at]], kind="stable")]
    lane = terms.place_log[links.source[at]] * np.int64(terms.logs.count) + terms.place_log[links.output[at]]
    rows, starts = in_lanes(at, lane)
    source = place[links.source[rows]]
    late, highest = behind(source, starts)
    truly = source[late] < source[highest[late]]
    return [
        (
            "late",
            tuple(
                int(row)
                for row in (
                    links.source[rows[number]],
                    links.output[rows[number]],
                    links.source[rows[highest[number]]],
                    links.output[rows[highest[number]]],
                )
            ),
        )
        for number in late[truly].tolist()
    ]


def _missing(terms: Terms, words: Words, links: _Links) -> tuple[list[int], bool]:
    """Inputs without any output that need one, and whether a drain has decided about them."""
    stages = _stages(terms, links)
    groups = {group for group, _ in stages}
    is_drained = bool(groups & terms.drained_groups)
    sends = terms.history.sends
    has_output = np.zeros(len(sends.id), np.bool_)
    has_output[links.source] = True
    missing: set[int] = set()
    for group in sorted(groups):
        if is_drained and group not in terms.drained_groups:
            continue
        topics = [topic for of, topic in stages if of == group]
        got = np.zeros(len(sends.id), np.bool_)
        mine = (terms.record_group == group) & (terms.record_send >= 0)
        got[terms.record_send[mine]] = True
        if is_drained:
            known = np.flatnonzero(terms.home >= 0)
            got[known] |= terms.ranges_of({group}).holds(terms.home[known], sends.offset[known])
            got &= sends.invoked < terms.drained_at
        needs = got & terms.is_effective & np.isin(sends.topic, topics) & ~has_output
        needs[_settled(terms, group)] = False
        missing.update(np.flatnonzero(needs & ~expired_sends(terms)).tolist())
    return [row for row in sorted(missing) if not words.send_id(row).startswith(END_MARK)], is_drained


def _stages(terms: Terms, links: _Links) -> set[tuple[int, int]]:
    """The groups that transform, and the topics of their inputs."""
    sends, records = terms.history.sends, terms.history.records
    transforms = np.zeros(len(terms.processes), np.bool_)
    transforms[sends.process[links.output]] = True
    for txn in occurring(terms.send_txn[links.output] + 1).tolist():
        if txn > 0:
            transforms[list(terms.transactions.consumers[txn - 1])] = True
    is_source = np.zeros(len(sends.id) + 1, np.bool_)  # the last entry is for no send
    is_source[links.source] = True
    at = np.flatnonzero(transforms[terms.history.polls.process[records.poll]] & is_source[terms.record_send])
    stage = numbered(terms.record_group[at], records.topic[at])
    _, first = np.unique(stage, return_index=True)
    return {(int(terms.record_group[row]), int(records.topic[row])) for row in at[first].tolist()}


def _settled(terms: Terms, group: int) -> Ints:
    """Sends that the group gave up: dead-lettered or rejected."""
    handles = terms.history.handles
    rejected = (handles.op == OP["reject"]) & (handles.outcome == OK) & (terms.handle_group == group)
    dead = [
        hash(note.id)
        for note in terms.history.notes_of.get("dead-letter", ())
        if terms.group_of(note) == group
    ]
    rows = terms.send_of(np.concatenate([handles.id[rejected], np.array(dead, np.int64)]))
    return rows[rows >= 0]


def _show(terms: Terms, words: Words, kind: str, rows: tuple[int, ...]) -> Example:
    sends = terms.history.sends
    named = [words.send(row) for row in rows]
    events = [int(sends.invoked[row]) for row in rows]
    if kind == "orphan":
        text = f"{named[0]} was made from {named[1]}, which does not stand"
    elif kind == "twice":
        text = f"{named[1]} and {named[2]} were both made from {named[0]}"
    elif kind == "missing":
        events.append(terms.drained_at)
        text = f"nothing was made from {named[0]}, when everything was drained"
    else:
        text = (
            f"{named[1]}, made from {named[0]}, stands in {words.place_of_send(rows[1])} after {named[3]}, "
            f"made from {named[2]}, which comes after {named[0]} in {words.log_of_send(rows[0])}"
        )
    return example(*events, text=text)
