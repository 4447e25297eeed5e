"""What one operation does on its connection: all of it, or nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from sessionstore.operations import Operation
from sessionstore.rows.sessions import Readable, Records
from sessionstore.sqlite.calls import GivenUpError
from sessionstore.sqlite.connections import Database, FileConnection
from sessionstore.sqlite.errors import is_busy, translated
from sessionstore.sqlite.file import MEMORY
from sessionstore.sqlite.jobs import Job

__all__ = ["PERHAPS", "Transaction"]

PERHAPS = "whether this call's write is kept is not known, so read before you try it again"


class Transaction:
    """What one operation does in a file: all of it, or nothing.

    It begins with the first statement, so that nobody waits while messages are encoded.

    Args:
        database: The file.
        job: The operation, and the call that it is done for.
        connection: Where it goes along in a transaction that others have begun, that of theirs.

    Attributes:
        retention: How long a session is kept after its last write, in microseconds.
        readable: What a list shows.
    """

    __slots__ = (
        "_call",
        "_connection",
        "_database",
        "_job",
        "_taken",
        "_write",
        "readable",
        "retention",
    )

    def __init__(
        self, database: Database, job: Job[Any], connection: FileConnection | None = None
    ) -> None:
        self._database = database
        self._job = job
        self._call = job.call
        self._write = job.operation.is_write
        self._taken: FileConnection | None = None
        self._connection = connection  # in which a statement was carried out
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

    @property
    def connection(self) -> FileConnection | None:
        """Where a statement was carried out, if one was."""
        return self._connection

    @property
    def path(self) -> str:
        """The file."""
        return self._database.path

    @property
    def is_crowded(self) -> bool:
        """Whether other calls are at work on the file at the same time."""
        return self._database.in_use() > 1

    @property
    def given_up(self) -> bool:
        """Whether nobody waits for its own work any more."""
        return self._call.given_up

    def give_up(self) -> None:
        """Let its own work have no effect, unless its commit has begun."""
        self._call.give_up()

    def encoded(self, operation: Operation[Any]) -> Records:
        """Give the messages of the operation, or of one of several, as they are stored.

        Raises:
            InvalidMessageError: One of them can't be stored as JSON.
        """
        return self._job.encoded(operation)

    def commit_batch(self) -> None:
        """Keep what was done so far; the next statement begins another transaction."""
        self.commit()
        self._database.settle(self._call)
        self._call.restart()

    def rewrite(self) -> None:
        """Keep what was done so far, and write the file anew: what was deleted is in it no more.

        Raises:
            SessionStoreError: SQLite refuses, or others were in the way for too long.
        """
        self.commit_batch()
        if self._database.path == MEMORY:
            return
        self._outside("VACUUM")
        while self._outside("PRAGMA wal_checkpoint(TRUNCATE)")[0][0]:  # somebody reads
            self._call.pause()

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
            identity.refuse(PERHAPS)

    def _begin(self) -> FileConnection:
        # Not before the first statement: others need not wait while messages are encoded.
        connection = self._taken
        if connection is None:
            connection = self._taken = self._database.take(
                self._call, write=self._write, job=None if self._job.alone else self._job
            )
        elif connection.in_transaction:  # others were in the way of its first statement
            connection.rollback()
        connection.execute("BEGIN IMMEDIATE" if self._write else "BEGIN")
        identity = connection.identity
        if identity and not identity.in_place():
            identity.refuse()
        return connection

    def _outside(self, sql: str) -> list[Any]:
        """Carry out what SQLite does outside a transaction only."""
        while True:
            if self._call.given_up:
                raise GivenUpError
            if self._taken is None:
                self._taken = self._database.take(self._call, write=True)
            identity = self._taken.identity
            if identity and not identity.in_place():
                identity.refuse()
            try:
                return self._taken.execute(sql).fetchall()
            except sqlite3.Error as error:
                if not is_busy(error):
                    raise translated(error, self._database.path) from error
            self._call.pause()

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
