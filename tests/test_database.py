from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from conftest import Call
from servers.postgres import PASSWORD, PostgresServer
from servers.relay import Relay
from sqlalchemy import Connection, create_engine, event, inspect, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from sessionstore import (
    AgentDb,
    DbSessionStore,
    PostgresAgentDb,
    SessionMessage,
    SessionStoreError,
    SqliteAgentDb,
    SQLiteSessionStore,
    open_store,
)
from sessionstore.operations import Prune
from sessionstore.sql.opening import open_db as open_db_of
from sessionstore.sql.pruning import prune
from sessionstore.sql.tables import Tables

OpenDb = Callable[..., AgentDb]


@pytest.fixture(params=["postgres", "sqlite"])
def open_db(request: pytest.FixtureRequest) -> OpenDb:
    """Open one database again and again."""
    if request.param == "sqlite":
        path = request.getfixturevalue("tmp_path") / "sessions.db"
        return lambda kind=None, **options: (kind or SqliteAgentDb)(
            path if kind is None else f"sqlite:///{path}", **options
        )
    url = request.getfixturevalue("postgres").url()
    schema = request.getfixturevalue("schema")
    return lambda kind=None, **options: (kind or PostgresAgentDb)(
        url, **{"schema": schema, **options}
    )


def say(text: str = "hello", **fields: Any) -> SessionMessage:
    return SessionMessage("user", text, **fields)


def run_sql(db: AgentDb, *statements: str) -> None:
    with db._sync().begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def table(db: AgentDb, name: str) -> str:
    schema = db.tables.metadata.schema
    return f"{schema}.{db.tables.prefix}{name}" if schema else f"{db.tables.prefix}{name}"


# -- The schema -----------------------------------------------------------------------------------


def test_ddl_creates_all_that_a_store_needs(open_db: OpenDb, call: Call) -> None:
    with open_db(create_schema=False) as db:
        store = DbSessionStore(db)
        with pytest.raises(SessionStoreError, match=r"tables .* missing: run .* AgentDb\.ddl\(\)"):
            call(store, "append_message", "s", say())
        with db._sync().begin() as connection:
            for statement in db.ddl().split(";\n"):
                if statement:
                    connection.exec_driver_sql(statement)
        assert call(store, "append_message", "s", say()) == 1


def test_stores_with_two_prefixes_share_nothing(open_db: OpenDb) -> None:
    with open_db() as db, open_db(table_prefix="other_") as other:
        DbSessionStore(db).append_message("s", say())
        assert DbSessionStore(other).get("s") is None
        DbSessionStore(other).append_messages("s", [say(), say()])
        assert len(DbSessionStore(db).get_messages("s")) == 1


@pytest.mark.parametrize("prefix", ["", "a-b", "a b", 'a"', "x;", "1x", "p" * 41])
def test_a_prefix_that_no_table_can_have_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="table_prefix"):
        SqliteAgentDb(table_prefix=prefix)


def test_a_newer_schema_is_refused_and_left_alone(open_db: OpenDb, call: Call) -> None:
    with open_db() as db:
        DbSessionStore(db).append_message("s", say())
        run_sql(db, f"UPDATE {table(db, 'schema')} SET version = 99")
    with open_db() as db:
        with pytest.raises(SessionStoreError, match=r"newer version .* upgrade"):
            call(DbSessionStore(db), "append_message", "s", say())
        run_sql(db, f"UPDATE {table(db, 'schema')} SET version = 1")
        assert len(call(DbSessionStore(db), "get_messages", "s")) == 1


def _add_a_column(connection: Connection, tables: Tables) -> None:
    name = connection.dialect.identifier_preparer.format_table(tables.sessions)
    connection.exec_driver_sql(f"ALTER TABLE {name} ADD COLUMN planted INTEGER DEFAULT 7")


def _fail(connection: Connection, tables: Tables) -> None:
    _add_a_column(connection, tables)
    connection.exec_driver_sql("SELECT no_such_column FROM no_such_table")


def migrating(kind: type[AgentDb], *steps: Any) -> type[AgentDb]:
    return type(f"Next{kind.__name__}", (kind,), {"_migrations": steps})


