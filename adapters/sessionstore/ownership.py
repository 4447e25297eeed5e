"""Whose a session is: the rule that keeps a caller out of another user's session."""

from __future__ import annotations

from sessionstore.errors import SessionAccessError

__all__ = ["require_owner"]


def require_owner(owner: str | None, user_id: str | None) -> None:
    """Refuse a caller who is not the owner.

    A store asks this in the same atomic step as the work. Where a server takes that step alone, the
    same rule stands in what it carries out, and in the reply that is read: for Redis in
    ``redis/lua/find.lua``, ``redis/lua/tail.lua`` and ``redis/calls.py``, for SQL in the conditions
    of ``sql/read_statements.py``, ``sql/write_statements.py`` and ``sql/lease_statements.py``.

    Args:
        owner: The session's owner; ``None`` where it is open to every caller.
        user_id: The caller; ``None`` where nothing is to be checked.

    Raises:
        SessionAccessError: The session belongs to another user.
    """
    if user_id is not None and owner is not None and owner != user_id:
        raise SessionAccessError("this session belongs to another user")
