"""The suite for async drivers; the one for blocking drivers is generated from it."""
