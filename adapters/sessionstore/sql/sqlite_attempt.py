"""One attempt at an operation on an SQLite connection of SQLAlchemy's, in whole or not at all."""

from __future__ import annotations

import sqlite3
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from sessionstore.sql.file_calls import Call, is_busy
from sessionstore.sql.requests import Work
from sessionstore.sql.sqlite_engine import identity_of
from sessionstore.sqlite.identity import FileIdentity, FileTakenAwayError

__all__ = ["attempt"]


def attempt(engine: Engine, work: Work[Any], call: Call) -> Any:
    """Carry out some work, once.

    Args:
        engine: Where to.
        work: What to do.
        call: That it is done for.

    Returns:
        The work's reply.

    Raises:
        SQLAlchemyError: SQLite refuses, or others are in the way; nothing was done.
        FileTakenAwayError: The path does not lead to what is open any more.
        CallCancelledError: Nobody waits for it any more; nothing was done.
    """
    try:
        with engine.connect() as connection:
            identity = identity_of(connection)
            try:
                if not work.at_once:
                    return _written(connection, work, call, identity)
                if identity is not None and not identity.in_place():
                    identity.refuse()
                return work.run(connection)
            except FileTakenAwayError:
                _let_go(connection, identity)
                raise
    except engine.dialect.loaded_dbapi.Error as error:  # those of a commit of ours
        raise DBAPIError(None, None, error, connection_invalidated=True) from error


def _written(
    connection: Connection, work: Work[Any], call: Call, identity: FileIdentity | None
) -> Any:
    transaction = connection.begin()
    try:
        driver: Any = connection.connection.driver_connection
        if not driver.in_transaction:
            # One that begins by reading could not go on to write once another had written.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        if identity is not None and not identity.in_place():
            identity.refuse()
        reply = work.run(connection)
        call.require_wanted()
        _commit(connection, call)
    except BaseException:
        transaction.rollback()
        raise
    transaction.commit()
    if identity is not None and not identity.in_place(written=True):
        identity.refuse(_PERHAPS)
    return reply


def _let_go(connection: Connection, identity: FileIdentity | None) -> None:
    """Close what was taken away, so that the next call opens what is there then."""
    driver = connection.connection.driver_connection
    if identity is not None and isinstance(driver, sqlite3.Connection):
        identity.save(driver)
    connection.invalidate()


_PERHAPS = "whether this call's write is kept is not known, so read before you try it again"


def _commit(connection: Connection, call: Call) -> None:
    """Commit, and wait for readers to end where that takes the whole file, as without a log."""
    driver: Any = connection.connection.dbapi_connection
    while True:
        try:
            driver.commit()
        except connection.dialect.loaded_dbapi.Error as error:
            if not is_busy(error) or call.is_late():
                raise
        else:
            return
        call.pause()
