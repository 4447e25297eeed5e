"""One attempt at an operation on an SQLite connection of SQLAlchemy's, in whole or not at all."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine

from sessionstore._sql_connections import begin_writing, in_one_tongue
from sessionstore._sql_file_calls import Call, is_busy

__all__ = ["attempt"]


def attempt(engine: Engine, work: Any, call: Call) -> Any:
    """Carry out some work, once.

    Args:
        engine: Where to.
        work: What to do.
        call: That it is done for.

    Returns:
        The work's reply.

    Raises:
        SQLAlchemyError: SQLite refuses, or others are in the way; nothing was done.
        CallCancelledError: Nobody waits for it any more; nothing was done.
    """
    with in_one_tongue(engine), engine.connect() as connection:
        return work.run(connection) if work.at_once else _written(connection, work, call)


def _written(connection: Connection, work: Any, call: Call) -> Any:
    transaction = connection.begin()
    try:
        begin_writing(connection)
        reply = work.run(connection)
        call.require_wanted()
        _commit(connection, call)
    except BaseException:
        transaction.rollback()
        raise
    transaction.commit()
    return reply


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