def test_an_older_schema_is_migrated_in_one_transaction(open_db: OpenDb, call: Call) -> None:
    with open_db() as db:
        kind = type(db)
        DbSessionStore(db).append_message("s", say())
        name = table(db, "sessions")
    argument = {"kind": lambda target, **options: _open_as(migrated, db, target, options)}
    migrated = migrating(kind, _fail)
    with open_db(**argument) as broken, pytest.raises(SessionStoreError):
        call(DbSessionStore(broken), "get_messages", "s")
    migrated = migrating(kind, _add_a_column)
    with (
        open_db(**argument, create_schema=False) as waiting,
        pytest.raises(SessionStoreError, match="older version"),
    ):
        call(DbSessionStore(waiting), "get_messages", "s")
    for _ in range(2):  # and once only
        with open_db(**argument) as newer:
            assert call(DbSessionStore(newer), "append_message", "s", say()) == 1
            with newer._sync().connect() as connection:
                assert connection.scalar(text(f"SELECT planted FROM {name}")) == 7
                assert newer.tables.stored_version(connection) == 2
    with open_db() as db, pytest.raises(SessionStoreError, match="newer version"):
        call(DbSessionStore(db), "get_messages", "s")


def _open_as(kind: type[AgentDb], like: AgentDb, target: str, options: dict[str, Any]) -> AgentDb:
    return kind(like._path if isinstance(like, SqliteAgentDb) else target, **options)


def _start(url: str, schema: str, gate: Any, answers: Any) -> None:
    gate.wait()
    try:
        with PostgresAgentDb(url, schema=schema) as db:
            answers.put(DbSessionStore(db).append_message("s", say()))
    except BaseException as error:
        answers.put(repr(error))
        raise


@pytest.mark.soak
def test_twenty_processes_start_on_an_empty_database(postgres: PostgresServer, schema: str) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sessionstore.sql.store", "psycopg"])
    gate, answers = context.Barrier(20), context.Queue()
    processes = [
        context.Process(target=_start, args=(postgres.url(), schema, gate, answers))
        for _ in range(20)
    ]
    for process in processes:
        process.start()
    assert [answers.get(timeout=60) for _ in processes] == [1] * 20
    for process in processes:
        process.join()
    with PostgresAgentDb(postgres.url(), schema=schema, create_schema=False) as db:
        assert len(DbSessionStore(db).get_messages("s")) == 20
        with db._sync().connect() as connection:
            assert (
                connection.scalar(text(f"SELECT count(*) FROM {schema}.sessionstore_schema")) == 1
            )


def test_the_tables_have_the_documented_indexes(open_db: OpenDb) -> None:
    """What SQLAlchemy believes of the tables, and what is there: on SQLite by other statements."""
    with open_db() as db:
        DbSessionStore(db).ping()
        found = inspect(db._sync())
        schema = db.tables.metadata.schema
        tables = db.tables
        for known in (tables.sessions, tables.messages, tables.leases, tables.schema):
            columns = found.get_columns(known.name, schema=schema)
            nullable = {column.name: column.nullable for column in known.columns}
            nullable["session_key"] = known is db.tables.sessions and "sqlite" in repr(db)
            assert {c["name"]: c["nullable"] for c in columns} == {
                column.name: nullable[column.name] for column in known.columns
            }
            key = found.get_pk_constraint(known.name, schema=schema)["constrained_columns"]
            assert key == [column.name for column in known.primary_key]
            indexes = {index["name"] for index in found.get_indexes(known.name, schema=schema)}
            assert {index.name for index in known.indexes} <= indexes


# -- SQLite's own store ---------------------------------------------------------------------------


def test_a_file_of_either_store_opens_in_the_other(tmp_path: Path, call: Call) -> None:
    ours, theirs = tmp_path / "ours.db", tmp_path / "theirs.db"
    with SQLiteSessionStore(theirs) as store:
        store.create("a", user_id="alice", messages=[say("one", id="1")], metadata={"t": "é"})
    with SqliteAgentDb(ours) as db:
        created = DbSessionStore(db).create("a", messages=[say("one", id="1")], metadata={"t": "é"})
        assert created.version == 1
    with SqliteAgentDb(theirs, create_schema=False) as db:
        assert call(DbSessionStore(db), "append_message", "a", say("two", id="2")) == 1
    with SQLiteSessionStore(ours) as store:
        assert store.append_messages("a", [say("one", id="1"), say("two", id="2")]) == 1
    for path in (ours, theirs):
        with SqliteAgentDb(path) as db, SQLiteSessionStore(path) as store:
            assert store.get("a") == DbSessionStore(db).get("a")
            assert store.list_sessions() == DbSessionStore(db).list_sessions()
            assert [message.content for message in store.get_messages("a")] == ["one", "two"]
            assert store.list_sessions().sessions[0].message_count == 2
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert _definition(path) == _definition(theirs)


