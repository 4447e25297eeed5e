from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import psycopg
import pytest
from conftest import Call, empty
from hypothesis import given
from hypothesis import strategies as st
from lighter import Shorter
from servers.mariadb import binary as mariadb_binary
from servers.pgbouncer import PgBouncer
from servers.pgbouncer import binary as pgbouncer_binary
from servers.postgres import PASSWORD, PostgresServer, PostgresStandby
from servers.process import wait_until
from servers.relay import Relay
from sqlalchemy import create_engine, event
from sqlalchemy.pool import NullPool

from sessionstore import (
    AgentDb,
    DbSessionStore,
    PostgresAgentDb,
    SessionConflictError,
    SessionMessage,
    SessionStoreError,
    StoreConnectionError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from sessionstore.operations import Rewind
from sessionstore.sql.column_types import escaped, unescaped
from sessionstore.sql.connections import replace_stale
from sessionstore.sql.requests import Work
from sessionstore.testing import OpenStore, SharedStoreConformance, Stores
from sessionstore.testing.appending import AppendContract


@pytest.fixture(scope="module")
def mortal_server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture
def own_server(mortal_server: PostgresServer) -> PostgresServer:
    """Give a server that a test may kill."""
    mortal_server.kill()
    mortal_server.start()
    return mortal_server


def make_tables(server: PostgresServer, schema: str) -> None:
    """Make the tables, and a session: what is hasty has no time for it."""
    with PostgresAgentDb(server.url(), schema=schema) as db:
        DbSessionStore(db).append_message("s", say())


@pytest.fixture
def store(postgres: PostgresServer, schema: str) -> Iterator[DbSessionStore]:
    with PostgresAgentDb(postgres.url(), schema=schema) as db:
        yield DbSessionStore(db)


def say(text: str = "hello", **fields: Any) -> SessionMessage:
    return SessionMessage("user", text, **fields)


def open_postgres(url: str, schema: str, **options: Any) -> DbSessionStore:
    return DbSessionStore(PostgresAgentDb(url, schema=schema), **options)


@pytest.mark.parametrize("name", ["a :b", "100%", "{messages}", 'quo"te'])
def test_a_schema_may_have_any_name(postgres: PostgresServer, name: str) -> None:
    with PostgresAgentDb(postgres.url(), schema=name) as db:
        store = DbSessionStore(db)
        assert store.append_messages("s", [say(id="m0"), say(id="m1")]) == 2
        assert store.delete_messages("s", ["m0"]) == ["m0"]
        assert len(store.get_messages("s")) == len(store.list_sessions().sessions) == 1


@contextmanager
def locked(server: PostgresServer, schema: str, session_id: str) -> Iterator[None]:
    with psycopg.connect(server.url()) as connection:
        connection.execute(
            f"SELECT FROM {schema}.sessionstore_sessions WHERE id = %s FOR UPDATE", [session_id]
        )
        yield
        connection.rollback()


@pytest.fixture(scope="module")
def kept(postgres: PostgresServer) -> Iterator[PostgresAgentDb]:
    with PostgresAgentDb(postgres.url(), schema="kept") as db:
        DbSessionStore(db).ping()
        yield db


class TestConformance(Shorter, SharedStoreConformance):
    @pytest.fixture(params=["sync", pytest.param("async", marks=pytest.mark.soak)])
    def stores(self, request: pytest.FixtureRequest, open_store: OpenStore) -> Iterator[Stores]:
        with Stores(open_store, request.param) as stores:
            yield stores

    @pytest.fixture
    def open_store(self, postgres: PostgresServer, kept: PostgresAgentDb) -> OpenStore:
        empty(kept)
        return partial(open_postgres, postgres.url(), "kept")


# -- Round trips ----------------------------------------------------------------------------------


def test_an_append_and_a_read_are_one_round_trip_each(
    postgres: PostgresServer, schema: str, call: Call
) -> None:
    relay = Relay(postgres.port)
    counted: dict[str, int] = {}

    def count(what: str, name: str, *args: Any, **kwargs: Any) -> None:
        before = relay.round_trips
        call(store, name, *args, **kwargs)
        counted[what] = relay.round_trips - before

    with PostgresAgentDb(postgres.url(port=relay.port), schema=schema) as db:
        store = DbSessionStore(db, retention_days=1)
        call(store, "append_message", "s", say(id="m0"))
        many = [say("x" * 50_000) for _ in range(50)]
        count("append", "append_message", "s", say())
        count("append a new session", "append_messages", "t", [say(), say()])
        count("append much", "append_messages", "s", many, user_id="alice")
        count("append again", "append_message", "s", say(id="m0"))
        count("append if", "append_message", "t", say(), expected_version=1)
        count("get", "get", "s", limit=5)
        count("get all", "get", "s")
        count("read", "get_messages", "s", limit=5, user_id="alice")
        count("page back", "get_messages", "s", limit=5, before=many[9].id, keep_system=True)
        count("page on", "get_messages", "s", limit=5, after=many[9].id)
        count("remove", "delete_messages", "s", ["m0", "none"], user_id="alice")
        count("remove nothing", "delete_messages", "s", ["m0"])
        count("rewind", "rewind", "s", to=many[30].id, user_id="alice")
        count("rewind nothing", "rewind", "s", to=many[30].id)
        count("rewind all", "rewind", "s", to=None)
        count("list", "list_sessions", limit=5)
        count("ping", "ping")
    relay.close()
    assert counted == dict.fromkeys(counted, 1)
    assert relay.connections == 1


def carry_out(db: PostgresAgentDb, work: Work[Any], call: Call) -> None:
    """Carry out some work, sync or async."""
    call(db, "send", work)


@pytest.mark.parametrize("wanted", [None, True, False])
def test_the_server_prepares_statements_unless_told_not_to(
    postgres: PostgresServer, schema: str, call: Call, wanted: bool | None
) -> None:
    relay = Relay(postgres.port)  # hands on what the server says, as a load balancer does
    url = postgres.url(port=relay.port)
    with PostgresAgentDb(url, schema=schema, prepared_statements=wanted) as db:
        store = DbSessionStore(db)
        for _ in range(6):
            call(store, "append_message", "s", say())
        counted: list[Any] = []
        many = "SELECT count(*) FROM pg_prepared_statements"
        work = Work(lambda connection: counted.append(connection.exec_driver_sql(many).scalar()))
        carry_out(db, work, call)
        assert (counted[0] > 0) == (wanted is not False)
    relay.close()


@pytest.mark.parametrize(
    "name", ["begin", "before_execute", "after_execute", "before_cursor_execute", "do_execute"]
)
def test_listeners_of_an_engine_get_every_statement(
    postgres: PostgresServer, schema: str, name: str
) -> None:
    with PostgresAgentDb(postgres.url(), schema=schema) as db:
        store = DbSessionStore(db)
        store.append_message("s", say())
        heard: list[Any] = []
        event.listen(db._sync(), name, lambda *arguments: heard.append(arguments))
        store.append_message("s", say())
        assert len(store.get_messages("s")) == 2
    assert len(heard) == 2


def test_lost_prepared_statements_cost_the_caller_nothing(
    postgres: PostgresServer, schema: str, call: Call
) -> None:
    """A pooler that is not noticed, or a column that someone gives another type."""
    with PostgresAgentDb(postgres.url(), schema=schema) as db:
        store = DbSessionStore(db)

        def use() -> None:
            for _ in range(7):
                call(store, "append_message", "s", say())
                call(store, "get", "s", limit=1)
                call(store, "update", "s", metadata={"a": 1})

        use()
        # psycopg would see a plain one, and know.
        forget = "DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$"
        work = Work(lambda connection: connection.exec_driver_sql(forget))
        carry_out(db, work, call)
        use()
        with psycopg.connect(postgres.url()) as other:
            column = f"{schema}.sessionstore_sessions ALTER COLUMN metadata"
            other.execute(f"ALTER TABLE {column} TYPE varchar")
        with pytest.raises(SessionStoreError, match="see the cause"):
            call(store, "get", "s", limit=1)
        use()
        assert len(call(store, "get_messages", "s")) == 21


# -- Concurrency ----------------------------------------------------------------------------------


def test_writers_of_two_sessions_never_wait_for_each_other(
    postgres: PostgresServer, schema: str, store: DbSessionStore, call: Call
) -> None:
    for session_id in "st":
        call(store, "append_message", session_id, say(id="m0"))
    with locked(postgres, schema, "s"):
        assert call(store, "append_message", "t", say()) == 1
        call(store, "update", "t", metadata={"title": "free"})
        call(store, "replace_message", "t", say("new", id="m0"))
        assert len(call(store, "get_messages", "s")) == 1
        assert call(store, "delete", "t")
        call(store, "append_message", "new", say())


def test_concurrent_first_writers_of_a_session_all_succeed(store: DbSessionStore) -> None:
    added: list[int] = []
    for number in range(30):
        gate = threading.Barrier(6)

        def append(number: int = number, gate: threading.Barrier = gate) -> None:
            gate.wait()
            batch = [say(id=f"m{place}") for place in range(4)]
            added.append(store.append_messages(f"s{number}", batch))

        threads = [threading.Thread(target=append) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(added) == [0] * 150 + [4] * 30
    for info in store.list_sessions(limit=100).sessions:
        ids = [message.id for message in store.get_messages(info.id)]
        assert ids == ["m0", "m1", "m2", "m3"]
        assert (info.version, info.message_count) == (1, 4)


def test_concurrent_appends_count_each_message_once(store: DbSessionStore) -> None:
    """Batches that overlap, at once: each message is counted once, and only where it was added."""
    added = [0] * 6
    store.append_message("s", say(id="0"))

    def append(writer: int) -> None:
        for first in range(60):
            batch = [say(id=str(first + place)) for place in range(5)]
            added[writer] += store.append_messages("s", batch)

    threads = [threading.Thread(target=append, args=(writer,)) for writer in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [info] = store.list_sessions().sessions
    assert sum(added) + 1 == info.message_count == len(store.get_messages("s")) == 64


def test_an_append_that_is_refused_waits_and_writes_nothing(
    postgres: PostgresServer, schema: str, store: DbSessionStore
) -> None:
    """The version is that of the moment the lock is had, not of the moment the statement began."""
    store.append_message("s", say())
    errors: list[Exception] = []

    def append() -> None:
        try:
            store.append_message("s", say(), expected_version=1)
        except SessionConflictError as error:
            errors.append(error)

    with psycopg.connect(postgres.url()) as other:
        other.execute(f"UPDATE {schema}.sessionstore_sessions SET version = version + 1")
        late = threading.Thread(target=append)
        late.start()
        _wait_for_a_lock(postgres)
        other.commit()
    late.join()
    assert [str(error)[:30] for error in errors] == ["the session is at version 2, n"]
    assert len(store.get_messages("s")) == 1


def _wait_for_a_lock(postgres: PostgresServer) -> None:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with psycopg.connect(postgres.url(), autocommit=True) as watching:
        wait_until(lambda: watching.execute(waiting).fetchone() == (1,), "it does not wait")


@pytest.mark.parametrize("method", ["append_message", "update"])
def test_a_serialisation_failure_is_tried_again(
    postgres: PostgresServer, schema: str, method: str
) -> None:
    engine = create_engine(
        postgres.url().replace("://", "+psycopg://"),
        isolation_level="SERIALIZABLE",
        connect_args={"options": "-c default_transaction_isolation=serializable"},
    )
    store = DbSessionStore(AgentDb(engine, schema=schema))
    store.append_message("s", say())
    args = {"message": say()} if method == "append_message" else {"metadata": {"a": 1}}
    with ThreadPoolExecutor() as pool:
        with psycopg.connect(postgres.url()) as other:
            other.execute(f"UPDATE {schema}.sessionstore_sessions SET version = version + 1")
            late = pool.submit(getattr(store, method), "s", **args)
            _wait_for_a_lock(postgres)
        late.result()
    stored = store.get("s")
    engine.dispose()
    assert stored is not None
    assert (stored.version, len(stored.messages), stored.metadata) == (
        (3, 2, {}) if method == "append_message" else (3, 1, {"a": 1})
    )


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_many_start_on_an_empty_database_at_serializable(
    postgres: PostgresServer, schema: str, level: str
) -> None:
    gate, added = threading.Barrier(12), []

    def start() -> None:
        options = {"isolation_level": level}
        with PostgresAgentDb(postgres.url(), schema=schema, engine_options=options) as db:
            gate.wait()
            added.append(DbSessionStore(db).append_message("s", say()))

    threads = [threading.Thread(target=start) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert added == [1] * 12


@pytest.mark.parametrize("how", ["engine", "option", "driver"])
def test_an_engine_in_autocommit_loses_no_update(
    postgres: PostgresServer, schema: str, how: str
) -> None:
    level = {"isolation_level": "AUTOCOMMIT"}
    options: dict[str, Any] = {"engine": level, "driver": {"connect_args": {"autocommit": True}}}
    engine = create_engine(postgres.url().replace("://", "+psycopg://"), **options.get(how, {}))
    given = engine.execution_options(**level) if how == "option" else engine
    store = DbSessionStore(AgentDb(given, schema=schema))
    store.append_message("s", say())

    def write(writer: int) -> None:
        for number in range(20):
            store.update("s", metadata={f"{writer}-{number}": True})

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    info = store.get("s")
    engine.dispose()
    assert info is not None
    assert (info.version, len(info.metadata)) == (81, 80)


# -- Failures -------------------------------------------------------------------------------------


def test_a_restart_costs_the_caller_nothing(
    own_server: PostgresServer, schema: str, call: Call
) -> None:
    with PostgresAgentDb(own_server.url(), schema=schema) as db:
        store = DbSessionStore(db)
        call(store, "append_message", "s", say())
        own_server.kill()
        own_server.start()
        assert call(store, "append_message", "s", say(), expected_version=1) == 1
        own_server.kill()
        own_server.start()
        assert len(call(store, "get_messages", "s")) == 2
        own_server.kill()
        own_server.start()
        assert call(store, "update", "s", metadata={"a": 1}).version == 3
        own_server.kill()
        with pytest.raises(StoreUnavailableError, match="can't be reached"):
            call(store, "append_message", "s", say())
        with pytest.raises(StoreUnavailableError, match="can't be reached"):
            call(store, "ping")
        own_server.start()
        call(store, "ping")


def test_a_silently_cut_connection_costs_an_append_nothing(
    postgres: PostgresServer, schema: str, call: Call
) -> None:
    relay = Relay(postgres.port)
    with PostgresAgentDb(postgres.url(port=relay.port), schema=schema) as db:
        store = DbSessionStore(db)
        call(store, "append_message", "s", say())
        relay.cut()
        assert call(store, "append_message", "s", say()) == 1
        relay.cut()
        assert len(call(store, "get_messages", "s")) == 2
    relay.close()


def test_a_call_to_a_server_that_hangs_ends_in_time(
    own_server: PostgresServer, schema: str, call: Call
) -> None:
    make_tables(own_server, schema)
    with PostgresAgentDb(
        own_server.url(), schema=schema, connect_timeout=2, statement_timeout=1.0
    ) as db:
        store = DbSessionStore(db)
        call(store, "append_message", "s", say())
        own_server.freeze()
        for _ in range(2):  # on the connection that there is, and on a new one
            began = time.monotonic()
            with pytest.raises(StoreUnavailableError, match="timeout"):
                call(store, "append_message", "s", say())
            assert time.monotonic() - began < 4
        own_server.thaw()

        def is_back() -> bool:
            with suppress(StoreTimeoutError):  # a second is not much on a busy machine
                call(store, "append_message", "t", say(id="m"))
                return bool(call(store, "get_messages", "t"))
            return False

        wait_until(is_back, "the server answers again")


def test_all_pooled_connections_to_a_server_that_hung_are_replaced(
    own_server: PostgresServer, schema: str
) -> None:
    make_tables(own_server, schema)
    with PostgresAgentDb(own_server.url(), schema=schema, statement_timeout=1.0) as db:
        store = DbSessionStore(db)
        store.append_message("s", say())

        def processes() -> set[Any]:
            ask = "SELECT pg_backend_pid()"
            with db._sync().connect() as one, db._sync().connect() as other:
                for each in (one, other):
                    replace_stale(each)  # as each use of the store's begins
                return {each.exec_driver_sql(ask).scalar() for each in (one, other)}

        before = processes()
        assert before == processes()
        own_server.freeze()
        with pytest.raises(StoreUnavailableError, match="timeout"):
            store.append_message("s", say())
        own_server.thaw()
        assert not before & processes()


def test_the_wait_for_a_lock_has_a_timeout(
    postgres: PostgresServer, schema: str, call: Call
) -> None:
    make_tables(postgres, schema)
    with PostgresAgentDb(postgres.url(), schema=schema, statement_timeout=1.0) as db:
        store = DbSessionStore(db)
        with locked(postgres, schema, "s"):
            for write in ("append_message", "replace_message"):
                with pytest.raises(StoreUnavailableError, match="timeout"):
                    call(store, write, "s", say(id="m"))
        assert [message.id for message in call(store, "get_messages", "s")].count("m") == 0
        assert call(store, "append_message", "s", say()) == 1


def test_a_timeout_of_the_server_is_named(
    postgres: PostgresServer, schema: str, call: Call
) -> None:
    options = "-c lock_timeout=100"
    with PostgresAgentDb(postgres.url(), schema=schema, options=options) as db:
        store = DbSessionStore(db)
        call(store, "append_message", "s", say())
        with locked(postgres, schema, "s"), pytest.raises(StoreUnavailableError, match="lock"):
            call(store, "append_message", "s", say())


@pytest.mark.soak
def test_a_standby_serves_reads_and_writes_once_promoted(
    postgres: PostgresServer, schema: str, call: Call
) -> None:
    with PostgresAgentDb(postgres.url(), schema=schema) as db:
        primary = DbSessionStore(db)
        primary.append_message("s", say(id="m0"), user_id="alice")
        standby = PostgresStandby(postgres)
        primary.append_message("s", say(id="m1"))
        try:
            with PostgresAgentDb(standby.url(), schema=schema) as following:
                store = DbSessionStore(following, retention_days=1)
                wait_until(lambda: len(call(store, "get_messages", "s")) == 2, "it follows not")
                assert call(store, "get", "s").version == 2
                assert len(call(store, "list_sessions", user_id="alice").sessions) == 1
                call(store, "ping")
                for name, *arguments in (
                    ("append_message", "s", say()),
                    ("append_message", "new", say()),
                    ("create", "new"),
                    ("replace_message", "s", say(id="m0")),
                    ("delete_messages", "s", ["m0"]),
                    ("run", Rewind("s", "m0")),
                    ("update", "s"),
                    ("delete", "s"),
                ):
                    with pytest.raises(StoreUnavailableError, match="read-only"):
                        call(store, name, *arguments)
                empty = DbSessionStore(PostgresAgentDb(standby.url(), schema=f"{schema}_none"))
                with pytest.raises(StoreUnavailableError, match="read-only"):
                    call(empty, "append_message", "s", say())
                with psycopg.connect(standby.url(), autocommit=True) as admin:
                    admin.execute("SELECT pg_promote()")
                assert call(store, "append_message", "s", say()) == 1
                call(empty._db, "close")
        finally:
            standby.stop()


def test_too_many_connections_are_an_outage(
    own_server: PostgresServer, schema: str, call: Call
) -> None:
    with PostgresAgentDb(own_server.url(), schema=schema) as db:
        call(DbSessionStore(db), "ping")
    crowd: list[psycopg.Connection] = []
    with suppress(psycopg.OperationalError):
        while True:
            crowd.append(psycopg.connect(own_server.url()))
    with PostgresAgentDb(own_server.url(), schema=schema) as db:
        with pytest.raises(StoreUnavailableError, match="no more connections"):
            call(DbSessionStore(db), "ping")
        for connection in crowd:
            connection.close()
        call(DbSessionStore(db), "ping")


def test_a_pool_that_is_used_up_is_busy(postgres: PostgresServer, schema: str) -> None:
    options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.1}
    with PostgresAgentDb(postgres.url(), schema=schema, engine_options=options) as db:
        store = DbSessionStore(db)
        store.append_message("s", say())
        with locked(postgres, schema, "s"):
            waiting = threading.Thread(target=store.append_message, args=("s", say()))
            waiting.start()
            _wait_for_a_lock(postgres)
            with pytest.raises(StoreConnectionError, match="pool"):  # for all that is known
                store.get_messages("s")
            store.ping()
        waiting.join()


def test_a_pool_class_may_be_chosen(postgres: PostgresServer, schema: str, call: Call) -> None:
    options = {"poolclass": NullPool}
    with PostgresAgentDb(postgres.url(), schema=schema, engine_options=options) as db:
        assert call(DbSessionStore(db), "append_message", "s", say()) == 1


def test_a_refusal_says_what_to_do(postgres: PostgresServer, schema: str, call: Call) -> None:
    with psycopg.connect(postgres.url(), autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {schema} LOGIN PASSWORD 'secret-{schema}'")
        admin.execute(f"CREATE SCHEMA {schema}")
        secret = f"secret-{schema}"
        user = {"user": schema, "password": secret}
        with PostgresAgentDb(postgres.url(), schema=schema, **user) as db:
            with pytest.raises(SessionStoreError, match="permission"):
                call(DbSessionStore(db), "append_message", "s", say())
            admin.execute(f"GRANT ALL ON SCHEMA {schema} TO {schema}")
            assert call(DbSessionStore(db), "append_message", "s", say()) == 1
            admin.execute(f"REVOKE INSERT ON {schema}.sessionstore_messages FROM {schema}")
            with pytest.raises(SessionStoreError, match="permission"):
                call(DbSessionStore(db), "append_message", "s", say("private words"))
            admin.execute(f"DROP TABLE {schema}.sessionstore_messages")
            with pytest.raises(SessionStoreError, match=r"table .* missing"):
                call(DbSessionStore(db), "append_message", "s", say("private words"))
    for wrong in ({"password": "wrong-secret"}, {"user": "nobody-known"}):
        with PostgresAgentDb(postgres.url(), **wrong) as db:
            with pytest.raises(SessionStoreError, match="login") as refused:
                call(DbSessionStore(db), "ping")
            assert not isinstance(refused.value, StoreUnavailableError)
            assert "secret" not in f"{refused.value!r}{refused.value.__cause__!r}"
    with (
        PostgresAgentDb(postgres.url("no_such_database")) as db,
        pytest.raises(SessionStoreError, match="no database of this name"),
    ):
        call(DbSessionStore(db), "ping")


def test_a_full_disk_is_named(postgres: PostgresServer, schema: str, call: Call) -> None:
    with PostgresAgentDb(postgres.url(), schema=schema) as db:
        store = DbSessionStore(db)
        call(store, "append_message", "s", say())
        with psycopg.connect(postgres.url()) as admin:
            # The server's own words and number for it, from within it.
            admin.execute(f"""
                CREATE FUNCTION {schema}.no_room() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE disk_full; END $$;
                CREATE TRIGGER no_room BEFORE INSERT ON {schema}.sessionstore_messages
                EXECUTE FUNCTION {schema}.no_room()""")
        with pytest.raises(SessionStoreError, match="disk of the database is full"):
            call(store, "append_message", "s", say())
        assert call(store, "get", "s").version == 1


def test_no_error_shows_a_secret(postgres: PostgresServer, schema: str, call: Call) -> None:
    with PostgresAgentDb(postgres.url(), schema=schema, create_schema=False) as db:
        store = DbSessionStore(db)
        with pytest.raises(SessionStoreError, match=r"AgentDb\.ddl\(\)") as refused:
            call(store, "append_message", "s", say("private words"))
        chain: BaseException | None = refused.value
        while chain is not None:
            assert PASSWORD not in f"{chain!r}"
            assert "private" not in f"{chain!r}"
            chain = chain.__cause__
        assert PASSWORD not in f"{db!r}{store!r}"
    for unusable in (f"postgresql://u:{PASSWORD}%zz@h", f"host=h {PASSWORD}"):
        with pytest.raises(ValueError, match="connection string") as wrong:
            PostgresAgentDb(unusable)
        assert PASSWORD not in f"{wrong.value}{wrong.value.__cause__}"
    for dbname in (f"postgresql://u:{PASSWORD}@h/db", f"host=h password={PASSWORD}"):
        assert PASSWORD not in repr(PostgresAgentDb(dbname=dbname))


# -- PgBouncer ------------------------------------------------------------------------------------

if pgbouncer_binary():

    @pytest.fixture(scope="module")
    def pgbouncer(postgres: PostgresServer) -> Iterator[PgBouncer]:
        bouncer = PgBouncer(postgres)
        yield bouncer
        bouncer.stop()

    class TestPgBouncerConformance(AppendContract):
        """The soak tests run the whole suite."""

        @pytest.fixture
        def open_store(
            self, postgres: PostgresServer, pgbouncer: PgBouncer, kept: PostgresAgentDb
        ) -> OpenStore:
            empty(kept)
            return partial(open_postgres, postgres.url(port=pgbouncer.port), "kept")

    def test_many_clients_share_few_connections(
        postgres: PostgresServer, pgbouncer: PgBouncer, schema: str
    ) -> None:
        """What one client left in a session, another would find."""
        url = postgres.url(port=pgbouncer.port)
        with PostgresAgentDb(url, schema=schema) as db, PostgresAgentDb(url, schema=schema) as same:
            stores = [DbSessionStore(db), DbSessionStore(same)]

            async def gather() -> None:
                store = stores[1]
                await asyncio.gather(*(store.aappend_message("s", say()) for _ in range(60)))
                await asyncio.gather(*(store.aget_messages("s", limit=3) for _ in range(60)))

            def write() -> None:
                for number in range(15):
                    stores[0].append_message("s", say())
                    stores[0].update("s", metadata={"last": number})
                    stores[0].list_sessions()

            threads = [threading.Thread(target=write) for _ in range(6)]
            threads += [threading.Thread(target=lambda: asyncio.run(gather()))]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(stores[0].get_messages("s")) == 60 + 6 * 15
        with psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:
            for what in ("pg_prepared_statements", "pg_locks WHERE locktype = 'advisory'"):
                assert connection.execute(f"SELECT count(*) FROM {what}").fetchone() == (0,)
            shown = connection.execute("SHOW statement_timeout").fetchone()
            assert shown == ("0",)


def test_ci_has_the_servers_that_it_installs() -> None:
    if os.environ.get("SESSIONSTORE_SERVERS") == "all":
        assert pgbouncer_binary()
        assert mariadb_binary()


# -- Ids ------------------------------------------------------------------------------------------


@given(st.text(alphabet="\0\x1a01a"))
def test_ids_come_back_from_their_escape(value: str) -> None:
    assert "\0" not in escaped(value)
    assert unescaped(escaped(value)) == value
