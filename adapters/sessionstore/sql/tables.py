"""The tables of a store in an SQL database: their SQL, their version."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, TypeAlias, TypeVar, cast

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Dialect,
    Identity,
    Index,
    Inspector,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    func,
    insert,
    inspect,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.schema import CreateIndex, CreateSchema, CreateTable

from sessionstore.errors import SessionStoreError
from sessionstore.sql.column_types import JSON_TEXT, KEY, MYSQL, Id
from sessionstore.sqlite.file import LEASES, SCHEMA, SCHEMA_VERSION

__all__ = ["DEFAULT_PREFIX", "Migration", "Tables", "tables_of"]

T = TypeVar("T")

DEFAULT_PREFIX = "sessionstore_"
"""What the names of the tables start with, `SQLiteSessionStore`'s among them."""
# PostgreSQL's names have 63 bytes at most, MySQL's 64; the longest after a prefix is "by_activity".
_A_PREFIX = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")


class Tables:
    """A store's tables under one prefix, and the statements that make and migrate them.

    On SQLite they are those of `SQLiteSessionStore`, by its own statements.

    Args:
        prefix: What every name starts with: letters, digits and underscores.
        schema: The PostgreSQL schema (elsewhere: database) that they are in; ``None`` for the
            connection's own.
        migrations: What to do to a schema of version 1 to make it one of version 2, and so on.

    Raises:
        ValueError: The prefix is not usable in a name.
    """

    def __init__(self, prefix: str, schema: str | None, migrations: Sequence[Migration]) -> None:
        """Describe the tables; nothing is asked of a database yet."""
        if not _A_PREFIX.fullmatch(prefix):
            raise ValueError("table_prefix must be 1 to 40 letters, digits and underscores")
        self.prefix: str = prefix
        self.migrations: tuple[Migration, ...] = tuple(migrations)
        self.version: int = SCHEMA_VERSION + len(self.migrations)
        self.metadata: MetaData = MetaData(schema=schema)
        self.schema: Table = Table(f"{prefix}schema", self.metadata, Column("version", Integer))
        self.schema.c.version.nullable = False
        self.sessions: Table = self._sessions()
        self.messages: Table = self._messages()
        self.leases: Table = self._leases()

    def stored_version(self, connection: Connection) -> int:
        """Read the version of the schema that is there.

        Args:
            connection: A connection to the database.

        Returns:
            The version; 0 where the table that holds it is empty.

        Raises:
            SQLAlchemyError: The table that holds it is missing, or can't be read.
        """
        return connection.scalar(select(func.max(self.schema.c.version))) or 0

    def bring_up(self, connection: Connection) -> int:
        """Create the tables, or migrate older ones, in the transaction of a connection.

        Others who do the same wait for the first, and then find it done.

        Args:
            connection: A connection with a transaction begun.

        Returns:
            The version of the schema that is there now; a newer one is left as it is.
        """
        with _SchemaLock(connection, self):
            there = inspect(connection).has_table(self.schema.name, schema=self.metadata.schema)
            version = self.stored_version(connection) if there else 0
            if version == 0:
                for statement in self._creation(connection):
                    connection.exec_driver_sql(statement)
                return self.version
            for migration in self.migrations[version - SCHEMA_VERSION :]:
                migration(connection, self)
            if version < self.version:
                connection.execute(update(self.schema).values(version=self.version))
            return max(version, self.version)

    def has_leases(self, connection: Connection) -> bool:
        """Tell whether the table of leases is there, which an older release has not made.

        Args:
            connection: A connection to the database.
        """
        return inspect(connection).has_table(self.leases.name, schema=self.metadata.schema)

    def add_leases(self, connection: Connection) -> None:
        """Create the table of leases where it is missing, in the transaction of a connection.

        It is only added: the version of the schema stays, and so do processes that don't know it.

        Args:
            connection: A connection with a transaction begun.
        """
        with _SchemaLock(connection, self):
            if self.has_leases(connection):
                return
            for statement in self._lease_ddl(connection.dialect):
                connection.exec_driver_sql(statement)

    def ddl(self, dialect: Dialect) -> Iterator[str]:
        """Give the statements that create the tables, as SQL.

        Args:
            dialect: The database's.

        Yields:
            One statement at a time, without a semicolon.
        """
        if dialect.name == "sqlite":
            yield from self._sqlite_ddl()
            return
        if self.metadata.schema and dialect.name == "postgresql":
            yield _sql(CreateSchema(self.metadata.schema, if_not_exists=True), dialect)
        yield from self._statements(dialect, self._parts())

    def _parts(self) -> list[Table | Index]:
        parts: list[Table | Index] = []
        # The one that holds the version comes last: where it is filled, the others are there.
        for table in (self.sessions, self.messages, self.leases, self.schema):
            parts += [table, *sorted(table.indexes, key=lambda index: str(index.name))]
        return parts

    def _lease_ddl(self, dialect: Dialect) -> Iterator[str]:
        if dialect.name == "sqlite":
            yield from (statement.replace(DEFAULT_PREFIX, self.prefix) for statement in LEASES)
            return
        yield from _created(dialect, [self.leases, *self.leases.indexes])

    def _statements(self, dialect: Dialect, parts: Sequence[Table | Index]) -> Iterator[str]:
        yield from _created(dialect, parts)
        first = insert(self.schema).values(version=self.version)
        yield str(first.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))

    def _creation(self, connection: Connection) -> Iterator[str]:
        schema = self.metadata.schema
        if connection.dialect.name in MYSQL:
            # Each part is kept from the moment it is made: one that was killed has left some.
            found = inspect(connection)
            missing = [part for part in self._parts() if not _is_there(found, part)]
            yield from self._statements(connection.dialect, missing)
            return
        there = schema is not None and inspect(connection).has_schema(schema)
        fresh = connection.dialect.name != "sqlite" or _is_empty(connection)
        for statement in self.ddl(connection.dialect):
            # To ask for a schema that is there takes a right that few are given; and an SQLite file
            # with other tables stays the file of the application that made them.
            if not (there and statement.startswith("CREATE SCHEMA")) and (
                fresh or not statement.startswith("PRAGMA")
            ):
                yield statement

    def _sqlite_ddl(self) -> Iterator[str]:
        for statement in SCHEMA:
            if self.prefix == DEFAULT_PREFIX or not statement.startswith("PRAGMA"):
                yield statement.replace(DEFAULT_PREFIX, self.prefix)

    def _sessions(self) -> Table:
        table = Table(
            f"{self.prefix}sessions",
            self.metadata,
            Column("session_key", KEY, Identity(), primary_key=True),
            Column("id", Id, nullable=False, unique=True),
            Column("agent_id", Id, nullable=False),
            Column("user_id", Id),
            Column("metadata", JSON_TEXT, nullable=False),
            Column("created_at", BigInteger, nullable=False),
            Column("updated_at", BigInteger, nullable=False),
            Column("version", BigInteger, nullable=False),
            Column("message_count", BigInteger, nullable=False),
            Column("last_position", BigInteger, nullable=False),
        )
        # The key is part of each, since it settles the order of those with the same time.
        place = (table.c.updated_at, table.c.session_key)
        Index(f"{self.prefix}by_activity", *place)
        Index(f"{self.prefix}by_agent", table.c.agent_id, *place)
        Index(f"{self.prefix}by_user", table.c.user_id, *place)
        return table

    def _messages(self) -> Table:
        return Table(
            f"{self.prefix}messages",
            self.metadata,
            Column("session_key", BigInteger, nullable=False),
            Column("position", BigInteger, nullable=False),
            Column("id", Id, nullable=False),
            Column("body", JSON_TEXT, nullable=False),
            PrimaryKeyConstraint("session_key", "position"),
            UniqueConstraint("session_key", "id"),
        )

    def _leases(self) -> Table:
        table = Table(
            f"{self.prefix}leases",
            self.metadata,
            Column("session_id", Id, nullable=False, primary_key=True),
            Column("token", BigInteger, nullable=False),
            Column("holder", Id, nullable=False),
            Column("ends_at", BigInteger, nullable=False),
            Column("boot", Id),
        )
        Index(f"{self.prefix}by_token", table.c.token)
        return table


