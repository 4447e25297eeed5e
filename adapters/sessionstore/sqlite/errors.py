"""What SQLite's errors mean for a caller, by SQLite's own words."""

from __future__ import annotations

import sqlite3

from sessionstore.errors import (
    InvalidMessageError,
    SessionStoreError,
    StoreBusyError,
    StoreConnectionError,
    StoreReadOnlyError,
)
from sessionstore.sqlite.file import DAMAGED

__all__ = ["BUSY", "is_busy", "translated"]

BUSY = "{} is busy: other calls held it for longer than the timeout"

# Python 3.10 does not tell SQLite's error codes.
_ERRORS = (
    ("locked", StoreBusyError, BUSY),
    ("locking protocol", StoreBusyError, "{} can't be locked: too many open it at once"),
    ("readonly", StoreReadOnlyError, "{} can't be written to: look at its permissions"),
    ("unable to open", StoreConnectionError, "{} can't be opened: look at its permissions"),
    ("disk I/O error", StoreConnectionError, "{} can't be read or written: the disk fails"),
    ("is full", SessionStoreError, "the disk of {} is full: make room"),
    ("too big", InvalidMessageError, "a message is too big for {}: SQLite takes up to 1 GB"),
    ("not a database", SessionStoreError, DAMAGED),
    ("malformed", SessionStoreError, DAMAGED),
    ("no such", SessionStoreError, DAMAGED),
)


def translated(error: sqlite3.Error, path: str) -> SessionStoreError:
    """Give the error of ours for one of SQLite's.

    Args:
        error: SQLite's. It names tables and columns, never what is in them.
        path: The file's path.
    """
    text = str(error)
    for sign, kind, words in _ERRORS:
        if sign in text:
            return kind(words.format(path))
    return SessionStoreError(f"SQLite refuses to work on {path}: see the cause")


def is_busy(error: sqlite3.Error) -> bool:
    """Tell whether another connection stands in the way, so that it is worth to try again."""
    return "locked" in str(error)
