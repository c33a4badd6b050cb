"""The client processes of a run, as coroutines. ``_sync`` is generated from this package."""
