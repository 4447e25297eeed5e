"""Errors whose frames show nobody a URL's password, as Sentry's and Rich's tracebacks would."""

from __future__ import annotations

from typing import TypeVar

__all__ = ["without_frames"]

E = TypeVar("E", bound=BaseException)


def without_frames(error: E) -> E:
    """Take an error, and what led to it, out of the frames that hold what the caller gave.

    The frame that raises it next is in it again: that one must not hold it either.

    Args:
        error: An error whose text says what is wrong by itself.

    Returns:
        The same error.
    """
    seen: set[int] = set()
    rest: list[BaseException | None] = [error]
    while rest:
        each = rest.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            each.__traceback__ = None
            rest += [each.__cause__, each.__context__]
    return error
