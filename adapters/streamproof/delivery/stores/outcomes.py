"""What stores say when a mark cannot be made or confirmed."""

from streamproof.errors import Closed, TimedOut, TransactionAborted, TransactionUnknown


def store_closed() -> Closed:
    """Nothing was done."""
    return Closed("the store is closed: make a new one")


def key_is_held(key: str, timeout_s: float) -> TimedOut:
    """Nothing was done: another is at it."""
    return TimedOut(
        f"another worker has {key!r} in hand and did not finish within {timeout_s:g} s: nothing was done "
        f"here; try again, and the mark will tell"
    )


def database_is_locked(doing: str, timeout_s: float) -> TimedOut:
    """Nothing was done: SQLite lets one write at a time."""
    return TimedOut(
        f"SQLite's write lock was not free within {timeout_s:g} s for {doing}: nothing was done; try again, "
        f"and look for a transaction that stays open (WAL mode keeps readers out of the way)"
    )


def lease_lost(key: str) -> TimedOut:
    """The effect was applied, too late to be certainly the only one."""
    return TimedOut(
        f"the lease of {key!r} ran out before its effect was finished, and another took it over: the effect "
        f"may have been applied twice; make lease_s longer than the longest effect",
        definite=False,
    )


def commit_unknown(key: str) -> TransactionUnknown:
    """Effect and mark are both there, or neither."""
    return TransactionUnknown(
        f"no answer to the commit of {key!r}: effect and mark were both stored or neither; do it again, "
        f"and the mark tells",
        retriable=True,
    )


def transaction_ended(key: str) -> TransactionAborted:
    """The handler took the transaction out of the store's hands."""
    return TransactionAborted(
        f"the handler of {key!r} ended the transaction that its effect and its mark belong to, by COMMIT or "
        f"ROLLBACK of its own: leave that to the store; use a savepoint for what may fail",
        retriable=False,
        definite=False,
    )


def error_swallowed(key: str) -> TransactionAborted:
    """PostgreSQL would answer the commit of such a transaction with a rollback, and no error."""
    return TransactionAborted(
        f"a statement in the handler of {key!r} failed, and the handler went on as if it had not: nothing "
        f"of its transaction can be committed; let the error out, or use a savepoint for what may fail",
        retriable=False,
    )
