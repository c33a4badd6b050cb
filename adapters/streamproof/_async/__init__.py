"""The classes that coroutines hold. ``streamproof._sync`` is generated from this package."""
