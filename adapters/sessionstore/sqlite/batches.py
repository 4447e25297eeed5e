"""Operations of others, carried out along with one's own: one transaction, one commit."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from sessionstore._runtime.frames import without_frames
from sessionstore._runtime.interrupts import Deferred
from sessionstore.errors import SessionStoreError, StoreConnectionError
from sessionstore.sqlite.calls import GivenUpError
from sessionstore.sqlite.connections import Database, FileConnection
from sessionstore.sqlite.identity import FileTakenAwayError
from sessionstore.sqlite.jobs import Job
from sessionstore.sqlite.transactions import PERHAPS, Transaction

__all__ = ["Answer", "Company", "NotTogetherError", "commit_together"]

Company: TypeAlias = Callable[[], Sequence[Job[Any]]]
Answer: TypeAlias = Callable[[list[Job[Any]]], None]

_MOST = 256  # operations
_LARGEST = 1024 * 1024  # bytes
_LONGEST = 0.01  # seconds, and one operation more


class NotTogetherError(Exception):
    """The transaction of several operations failed: nothing is kept, and each is tried alone."""


def commit_together(
    database: Database,
    transaction: Transaction,
    company: Company,
    answer: Answer,
) -> None:
    """Commit a transaction that has done its own work, and in it carry out what others wait for.

    Each of theirs that fails is undone by itself. A Ctrl-C waits until each of the others has its
    answer, or is put back to be carried out by somebody else.

    Args:
        database: The file.
        transaction: The transaction.
        company: Gives those that may go along, the oldest first, as often as it is asked.
        answer: Is given those that are done, once they are kept.

    Raises:
        NotTogetherError: The transaction failed; nothing is kept.
        GivenUpError: Nobody waits for the transaction's own work any more; nothing is kept.
        FileTakenAwayError: The file was deleted, renamed or replaced meanwhile.
    """
    connection = transaction.connection
    others = company() if connection else ()
    if connection is None or not others:
        transaction.commit()
        return
    batch = _Batch(database, transaction, connection, answer)
    with Deferred(transaction.give_up):
        batch.commit_with(others, company)
    batch.raise_what_was_not_theirs()


class _Batch:
    def __init__(
        self,
        database: Database,
        transaction: Transaction,
        connection: FileConnection,
        answer: Answer,
    ) -> None:
        self._database = database
        self._transaction = transaction
        self._connection = connection
        self._tell = answer
        self._jobs: list[Job[Any]] = []
        self._weight = 0
        self._end = time.monotonic() + _LONGEST
        self._strange: BaseException | None = None

    def commit_with(self, others: Sequence[Job[Any]], company: Company) -> None:
        alone = committing = kept = False
        try:
            self._carry_out(others, company)
            committing = True
            self._transaction.commit()
            kept = True
            self._answer()
        except FileTakenAwayError as error:
            self._refuse(FileTakenAwayError, str(error))
            raise
        except (NotTogetherError, SessionStoreError, sqlite3.Error) as error:
            alone = True
            raise NotTogetherError from error
        finally:
            # What a signal's handler raises may come just behind the commit.
            if kept:
                self._answer()
            elif committing and not alone and not self._connection.in_transaction:
                self._refuse(StoreConnectionError, PERHAPS)
            self._put_back(alone=alone)

    def raise_what_was_not_theirs(self) -> None:
        """Raise what a signal's handler raised while an operation of another was carried out."""
        strange, self._strange = self._strange, None
        if strange and threading.current_thread() is threading.main_thread():
            try:
                raise strange
            finally:
                strange = None

    def _carry_out(self, others: Sequence[Job[Any]], company: Company) -> None:
        while others:
            for job in others:
                if self._is_full():
                    return
                self._take(job)
            others = company()  # who came meanwhile

    def _take(self, job: Job[Any]) -> None:
        self._jobs.append(job)
        if not job.claim(self):
            self._jobs.pop()
        elif not self._is_done(job):
            self._jobs.pop()
            job.put_back(alone=job.alone)

    def _is_full(self) -> bool:
        return bool(
            len(self._jobs) >= _MOST
            or self._weight >= _LARGEST
            or self._strange
            or self._transaction.given_up
            or self._database.closed
            or time.monotonic() > self._end
        )

    def _is_done(self, job: Job[Any]) -> bool:
        """Carry out one operation; tell whether there is an answer to it."""
        is_write = job.operation.is_write
        began = False
        try:
            if is_write:
                weight = job.weigh()
                if job.alone:
                    return False
                self._weight += weight
                self._connection.execute("SAVEPOINT one")
                began = True
            job.result = job.work(Transaction(self._database, job, self._connection), job.operation)
            if job.call.given_up:
                raise GivenUpError  # noqa: TRY301 - as a statement does
        except (SessionStoreError, GivenUpError) as error:
            self._undo(began)
            job.error = without_frames(error)
        except sqlite3.Error:
            raise
        except BaseException as error:  # noqa: BLE001 - raised when the others have their answers
            self._undo(began)
            self._strange, job.alone = error, True
            return False
        else:
            if began:
                self._connection.execute("RELEASE one")
        return True

    def _undo(self, began: bool) -> None:
        if began and not self._connection.in_transaction:
            raise NotTogetherError  # SQLite has rolled back all of it: the disk is full, say
        if began:
            self._connection.execute("ROLLBACK TO one")
            self._connection.execute("RELEASE one")

    def _answer(self) -> None:
        if self._jobs:
            self._database.answered(self._jobs)
            self._tell(self._jobs)
            self._jobs = []

    def _refuse(self, kind: type[SessionStoreError], words: str) -> None:
        for job in self._jobs:
            job.result, job.error = None, job.error or kind(words)
        self._answer()

    def _put_back(self, *, alone: bool) -> None:
        jobs, self._jobs = self._jobs, []
        for job in jobs:
            if job.is_held(self) and not job.over:
                job.put_back(alone=alone)
