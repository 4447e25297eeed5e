"""How one operation is carried out: by itself, along with others, or by another along with its."""

from __future__ import annotations

from threading import get_ident
from typing import TypeVar

from sessionstore._runtime.interrupts import Deferred
from sessionstore.operations import Operation
from sessionstore.sqlite.batches import Answer, Company, NotTogetherError, commit_together
from sessionstore.sqlite.connections import (
    Database,
    DoneByAnotherError,
    let_go_of_what_was_taken_away,
)
from sessionstore.sqlite.identity import FileTakenAwayError
from sessionstore.sqlite.jobs import Job, Work, answer
from sessionstore.sqlite.transactions import Transaction

__all__ = ["carry_out", "carry_out_job"]

T = TypeVar("T")


def carry_out(database: Database, work: Work[T], operation: Operation[T]) -> T:
    """Carry out an operation. However it ends, nothing is held any more, or left half done.

    Args:
        database: Where.
        work: What it does in its transaction.
        operation: The operation.

    Returns:
        What the work gives.

    Raises:
        SessionStoreError: The work refuses, or SQLite does; nothing was done.
        FileTakenAwayError: The path does not lead to what is open any more.
    """
    job = Job(database.call(), work, operation)
    return carry_out_job(database, job, database.waiting if operation.is_write else None, answer)


def carry_out_job(database: Database, job: Job[T], company: Company | None, answer: Answer) -> T:
    """Carry out an operation as `carry_out` does.

    Args:
        database: Where.
        job: The operation, which nobody else has begun.
        company: Gives those that may go along, asked when its own work is done; ``None`` where
            nobody may.
        answer: Is given what went along, once it is kept.

    Returns:
        What the work gives.

    Raises:
        SessionStoreError: The work refuses, or SQLite does; nothing was done.
        FileTakenAwayError: The path does not lead to what is open any more.
    """
    try:
        return _carried_out(database, job, company, answer)
    except NotTogetherError:
        job.alone = True
    return _carried_out(database, job, None, answer)


def _carried_out(database: Database, job: Job[T], company: Company | None, answer: Answer) -> T:
    call = job.call
    call.thread, call.over = get_ident(), False
    settled = False
    try:
        try:
            database.require_open()
            transaction = Transaction(database, job)
            result = job.work(transaction, job.operation)
            if company and not job.alone:
                commit_together(database, transaction, company, answer)
            else:
                transaction.commit()
        finally:
            call.over = True
            database.settle(call)
            settled = True
    except DoneByAnotherError:
        pass
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
    else:
        return result
    return job.outcome()
