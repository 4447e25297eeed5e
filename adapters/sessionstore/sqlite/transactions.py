"""What one operation does on its connection: all of it, or nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from threading import get_ident
from typing import Any, TypeAlias, TypeVar

from sessionstore._runtime.interrupts import Deferred
from sessionstore.operations import Operation
from sessionstore.rows import Readable
from sessionstore.sqlite.calls import Call, GivenUpError
from sessionstore.sqlite.connections import (
    Database,
    FileConnection,
    let_go_of_what_was_taken_away,
)
from sessionstore.sqlite.errors import is_busy, translated
from sessionstore.sqlite.identity import FileTakenAwayError

__all__ = ["Transaction", "Work", "carry_out"]

T = TypeVar("T")

Work: TypeAlias = Callable[["Transaction", Any], T]
"""What an operation does in its transaction."""

_PERHAPS = "whether this call's write is kept is not known, so read before you try it again"


def carry_out(
    database: Database, work: Work[T], operation: Operation[T], call: Call | None = None
) -> T:
    """Carry out an operation. However it ends, nothing is held any more, or left half done.

    Args:
        database: Where.
        work: What it does in its transaction.
        operation: The operation.
        call: The call that it is done for; one begins now where none is given.

    Returns:
        What the work gives.

    Raises:
        SessionStoreError: The work refuses, or SQLite does; nothing was done.
        FileTakenAwayError: The path does not lead to what is open any more.
    """
    call = call or database.call()
    call.thread = get_ident()
    settled = False
    try:
        try:
            database.require_open()
            transaction = Transaction(database, call, write=operation.is_write)
            result = work(transaction, operation)
            transaction.commit()
        finally:
            call.over = True
            database.settle(call)
            settled = True
    except FileTakenAwayError:
        let_go_of_what_was_taken_away(database)
        raise
    except BaseException:
        # A Ctrl-C may have come while it was settled. Python 3.10 raises one also before the first
        # step of a `finally` that an error enters, and so passes over it.
        if not settled:
            call.over = True
            with Deferred(call.give_up):
                database.settle(call)
        raise
    return result


class Transaction:
    """What one operation does in a file: all of it, or nothing.

    It begins with the first statement, so that nobody waits while messages are encoded.

    Args:
        database: The file.
        call: The call that it is done for.
        write: Whether it may change anything.

    Attributes:
        retention: How long a session is kept after its last write, in microseconds.
        readable: What a list shows.
    """

    __slots__ = (
        "_call",
        "_connection",
        "_database",
        "_taken",
        "_write",
        "readable",
        "retention",
    )

    def __init__(self, database: Database, call: Call, *, write: bool) -> None:
        self._database = database
        self._call = call
        self._write = write
        self._taken: FileConnection | None = None
        self._connection: FileConnection | None = None  # in which a statement was carried out
        self.retention: int | None = database.retention
        self.readable: Readable = database.readable

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """Carry out one statement; with a list of parameters, once for each of them.

        Returns:
            Its rows, or the cursor where it has none.

        Raises:
            SessionStoreError: SQLite refuses.
        """
        while True:
            if self._call.given_up:
                raise GivenUpError
            try:
                connection = self._connection or self._begin()
                cursor = connection.cursor()
                try:
                    if type(parameters) is list:
                        cursor.executemany(sql, parameters)
                    else:
                        cursor.execute(sql, parameters)  # Python 3.10 reads the first row, too
                    found = cursor.fetchall() if cursor.description else cursor
                finally:  # a statement that failed midway would keep its transaction open
                    cursor.close()
            except sqlite3.Error as error:
                unreadable = "decode" in str(error)
                if not unreadable and (self._connection or not is_busy(error)):
                    raise translated(error, self._database.path) from error
            else:
                self._connection = connection
                return found
            # Not within the block above, since the driver's error quotes what can't be decoded.
            if unreadable:
                return self._undecoded(sql, parameters)
            self._call.pause()

    def commit_batch(self) -> None:
        """Keep what was done so far; the next statement begins another transaction."""
        self.commit()
        self._database.settle(self._call)
        self._call.restart()

    def commit(self) -> None:
        """Keep what was done so far, unless the caller has given up.

        Raises:
            SessionStoreError: SQLite refuses; nothing is kept.
            FileTakenAwayError: The file was deleted, renamed or replaced meanwhile.
        """
        connection, self._connection, self._taken = self._connection, None, None
        if self._call.given_up:
            raise GivenUpError
        if connection is None or not connection.in_transaction:
            return
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise translated(error, self._database.path) from error
        identity = connection.identity
        if self._write and identity and not identity.in_place(written=True):
            identity.refuse(_PERHAPS)

    def _begin(self) -> FileConnection:
        # Not before the first statement: others need not wait while messages are encoded.
        connection = self._taken
        if connection is None:
            connection = self._taken = self._database.take(self._call, write=self._write)
        elif connection.in_transaction:  # others were in the way of its first statement
            connection.rollback()
        connection.execute("BEGIN IMMEDIATE" if self._write else "BEGIN")
        identity = connection.identity
        if identity and not identity.in_place():
            identity.refuse()
        return connection

    def _undecoded(self, sql: str, parameters: Sequence[Any]) -> Any:
        """Carry out a statement whose rows hold what is no text."""
        connection = self._connection or self._begin()
        connection.text_factory = _text
        try:
            found = connection.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise translated(error, self._database.path) from error
        finally:
            connection.text_factory = str
        self._connection = connection
        return found


def _text(raw: bytes) -> str | bytes:
    """Leave what is no UTF-8 to those who find that it is no text."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw
