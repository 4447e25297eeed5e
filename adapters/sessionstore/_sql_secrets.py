"""What holds a password, and shows it to nobody who looks at the variables of an error's frames."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

__all__ = ["Sealed", "hides_arguments"]

P = ParamSpec("P")
T = TypeVar("T")


class Sealed:
    """Parameters of a connection: no mapping, so that what prints variables does not go into it.

    Args:
        values: The parameters by name.
    """

    __slots__ = ("_open",)

    def __init__(self, values: dict[str, Any]) -> None:
        def opened() -> dict[str, Any]:
            return values

        self._open = opened

    def __repr__(self) -> str:
        """Tell nothing."""
        return "Sealed(...)"

    def opened(self) -> dict[str, Any]:
        """Give the parameters, to be passed on at once."""
        return self._open()


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
            failure = _bare(error)
        del args, kwargs
        try:
            raise failure
        finally:
            failure = None

    return hiding


def _bare(error: Exception) -> Exception:
    """Take all frames from an error, and what it was not to be told with."""
    if error.__suppress_context__:
        error.__context__ = error.__cause__
    told: BaseException | None = error
    while told is not None:
        told.__traceback__ = None
        told = told.__cause__ or told.__context__
    return error
