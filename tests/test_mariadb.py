from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from children import Children
from conftest import Call, empty
from lighter import Checked
from servers.mariadb import MariadbServer
from servers.mariadb import binary as mariadb_binary
from servers.process import wait_until
from sqlalchemy import event, text
from warm import Warm

from sessionstore import (
    AgentDb,
    DbSessionStore,
    SessionLeasedError,
    SessionMessage,
    SessionStoreError,
    StoreUnavailableError,
)
from sessionstore.testing import OpenStore
from sessionstore.testing.appending import AppendContract
from sessionstore.testing.identifiers import IdentifierContract
from sessionstore.testing.listing import ListContract

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not mariadb_binary(), reason="there is no mariadbd here"),
]

_IMPATIENT = {"init_command": "SET innodb_lock_wait_timeout = 1"}


def say(**fields: Any) -> SessionMessage:
    return SessionMessage("user", "hello", **fields)


def open_database(url: str, **options: Any) -> DbSessionStore:
    return DbSessionStore(AgentDb(url), **options)


@pytest.fixture(scope="module")
def kept(mariadb: MariadbServer) -> Iterator[AgentDb]:
    mariadb.execute("CREATE OR REPLACE DATABASE kept")  # other tests may come between its own
    with AgentDb(mariadb.url("kept")) as db:
        DbSessionStore(db).ping()
        yield db


@pytest.fixture
def url(mariadb: MariadbServer, schema: str) -> str:
    """Give the URL of an empty database."""
    mariadb.execute(f"CREATE DATABASE {schema}")
    return mariadb.url(schema)


class TestMariadbConformance(
    Checked,
    AppendContract,
    IdentifierContract,
    ListContract,
):
    """What differs most from one database to another; the soak tests run the whole suite."""

    @pytest.fixture
    def open_store(self, mariadb: MariadbServer, kept: AgentDb) -> OpenStore:
        empty(kept)
        return partial(open_database, mariadb.url("kept"))


def test_a_restart_costs_the_caller_nothing(mariadb: MariadbServer, url: str, call: Call) -> None:
    with AgentDb(url) as db:
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


def test_the_wait_for_a_lock_has_a_timeout(url: str, call: Call) -> None:
    with AgentDb(url, connect_args=_IMPATIENT) as db:
        store = DbSessionStore(db)
        for session_id in "st":
            call(store, "append_message", session_id, say(id="m0"))
        with db._sync().begin() as connection:
            connection.execute(
                db.tables.sessions.select().where(db.tables.sessions.c.id == "s").with_for_update()
            )
            with pytest.raises(StoreUnavailableError, match="lock"):
                call(store, "append_message", "s", say())
            assert call(store, "append_message", "t", say()) == 1
        assert call(store, "append_message", "s", say()) == 1


def test_a_lease_that_ends_while_its_row_is_locked_is_lost(url: str) -> None:
    """The time of a statement is that of its beginning: the clock is asked again behind it."""
    waiting = text("SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'")
    with AgentDb(url) as db, ThreadPoolExecutor(2) as threads:
        store = DbSessionStore(db)
        store.create("s")
        with store.lease("s", seconds=1) as lease, db._sync().connect() as connection:
            connection.execute(db.tables.leases.select().with_for_update())
            late = threads.submit(store.append_message, "s", say(), lease=lease)
            renewal = threads.submit(lease.renew)
            wait_until(lambda: connection.execute(waiting).one()[1] == "2", "they do not wait")
            time.sleep(1)
            connection.rollback()
            for each in (late, renewal):
                with pytest.raises(SessionLeasedError):
                    each.result()
        assert store.get_messages("s") == []


def test_a_missing_database_or_table_is_named(
    mariadb: MariadbServer, url: str, schema: str, call: Call
) -> None:
    with AgentDb(url) as db:
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


def test_concurrent_first_writers_of_a_session_all_succeed(url: str) -> None:
    with AgentDb(url) as db:
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


# -- The tables -----------------------------------------------------------------------------------


def die_after(db: AgentDb, count: int) -> None:
    """Let this process be killed after so many statements that change the tables."""
    left = iter(range(count - 1, -1, -1))

    def executed(*arguments: Any) -> None:
        changes = str(arguments[2]).startswith(("CREATE", "INSERT", "COMMIT"))
        if changes and next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(db._sync(), "after_cursor_execute", executed)


def create_and_die(url: str, count: int) -> int:
    child = os.fork()
    if not child:
        try:
            db = AgentDb(url)
            die_after(db, count)
            DbSessionStore(db).ping()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1]


def test_partly_created_tables_are_completed(
    mariadb: MariadbServer, url: str, schema: str, call: Call
) -> None:
    with AgentDb(url) as db:
        statements = db.ddl().count(";\n") + 1  # and the commit
    for count in range(1, statements + 1):
        assert create_and_die(url, count) == signal.SIGKILL
        with AgentDb(url) as db:
            assert call(DbSessionStore(db), "append_message", "s", say()) == 1
            with db._sync().connect() as connection:
                found = {name for (name,) in connection.execute(text("SHOW TABLES"))}
                assert found == {
                    f"sessionstore_{name}" for name in ("schema", "sessions", "messages", "leases")
                }
                indexes = connection.execute(text("SHOW INDEX FROM sessionstore_sessions"))
                assert {row.Key_name for row in indexes} >= {
                    f"sessionstore_by_{name}" for name in ("activity", "agent", "user")
                }
                assert connection.execute(db.tables.schema.select()).all() == [(1,)]
        mariadb.execute(f"DROP DATABASE {schema}")
        mariadb.execute(f"CREATE DATABASE {schema}")


START = """
    import sys
    from sessionstore import AgentDb, DbSessionStore, SessionMessage

    with AgentDb(sys.argv[1]) as db:
        store = DbSessionStore(db)
        print("ready")
        input()
        print(store.append_message("s", SessionMessage("user", "hello")))
"""


def test_twenty_processes_start_on_a_database_that_is_half_made(warm: Warm, url: str) -> None:
    assert create_and_die(url, 3) == signal.SIGKILL
    with Children(warm) as children:
        assert children.start_together(20, START, url) == ["1\n"] * 20
    with AgentDb(url, create_schema=False) as db:
        assert len(DbSessionStore(db).get_messages("s")) == 20
        with db._sync().connect() as connection:
            assert connection.execute(db.tables.schema.select()).all() == [(1,)]


def test_a_database_lost_while_its_tables_are_created_is_completed(
    mariadb: MariadbServer, url: str, call: Call
) -> None:
    with AgentDb(url) as db:
        stop = iter([True])

        def lose(*arguments: Any) -> None:
            if str(arguments[2]).startswith("CREATE INDEX") and next(stop, False):
                mariadb.kill()

        for engine in (db._sync(),):
            event.listen(engine, "before_cursor_execute", lose)
        with pytest.raises(StoreUnavailableError):
            DbSessionStore(db).ping()
        mariadb.start()
        assert call(DbSessionStore(db), "append_message", "s", say()) == 1


def test_the_longest_names_work(mariadb: MariadbServer, url: str, schema: str, call: Call) -> None:
    with AgentDb(url, schema=schema, table_prefix="p" * 40) as db:
        assert call(DbSessionStore(db), "append_message", "s", say()) == 1
    mariadb.execute(f"DROP DATABASE {schema}")
