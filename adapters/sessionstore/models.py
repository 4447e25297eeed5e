"""Messages and sessions, and the JSON form in which stores keep them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, TypeAlias, TypedDict

import msgspec

from sessionstore._runtime.clock import (
    from_microseconds,
    retention_microseconds,
    to_microseconds,
)
from sessionstore.errors import CorruptMessageError, InvalidMessageError, InvalidSessionError

__all__ = [
    "ROLE_NAMES",
    "SYSTEM_ROLES",
    "MessageLike",
    "SessionData",
    "SessionInfo",
    "SessionMessage",
    "SessionPage",
    "ToolCall",
    "decode_message",
    "decode_messages",
    "decode_metadata",
    "encode_message",
    "encode_metadata",
    "from_microseconds",
    "merge_metadata",
    "new_id",
    "retention_microseconds",
    "to_microseconds",
    "why_not_json",
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


# -- The stored form. A later version of it starts with {"v":2, and older readers refuse it. ------


def _plain(value: object) -> str | float:
    # A subclass is stored as what it is one of: LangChain's TextAccessor, NumPy's float64.
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return float(value)
    raise TypeError


_encoder = msgspec.json.Encoder(enc_hook=_plain)
_decoder = msgspec.json.Decoder()
_message_decoder = msgspec.json.Decoder(SessionMessage)
_UNREADABLE = (msgspec.MsgspecError, ValueError, TypeError, RecursionError)
_NEWER: set[bytes | str] = {b'{"v":', '{"v":'}
_metadata_decoder = msgspec.json.Decoder(dict[str, Any])


def encode_message(message: SessionMessage) -> bytes:
    """Turn a message into the JSON that stores keep.

    Args:
        message: The message.

    Returns:
        One JSON object, in UTF-8.

    Raises:
        InvalidMessageError: A field has the wrong type, or holds what JSON can't: it would come
            back as something else.
    """
    try:
        encoded = _encoder.encode(message)
        # The common message is all text: its few fields are checked here, without decoding it.
        if (
            type(message.content) is str
            and message.tool_calls == []
            and message.metadata == {} == message.extra
            and type(message.role) is str
            and (message.name is None or type(message.name) is str)
            and (message.tool_call_id is None or type(message.tool_call_id) is str)
            and (message.id is None or type(message.id) is str)
            and type(message.created_at) is datetime
        ) or _message_decoder.decode(encoded) == message:
            return encoded
    except msgspec.ValidationError as error:  # it names types and fields, never values
        hint = _CALL if "$.tool_calls" in str(error) else ""
        raise InvalidMessageError(f"message {message.id!r} is not valid: {error}{hint}") from error
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidMessageError(_unfit(message) or _WRONG_TYPE.format(message.id)) from error
    if unfit := _unfit(message):
        raise InvalidMessageError(unfit)
    return encoded


def decode_message(raw: bytes | str) -> SessionMessage:
    """Read a message back from its JSON.

    Args:
        raw: What `encode_message` gave, as bytes or text.

    Returns:
        The message, equal to the one that was encoded.

    Raises:
        CorruptMessageError: These are not the bytes of a message, or a newer version wrote them.
    """
    newer = False
    try:
        newer = raw[:5] in _NEWER
        if not newer:
            return _message_decoder.decode(raw)
    except _UNREADABLE:
        pass  # it may quote the data, so that it must be no part of the error's chain
    if newer:
        msg = "a stored message was written by a newer version of sessionstore: upgrade it"
        raise CorruptMessageError(msg)
    raise CorruptMessageError("a stored message can't be read")


def decode_messages(session_id: str, raws: Iterable[bytes | str]) -> list[SessionMessage]:
    """Read a session's messages, in the order given.

    Args:
        session_id: Named by the error.
        raws: The stored messages.

    Returns:
        The messages.

    Raises:
        CorruptMessageError: One of them can't be read.
    """
    raws = list(raws)
    try:
        if _NEWER.isdisjoint({raw[:5] for raw in raws}):
            return list(map(_message_decoder.decode, raws))
    except _UNREADABLE:
        pass  # which one it is, and why, is told below
    why = ""
    try:
        return [decode_message(raw) for raw in raws]
    except CorruptMessageError as error:
        why = str(error)
    raise CorruptMessageError(f"session {session_id!r}: {why}")


def encode_metadata(metadata: dict[str, Any]) -> bytes:
    """Turn a session's metadata into JSON.

    Args:
        metadata: A JSON object.

    Returns:
        The JSON, in UTF-8.

    Raises:
        InvalidSessionError: It is not a dict, or holds what JSON can't.
    """
    if not isinstance(metadata, dict):
        kind = type(metadata).__name__
        raise InvalidSessionError(f"metadata must be a dict, a JSON object, not {kind}")
    if why := why_not_json(metadata):
        raise InvalidSessionError(f"metadata must be a JSON object; this holds {why}")
    return _encoder.encode(metadata)


def decode_metadata(raw: bytes | str) -> dict[str, Any]:
    """Read a session's metadata back from its JSON.

    Args:
        raw: What `encode_metadata` gave.

    Returns:
        The metadata.

    Raises:
        CorruptMessageError: These are not the bytes of metadata.
    """
    try:
        return _metadata_decoder.decode(raw)
    except _UNREADABLE:
        pass  # as in decode_message
    raise CorruptMessageError("a session's stored metadata can't be read")


def merge_metadata(old: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Merge changes into metadata: the keys given replace, and ``None`` takes a key away.

    Args:
        old: What is there.
        changes: The keys to set, and those to remove.

    Returns:
        The merged metadata. Neither argument is changed.
    """
    removed = {key for key, value in changes.items() if value is None}
    return {key: value for key, value in {**old, **changes}.items() if key not in removed}


