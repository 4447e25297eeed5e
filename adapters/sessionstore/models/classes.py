"""Messages and sessions: what callers give and are given."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, TypeAlias, TypedDict

import msgspec

__all__ = [
    "ROLE_NAMES",
    "SYSTEM_ROLES",
    "MessageLike",
    "SessionData",
    "SessionInfo",
    "SessionMessage",
    "SessionPage",
    "ToolCall",
    "new_id",
]

SYSTEM_ROLES = frozenset({"system", "developer"})
"""The roles of a system message; newer models of OpenAI have the second name for it."""

ROLE_NAMES = {"human": "user", "ai": "assistant"}
"""LangChain's names for two roles, and those that they are stored under."""


def _now() -> datetime:
    return datetime.now(timezone.utc)


def new_id() -> str:
    """Make an id for a message or a session: 128 random bits as 32 hexadecimal digits."""
    return os.urandom(16).hex()


class ToolCall(TypedDict):
    """A model's request to call a tool.

    Attributes:
        name: The tool's name.
        args: The arguments by name.
        id: What a tool's result refers to; ``None`` where the model gave none.
    """

    name: str
    args: dict[str, Any]
    id: str | None


# What a message holds is JSON, and leads back to no message: the garbage collector, which looks at
# each of thousands again and again while a history is read, has nothing to find there.
class SessionMessage(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One message of a session, in the words of no framework. It can't be changed.

    Example:
        >>> from sessionstore import SessionMessage
        >>> SessionMessage("user", "My name is Alice.", id="m1")
        SessionMessage(role='user', id='m1', content=<17 characters>)

    Attributes:
        role: ``"system"``, ``"user"``, ``"assistant"`` or ``"tool"``; a store takes ``"human"``
            and ``"ai"`` for user and assistant, and keeps any other framework role as it is.
        content: The text, or a list of content blocks named as LangChain's standard content
            blocks (``{"type": "text", "text": …}``, ``{"type": "image", …}``, …).
        id: Unique within its session. A store gives one to a message that has none.
        name: The speaker's name, where one is told.
        tool_calls: The tools that this message asks to be called.
        tool_call_id: The call that this message is the result of.
        created_at: When the message was made, in UTC. It is shown, and orders nothing.
        metadata: What the application wants to keep with the message, as JSON.
        extra: What only one framework knows of the message, by the framework's name, as JSON.
    """

    role: str
    content: str | list[dict[str, Any]] = ""
    id: str | None = None
    name: str | None = None
    tool_calls: list[ToolCall] = []
    tool_call_id: str | None = None
    created_at: datetime = msgspec.field(default_factory=_now)
    metadata: dict[str, Any] = {}
    extra: dict[str, dict[str, Any]] = {}

    def __repr__(self) -> str:
        """Tell the role, the id and the size: never what was said."""
        size = len(self.content) if isinstance(self.content, Sequence) else 0
        unit = "characters" if isinstance(self.content, str) else "blocks"
        calls = f", tool_calls=<{len(self.tool_calls)}>" if self.tool_calls else ""
        return f"SessionMessage(role={self.role!r}, id={self.id!r}, content=<{size} {unit}>{calls})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Tell Rich, whose tracebacks go into logs, no more than `repr` does."""
        return [("role", self.role), ("id", self.id)]


MessageLike: TypeAlias = SessionMessage | Mapping[str, Any]
"""What a store takes for a message: one, or a mapping of its fields.

``{"role": "user", "content": "Hello!"}``, say: ``role`` has to be there, and nothing else that a
`SessionMessage` does not have.
"""


class _Session(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    agent_id: str
    user_id: str | None
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    version: int
    message_count: int

    def __repr__(self) -> str:
        """Tell ids and counts: never a title or what was said."""
        return (
            f"{type(self).__name__}(id={self.id!r}, agent_id={self.agent_id!r}, "
            f"version={self.version}, messages=<{self.message_count}>)"
        )

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Tell Rich, whose tracebacks go into logs, no more than `repr` does."""
        fields = ("id", "agent_id", "version", "message_count")
        return [(field, getattr(self, field)) for field in fields]

    def _repr_html_(self) -> str:
        """Show a notebook the session, with the last 20 of the messages that are here."""
        from sessionstore.notebook import session_html  # noqa: PLC0415 - only a notebook needs it

        return session_html(self)


class SessionInfo(_Session, frozen=True, kw_only=True):
    """What a list shows of a session: all but its messages, or with the last of them.

    Attributes:
        id: The session's id.
        agent_id: The agent that the conversation is with.
        user_id: The owner, or ``None`` where the session is open to every caller.
        metadata: Title, tags and the like, as JSON.
        created_at: When the session was made, in UTC.
        updated_at: When it was last written to, its metadata alone aside, in UTC.
        version: 1 when the session is made, and one more with each write.
        message_count: How many messages the session holds.
        messages: The last ones, oldest first, of a list that asked for them by ``last``.
    """

    messages: list[SessionMessage] = []


class SessionData(_Session, frozen=True, kw_only=True):
    """A session with its messages, or with the last of them where a limit was given.

    Attributes:
        id: The session's id.
        agent_id: The agent that the conversation is with.
        user_id: The owner, or ``None`` where the session is open to every caller.
        metadata: Title, tags and the like, as JSON.
        created_at: When the session was made, in UTC.
        updated_at: When it was last written to, its metadata alone aside, in UTC.
        version: 1 when the session is made, and one more with each write.
        message_count: How many messages the session holds, however many of them are here.
        messages: The messages, oldest first.
    """

    messages: list[SessionMessage]


class SessionPage(msgspec.Struct, frozen=True):
    """One page of `SessionStore.list_sessions`.

    Attributes:
        sessions: The sessions of this page, newest activity first.
        cursor: Give it to the next call for the page after this one; ``None`` on the last page.
        partial: The store could not list all: in an outage a fallback lists what it knows.
    """

    sessions: list[SessionInfo]
    cursor: str | None = None
    partial: bool = False

    def __repr__(self) -> str:
        """Tell how many sessions there are, and whether there are more."""
        more = ", more to come" if self.cursor else ""
        partial = ", partial" if self.partial else ""
        return f"SessionPage(<{len(self.sessions)} sessions>{more}{partial})"

    def _repr_html_(self) -> str:
        """Show a notebook the sessions."""
        from sessionstore.notebook import page_html  # noqa: PLC0415 - only a notebook needs it

        return page_html(self)
