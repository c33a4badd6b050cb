"""pika's I/O loop, which no callback can end by failing."""

from collections.abc import Callable
from typing import Any

from pika.adapters.select_connection import IOLoop


class GuardedLoop(IOLoop):
    """What a callback raises, ours or pika's, is handed to ``on_error``, and the loop goes on.

    pika lets it through: the loop ends, and with it everything that waits for an answer.
    """

    def __init__(self, on_error: Callable[[Exception], None]) -> None:
        self._on_error = on_error
        super().__init__()

    def call_later(self, delay: float, callback: Callable[[], Any]) -> Any:
        """Run ``callback`` after that time; a handle for ``remove_timeout``."""
        return super().call_later(delay, self._guarded(callback))

    def add_callback_threadsafe(self, callback: Callable[[], Any]) -> None:
        """Run ``callback`` on the loop's thread, soon; from any thread."""
        super().add_callback_threadsafe(self._guarded(callback))

    add_callback = add_callback_threadsafe

    def add_handler(self, fd: int, handler: Callable[..., Any], events: int) -> None:
        """Call ``handler`` when the socket is ready."""
        super().add_handler(fd, self._guarded(handler), events)

    def _guarded(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*arguments: Any) -> None:
            try:
                callback(*arguments)
            except Exception as error:
                self._on_error(error)

        return guarded
