"""The broken parts, as coroutines. ``_sync`` is generated from this package."""
