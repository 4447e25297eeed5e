"""`Several` operations on one session, as one step."""

from __future__ import annotations

from typing import Any, TypeAlias, get_args

from sessionstore.errors import InvalidSessionError, InvalidTypeError
from sessionstore.operations.base import Operation, put, unknown_operation
from sessionstore.operations.leases import Fence
from sessionstore.operations.reads import Get, GetMessages
from sessionstore.operations.writes import Delete, SessionWrite

__all__ = ["OfOneSession", "Several", "as_several"]

OfOneSession: TypeAlias = Fence | Get | GetMessages | SessionWrite
"""What can be one of `Several` operations."""
_OF_ONE_SESSION = frozenset(get_args(OfOneSession))


class Several(Operation[list[Any]], frozen=True, tag="several"):
    """Carry out some operations on one session as one step; give the result of each.

    Each finds what those before it did. Where one fails, nothing is written. A list becomes this.

    Attributes:
        operations: One or more, all with the same session and user. `Delete` can only be the last.

    Example:
        >>> from sessionstore import InMemorySessionStore, SessionMessage
        >>> from sessionstore.operations import Append, GetMessages
        >>> store = InMemorySessionStore()
        >>> store.run([GetMessages("s1"), Append("s1", [SessionMessage("user", "Hello!")])])
        [[], 1]
    """

    operations: list[OfOneSession]

    def __post_init__(self) -> None:
        """Check what it was made of."""
        parts = list(self.operations)
        put(self, "operations", parts)
        if not parts:
            raise InvalidTypeError("a list of operations must hold one or more")
        for part in parts:
            if type(part) not in _OF_ONE_SESSION:
                raise InvalidTypeError(_not_of_one_session(part))
            if part.session_id != parts[0].session_id or part.user_id != parts[0].user_id:
                why = "the operations of a list must name one session_id and one user_id"
                raise InvalidSessionError(f"{why}: run one list for each")
        if Delete in map(type, parts[:-1]):
            raise InvalidSessionError("of several operations, Delete can only be the last")

    @property
    def is_write(self) -> bool:  # type: ignore[override]
        """Whether any of them may change anything."""
        return any(part.is_write for part in self.operations)

    @property
    def session_id(self) -> str:
        """The session that all of them are about."""
        return str(self.operations[0].session_id)

    @property
    def user_id(self) -> str | None:
        """The caller."""
        return self.operations[0].user_id

    @property
    def writes(self) -> list[SessionWrite]:
        """Those that may change anything."""
        return [part for part in self.operations if part.is_write]  # type: ignore[misc]


def as_several(store: str, given: object) -> Several:
    """Make one operation of a list, or raise what `unknown_operation` makes of all else.

    Raises:
        SessionStoreError: It is no list, but what a store of that class does not know.
        InvalidSessionError: They can't be one step: see `Several`.
    """
    if isinstance(given, (list, tuple)) and given:
        return Several(list(given))
    raise unknown_operation(store, given)


def _not_of_one_session(part: object) -> str:
    name = part.__name__ if isinstance(part, type) else type(part).__name__
    if isinstance(part, Several | list | tuple):
        return "a list of operations can't hold another list: write one flat list"
    return f"{name} can't be in a list of operations on one session: run it by itself"