def _definition(path: Path) -> list[Any]:
    connection = sqlite3.connect(path)
    try:
        [[journal]] = connection.execute("PRAGMA journal_mode").fetchall()
        assert journal == "wal"
        return connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
    finally:
        connection.close()


@pytest.mark.parametrize("mark", [0, 77])
def test_the_file_of_another_application_is_left_unchanged(
    tmp_path: Path, call: Call, mark: int
) -> None:
    path = tmp_path / "app.db"
    _make_application_file(path, mark)
    before = path.read_bytes()
    for store in (SQLiteSessionStore(path), DbSessionStore(SqliteAgentDb(path))):
        with pytest.raises(SessionStoreError, match="belongs to another application"):
            call(store, "append_message", "s", say())
    assert path.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("is_prefixed", [True, False])
def test_the_file_of_another_application_is_shared_on_request(
    tmp_path: Path, call: Call, is_prefixed: bool
) -> None:
    path = tmp_path / "app.db"
    _make_application_file(path, 77)
    prefixed = SqliteAgentDb(path, table_prefix="chat_")
    with prefixed if is_prefixed else AgentDb(f"sqlite:///{path}") as db:
        assert call(DbSessionStore(db), "append_message", "s", say()) == 1
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA application_id").fetchone() == (77,)
    connection.close()
    with SQLiteSessionStore(path) as store, pytest.raises(SessionStoreError, match="another appl"):
        call(store, "ping")


def _make_application_file(path: Path, mark: int) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(f"CREATE TABLE theirs (x); PRAGMA application_id = {mark};")
    connection.close()


def test_a_damaged_file_is_named_as_the_cause(tmp_path: Path, call: Call) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(b"no database at all" * 100)
    with SqliteAgentDb(path) as db, pytest.raises(SessionStoreError, match="damaged"):
        call(DbSessionStore(db), "append_message", "s", say())


# -- Engines and loops ----------------------------------------------------------------------------


def _psycopg(server: PostgresServer, *, port: int | None = None) -> str:
    return server.url(port=port).replace("://", "+psycopg://")


def test_the_callers_engine_is_used_and_left_open(postgres: PostgresServer, schema: str) -> None:
    engine = create_engine(_psycopg(postgres))
    with AgentDb(engine, schema=schema) as db:
        store = DbSessionStore(db)
        store.append_message("s", say())
        assert engine.pool.checkedin() == 1  # type: ignore[attr-defined]
        assert asyncio.run(store.aappend_message("s", say())) == 1
    assert engine.pool.checkedin() == 1  # type: ignore[attr-defined]
    engine.dispose()


def test_the_callers_async_engine_is_used_and_left_open(
    postgres: PostgresServer, schema: str
) -> None:
    async def main() -> None:
        engine = create_async_engine(_psycopg(postgres))
        async with AgentDb(engine, schema=schema) as db:
            store = DbSessionStore(db)
            await store.aappend_message("s", say())
            assert engine.pool.checkedin() == 1  # type: ignore[attr-defined]
            assert store.append_message("s", say()) == 1
        assert engine.pool.checkedin() == 1  # type: ignore[attr-defined]
        await engine.dispose()

    asyncio.run(main())


