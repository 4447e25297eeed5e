"""The lines of an export: JSON, each of one kind, in UTF-8.

The first says what the file is, and in which version. A session is a line, with its first
messages; if it has more, lines with these follow, each of which says how many there are before
them. The last line says how many sessions there are, so that a file that was cut is known. Messages
are in the form in which stores keep them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, TypeAlias

import msgspec

from sessionstore.errors import CorruptMessageError, SessionStoreError
from sessionstore.models import SessionData, SessionMessage, decode_messages, encode_message

__all__ = [
    "BadLineError",
    "EndLine",
    "FirstLine",
    "Line",
    "MoreLine",
    "SessionLine",
    "TransferFileError",
    "decode_line",
    "end_line",
    "first_line",
    "messages_of",
    "more_line",
    "session_line",
]

_VERSION = 1


class TransferFileError(SessionStoreError, ValueError):
    """A file is no export of sessions, is damaged or cut, or a newer version wrote it.

    Attributes:
        line: The line, counted from 1.
    """

    line: int

    def __init__(self, why: str, line: int) -> None:
        """Say what is wrong with which line."""
        super().__init__(f"line {line}: {why}")
        self.line = line


class BadLineError(TransferFileError):
    """A line can't be read; those behind it may be."""


class FirstLine(msgspec.Struct, tag_field="kind", tag="sessions"):
    """What the file is.

    Attributes:
        version: Of the form of its lines.
    """

    version: int


class SessionLine(msgspec.Struct, tag_field="kind", tag="session"):
    """A session with its first messages; ``message_count`` is of all of them."""

    id: str
    agent_id: str
    user_id: str | None
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    message_count: int
    messages: list[msgspec.Raw]

    def head(self) -> SessionData:
        """Give the session without its messages."""
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        return SessionData(**{**fields, "messages": []}, version=1)


class MoreLine(msgspec.Struct, tag_field="kind", tag="messages"):
    """More messages of the session before it.

    Attributes:
        id: The session.
        at: How many messages of it came before.
        messages: The messages.
    """

    id: str
    at: int
    messages: list[msgspec.Raw]


class EndLine(msgspec.Struct, tag_field="kind", tag="end"):
    """The end.

    Attributes:
        sessions: How many there are.
    """

    sessions: int


Line: TypeAlias = FirstLine | SessionLine | MoreLine | EndLine
_decoder: Any = msgspec.json.Decoder(FirstLine | SessionLine | MoreLine | EndLine)


def first_line() -> bytes:
    """Give the first line."""
    return _line(FirstLine(_VERSION))


def session_line(head: SessionData, page: Sequence[SessionMessage]) -> bytes:
    """Give the line of a session with its first messages."""
    named = head.id, head.agent_id, head.user_id, head.metadata
    times = head.created_at, head.updated_at, head.message_count
    return _line(SessionLine(*named, *times, _raw(page)))


def more_line(session_id: str, at: int, page: Sequence[SessionMessage]) -> bytes:
    """Give the line of more of a session's messages."""
    return _line(MoreLine(session_id, at, _raw(page)))


def end_line(sessions: int) -> bytes:
    """Give the last line."""
    return _line(EndLine(sessions))


def decode_line(raw: bytes, number: int) -> Line:
    """Read a line.

    Args:
        raw: The line.
        number: Which it is, counted from 1.

    Raises:
        TransferFileError: It is the first line, and of another file; or of a newer version.
        BadLineError: It can't be read.
    """
    line: Line | None = None
    with suppress(
        msgspec.MsgspecError, ValueError, RecursionError
    ):  # it may quote what users wrote
        line = _decoder.decode(raw)
    if number == 1 and not isinstance(line, FirstLine):
        raise TransferFileError("this file is no export of sessions", number)
    if line is None:
        raise BadLineError("it can't be read: it is no JSON, or lacks something", number)
    if isinstance(line, FirstLine) and line.version > _VERSION:
        why = f"a newer version wrote this file (its form is {line.version}): upgrade sessionstore"
        raise TransferFileError(why, number)
    return line


def messages_of(line: SessionLine | MoreLine, number: int) -> list[SessionMessage]:
    """Give the messages of a line.

    Raises:
        BadLineError: One of them can't be read, has no id, or has that of another one.
    """
    why, messages = "", []
    try:
        messages = decode_messages(line.id, list(map(bytes, line.messages)))
    except CorruptMessageError as error:
        why = str(error)
    ids = {message.id for message in messages}
    if None in ids or len(ids) < len(messages):
        why = "a message has no id, or that of another one"
    if why:
        raise BadLineError(why, number)
    return messages


def _raw(page: Sequence[SessionMessage]) -> list[msgspec.Raw]:
    return [msgspec.Raw(encode_message(message)) for message in page]


def _line(line: Line) -> bytes:
    return msgspec.json.encode(line) + b"\n"
