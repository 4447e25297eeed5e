"""Ctrl-C in the middle of a call: it waits until the call is settled."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from inspect import currentframe
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Deferred", "interrupt_behind"]


def _as_written_in_c(name: str) -> Callable[..., Any]:
    # What `signal` puts around each, to give enums, takes longer than many a call. A function that
    # is written in C names its module.
    module = getattr(signal.default_int_handler, "__self__", None)
    found: Callable[..., Any] = getattr(module, name, getattr(signal, name))
    return found


_get_handler = _as_written_in_c("getsignal")
_set_handler = _as_written_in_c("signal")


class Deferred:
    """Raises the `KeyboardInterrupt` of a Ctrl-C at the end of a block, and not within it.

    Python raises it between any two steps of the main thread, also between the one that takes a
    lock and the one that notes that it is taken. Where the handler is not Python's own (an event
    loop's, say), or in another thread, nothing is raised within the block, and nothing changes.

    Args:
        give_up: Called at once, so that the block ends soon. It must not take a lock.
    """

    __slots__ = ("_came", "_code", "_deferring", "_give_up")

    def __init__(self, give_up: Callable[[], object]) -> None:
        self._give_up = give_up
        self._deferring = self._came = False

    def __enter__(self) -> Self:
        """Begin to hold it back."""
        if (
            threading.get_ident() == threading.main_thread().ident
            and _get_handler(signal.SIGINT) is signal.default_int_handler
        ):
            frame = currentframe()
            self._code = frame.f_back.f_code if frame and frame.f_back else None
            try:
                _set_handler(signal.SIGINT, self._note)
            except ValueError:  # a subinterpreter's main thread gets no signals
                return self
            self._deferring = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Raise what came meanwhile."""
        if self._deferring:
            _set_handler(signal.SIGINT, signal.default_int_handler)
            if self._came:
                raise KeyboardInterrupt from None

    def _note(self, number: int, frame: FrameType | None) -> None:
        at = frame
        while at is not None and at.f_code is not self._code:
            at = at.f_back
        if at is None:
            # Another signal's handler raised at the edge of the block: nothing ended it, and no
            # Ctrl-C would ever come through.
            _set_handler(signal.SIGINT, signal.default_int_handler)
            signal.default_int_handler(number, frame)
        self._came = True
        self._give_up()


def interrupt_behind(
    error: BaseException | None, handled: BaseException | None
) -> BaseException | None:
    """Give the interrupt that an error is, or came of: a driver's clean-up may fail after it.

    Args:
        error: What was raised.
        handled: What the caller is handling, which is behind every error of theirs.

    Returns:
        The `KeyboardInterrupt` or the like, or ``None``.
    """
    while error is not None and error is not handled:
        if isinstance(error, (KeyboardInterrupt, SystemExit)):  # no task's being cancelled
            return error
        error = error.__context__
    return None
