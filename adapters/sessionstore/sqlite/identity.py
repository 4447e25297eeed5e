"""Whether the path of an SQLite file still leads to the files that a connection has open."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import suppress
from typing import Any, NoReturn
from weakref import ref

from sessionstore._runtime.forks import at_fork
from sessionstore.errors import SessionStoreError

__all__ = ["FileIdentity", "FileTakenAwayError"]

_TAKEN = (
    "{} was deleted, renamed or replaced while it was in use: {}; the next call opens what is "
    "there then, and earlier messages are in the file that was taken away"
)
_LOG_TAKEN = (
    "the {} of {} was deleted while it was in use: {}; leave it alone while a process has the "
    "file open"
)
_STALE_LOG = (
    "{0} was replaced, but {0}-wal is still the old file's, and in use: stop the processes that "
    "use it, then delete {0}-wal and {0}-shm"
)
_SHARED = (
    "{} was taken away while it was in use, and another store of this process still has it open: "
    "use or close that one first"
)
_NOTHING = "nothing was written or read"

_MOMENT = 0.02  # seconds
_LOOKS, _BETWEEN = 20, 0.005
_TICK = 100_000_000  # nanoseconds

_FileId = tuple[int, int]
_State = tuple[int, int, int]


class FileTakenAwayError(SessionStoreError):
    """What a connection has open is not what the path leads to, so its writes would be lost."""


class FileIdentity:
    """The files that one connection has open: the database, its write-ahead log and that's index.

    SQLite goes on with the files that it opened, whatever becomes of their names: what is written
    to a deleted file is acknowledged and gone. While a connection in write-ahead-log mode is open,
    no process that goes by SQLite's rules deletes the log or its index, so that one that is missing
    was taken away. It costs a look at three names.

    Make one when the connection has read something, since SQLite opens the log then; keep it as
    long as the connection, and call `closed` when that is closed.

    Args:
        path: The path that the caller gave, absolute.
        before: What `look` gave before the connection was opened.
        log: Whether the connection is in write-ahead-log mode.

    Raises:
        FileTakenAwayError: They are not in place already now.
    """

    __slots__ = (
        "__weakref__",
        "_files",
        "_folder",
        "_looked",
        "_names",
        "_path",
        "_resolved",
        "_state",
    )

    def __init__(self, path: str, before: _FileId | None, *, log: bool = True) -> None:
        self._path = path
        self._resolved = os.path.realpath(path)
        self._folder = os.path.dirname(self._resolved)
        self._names = _names_of(path)[: 3 if log else 1]
        self._files = tuple(map(_file_id, self._names))
        self._looked = float("-inf")
        self._state: _State | None = None  # of the folder, when all was in place
        if self._files[0] != before:
            raise FileTakenAwayError(_TAKEN.format(path, _NOTHING))
        self._require_all()
        if _is_torn(self._files):
            raise FileTakenAwayError(_SHARED.format(path))
        named: ref[Any] = ref(self, _forget)
        _open[named] = self._files

    @staticmethod
    def look(path: str) -> tuple[int, int] | None:
        """Give what a path leads to, by device and number, before a connection is opened.

        Args:
            path: The path that the caller gave, absolute.

        Returns:
            Device and number; ``None`` where there is nothing.

        Raises:
            FileTakenAwayError: SQLite would take the log of a file that was taken away, and that
                this process still has open, for that of the new one.
        """
        names = _names_of(path)
        files = tuple(map(_file_id, names))
        for _ in range(_LOOKS):
            if not _is_torn(files):
                return files[0]
            # One that is being closed just now takes its log along, before it says that it is gone.
            time.sleep(_BETWEEN)
            files = tuple(map(_file_id, names))
        raise FileTakenAwayError(_SHARED.format(path))

    def in_place(self, *, written: bool = False) -> bool:
        """Tell whether the names still lead to what is open.

        Args:
            written: A write is about to be acknowledged: nothing may be missed. Else a log that is
                missing is noticed a moment later at worst.
        """
        try:
            found = os.stat(self._path)
            if (found.st_dev, found.st_ino) != self._files[0]:
                return False
            now = time.monotonic()
            is_recent = now - self._looked <= _MOMENT
            if is_recent and not written:
                return True
            # The log itself is not looked at after each write: on Linux since 6.13 that makes the
            # next flush of it take half as long again. To delete it changes its folder.
            folder = os.stat(self._folder)
            state = folder.st_dev, folder.st_ino, folder.st_mtime_ns
            return (is_recent and state == self._state) or self._look_at_all(now, state)
        except OSError:
            return False

    def _look_at_all(self, now: float, state: _State) -> bool:
        self._looked, self._state = float("-inf"), None
        for name, file in zip(self._names, self._files, strict=True):
            found = os.stat(name)
            if (found.st_dev, found.st_ino) != file:
                return False
        self._looked = now
        # Within a tick of the file system's clock, one change may hide another.
        if time.time_ns() - state[2] > _TICK:
            self._state = state
        return True

    def require_in_place(self, outcome: str = _NOTHING, *, written: bool = False) -> None:
        """Refuse to go on with files that were taken away.

        Call it within a transaction, when it has begun, and after the commit with ``written``.

        Args:
            outcome: What the error says of the call's own work.
            written: As for `in_place`.

        Raises:
            FileTakenAwayError: They were.
        """
        if not self.in_place(written=written):
            self.refuse(outcome)

    def refuse(self, outcome: str = _NOTHING) -> NoReturn:
        """Say that the files were taken away.

        Args:
            outcome: What the error says of the call's own work.

        Raises:
            FileTakenAwayError: Always.
        """
        raise FileTakenAwayError(self._reason(outcome))

    def save(self, connection: sqlite3.Connection) -> None:
        """Before the connection is closed: put what its log holds into the file that was renamed.

        A log that stays behind under its old name would be taken for the new file's.

        Raises:
            FileTakenAwayError: The log stays in use; keep the connection, and try again later.
        """
        if len(self._names) == 1 or _file_id(self._resolved) == self._files[0]:
            return  # the file is in place: SQLite sees to its log at the last close
        with suppress(sqlite3.Error):
            connection.execute("PRAGMA busy_timeout = 0")
            [[busy, _, _]] = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            if not busy:
                return
        if _file_id(self._names[1]) == self._files[1]:
            raise FileTakenAwayError(_STALE_LOG.format(self._path))

    def closed(self) -> None:
        """Say that the connection is closed, since an error's traceback may keep this alive."""
        _open.pop(ref(self), None)

    def _require_all(self) -> None:
        for name, file in zip(self._names, self._files, strict=True):
            if file is None:
                raise FileTakenAwayError(self._reason(_NOTHING, name))

    def _reason(self, outcome: str, missing: str = "") -> str:
        if missing in ("", self._path) and _file_id(self._path) != self._files[0]:
            return _TAKEN.format(self._path, outcome)
        log = not missing.endswith("-shm") and _file_id(self._names[1]) != self._files[1]
        what = "write-ahead log (-wal)" if log or missing.endswith("-wal") else "log's index (-shm)"
        return _LOG_TAKEN.format(what, self._path, outcome)


def _names_of(path: str) -> tuple[str, ...]:
    resolved = os.path.realpath(path)  # SQLite puts the log beside what a link leads to
    return path, f"{resolved}-wal", f"{resolved}-shm"


def _file_id(path: str) -> _FileId | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_torn(files: tuple[_FileId | None, ...]) -> bool:
    # SQLite shares the log's index between the connections of a process to one file, and finds the
    # log by its name: a new connection beside one whose files were taken away would mix the two.
    for others in list(_open.values()):
        same = [mine == its for mine, its in zip(files, others, strict=False)]
        if any(same) and not all(same):
            return True
    return False


# What the connections of this process have open. Looked at and changed in one step each: it needs
# no lock, which a fork could leave held.
_open: dict[ref[Any], tuple[_FileId | None, ...]] = {}


def _forget(identity: ref[Any]) -> None:
    _open.pop(identity, None)


at_fork(in_child=_open.clear)  # none of its parent's is the child's
