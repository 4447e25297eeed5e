"""How long the call that is under way may still take, whoever is at work for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

from sessionstore.errors import StoreTimeoutError

__all__ = ["called_by", "deadline_after", "remaining", "until", "within"]

T = TypeVar("T")

_deadline: ContextVar[float | None] = ContextVar("sessionstore_deadline", default=None)


def deadline_after(seconds: float | None) -> float | None:
    """Give the time, of `time.monotonic`, at which a call that begins now must be over.

    Args:
        seconds: How long it may take; ``None`` for as long as it likes.

    Returns:
        The time: no later than that of the call that this one is part of. ``None`` for never.
    """
    outer = _deadline.get()
    if seconds is None:
        return outer
    own = time.monotonic() + seconds
    return own if outer is None or own < outer else outer


class until:  # noqa: N801 - read as a word of the with statement
    """Let all that is done in this block of a coroutine end by a time.

    For what blocks there is `called_by`: Ctrl-C between two steps would leave the time set here.

    Args:
        deadline: The time, of `time.monotonic`; ``None`` leaves all as it is.
    """

    __slots__ = ("_deadline", "_token")

    def __init__(self, deadline: float | None) -> None:
        """Change nothing yet."""
        self._deadline = deadline

    def __enter__(self) -> None:
        """Set the time."""
        self._token = None if self._deadline is None else _deadline.set(self._deadline)

    def __exit__(self, *error: object) -> None:
        """Set the time that was set before."""
        if self._token is not None:
            _deadline.reset(self._token)


def within(seconds: float | None, function: Callable[..., T], *args: Any) -> T:
    """Call a blocking function, which must be over in time, and all that it does.

    Unlike `until` it leaves no deadline behind where Ctrl-C comes between any two of its steps.

    Args:
        seconds: How long it may take; ``None`` for as long as the call it is part of.
        function: What to call.
        args: With what.

    Returns:
        What it returns.
    """
    if seconds is None:
        return function(*args)
    outer, deadline = _deadline.get(), time.monotonic() + seconds
    if outer is not None and outer <= deadline:
        return function(*args)
    context = copy_context()
    context.run(_deadline.set, deadline)
    return context.run(function, *args)


def called_by(deadline: float | None, function: Callable[..., T], *args: Any) -> T:
    """Call a blocking function, which must be over by a time: as `within`.

    Args:
        deadline: The time, of `time.monotonic`; ``None`` leaves all as it is.
        function: What to call.
        args: With what.

    Returns:
        What it returns.
    """
    if deadline is None:
        return function(*args)
    context = copy_context()
    context.run(_deadline.set, deadline)
    return context.run(function, *args)


def remaining(seconds: float | None) -> float | None:
    """Give how long one step of the call may take.

    Args:
        seconds: How long it may take by itself; ``None`` for as long as it likes.

    Returns:
        The same, or what is left of the call, if that is less.

    Raises:
        StoreTimeoutError: Nothing is left.
    """
    deadline = _deadline.get()
    if deadline is None:
        return seconds
    left = deadline - time.monotonic()
    if left <= 0:
        raise StoreTimeoutError("the call's time is up")
    return left if seconds is None or left < seconds else seconds