Migration: TypeAlias = Callable[[Connection, Tables], None]
"""Changes the tables of one version into those of the next, in the connection's transaction."""


@lru_cache(maxsize=16)
def tables_of(
    prefix: str, schema: str | None = None, migrations: tuple[Migration, ...] = ()
) -> Tables:
    """Give the tables of these names, the same to all: the statements over them are made once.

    Args:
        prefix: As in `Tables`.
        schema: As in `Tables`.
        migrations: As in `Tables`.

    Raises:
        ValueError: The prefix is not usable in a name.
    """
    return Tables(prefix, schema, migrations)


class _SchemaLock:
    """Keeps other processes from changing the schema too, until the transaction's end."""

    def __init__(self, connection: Connection, tables: Tables) -> None:
        self._connection = connection
        name = f"{tables.metadata.schema or ''}.{tables.prefix}"
        self._number = zlib.crc32(name.encode())
        self._name = f"sessionstore.{self._number}"  # MySQL takes 64 characters

    def __enter__(self) -> None:
        name = self._connection.dialect.name
        if name == "postgresql":
            # For this transaction: behind PgBouncer the next one is somebody else's.
            number = literal(self._number, BigInteger)
            self._connection.execute(select(func.pg_advisory_xact_lock(number)))
        elif name in MYSQL and not self._connection.scalar(
            select(func.get_lock(self._name, _PATIENCE))
        ):
            raise SessionStoreError("timed out waiting for another process that creates the tables")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # A connection that was lost has taken the lock with it.
        if self._connection.dialect.name in MYSQL and not self._connection.invalidated:
            if kind is None:
                self._connection.exec_driver_sql("COMMIT")  # before the next one looks
            self._connection.execute(select(func.release_lock(self._name)))


_PATIENCE = 30


def _is_empty(connection: Connection) -> bool:
    return not connection.scalar(text("SELECT count(*) FROM sqlite_master"))


def _is_there(found: Inspector, part: Table | Index) -> bool:
    if isinstance(part, Table):
        return found.has_table(part.name, schema=part.schema)
    table = cast("Table", part.table)
    there = found.has_table(table.name, schema=table.schema)
    return there and found.has_index(table.name, str(part.name), schema=table.schema)


def _created(dialect: Dialect, parts: Sequence[Table | Index]) -> Iterator[str]:
    for part in parts:
        create = CreateTable(part) if isinstance(part, Table) else CreateIndex(part)
        yield _sql(create, dialect)


def _sql(statement: Any, dialect: Dialect) -> str:
    return str(statement.compile(dialect=dialect)).strip()
