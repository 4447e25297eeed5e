"""The sessions of a file, one after the other, each with its messages line by line."""

from __future__ import annotations

from functools import partial

from sessionstore.models import SessionMessage
from sessionstore.transfer.files import LineReader
from sessionstore.transfer.jsonl import (
    BadLineError,
    EndLine,
    FirstLine,
    MoreLine,
    SessionLine,
    TransferFileError,
    messages_of,
)
from sessionstore.transfer.listing import Wanted
from sessionstore.transfer.moving import Mover
from sessionstore.transfer.requests import TransferFlow, call
from sessionstore.transfer.sources import ComingSession

__all__ = ["FiledSession", "SessionFile"]

_CUT = "the file ends here, before its last line: it was cut"


class FiledSession(ComingSession):
    """A session of a file, whose reader is behind its line.

    Args:
        reader: The reader.
        line: The session's line.
    """

    def __init__(self, reader: LineReader, line: SessionLine) -> None:
        super().__init__(line.head())
        self._reader, self._count, self._number = reader, 0, reader.number
        self._line: SessionLine | None = line

    def next_page(self) -> TransferFlow[list[SessionMessage]]:
        """Give the messages of the next line."""
        line, self._line = self._line, None
        page = yield from call(partial(self._read, line))
        self._count += len(page)
        return page

    def require_settled(self) -> TransferFlow[None]:
        """Look whether there were as many messages as the session's line says."""
        yield from ()
        if self._count != self.head.message_count:
            why = f"the session has {self._count} messages, not {self.head.message_count}"
            raise BadLineError(why, self._number)

    def _read(self, line: SessionLine | MoreLine | None) -> list[SessionMessage]:
        line = line or self._next_line()
        return [] if line is None else messages_of(line, self._reader.number)

    def _next_line(self) -> MoreLine | None:
        """Read the line that follows, if it is of this session."""
        line = self._reader.next()
        if line is None:
            raise TransferFileError(_CUT, self._reader.number)
        if not isinstance(line, MoreLine) or line.id != self.head.id:
            self._reader.put_back(line)
            return None
        if line.at != self._count:
            raise BadLineError("messages before these are missing", self._reader.number)
        return line


class SessionFile:
    """Goes through a file, and has each session moved.

    Args:
        reader: Its lines.
        mover: What puts a session into a store.
        wanted: Which sessions.
    """

    def __init__(self, reader: LineReader, mover: Mover, wanted: Wanted) -> None:
        self._reader, self._mover, self._tally = reader, mover, mover.tally
        self._wanted = wanted
        self._count = 0  # sessions, and lines that may have been one
        self._current: str | None = None
        self._ends: int | None = None  # how many messages that one has; None if that is not known

    def move_all(self) -> TransferFlow[None]:
        """Move all sessions.

        Raises:
            TransferFileError: It is no export of sessions, damaged beyond a line, or cut.
        """
        first = yield from call(self._reader.next)
        if not isinstance(first, FirstLine):
            raise TransferFileError("this file is no export of sessions", self._reader.number)
        is_whole = False
        while True:
            try:
                line = yield from call(self._reader.next)
            except BadLineError as error:
                self._count += 1
                self._tally.left(None, self._where(), error)
                continue
            if line is None:
                break
            is_whole = isinstance(line, EndLine)
            yield from self._take(line)
        if not is_whole:
            raise TransferFileError(_CUT, self._reader.number)

    def _take(self, line: FirstLine | SessionLine | MoreLine | EndLine) -> TransferFlow[None]:
        if isinstance(line, SessionLine):
            self._count += 1
            self._current, self._ends = line.id, line.message_count
            if self._wanted.includes(line):
                yield from self._mover.move(line.id, partial(self._begin, line), self._where())
        elif isinstance(line, EndLine):
            if self._count < line.sessions:
                why = f"it says that there are {line.sessions} sessions, not {self._count}"
                raise TransferFileError(why, self._reader.number)
            self._count = 0  # another file may be put behind this one
        elif isinstance(line, MoreLine) and self._is_stray(line):
            why = "messages of a session that is not there, or has as many as it says without them"
            self._tally.left(line.id, self._where(), BadLineError(why, self._reader.number))
            self._current, self._ends = line.id, None

    def _is_stray(self, line: MoreLine) -> bool:
        return line.id != self._current or (self._ends is not None and line.at >= self._ends)

    def _begin(self, line: SessionLine) -> TransferFlow[ComingSession | None]:
        yield from ()
        return FiledSession(self._reader, line)

    def _where(self) -> str:
        return f"line {self._reader.number}"
