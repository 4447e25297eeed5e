"""What one operation does on its connection: all of it, or nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from sessionstore._runtime.interrupts import Deferred
from sessionstore.operations import Operation
from sessionstore.rows import Readable
from sessionstore.sqlite.calls import Call, GivenUpError, outcome, settle
from sessionstore.sqlite.connections import Database, let_go_of_what_was_taken_away
from sessionstore.sqlite.errors import is_busy, translated
from sessionstore.sqlite.identity import FileTakenAwayError

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["Transaction", "Work", "acarry_out", "carry_out"]

T = TypeVar("T")

Work: TypeAlias = Callable[["Transaction", Any], T]
"""What an operation does in its transaction."""


def carry_out(database: Database, work: Work[T], operation: Operation[T]) -> T:
    """Carry out an operation. When a Ctrl-C ends it, it is settled."""
    call = database.call()
    try:
        return _carry_out(database, work, operation, call)
    except BaseException:
        # Python 3.10 raises a Ctrl-C also before the first step of a `finally` that an error
        # enters, and so passes over it.
        if call.thread > 0:
            call.thread = -call.thread
            with Deferred(call.give_up):
                database.settle(call)
        raise


async def acarry_out(database: Database, work: Work[T], operation: Operation[T]) -> T:
    """Carry out an operation in a thread; a cancelled one is settled when this ends."""
    call = database.call()  # the wait for the thread counts
    future: Future[T] | None = None
    try:
        with Deferred(call.give_up):
            future = database.start(
                call, operation.is_write, partial(_carry_out, database, work, operation, call)
            )
    except KeyboardInterrupt:
        if future:
            settle(call, future)
        raise
    return await outcome(call, future)


def _carry_out(database: Database, work: Work[T], operation: Operation[T], call: Call) -> T:
    call.thread = get_ident()
    database.settle_what_was_left(call)
    transaction = Transaction(database, call, write=operation.is_write)
    try:
        database.require_open()
        result = work(transaction, operation)
        transaction.commit()
    except FileTakenAwayError:
        database.settle(call)
        let_go_of_what_was_taken_away(database)
        raise
    finally:
        call.thread = -call.thread  # it is over, and what it holds was left behind
        try:
            database.settle(call)
        except BaseException:  # a Ctrl-C came here, too
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

    __slots__ = ("_call", "_connection", "_database", "_write", "readable", "retention")

    def __init__(self, database: Database, call: Call, *, write: bool) -> None:
        self._database = database
        self._call = call
        self._write = write
        self._connection: sqlite3.Connection | None = None
        self.retention: int | None = database.retention
        self.readable: Readable = database.readable

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """Carry out one statement; with a list of parameters, once for each of them.

        Returns:
            Its rows, or the cursor where it has none.

        Raises:
            SessionStoreError: SQLite refuses.
        """
        if self._call.given_up:
            raise GivenUpError
        try:
            if self._connection is None:
                return self._first(sql, parameters)
            return _execute(self._connection, sql, parameters)
        except sqlite3.Error as error:
            raise translated(error, self._database.path) from error

    def commit_batch(self) -> None:
        """Keep what was done so far; the next statement begins another transaction."""
        self._call.require_wanted()
        self.commit()
        self._database.settle(self._call)
        self._call.restart()

    def commit(self) -> None:
        """Keep what was done so far, unless the caller has given up."""
        connection, self._connection = self._connection, None
        self._call.require_wanted()
        if connection is None or not connection.in_transaction:
            return
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise translated(error, self._database.path) from error
        if self._write:
            self._database.require_still_in_place(connection)

    def _first(self, sql: str, parameters: Sequence[Any]) -> Any:
        # Not before the first statement: others need not wait while messages are encoded.
        connection = self._connection = self._database.take(self._call, write=self._write)
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE" if self._write else "BEGIN")
                self._database.require_in_place(connection)
                return _execute(connection, sql, parameters)
            except sqlite3.Error as error:
                if not is_busy(error):
                    raise
            if connection.in_transaction:
                connection.rollback()
            self._call.pause()


def _execute(connection: sqlite3.Connection, sql: str, parameters: Sequence[Any]) -> Any:
    if type(parameters) is list:
        return connection.executemany(sql, parameters)
    cursor = connection.cursor()
    try:
        cursor.execute(sql, parameters)  # on Python 3.10 it reads the first row, too
        return cursor.fetchall() if cursor.description else cursor
    except sqlite3.OperationalError as error:
        if "decode" not in str(error):
            raise
    finally:  # a statement that failed midway would keep its transaction open
        cursor.close()
    # Not within the block above, since the driver's error quotes what can't be decoded.
    connection.text_factory = _text
    try:
        return connection.execute(sql, parameters).fetchall()
    finally:
        connection.text_factory = str


def _text(raw: bytes) -> str | bytes:
    """Leave what is no UTF-8 to those who find that it is no text."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw
