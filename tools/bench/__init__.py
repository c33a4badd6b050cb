"""How fast streamproof is, beside the client libraries alone: ``./dev bench``.

Every figure is taken through the public classes, as an application uses them. Where there is
something to compare with, both run in turn in one process against one broker, and what counts is
the ratio of such a pair. ``docs/reference/benchmarks.md`` tells the method and holds a table.
"""
