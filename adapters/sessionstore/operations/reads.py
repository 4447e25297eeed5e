"""The operations that read."""

from __future__ import annotations

from datetime import datetime

from sessionstore.arguments import (
    NO_LIMIT,
    checked_flag,
    checked_id,
    checked_last,
    checked_limit,
    checked_message_id,
    checked_moment,
)
from sessionstore.errors import InvalidMessageError, InvalidSessionError, InvalidTypeError
from sessionstore.models import SessionData, SessionMessage, SessionPage, to_microseconds
from sessionstore.operations.base import Operation, check_ids, put

__all__ = ["Get", "GetMessages", "ListSessions", "Ping", "Setup"]


class Get(Operation[SessionData | None], frozen=True, tag="get"):
    """Read a session with its last ``limit`` messages; ``None`` where there is none.

    Attributes:
        session_id: The session.
        limit: How many messages at most; ``None`` for all.
        user_id: The caller, where ownership is to be checked.
        keep_system: Put the session's first message in front, beyond the limit, if it is a system
            message.
    """

    session_id: str
    limit: int | None = None
    user_id: str | None = None
    keep_system: bool = False

    def __post_init__(self) -> None:
        """Check what it was made of."""
        check_ids(self)
        put(self, "limit", checked_limit(self.limit))
        checked_flag(self.keep_system, "keep_system")


class GetMessages(Operation[list[SessionMessage]], frozen=True, tag="get_messages"):
    """Read a session's messages, oldest first.

    Attributes:
        session_id: The session.
        limit: Only the last of them, or with ``after`` the first; ``None`` for all.
        before: Only those before the message with this id.
        after: Only those behind the message with this id; ``""`` begins at the first message.
        user_id: The caller, where ownership is to be checked.
        keep_system: Put the session's first message in front, beyond the limit, if it is a system
            message.
    """

    session_id: str
    limit: int | None = None
    before: str | None = None
    after: str | None = None
    user_id: str | None = None
    keep_system: bool = False

    def __post_init__(self) -> None:
        """Check what it was made of."""
        if self.after is not None and (self.before is not None or self.keep_system):
            other = "keep_system" if self.before is None else "before"
            raise InvalidMessageError(f"after can't be given together with {other}")
        check_ids(self)
        put(self, "limit", checked_limit(self.limit))
        if self.before is not None:
            put(self, "before", checked_message_id(self.before))
        if self.after is not None and self.after != "":
            put(self, "after", checked_message_id(self.after))
        checked_flag(self.keep_system, "keep_system")


class ListSessions(Operation[SessionPage], frozen=True, tag="list"):
    """Give a page of sessions, newest activity first.

    Attributes:
        agent_id: Only the sessions with this agent.
        user_id: Only the sessions of this owner.
        limit: How many to a page, 1 or more.
        cursor: The `SessionPage.cursor` of the page before.
        updated_after: Only the sessions last written to after this moment.
        updated_before: Only the sessions last written to before this moment.
        last: Of each session its last messages, so many: 0 to 100.
    """

    agent_id: str | None = None
    user_id: str | None = None
    limit: int = 50
    cursor: str | None = None
    updated_after: datetime | None = None
    updated_before: datetime | None = None
    last: int = 0

    @property
    def since(self) -> int:
        """The first microsecond since 1970 of a last write that is asked for."""
        after = self.updated_after
        return 0 if after is None else max(0, to_microseconds(after) + 1)

    @property
    def until(self) -> int | None:
        """The first microsecond since 1970 that is too late for it; ``None`` where none is."""
        before = self.updated_before
        return None if before is None else to_microseconds(before)

    def __post_init__(self) -> None:
        """Check what it was made of."""
        limit, cursor = self.limit, self.cursor
        if type(limit) is not int or limit < 1:
            kind = InvalidSessionError if type(limit) is int else InvalidTypeError
            raise kind("limit must be a whole number of 1 or more: sessions a page")
        if cursor is not None and type(cursor) is not str:
            raise InvalidTypeError("cursor is not one that list_sessions gave")
        put(self, "limit", min(limit, NO_LIMIT))
        if self.agent_id is not None:
            put(self, "agent_id", checked_id(self.agent_id, "agent_id"))
        if self.user_id is not None:
            put(self, "user_id", checked_id(self.user_id, "user_id"))
        for name in ("updated_after", "updated_before"):
            if (moment := getattr(self, name)) is not None:
                put(self, name, checked_moment(moment, name))
        checked_last(self.last)


class Ping(Operation[None], frozen=True, tag="ping"):
    """Ask the backend for a sign of life."""


class Setup(Operation[None], frozen=True, tag="setup"):
    """Do what the first use would do: make tables and files, look at permissions, load scripts."""