def why_not_json(value: object) -> str:
    """Say what in a value is not JSON, so that it would come back as something else.

    A tuple passes, and comes back as a list.

    Args:
        value: Any value.

    Returns:
        What JSON can't hold, by its type and never by its content; ``""`` where all is well.
    """
    try:
        return _misfit(value)
    except RecursionError:
        return "data nested too deep"


def _misfit(value: object) -> str:
    try:
        if _decoder.decode(_encoder.encode(value)) == value:
            return ""
    except UnicodeEncodeError:
        return "text that is not valid Unicode"
    except (TypeError, ValueError, OverflowError):
        return _first_misfit(value) or "a value of an unknown type"
    return _first_misfit(value)


_CALL = '. A tool call is {"id": "…", "name": "…", "args": {…}}'
_WRONG_TYPE = "message {!r} is not valid: a field has the wrong type, or is no valid Unicode"


def _unfit(message: SessionMessage) -> str:
    texts = [text for text in (message.name, message.tool_call_id) if text is not None]
    if not all(isinstance(text, str) for text in (message.role, *texts)):
        return _WRONG_TYPE.format(message.id)  # written as text, it would come back as that
    for field in ("content", "tool_calls", "metadata", "extra"):
        if why := why_not_json(getattr(message, field)):
            return f"message {message.id!r} can't be stored as JSON: its {field} holds {why}"
    calls = message.tool_calls
    if not isinstance(calls, (list, tuple)) or not all(isinstance(call, dict) for call in calls):
        return f"message {message.id!r} has tool calls that are not a list of dicts"
    if any(call.keys() - ToolCall.__annotations__.keys() for call in calls):
        return f"message {message.id!r} has a tool call with more than name, args and id"
    return ""


def _first_misfit(value: object) -> str:
    if value is None or isinstance(value, (str, bool, int)):
        return ""
    if isinstance(value, float):
        return "" if value - value == 0 else f"the number {value}"
    if isinstance(value, (list, tuple)):
        return next(filter(None, map(_first_misfit, value)), "")
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            return "a key that is not a string"
        return next(filter(None, map(_first_misfit, value.values())), "")
    return f"a value of type {type(value).__name__}"
