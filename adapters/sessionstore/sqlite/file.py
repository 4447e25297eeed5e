"""An SQLite file of this package: its path, its permissions, its journal mode, its schema."""

from __future__ import annotations

import os
import sqlite3
import time

from sessionstore.arguments import checked_flag
from sessionstore.errors import SessionStoreError, StoreConnectionError

__all__ = [
    "APPLICATION_ID",
    "DAMAGED",
    "LEASES",
    "MEMORY",
    "SCHEMA",
    "SCHEMA_VERSION",
    "checked_path",
    "has_leases",
    "is_fresh",
    "make_private",
    "require_file",
    "schema_version",
    "use_write_ahead_log",
]

APPLICATION_ID = 0x53455353  # "SESS", in the file's header
SCHEMA_VERSION = 1
# What is only added does not raise the version: processes of both releases use the file at once.
LEASES = (
    """CREATE TABLE sessionstore_leases (
        session_id TEXT NOT NULL PRIMARY KEY,
        token INTEGER NOT NULL,
        holder TEXT NOT NULL,
        ends_at INTEGER NOT NULL,
        boot TEXT
    )""",
    "CREATE INDEX sessionstore_by_token ON sessionstore_leases (token)",
)
SCHEMA = (
    f"PRAGMA application_id = {APPLICATION_ID}",
    "CREATE TABLE sessionstore_schema (version INTEGER NOT NULL)",
    f"INSERT INTO sessionstore_schema VALUES ({SCHEMA_VERSION})",  # noqa: S608 - a number of ours
    """CREATE TABLE sessionstore_sessions (
        session_key INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        agent_id TEXT NOT NULL,
        user_id TEXT,
        metadata TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        version INTEGER NOT NULL,
        message_count INTEGER NOT NULL,
        last_position INTEGER NOT NULL
    )""",
    "CREATE INDEX sessionstore_by_activity ON sessionstore_sessions (updated_at)",
    "CREATE INDEX sessionstore_by_agent ON sessionstore_sessions (agent_id, updated_at)",
    "CREATE INDEX sessionstore_by_user ON sessionstore_sessions (user_id, updated_at)",
    """CREATE TABLE sessionstore_messages (
        session_key INTEGER NOT NULL,
        position INTEGER NOT NULL,
        id TEXT NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (session_key, position),
        UNIQUE (session_key, id)
    )""",
    *LEASES,
)

MEMORY = ":memory:"
DAMAGED = "{} is damaged, or no SQLite file: restore it from a backup, or name another file"
_PRIVATE = 0o600
_PRIVATE_FOLDER = 0o700
_SMALLEST = 512  # bytes of a database; SQLite takes less for an empty one, and writes over it
_NO_LOG = "the file system of {} can't do SQLite's write-ahead log: name a file on another one"
_ANOTHERS = (
    "{} belongs to another application, and is left as it is: "
    "name another file, or give SqliteAgentDb a table_prefix to share this one"
)


def checked_path(path: str | os.PathLike[str], *, create_parents: bool = False) -> str:
    """Check what a caller gave as the path of an SQLite file.

    Args:
        path: The path, or ``":memory:"``.
        create_parents: Make the folders that are missing, each the user's alone.

    Returns:
        The absolute path, or ``":memory:"``.

    Raises:
        SessionStoreError: It names no file, or a folder, or its folder does not exist.
        StoreConnectionError: Its folder can't be made.
        TypeError: It is not a path, or ``create_parents`` not a ``bool``.
    """
    checked_flag(create_parents, "create_parents")
    name = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    if not isinstance(name, str):
        kind = type(path).__name__
        raise TypeError(f"path must be a string, or a path such as pathlib's, not {kind}")
    name = str.__str__(name)
    if name == MEMORY:
        return name
    if not name or "\0" in name:
        raise SessionStoreError('path must name a file, or be ":memory:"')
    if name.startswith("sqlite:"):
        raise SessionStoreError("path must name a file: a URL is for open_store")
    file = os.path.abspath(name)  # a later chdir must not lead to another file
    if os.path.isdir(file):
        raise SessionStoreError(f"{file} is a folder: name a file in it")
    folder = os.path.dirname(file)
    if create_parents:
        _make_folders(folder)
    elif not os.path.isdir(folder):
        msg = f"the folder {folder} does not exist: make it, or give create_parents=True"
        raise SessionStoreError(msg)
    return file


