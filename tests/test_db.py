from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import Call, empty
from servers.mariadb import MariadbServer
from servers.mariadb import binary as mariadb_binary

from sessionstore import (
    AgentDb,
    DbSessionStore,
    SessionMessage,
    SessionStoreError,
    SqliteAgentDb,
    StoreUnavailableError,
)
from sessionstore.testing import OpenStore, SharedStoreConformance
from sessionstore.testing.appending import AppendContract
from sessionstore.testing.deleting import DeleteMessagesContract
from sessionstore.testing.identifiers import IdentifierContract
from sessionstore.testing.listing import ListContract
from sessionstore.testing.reading import ReadContract
from sessionstore.testing.sessions import SessionContract

_IMPATIENT = {"init_command": "SET innodb_lock_wait_timeout = 1"}


def say(**fields: Any) -> SessionMessage:
    return SessionMessage("user", "hello", **fields)


def open_database(url: str, **options: Any) -> DbSessionStore:
    return DbSessionStore(AgentDb(url), **options)


def open_sqlite(path: str, **options: Any) -> DbSessionStore:
    return DbSessionStore(SqliteAgentDb(path), **options)


if mariadb_binary():

    @pytest.fixture(scope="module")
    def kept(mariadb: MariadbServer) -> Iterator[AgentDb]:
        mariadb.execute("CREATE DATABASE kept")
        with AgentDb(mariadb.url("kept")) as db:
            DbSessionStore(db).ping()
            yield db

    class TestMariadbConformance(
        AppendContract, ReadContract, DeleteMessagesContract, IdentifierContract, ListContract
    ):
        """What differs most from one database to another; the soak tests run the whole suite."""

        @pytest.fixture
        def open_store(self, mariadb: MariadbServer, kept: AgentDb) -> OpenStore:
            empty(kept)
            return partial(open_database, mariadb.url("kept"))

    def test_mariadb_restarted_costs_the_caller_nothing(
        mariadb: MariadbServer, schema: str, call: Call
    ) -> None:
        mariadb.execute(f"CREATE DATABASE {schema}")
        with AgentDb(mariadb.url(schema)) as db:
            store = DbSessionStore(db)
            call(store, "append_message", "s", say())
            mariadb.kill()
            mariadb.start()
            assert call(store, "append_message", "s", say(), expected_version=1) == 1
            mariadb.kill()
            mariadb.start()
            assert len(call(store, "get_messages", "s")) == 2
            mariadb.kill()
            with pytest.raises(StoreUnavailableError, match="can't be reached"):
                call(store, "append_message", "s", say())
            mariadb.start()

    def test_mariadb_locked_is_unavailable(mariadb: MariadbServer, schema: str, call: Call) -> None:
        mariadb.execute(f"CREATE DATABASE {schema}")
        with AgentDb(mariadb.url(schema), connect_args=_IMPATIENT) as db:
            store = DbSessionStore(db)
            for session_id in "st":
                call(store, "append_message", session_id, say(id="m0"))
            with db._sync().begin() as connection:
                connection.execute(
                    db.tables.sessions.select()
                    .where(db.tables.sessions.c.id == "s")
                    .with_for_update()
                )
                with pytest.raises(StoreUnavailableError, match="lock"):
                    call(store, "append_message", "s", say())
                assert call(store, "append_message", "t", say()) == 1
            assert call(store, "append_message", "s", say()) == 1

    def test_mariadb_without_its_tables_or_rights(
        mariadb: MariadbServer, schema: str, call: Call
    ) -> None:
        mariadb.execute(f"CREATE DATABASE {schema}")
        with AgentDb(mariadb.url(schema)) as db:
            store = DbSessionStore(db)
            call(store, "append_message", "s", say())
            mariadb.execute(f"DROP TABLE {schema}.sessionstore_messages")
            with pytest.raises(SessionStoreError, match="missing"):
                call(store, "append_message", "s", say())
        with (
            AgentDb(mariadb.url("no_such_database")) as db,
            pytest.raises(SessionStoreError, match="no database"),
        ):
            call(DbSessionStore(db), "ping")

    def test_many_first_writers_on_mariadb(mariadb: MariadbServer, schema: str) -> None:
        mariadb.execute(f"CREATE DATABASE {schema}")
        with AgentDb(mariadb.url(schema)) as db:
            store = DbSessionStore(db)
            added: list[int] = []

            def append() -> None:
                for number in range(20):
                    batch = [say(id=f"m{place}") for place in range(3)]
                    added.append(store.append_messages(f"s{number}", batch))

            threads = [threading.Thread(target=append) for _ in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert sorted(added) == [0] * 100 + [3] * 20


class TestSqliteConformance(SharedStoreConformance):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return partial(open_sqlite, str(tmp_path / "sessions.db"))


class TestMemoryConformance(SessionContract, AppendContract):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        return partial(open_sqlite, ":memory:")
