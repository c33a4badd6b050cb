"""handler-reorder: records that belong in order were handled in another one."""

import numpy as np

from streamproof_harness.checkers.producer_reorder import behind, in_lanes
from streamproof_harness.checkers.wording import Words, example, found
from streamproof_harness.contract import Contract
from streamproof_harness.history.codes import FAIL, NULL, OK, OP, Array, Ints
from streamproof_harness.terms import Terms
from streamproof_harness.terms.order import numbered
from streamproof_harness.verdict import Example, Finding


def judge(terms: Terms, contract: Contract) -> Finding:
    """The first ok handling of a record comes after that of a later one of its lane.

    Under ``order`` key a lane is one group, sending process, topic and (non-null) key, and later
    means a higher ``seq``; under partition it is one group and log, and later means a higher position,
    or, where no offsets are known, sent later by the same process. Records that were dead-lettered,
    redriven or retried off the path are left out. One anomaly for each record handled too late.
    Evidence: handled records that follow another in their lane.
    """
    if contract.order == "none":
        return Finding()
    rows, send = _first_handlings(terms)
    lanes = _lanes_of_keys if contract.order == "key" else _lanes_of_logs
    lane, rank, judged = lanes(terms, rows, send)
    # In one lane the handlings stand in the order of their completion; their ranks must rise.
    chosen, starts = in_lanes(np.flatnonzero(judged), lane[judged])
    late, highest = behind(rank[chosen], starts)
    late_rows = late[rank[chosen[late]] < rank[chosen[highest[late]]]]
    handles = terms.history.handles
    words = Words(terms)

    def show(at: int) -> Example:
        early, too_late = int(rows[chosen[highest[at]]]), int(rows[chosen[at]])
        text = (
            f"{words.group(int(terms.handle_group[too_late]))} handled {words.handled(too_late)} "
            f"only after {words.handled(early)}, which was sent later"
        )
        return example(int(handles.completed[early]), int(handles.completed[too_late]), text=text)

    return found(late_rows, show, evidence=len(chosen) - int(starts.sum()))


def _first_handlings(terms: Terms) -> tuple[Ints, Ints]:
    """The first ok handling of each sent record in each group, by completion, and their sends."""
    handles = terms.history.handles
    at = np.flatnonzero((handles.op == OP["handle"]) & (handles.outcome == OK))
    at = at[np.argsort(handles.completed[at], kind="stable")]
    send = terms.send_of(handles.id[at])
    at, send = at[send >= 0], send[send >= 0]
    pair = terms.handle_group[at] * np.int64(len(terms.history.sends.id)) + send
    _, first = np.unique(pair, return_index=True)
    first.sort()
    at, send = at[first], send[first]
    kept = ~_off_path(terms, terms.handle_group[at], send)
    return at[kept], send[kept]


def _off_path(terms: Terms, group: Ints, send: Ints) -> Array:
    """Whether a record, or what it derives from, left the path in this group."""
    handles = terms.history.handles
    count = np.int64(max(1, len(terms.history.sends.id)))
    dead = terms.history.notes_of.get("dead-letter", [])
    dead_sends = terms.send_of(np.array([hash(note.id) for note in dead], np.int64))
    dead_groups = np.array([terms.group_of(note) for note in dead], np.int64)
    away = np.flatnonzero((handles.op == OP["nack"]) & (handles.to >= 0) & (handles.outcome != FAIL))
    away_sends = terms.send_of(handles.id[away])
    left = np.concatenate(
        [
            (dead_groups * count + dead_sends)[dead_sends >= 0],
            (terms.handle_group[away] * count + away_sends)[away_sends >= 0],
        ]
    )
    answer = np.zeros(len(send), np.bool_)
    origin = send
    for _ in range(64):
        if not len(left) or not len(origin):
            break
        answer |= (origin >= 0) & np.isin(group * count + origin, left)
        origin = np.where(origin >= 0, terms.parents[origin], -1)
        if bool((origin < 0).all()):
            break
    return answer


def _lanes_of_keys(terms: Terms, rows: Ints, send: Ints) -> tuple[Ints, Ints, Array]:
    sends = terms.history.sends
    lane = numbered(terms.handle_group[rows], sends.process[send], sends.topic[send], sends.key[send])
    return lane, sends.seq[send], sends.key[send] != NULL


def _lanes_of_logs(terms: Terms, rows: Ints, send: Ints) -> tuple[Ints, Ints, Array]:
    place = terms.send_place[send]
    # Without an offset only the order of one process' own sends is known.
    owner = np.where(place >= 0, -1, terms.history.sends.process[send])
    log = np.where(place >= 0, terms.place_log[send], terms.home[send])
    lane = numbered(terms.handle_group[rows], log, owner)
    return lane, np.where(place >= 0, place, send), log >= 0