def test_a_missing_async_driver_is_an_error_that_says_so() -> None:
    program = """
import asyncio, sys
for hidden in ("asyncmy", "aiomysql"):
    sys.modules[hidden] = None
from sessionstore import AgentDb, DbSessionStore
store = DbSessionStore(AgentDb("mysql://root:secret@127.0.0.1:1/none"))
for ping in (store.ping, lambda: asyncio.run(store.aping())):
    try:
        ping()
    except Exception as error:
        print(type(error).__name__, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "StoreConnectionError the database can't be reached: Connection refused",
        "SessionStoreError no async driver for mysql+pymysql is installed: pip install asyncmy",
    ]


def test_each_event_loop_has_a_pool_that_ends_with_it(
    postgres: PostgresServer, schema: str
) -> None:
    relay = Relay(postgres.port)
    with PostgresAgentDb(postgres.url(port=relay.port), schema=schema) as db:
        store = DbSessionStore(db)

        async def main() -> None:
            for _ in range(3):
                await store.aappend_message("s", say())
            await asyncio.gather(*(store.aget("s") for _ in range(4)))

        for round_ in range(1, 4):
            asyncio.run(main())
            assert not db._current().of_loops._held
            assert round_ <= relay.connections <= 4 * round_
        threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(store.get_messages("s")) == 18
    relay.close()


def test_a_loop_that_stops_without_closing_leaves_no_connection(
    postgres: PostgresServer, schema: str
) -> None:
    with PostgresAgentDb(postgres.url(), schema=schema) as db:
        store = DbSessionStore(db)
        asyncio.run(store.aping())  # finds no tables: SQLAlchemy ties that error's frames in a knot
        for _ in range(2):
            loop = asyncio.new_event_loop()
            loop.run_until_complete(store.aping())
            loop.close()
            assert not db._current().of_loops._held
    del db, store
    gc.collect()  # a connection that is still open would warn now


def test_a_cancelled_call_gives_its_connection_back(postgres: PostgresServer, schema: str) -> None:
    options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 5}

    async def main() -> None:
        async with PostgresAgentDb(postgres.url(), schema=schema, engine_options=options) as db:
            store = DbSessionStore(db)
            await store.aappend_message("s", say())
            with psycopg.connect(postgres.url()) as other:
                other.execute(f"SELECT FROM {schema}.sessionstore_sessions FOR UPDATE")
                for write in (store.aappend_message("s", say()), store.aupdate("s", metadata={})):
                    with pytest.raises(asyncio.TimeoutError):
                        await asyncio.wait_for(write, 0.2)
                other.rollback()
            assert (await store.aget("s")).version == 1  # type: ignore[union-attr]
            assert await store.aappend_message("s", say()) == 1

    asyncio.run(main())


def test_a_store_made_before_a_fork_works_after_it(open_db: OpenDb) -> None:
    with open_db() as db:
        store = DbSessionStore(db)
        store.append_message("s", say())
        parent = os.getpid()
        children = [child for _ in range(2) if os.getpid() == parent and (child := os.fork())]
        if os.getpid() != parent:
            code = 1
            try:
                for _ in range(20):
                    store.append_message("s", say())
                db.close()
                code = 0
            finally:
                os._exit(code)
        for _ in range(20):
            store.append_message("s", say())
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
        assert len(store.get_messages("s")) == 1 + 20 * 3


def test_a_fork_while_another_thread_is_at_work_leaves_the_child_free(open_db: OpenDb) -> None:
    """A lock that it holds would never be released in the child."""
    with open_db() as db:
        store = DbSessionStore(db)
        store.append_message("s", say())
        gate, runs = db._current().gate, db._sqlite_runs
        lock: Any = runs._turn if runs is not None else gate and gate._lock
        held, over = threading.Event(), threading.Event()

        def hold() -> None:
            with lock:
                held.set()
                over.wait()

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        child = os.fork()
        if not child:
            code = 1
            try:
                signal.alarm(30)
                code = 1 - store.append_message("s", say())
            finally:
                os._exit(code)
        over.set()
        thread.join()
        assert os.waitpid(child, 0)[1] == 0
        assert len(store.get_messages("s")) == 2


@pytest.mark.parametrize("name", [":memory:", "x.db"])
def test_a_fork_amid_a_write_leaves_the_child_free(tmp_path: Path, name: str) -> None:
    with SqliteAgentDb(name if name == ":memory:" else tmp_path / name) as db:
        store = DbSessionStore(db)
        store.append_message("s", say())
        with db._runs()._turn:
            child = os.fork()
            if not child:
                code = 1
                try:
                    code = 1 - store.append_message("t", say())
                finally:
                    os._exit(code)
            assert os.waitpid(child, 0)[1] == 0
        assert (store.get("t") is None) == (name == ":memory:")


def test_a_closed_database_refuses(open_db: OpenDb, call: Call) -> None:
    with open_db() as db:
        store, other = DbSessionStore(db), DbSessionStore(db)
        call(store, "ping")
        store.close()
        with pytest.raises(SessionStoreError, match="this store is closed"):
            call(store, "ping")
        call(other, "ping")  # the database is not the store's to close
    db.close()
    with pytest.raises(SessionStoreError, match="this database is closed"):
        call(other, "ping")


def test_all_threads_and_loops_share_one_memory_database() -> None:
    with SqliteAgentDb() as db:
        store = DbSessionStore(db)
        threads = [
            threading.Thread(target=store.append_message, args=("s", say())) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert asyncio.run(store.aappend_message("s", say())) == 1
        assert len(store.get_messages("s")) == 9


# -- Names ----------------------------------------------------------------------------------------


def test_open_store_takes_any_url(postgres: PostgresServer, tmp_path: Path) -> None:
    url = postgres.url()
    for given in (url, _psycopg(postgres), url.replace("postgresql:", "postgres:")):
        with open_store(given, fallback=None) as store:
            store.ping()
            assert isinstance(store, DbSessionStore)
            assert isinstance(store._db, PostgresAgentDb)
            assert PASSWORD not in repr(store)
    with open_store(f"sqlite+pysqlite:///{tmp_path / 'x.db'}") as store:
        assert store.append_message("s", say()) == 1
    for unknown in ("nosuch://u:secret@h/d", "postgresql://u:secret@h:port/d"):
        with pytest.raises(ValueError, match=r"URL|connection") as refused:
            open_store(unknown)
        assert "secret" not in f"{refused.value}{refused.value.__cause__}"


@pytest.mark.parametrize("kind", [str, make_url])
def test_blanks_in_a_url_and_its_password_are_kept(kind: Callable[[str], Any]) -> None:
    with open_db_of(kind("postgresql://u:a%20b@h/my")) as db:
        assert isinstance(db, PostgresAgentDb)
        assert db._parameters.opened()["password"].split(" ") == ["a", "b"]
    with open_db_of("postgresql://u:a%20b@h/my%20db") as db:
        assert isinstance(db, PostgresAgentDb)
        assert db._parameters.opened()["dbname"] == "my db"


def test_importing_the_package_imports_no_driver() -> None:
    program = (
        "import sys, sessionstore; "
        "assert not {'sqlalchemy', 'psycopg', 'sessionstore.sql.store'} & set(sys.modules); "
        "sessionstore.SqliteAgentDb; assert 'psycopg' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    for module, extra, name in (
        ("sqlalchemy", "sql", "DbSessionStore"),
        ("psycopg", "postgres", "PostgresAgentDb"),
    ):
        hidden = tmp_path / module / f"{module}.py"
        hidden.parent.mkdir()
        hidden.write_text("raise ImportError('not installed')")
        program = f"import sessionstore; sessionstore.{name}({'' if module == 'psycopg' else 1})"
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": str(hidden.parent)},
            capture_output=True,
            text=True,
            check=False,
        )
        hint = done.stderr.splitlines()[-1]
        assert hint.startswith("ImportError: ")
        assert name in hint
        assert f"the {extra} extra: pip install 'sessionstore[{extra}]'" in hint


# -- Retention ------------------------------------------------------------------------------------


def test_pruning_goes_in_batches_and_leaves_no_message(open_db: OpenDb, call: Call) -> None:
    with open_db() as db:
        store = DbSessionStore(db, retention_days=1)
        for number in range(230):
            store.append_messages(f"s{number}", [say()] * 3)
        store.append_messages("large", [say() for _ in range(10_500)])
        run_sql(db, f"UPDATE {table(db, 'sessions')} SET updated_at = updated_at - 86400000001")
        store.append_messages("s7", [say()])
        assert call(store, "prune_expired") == 230
        assert call(store, "prune_expired") == 0
        with db._sync().connect() as connection:
            for name in ("sessions", "messages"):
                assert connection.scalar(text(f"SELECT count(*) FROM {table(db, name)}")) == 1


def test_a_large_session_is_pruned_in_slices_and_never_half_visible(
    open_db: OpenDb, call: Call
) -> None:
    with open_db() as db:
        store, keeper = DbSessionStore(db, retention_days=1), DbSessionStore(db)
        keeper.append_messages("large", [say() for _ in range(25_000)], user_id="alice")
        run_sql(db, f"UPDATE {table(db, 'sessions')} SET updated_at = updated_at - 86400000001")
        most, seen = 0, []

        def watch(connection: Connection) -> None:
            nonlocal most
            rows = connection.connection.cursor()
            rows.execute(f"SELECT count(*) FROM {table(db, 'messages')}")
            [[left]] = rows.fetchall()
            rows.close()
            most = max(most, (seen[-1] if seen else 25_000) - left)
            seen.append(left)

        def look() -> None:
            """Between two slices, as one does who keeps sessions for good."""
            for reader in (store, keeper):
                assert reader.get("large") is None
                assert reader.get_messages("large") == []
                assert reader.list_sessions(user_id="alice").sessions == []

        event.listen(db._sync(), "commit", watch)
        looking = play_step(prune(store._sessions, Prune()), db, look)
        event.remove(db._sync(), "commit", watch)
        assert (looking, most) == (1, 10_000)
        assert call(keeper, "append_message", "large", say()) == 1
        assert call(store, "prune_expired") == 0


def play_step(flow: Any, db: AgentDb, between: Callable[[], None]) -> Any:
    """Carry out a flow, and look after each of its requests."""
    reply = None
    try:
        while True:
            reply = db.send(flow.send(reply))
            between()
    except StopIteration as done:
        return done.value


def test_an_id_is_free_again_while_its_old_session_is_pruned(open_db: OpenDb, call: Call) -> None:
    with open_db() as db:
        store = DbSessionStore(db, retention_days=1)
        store.append_messages("large", [say() for _ in range(12_000)])
        run_sql(db, f"UPDATE {table(db, 'sessions')} SET updated_at = updated_at - 86400000001")
        flow = prune(store._sessions, Prune())
        db.send(next(flow))  # the first slice, and then the pruner is gone
        flow.close()
        assert call(store, "create", "large", messages=[say(id="new")]).version == 1
        assert call(store, "prune_expired") == 1
        assert [message.id for message in call(store, "get_messages", "large")] == ["new"]
        with db._sync().connect() as connection:
            for name in ("sessions", "messages"):
                assert connection.scalar(text(f"SELECT count(*) FROM {table(db, name)}")) == 1


@pytest.mark.parametrize("write", ["append_message", "create", "delete"])
def test_a_call_on_a_large_expired_session_does_not_prune_it(
    open_db: OpenDb, call: Call, write: str
) -> None:
    with open_db() as db:
        store = DbSessionStore(db, retention_days=1)
        store.append_messages("large", [say() for _ in range(10_001)], user_id="alice")
        run_sql(db, f"UPDATE {table(db, 'sessions')} SET updated_at = updated_at - 86400000001")
        call(store, write, "large", *([say()] if write == "append_message" else []))
        with db._sync().connect() as connection:
            messages = text(f"SELECT count(*) FROM {table(db, 'messages')}")
            assert connection.scalar(messages) == 10_001 + (write == "append_message")
        for reader in (store, DbSessionStore(db)):
            assert len(reader.get_messages("large")) == (write == "append_message")
            assert reader.list_sessions(user_id="alice").sessions == []
        assert call(store, "prune_expired") == 1
        with db._sync().connect() as connection:
            assert connection.scalar(messages) == (write == "append_message")


@pytest.mark.parametrize(
    ("db", "timeout"),
    [
        (SqliteAgentDb(), 5.0),
        (SqliteAgentDb(timeout=0.5), 0.5),
        (SqliteAgentDb(connect_args={"timeout": 2}), 2.0),
        (AgentDb("sqlite://"), 5.0),
        (AgentDb("sqlite:///some.db?timeout=3"), 3.0),
        (AgentDb("sqlite:///some.db", connect_args={"timeout": 0}), 0.0),
        (AgentDb(create_engine("sqlite://")), None),
    ],
)
def test_a_store_says_how_long_a_call_may_take(db, timeout):
    assert DbSessionStore(db).timeout == db.timeout == timeout