def _make_folders(folder: str) -> None:
    """Make a folder and those above it, as far as they are missing, each the user's alone."""
    missing: list[str] = []
    while not os.path.isdir(folder) and folder not in missing:
        missing.append(folder)
        folder = os.path.dirname(folder)
    for each in reversed(missing):
        try:
            os.mkdir(each, _PRIVATE_FOLDER)
        except OSError as error:
            if isinstance(error, FileExistsError) and os.path.isdir(each):
                continue  # another process was first
            msg = (
                f"the folder {each} can't be made ({error.strerror}): "
                "look at what is there, and at the permissions"
            )
            raise StoreConnectionError(msg) from error
        except UnicodeEncodeError:
            raise SessionStoreError("path must name a file: no system knows its letters") from None


def require_file(path: str) -> None:
    """Refuse a file that SQLite should not even open; make one, the user's alone, where none is.

    All without opening ``path``: to close it again would release the locks that another connection
    of this process holds on it.

    Args:
        path: The file's path.

    Raises:
        StoreConnectionError: It can't be made, read or written.
        SessionStoreError: It is too small for an SQLite file.
    """
    if not os.path.exists(path):
        _create_private(path)
    if not os.path.isfile(path):
        raise SessionStoreError(f"{path} is no file: name another")
    effective = os.access in os.supports_effective_ids
    if not os.access(path, os.R_OK | os.W_OK, effective_ids=effective):
        raise StoreConnectionError(f"{path} can't be read and written: look at its permissions")
    if 0 < os.path.getsize(path) < _SMALLEST:
        raise SessionStoreError(DAMAGED.format(path))


def _create_private(path: str) -> None:
    draft = f"{path}.{os.urandom(8).hex()}"
    try:
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _PRIVATE))
        try:
            os.link(draft, path)
        except FileExistsError:
            raise
        except OSError:  # there are no hard links on this file system
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _PRIVATE))
        finally:
            os.unlink(draft)
    except FileExistsError:
        return  # another process was first
    except OSError as error:
        raise StoreConnectionError(f"{path} can't be made: {error.strerror}") from error


def make_private(path: str) -> None:
    """Let nobody but the user read and write a file."""
    try:
        os.chmod(path, _PRIVATE)
    except PermissionError as error:
        msg = f"{path} can't be made private, as another user owns it: look at its permissions"
        raise StoreConnectionError(msg) from error


def use_write_ahead_log(connection: sqlite3.Connection, timeout: float) -> None:
    """Put a file in write-ahead-log mode, in which readers never wait for a writer.

    Args:
        connection: A connection to the file, without a transaction.
        timeout: How long to wait for others that are opening the file, in seconds.

    Raises:
        sqlite3.OperationalError: They took longer, or the file can't be written to.
        SessionStoreError: The file system does not allow it.
    """
    # SQLite does not wait for its busy timeout here.
    deadline = time.monotonic() + timeout
    while True:
        try:
            [[mode]] = connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.005)
        else:
            break
    if mode != "wal":
        [[_, _, path]] = connection.execute("PRAGMA database_list")
        raise SessionStoreError(_NO_LOG.format(path))


def is_fresh(connection: sqlite3.Connection, path: str) -> bool:
    """Tell whether a file holds nothing yet, and refuse one that is not of this package.

    Args:
        connection: A connection to the file.
        path: The file's path.

    Raises:
        SessionStoreError: Another application made it.
    """
    [[count]] = connection.execute("SELECT count(*) FROM sqlite_master")
    if count and connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise SessionStoreError(_ANOTHERS.format(path))
    return not count


def schema_version(connection: sqlite3.Connection, path: str) -> int:
    """Give the version of the tables in a file; 0 where there are none yet."""
    if is_fresh(connection, path):
        return 0
    found = connection.execute("SELECT version FROM sessionstore_schema").fetchone()
    if found is None or not isinstance(found[0], int) or found[0] < 1:
        raise SessionStoreError(DAMAGED.format(path))
    return found[0]


def has_leases(connection: sqlite3.Connection) -> bool:
    """Tell whether a file has the table of leases, which an older release has not made."""
    name = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'sessionstore_leases'"
    return connection.execute(name).fetchone() is not None
