"""Errors whose frames show nobody a URL's password, as Sentry's and Rich's tracebacks would."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

__all__ = ["hides_arguments", "without_frames"]

E = TypeVar("E", bound=BaseException)
P = ParamSpec("P")
T = TypeVar("T")


def hides_arguments(function: Callable[P, T]) -> Callable[P, T]:
    """Make a function that is given a URL or a password raise without what it was given.

    Services that collect errors, and consoles, show the variables of each frame of a traceback.

    Args:
        function: What raises for an argument that is not usable.

    Returns:
        The same, whose frames are in no traceback of its errors.
    """

    @wraps(function)
    def hiding(*args: P.args, **kwargs: P.kwargs) -> T:
        failure: Exception | None = None
        try:
            return function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - raised again, below
            failure = without_frames(error)
        del args, kwargs
        try:
            raise failure
        finally:
            failure = None

    return hiding


def without_frames(error: E) -> E:
    """Take an error, and what led to it, out of the frames that hold what the caller gave.

    The frame that raises it next is in it again: that one must not hold it either.

    Args:
        error: An error whose text says what is wrong by itself.

    Returns:
        The same error.
    """
    if error.__suppress_context__:
        error.__context__ = error.__cause__
    seen: set[int] = set()
    rest: list[BaseException | None] = [error]
    while rest:
        each = rest.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            each.__traceback__ = None
            rest += [each.__cause__, each.__context__]
    return error
