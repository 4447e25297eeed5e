"""The operations that write."""

from __future__ import annotations

from typing import Any, ClassVar, TypeAlias

from sessionstore.arguments import (
    checked_id,
    checked_message_id,
    checked_message_ids,
    checked_messages,
    checked_metadata,
    checked_replacement,
    checked_version,
)
from sessionstore.errors import SessionNotFoundError
from sessionstore.models import (
    SessionData,
    SessionInfo,
    SessionMessage,
    merge_metadata,
    new_id,
)
from sessionstore.operations.base import AGENT, Operation, check_ids, put
from sessionstore.operations.restoring import Restore

__all__ = [
    "Append",
    "Create",
    "Delete",
    "DeleteMessages",
    "Fork",
    "Prune",
    "ReplaceMessage",
    "Rewind",
    "SessionWrite",
    "Update",
]


class Create(Operation[SessionData], frozen=True, tag="create"):
    """Make a new session; `SessionExistsError` where its id is taken.

    Attributes:
        session_id: Its id; one is made when none is given.
        messages: The first messages. Those without an id are given one.
        agent_id: The agent that the conversation is with.
        user_id: The owner; ``None`` leaves the session open to every caller for good.
        metadata: A JSON object; ``None`` is taken for an empty one.
    """

    is_write: ClassVar[bool] = True

    session_id: str | None = None
    messages: list[SessionMessage] = []  # noqa: RUF012 - msgspec gives each its own
    agent_id: str = AGENT
    user_id: str | None = None
    metadata: dict[str, Any] = {}  # noqa: RUF012 - as above

    def __post_init__(self) -> None:
        """Check what it was made of."""
        given = self.session_id
        put(self, "session_id", new_id() if given is None else checked_id(given, "session_id"))
        put(self, "messages", checked_messages(self.messages))
        if self.agent_id is not AGENT:
            put(self, "agent_id", checked_id(self.agent_id, "agent_id"))
        if self.user_id is not None:
            put(self, "user_id", checked_id(self.user_id, "user_id"))
        put(self, "metadata", {} if self.metadata is None else checked_metadata(self.metadata))


class Append(Operation[int], frozen=True, tag="append"):
    """Add those messages whose ids are new, at the end, and make the session; give how many.

    Attributes:
        session_id: The session.
        messages: The messages. Those without an id are given one.
        agent_id: The agent of the session, if this makes it.
        user_id: The caller, and the owner of the session, if this makes it.
        expected_version: The version that the session must be at; 0 where it must not be there.
    """

    is_write: ClassVar[bool] = True

    session_id: str
    messages: list[SessionMessage]
    agent_id: str = AGENT
    user_id: str | None = None
    expected_version: int | None = None

    def __post_init__(self) -> None:
        """Check what it was made of."""
        check_ids(self)
        put(self, "messages", checked_messages(self.messages))
        if self.agent_id is not AGENT:
            put(self, "agent_id", checked_id(self.agent_id, "agent_id"))
        if self.expected_version is not None:
            checked_version(self.expected_version)


class ReplaceMessage(Operation[None], frozen=True, tag="replace"):
    """Put a message in the place of the one with its id.

    Attributes:
        session_id: The session.
        message: The message.
        user_id: The caller, where ownership is to be checked.
    """

    is_write: ClassVar[bool] = True

    session_id: str
    message: SessionMessage
    user_id: str | None = None

    def __post_init__(self) -> None:
        """Check what it was made of."""
        check_ids(self)
        put(self, "message", checked_replacement(self.message))


class DeleteMessages(Operation[list[str]], frozen=True, tag="remove"):
    """Delete those messages that are there; give their ids, in the session's order.

    Attributes:
        session_id: The session.
        message_ids: Their ids.
        user_id: The caller, where ownership is to be checked.
        expected_version: The version that the session must be at.
    """

    is_write: ClassVar[bool] = True

    session_id: str
    message_ids: list[str]
    user_id: str | None = None
    expected_version: int | None = None

    def __post_init__(self) -> None:
        """Check what it was made of."""
        check_ids(self)
        put(self, "message_ids", checked_message_ids(self.message_ids))
        if self.expected_version is not None:
            checked_version(self.expected_version)


