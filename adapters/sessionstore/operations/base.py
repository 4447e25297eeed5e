"""`Operation`: what all operations are, and what a store says to what it does not know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

import msgspec

from sessionstore.arguments import MAX_ID_LENGTH, checked_id
from sessionstore.errors import InvalidTypeError, SessionStoreError

__all__ = ["AGENT", "Operation", "check_ids", "put", "unknown_operation"]

T_co = TypeVar("T_co", covariant=True)

AGENT = "default"
put: Callable[[msgspec.Struct, str, Any], None] = msgspec.structs.force_setattr
"""Sets a field of an operation that is being made: after that, none changes."""


class Operation(
    msgspec.Struct,
    Generic[T_co],
    frozen=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    tag_field="kind",
):
    """What a store is asked to do; its result is of type ``T_co``.

    Each names what `SessionStore` says of the method of the same meaning. Wherever a message is
    taken, a mapping of its fields is, too.

    Attributes:
        is_write: Whether it may change anything.
        session_id: The session; ``None`` of what is about no single one.
    """

    is_write: ClassVar[bool] = False

    @property
    def about(self) -> str | None:
        """The session that it is about; ``None`` where that is no single one."""
        return getattr(self, "session_id", None)

    def __repr__(self) -> str:
        """Tell what is asked of which session: never what was said."""
        about = self.about
        return f"{type(self).__name__}({'' if about is None else repr(about)})"

    def __rich_repr__(self) -> list[Any]:
        """Tell Rich, whose tracebacks go into logs, no more than `repr` does."""
        return [] if self.about is None else [self.about]


def unknown_operation(store: str, operation: object) -> SessionStoreError:
    """Make the error of a store of that class that is given what it can't carry out.

    It is an `InvalidTypeError` where that is no operation at all.
    """
    name = type(operation).__name__
    if isinstance(operation, Operation):
        return SessionStoreError(f"{store} does not know the operation {name}")
    what = "an empty list" if operation in ([], ()) else name
    usage = "run takes an operation, such as Get('s1'), or a list of some"
    return InvalidTypeError(f"{usage}: not {what}")


def check_ids(operation: Any) -> None:
    """Check the ``session_id`` and the ``user_id`` of an operation that is being made.

    Raises:
        InvalidSessionError: One is none.
    """
    given, user_id = operation.session_id, operation.user_id
    # The common id is found valid here; all others, and what is wrong with them, by `checked_id`.
    if not (type(given) is str and given.isascii() and 0 < len(given) <= MAX_ID_LENGTH):
        put(operation, "session_id", checked_id(given, "session_id"))
    if user_id is not None:
        put(operation, "user_id", checked_id(user_id, "user_id"))
