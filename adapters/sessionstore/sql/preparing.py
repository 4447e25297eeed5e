"""The first use of a database: its tables are looked for, and created or migrated."""

from __future__ import annotations

import logging
from collections.abc import Callable

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from sessionstore.errors import SessionStoreError, StoreReadOnlyError, StoreUnavailableError
from sessionstore.sql.engines import Engines
from sessionstore.sql.errors import FOREIGN, is_missing_table
from sessionstore.sql.gate import OneAtATime
from sessionstore.sql.requests import SqlFlow, Work
from sessionstore.sql.tables import Tables

__all__ = ["prepared"]

_logger = logging.getLogger("sessionstore")
_LOOK, _BRING_UP = OneAtATime("the version of the tables"), OneAtATime("their migration")
_RUN_DDL = (
    "the tables of sessionstore are missing: run the SQL that AgentDb.ddl() gives, "
    "or let create_schema=True do it"
)
_MIGRATE = (
    "the tables are of an older version of sessionstore: "
    "start once with create_schema=True to migrate them"
)
_NEWER = "the tables were made by a newer version of sessionstore: upgrade it"


def prepared(engines: Engines, tables: Tables, *, create_schema: bool) -> SqlFlow[None]:
    """See to it that the tables are there, in the version that this package reads.

    Args:
        engines: Those of this process, which remember that it was done.
        tables: The store's.
        create_schema: Create or migrate them where that is needed.

    Raises:
        StoreUnavailableError: The database can't be reached, or is busy.
        SessionStoreError: The tables are missing or of another version.
    """

    def is_ready() -> bool:
        return engines.ready

    def look(connection: Connection) -> tuple[int, bool]:
        version = _found_version(connection, tables)
        return version, version == 0 or tables.has_leases(connection)

    # One at a time: all who come to an empty database at once would crowd each other out.
    found: tuple[int, bool] | None = yield Work(look, True, True, _LOOK, is_done=is_ready)
    version, has_leases = found or (None, True)
    if version is not None and version < tables.version:
        if not create_schema:
            raise SessionStoreError(_RUN_DDL if version == 0 else _MIGRATE)
        version = yield Work(tables.bring_up, session=_BRING_UP, is_done=is_ready)
    if version is not None and version > tables.version:
        raise SessionStoreError(_NEWER)
    if create_schema and not has_leases:
        yield from _with_leases(tables, is_ready)
    engines.ready = True


def _with_leases(tables: Tables, is_ready: Callable[[], bool]) -> SqlFlow[None]:
    """Add the table of leases where that is allowed; who may not learns so from the first lease."""
    try:
        yield Work(tables.add_leases, session=_BRING_UP, is_done=is_ready)
    except StoreReadOnlyError:
        return
    except StoreUnavailableError:
        raise
    except SessionStoreError as error:
        _logger.info("the table of leases was not made: %s", error)


def _found_version(connection: Connection, tables: Tables) -> int:
    if connection.dialect.name == "postgresql":
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar()
        if encoding not in ("UTF8", b"UTF8"):
            raise SessionStoreError(FOREIGN)
    try:
        return tables.stored_version(connection)
    except DBAPIError as error:
        if is_missing_table(error):
            return 0
        raise
