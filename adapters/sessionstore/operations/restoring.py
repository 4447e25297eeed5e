"""`Restore`: a session is made as it was elsewhere, with its times."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, ClassVar

import msgspec

from sessionstore.arguments import (
    checked_id,
    checked_messages,
    checked_metadata,
    checked_moment,
    checked_version,
)
from sessionstore.errors import InvalidSessionError, InvalidTypeError
from sessionstore.models import SessionData, SessionInfo, SessionMessage, to_microseconds
from sessionstore.operations.base import Operation, put

__all__ = ["Restore"]

_AHEAD = 3_600_000_000  # microseconds: clocks differ, but not by more


class Restore(Operation[SessionInfo | None], frozen=True, tag="restore"):
    """Make a session as it was elsewhere, with its times; give it without its messages.

    It keeps its id, owner, agent, metadata, ``created_at`` and ``updated_at``, and its messages in
    their order. So it takes its old place in lists, and expires as it would have. Versions begin
    anew: what the session says of its version, and of how many messages it has, is not looked at.

    It gives ``None``, and writes nothing, where such a session has expired by now. A session that
    is there raises `SessionExistsError`; of another owner, `SessionAccessError`.

    A long one is restored in parts: the first as above, each of the others with the version that
    the one before it gave as ``expected_version``. Such a part adds those messages whose ids are
    new, replaces the metadata, and sets ``updated_at``; id, owner, agent and ``created_at`` stay.
    At another version it raises `SessionConflictError`.

    A time later than the store's newest would push the times of all later writes ahead. So one that
    lies more than an hour ahead of this machine's clock is refused.

    Attributes:
        session: The session.
        expected_version: The version that the session must be at to be gone on with; ``None`` where
            it must not be there.
    """

    is_write: ClassVar[bool] = True

    session: SessionData
    expected_version: int | None = None

    def __post_init__(self) -> None:
        """Check what it was made of."""
        if not isinstance(self.session, SessionData):
            kind = type(self.session).__name__
            raise InvalidTypeError(f"Restore takes a SessionData, as get gives, not {kind}")
        put(self, "session", _checked(self.session))
        if checked_version(self.expected_version) == 0:
            put(self, "expected_version", None)

    @property
    def session_id(self) -> str:
        """The session's id."""
        return self.session.id

    @property
    def user_id(self) -> str | None:
        """The owner, who is taken for the caller."""
        return self.session.user_id

    @property
    def agent_id(self) -> str:
        """The agent that the conversation is with."""
        return self.session.agent_id

    @property
    def messages(self) -> list[SessionMessage]:
        """The messages."""
        return self.session.messages

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata."""
        return self.session.metadata

    @property
    def created_at(self) -> int:
        """When the session was made, in microseconds since 1970."""
        return to_microseconds(self.session.created_at)

    @property
    def updated_at(self) -> int:
        """When it was last written to, in microseconds since 1970."""
        return to_microseconds(self.session.updated_at)


def _checked(given: SessionData) -> SessionData:
    user_id = given.user_id
    messages = checked_messages(given.messages)
    created_at, updated_at = _checked_times(given)
    return msgspec.structs.replace(
        given,
        id=checked_id(given.id, "id"),
        agent_id=checked_id(given.agent_id, "agent_id"),
        user_id=None if user_id is None else checked_id(user_id, "user_id"),
        metadata=checked_metadata(given.metadata),
        created_at=created_at,
        updated_at=updated_at,
        version=1,
        message_count=len(messages),
        messages=messages,
    )


def _checked_times(given: SessionData) -> tuple[datetime, datetime]:
    created_at = checked_moment(given.created_at, "created_at")
    updated_at = checked_moment(given.updated_at, "updated_at")
    if to_microseconds(created_at) <= 0:
        raise InvalidSessionError("created_at must be later than the beginning of 1970, UTC")
    if updated_at < created_at:
        raise InvalidSessionError("updated_at must not be before created_at")
    if to_microseconds(updated_at) > to_microseconds(datetime.now(timezone.utc)) + _AHEAD:
        raise InvalidSessionError(
            "updated_at must not lie in the future: lists and expiry go by it"
        )
    return created_at, updated_at
