"""Records that are missing for a reason the history gives."""

import numpy as np

from streamproof_harness.history.codes import Array
from streamproof_harness.terms import Terms


def expired_sends(terms: Terms) -> Array:
    """Which sends have an `expire` note: the system dropped them, and said so."""
    expired = np.zeros(len(terms.history.sends.id), np.bool_)
    notes = terms.history.notes_of.get("expire", [])
    if notes:
        rows = terms.send_of(np.array([hash(note.id) for note in notes], np.int64))
        expired[rows[rows >= 0]] = True
    return expired
