"""Some work on a connection of SQLAlchemy's pool: in one statement, or in one transaction."""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from sessionstore.errors import SessionStoreError
from sessionstore.sql.connections import (
    autocommit,
    backend_of,
    raise_if_indeterminate,
    replace_stale,
    wrap_driver_errors,
)
from sessionstore.sql.errors import is_read_only, is_unprepared
from sessionstore.sql.loop_pool import LoopPool, empty_if_expired
from sessionstore.sql.requests import Work
from sessionstore.sql.stale import expire_pool, shows_its_end
from sessionstore.sql.unsettled import UNSETTLED, Backend, Place, note, settle

__all__ = ["carried_out"]

_INTERRUPTS = (asyncio.CancelledError, KeyboardInterrupt, SystemExit)


def carried_out(engine: Engine, work: Work[Any], place: Place, *, notes_lost: bool) -> Any:
    """Carry out some work once, on a connection of a server's database.

    Args:
        engine: Where to.
        work: What to do.
        place: What the database is known by in this process.
        notes_lost: Remember the server's process of a connection that is lost meanwhile: the
            connections don't do so by themselves.

    Returns:
        The work's reply.

    Raises:
        SQLAlchemyError: The database refuses, or can't be reached; nothing was done.
        StoreUnavailableError: The connection was lost; whether it was done is not known.
    """
    with wrap_driver_errors(engine):
        empty_if_expired(engine)
        with engine.connect() as connection:
            replace_stale(connection)
            backend = backend_of(connection) if notes_lost else None
            try:
                return _carry_out(connection, work, place)
            except DBAPIError as error:
                _note_lost(connection, place, backend)
                _give_up(connection, error)
                raise
            except BaseException as error:
                if not isinstance(error, (SQLAlchemyError, SessionStoreError)):
                    connection.invalidate()  # who knows what the driver was broken off in
                elif connection.invalidated:  # it was lost as it committed
                    _expire(engine)
                _note_lost(connection, place, backend)
                interrupt = error.__context__
                if isinstance(error, AssertionError) and isinstance(interrupt, _INTERRUPTS):
                    # psycopg 3.3's own, over who was interrupted as it entered pipeline mode.
                    raise interrupt from None
                raise


def _give_up(connection: Connection, error: DBAPIError) -> None:
    """Give up a connection that is of no more use; and all that are as old, if so are they."""
    if is_read_only(error):
        expire_pool(connection.engine.pool)
    elif connection.invalidated:
        _expire(connection.engine)
    if not connection.invalidated and (is_read_only(error) or is_unprepared(error)):
        connection.invalidate(error)


def _expire(engine: Engine) -> None:
    """Give up the connections of an event loop's pool, of which SQLAlchemy has given up one.

    It gives up all that are as old, too; but its pool would close them one by one, and each where
    somebody asks for it, be there a greenlet or not.
    """
    if isinstance(engine.pool, LoopPool):
        expire_pool(engine.pool)


def _note_lost(connection: Connection, place: Place, backend: Backend | None) -> None:
    if backend and connection.invalidated:
        note(place, backend)


def _carry_out(connection: Connection, work: Work[Any], place: Place) -> Any:
    if place in UNSETTLED:
        with autocommit(connection, True):
            settle(connection, place)
            connection.rollback()
    # One that may not be sent twice, on a connection that does not show whether it is stale, is
    # sent in a transaction: until its commit nothing is done.
    if work.at_once and (work.repeatable or shows_its_end(connection.connection)):
        with autocommit(connection, connection.dialect.name == "postgresql"):
            return raise_if_indeterminate(lambda: work.run(connection), work.repeatable)
    with autocommit(connection, False):
        transaction = connection.begin()
        try:
            reply = work.run(connection)
        except BaseException:
            transaction.rollback()
            raise
        raise_if_indeterminate(transaction.commit, work.repeatable)
        return reply
