"""The pytest plugin: fixtures over the backends that are there."""
