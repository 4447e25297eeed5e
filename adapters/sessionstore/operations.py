"""What a store is asked for, as values: each operation of the contract, and what it gives.

An operation is checked once, when it is made, and says which type its result has.
`SessionStore.run` and `arun` carry any of them out. So it can be kept, sent, counted, batched or
changed as what it is.

Example:
    >>> from sessionstore import InMemorySessionStore, SessionMessage
    >>> from sessionstore.operations import Append, GetMessages
    >>> store = InMemorySessionStore()
    >>> store.run(Append("s1", [SessionMessage("user", "Hello!", id="m1")]))
    1
    >>> [message.id for message in store.run(GetMessages("s1"))]
    ['m1']
"""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeAlias, TypeVar, get_args

import msgspec

from sessionstore.arguments import (
    MAX_ID_LENGTH,
    NO_LIMIT,
    checked_flag,
    checked_id,
    checked_limit,
    checked_message_id,
    checked_message_ids,
    checked_messages,
    checked_metadata,
    checked_replacement,
    checked_version,
)
from sessionstore.errors import (
    InvalidMessageError,
    InvalidSessionError,
    InvalidTypeError,
    SessionStoreError,
)
from sessionstore.models import SessionData, SessionInfo, SessionMessage, SessionPage, new_id

__all__ = [
    "Append",
    "Create",
    "Delete",
    "DeleteMessages",
    "Get",
    "GetMessages",
    "ListSessions",
    "OfOneSession",
    "Operation",
    "Ping",
    "Prune",
    "ReplaceMessage",
    "SessionWrite",
    "Several",
    "Update",
    "as_several",
    "unknown_operation",
]

T_co = TypeVar("T_co", covariant=True)

_AGENT = "default"
_set = msgspec.structs.force_setattr


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


def as_several(store: str, given: object) -> Several:
    """Make one operation of a list, or raise what `unknown_operation` makes of all else.

    Raises:
        SessionStoreError: It is no list, but what a store of that class does not know.
        InvalidSessionError: They can't be one step: see `Several`.
    """
    if isinstance(given, (list, tuple)) and given:
        return Several(list(given))
    raise unknown_operation(store, given)


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
    messages: list[SessionMessage] = []
    agent_id: str = _AGENT
    user_id: str | None = None
    metadata: dict[str, Any] = {}

    def __post_init__(self) -> None:
        """Check what it was made of."""
        given = self.session_id
        _set(self, "session_id", new_id() if given is None else checked_id(given, "session_id"))
        _set(self, "messages", checked_messages(self.messages))
        if self.agent_id is not _AGENT:
            _set(self, "agent_id", checked_id(self.agent_id, "agent_id"))
        if self.user_id is not None:
            _set(self, "user_id", checked_id(self.user_id, "user_id"))
        _set(self, "metadata", {} if self.metadata is None else checked_metadata(self.metadata))


class Get(Operation["SessionData | None"], frozen=True, tag="get"):
    """Read a session with its last ``limit`` messages; ``None`` where there is none.

    Attributes:
        session_id: The session.
        limit: How many messages at most; ``None`` for all.
        user_id: The caller, where ownership is to be checked.
    """

    session_id: str
    limit: int | None = None
    user_id: str | None = None

    def __post_init__(self) -> None:
        """Check what it was made of."""
        _check_ids(self)
        _set(self, "limit", checked_limit(self.limit))


class GetMessages(Operation["list[SessionMessage]"], frozen=True, tag="get_messages"):
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
        _check_ids(self)
        _set(self, "limit", checked_limit(self.limit))
        if self.before is not None:
            _set(self, "before", checked_message_id(self.before))
        if self.after is not None and self.after != "":
            _set(self, "after", checked_message_id(self.after))
        checked_flag(self.keep_system, "keep_system")


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
    agent_id: str = _AGENT
    user_id: str | None = None
    expected_version: int | None = None

    def __post_init__(self) -> None:
        """Check what it was made of."""
        _check_ids(self)
        _set(self, "messages", checked_messages(self.messages))
        if self.agent_id is not _AGENT:
            _set(self, "agent_id", checked_id(self.agent_id, "agent_id"))
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
        _check_ids(self)
        _set(self, "message", checked_replacement(self.message))


class DeleteMessages(Operation["list[str]"], frozen=True, tag="remove"):
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
        _check_ids(self)
        _set(self, "message_ids", checked_message_ids(self.message_ids))
        if self.expected_version is not None:
            checked_version(self.expected_version)


class Update(Operation[SessionInfo], frozen=True, tag="update"):
    """Replace the messages, and merge the metadata, as far as given, in one step.

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
        _check_ids(self)
        if self.messages is not None:
            _set(self, "messages", checked_messages(self.messages))
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
        _check_ids(self)


class ListSessions(Operation[SessionPage], frozen=True, tag="list"):
    """Give a page of sessions, newest activity first.

    Attributes:
        agent_id: Only the sessions with this agent.
        user_id: Only the sessions of this owner.
        limit: How many to a page, 1 or more.
        cursor: The `SessionPage.cursor` of the page before.
    """

    agent_id: str | None = None
    user_id: str | None = None
    limit: int = 50
    cursor: str | None = None

    def __post_init__(self) -> None:
        """Check what it was made of."""
        limit, cursor = self.limit, self.cursor
        if type(limit) is not int or limit < 1:
            kind = InvalidSessionError if type(limit) is int else InvalidTypeError
            raise kind("limit must be a whole number of 1 or more: sessions a page")
        if cursor is not None and type(cursor) is not str:
            raise InvalidTypeError("cursor is not one that list_sessions gave")
        _set(self, "limit", min(limit, NO_LIMIT))
        if self.agent_id is not None:
            _set(self, "agent_id", checked_id(self.agent_id, "agent_id"))
        if self.user_id is not None:
            _set(self, "user_id", checked_id(self.user_id, "user_id"))


class Prune(Operation[int], frozen=True, tag="prune"):
    """Delete what has expired; give how many sessions."""

    is_write: ClassVar[bool] = True


class Ping(Operation[None], frozen=True, tag="ping"):
    """Ask the backend for a sign of life."""


SessionWrite: TypeAlias = Create | Append | ReplaceMessage | DeleteMessages | Update | Delete
OfOneSession: TypeAlias = Get | GetMessages | SessionWrite
"""What can be one of `Several` operations."""
_OF_ONE_SESSION = frozenset(get_args(OfOneSession))


class Several(Operation["list[Any]"], frozen=True, tag="several"):
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
        _set(self, "operations", parts)
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


def _not_of_one_session(part: object) -> str:
    name = part.__name__ if isinstance(part, type) else type(part).__name__
    if isinstance(part, Several | list | tuple):
        return "a list of operations can't hold another list: write one flat list"
    return f"{name} is no operation on one session, so it can't be in a list: run it by itself"


def _check_ids(operation: Any) -> None:
    given, user_id = operation.session_id, operation.user_id
    # The common id is found valid here; all others, and what is wrong with them, by `checked_id`.
    if not (type(given) is str and given.isascii() and 0 < len(given) <= MAX_ID_LENGTH):
        _set(operation, "session_id", checked_id(given, "session_id"))
    if user_id is not None:
        _set(operation, "user_id", checked_id(user_id, "user_id"))
