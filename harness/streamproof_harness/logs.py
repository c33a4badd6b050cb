"""What a command or a member process logs: this project's warnings, and nothing of the client
libraries. They report every lost connection as an error; what it means is in the history."""

import logging

_CLIENT_LIBRARIES = ("pika", "aio_pika", "aiormq", "aiokafka", "kafka")


def log_to_stderr() -> None:
    """Set the process' logging up; for programs, never for a library."""
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    for name in _CLIENT_LIBRARIES:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