class Rewind(Operation[list[str]], frozen=True, tag="rewind"):
    """Delete all messages behind one; give their ids, in the session's order.

    Attributes:
        session_id: The session.
        to: The message that is to be the last one; ``None`` deletes all messages.
        user_id: The caller, where ownership is to be checked.
        expected_version: The version that the session must be at.
    """

    is_write: ClassVar[bool] = True

    session_id: str
    to: str | None
    user_id: str | None = None
    expected_version: int | None = None

    def __post_init__(self) -> None:
        """Check what it was made of."""
        check_ids(self)
        if self.to is not None:
            put(self, "to", checked_message_id(self.to))
        if self.expected_version is not None:
            checked_version(self.expected_version)

    def without_session(self) -> list[str]:
        """Give what it gives where there is no session.

        Raises:
            SessionNotFoundError: It names a message.
        """
        if self.to is None:
            return []
        raise SessionNotFoundError(f"there is no session {self.session_id!r}")


class Update(Operation[SessionInfo], frozen=True, tag="update"):
    """Replace the messages, and merge the metadata, as far as given, in one step.

    Metadata alone is no activity: it leaves ``updated_at``, and so the session's place in lists and
    when it expires.

    Attributes:
        session_id: The session.
        messages: All that it holds from now on; ``None`` leaves the messages as they are.
        metadata: What to merge; a key whose value is ``None`` is taken away.
        user_id: The caller, where ownership is to be checked.
        expected_version: The version that the session must be at.
    """

    is_write: ClassVar[bool] = True

    session_id: str
    messages: list[SessionMessage] | None = None
    metadata: dict[str, Any] | None = None
    user_id: str | None = None
    expected_version: int | None = None

    def __post_init__(self) -> None:
        """Check what it was made of."""
        check_ids(self)
        if self.messages is not None:
            put(self, "messages", checked_messages(self.messages))
        if self.metadata is not None:
            checked_metadata(self.metadata)
        if self.expected_version is not None:
            checked_version(self.expected_version)


class Delete(Operation[bool], frozen=True, tag="delete"):
    """Delete a session; tell whether it was there.

    Attributes:
        session_id: The session.
        user_id: The caller, where ownership is to be checked.
    """

    is_write: ClassVar[bool] = True

    session_id: str
    user_id: str | None = None

    def __post_init__(self) -> None:
        """Check what it was made of."""
        check_ids(self)


class Fork(Operation[SessionInfo], frozen=True, tag="fork"):
    """Make a new session with the messages of another one; give it without its messages.

    Attributes:
        session_id: The session to copy.
        new_session_id: The id of the new one; one is made when none is given.
        at: The last message to copy; ``None`` for all.
        user_id: The caller, where ownership is to be checked.
        metadata: What to merge into the copied metadata; a key whose value is ``None`` is left out.
    """

    is_write: ClassVar[bool] = True

    session_id: str
    new_session_id: str | None = None
    at: str | None = None
    user_id: str | None = None
    metadata: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        """Check what it was made of."""
        check_ids(self)
        new = self.new_session_id
        put(self, "new_session_id", new_id() if new is None else checked_id(new, "new_session_id"))
        if self.at is not None:
            put(self, "at", checked_message_id(self.at))
        if self.metadata is not None:
            checked_metadata(self.metadata)

    def new_metadata(self, old: dict[str, Any], message_id: str | None) -> dict[str, Any]:
        """Give the metadata of the new session, which says where it comes from.

        Args:
            old: That of the session that is copied.
            message_id: The last message that is; ``None`` where there is none.
        """
        origin = {"session_id": self.session_id, "message_id": message_id}
        return {**merge_metadata(old, self.metadata or {}), "forked_from": origin}


class Prune(Operation[int], frozen=True, tag="prune"):
    """Delete what has expired; give how many sessions."""

    is_write: ClassVar[bool] = True


SessionWrite: TypeAlias = (
    Create | Append | ReplaceMessage | DeleteMessages | Rewind | Update | Delete | Restore
)
