"""Keeps the client libraries' own loggers silent about connections of ours.

pika and aiormq report every failed try, with tracebacks, at the level of errors; what is worth
knowing of it the drivers log themselves, once. The libraries' records appear again where
``streamproof.rabbitmq`` logs at DEBUG. Connections that the application makes itself are not
touched: ours are told apart by a context variable, which threads and tasks carry along.
"""

import logging
from contextvars import ContextVar

_log = logging.getLogger("streamproof.rabbitmq")

_is_ours: ContextVar[bool] = ContextVar("streamproof_rabbitmq_is_ours", default=False)


class _Ours(logging.Filter):
    """Lets through what is not about us, or was asked for."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not _is_ours.get() or _log.isEnabledFor(logging.DEBUG)


_ours = _Ours()


def silence_here() -> None:
    """From now on, in this context, the libraries that ``quieten`` was told of are silent."""
    _is_ours.set(True)


def quieten(library: str) -> None:
    """Filter that library's loggers. They must be there already: filters are not inherited."""
    for name in list(logging.root.manager.loggerDict):
        if name == library or name.startswith(f"{library}."):
            logging.getLogger(name).addFilter(_ours)
