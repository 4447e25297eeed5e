"""Who waits for whom in an SQL database: a real writer is halted just before its commit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from servers.mariadb import MariadbServer
from servers.mariadb import binary as mariadb_binary
from servers.postgres import PostgresServer
from servers.process import wait_until
from sqlalchemy import event, text

from sessionstore import AgentDb, DbSessionStore, PostgresAgentDb, SessionMessage
from sessionstore.operations import Reseal

Write = tuple[str, tuple[Any, ...], dict[str, Any]]
Opened = Callable[..., DbSessionStore]


def say(text: str = "hello", **fields: Any) -> SessionMessage:
    return SessionMessage("user", text, **fields)


_HELD = [say(id=f"m{place}") for place in range(4)]


def writes(session_id: str) -> dict[str, Write]:
    """Give every way to write to a session that is there, and to one that is not."""
    new = f"{session_id}-new"
    same = [say("new", id=f"m{place}") for place in range(4)]
    return {
        "append": ("append_messages", (session_id, [say(id=f"a-{session_id}"), say()]), {}),
        "append if": ("append_message", (session_id, say()), {"expected_version": 1}),
        "append, new": ("append_messages", (new, [say(), say(id="m0")]), {}),
        "create": ("create", (f"{session_id}-made",), {"messages": [say(id="m0")]}),
        "replace": ("replace_message", (session_id, say("new", id="m2")), {}),
        "update": ("update", (session_id,), {"messages": same, "metadata": {"a": 1}}),
        "reseal": ("run", (Reseal(session_id, _HELD, _HELD, {"title": 1}, {"title": 2}),), {}),
        "delete some": ("delete_messages", (session_id, ["m0", "m3"]), {}),
        "rewind": ("rewind", (session_id,), {"to": None}),
        "delete": ("delete", (session_id,), {}),
    }


@contextmanager
def _open_postgres(request: pytest.FixtureRequest) -> Iterator[Opened]:
    server: PostgresServer = request.getfixturevalue("postgres")
    schema: str = request.getfixturevalue("schema")
    opened: list[AgentDb] = []

    def open_store(name: str = "free") -> DbSessionStore:
        settings = f"-c lock_timeout=1s -c application_name={name}"
        opened.append(PostgresAgentDb(server.url(), schema=schema, options=settings))
        return DbSessionStore(opened[-1], retention_days=1)

    yield open_store
    for db in opened:
        db.close()


@contextmanager
def _open_mariadb(request: pytest.FixtureRequest) -> Iterator[Opened]:
    server: MariadbServer = request.getfixturevalue("mariadb")
    schema: str = request.getfixturevalue("schema")
    server.execute(f"CREATE DATABASE {schema}")
    opened: list[AgentDb] = []
    impatient = {"init_command": "SET innodb_lock_wait_timeout = 1"}

    def open_store(_: str = "free") -> DbSessionStore:
        opened.append(AgentDb(server.url(schema), connect_args=impatient))
        return DbSessionStore(opened[-1], retention_days=1)

    yield open_store
    for db in opened:
        db.close()
    server.execute(f"DROP DATABASE {schema}")


_OPENERS = {"postgres": _open_postgres}
if mariadb_binary():
    _OPENERS["mariadb"] = _open_mariadb


@pytest.fixture(params=list(_OPENERS))
def opened(request: pytest.FixtureRequest) -> Iterator[Opened]:
    """Open one database again and again; nobody there waits for a lock for more than a second."""
    with _OPENERS[request.param](request) as open_store:
        yield open_store


@contextmanager
def halted(store: DbSessionStore, write: Write) -> Iterator[None]:
    """Have a writer of one's own, which has done its work, and does not come to its commit."""
    name, arguments, options = write
    halting = _on_the_server if store._db.dialect_name == "postgresql" else _in_the_client
    with ThreadPoolExecutor(1) as pool:
        with halting(store) as is_halted:
            writing = pool.submit(getattr(store, name), *arguments, **options)
            wait_until(lambda: is_halted() or writing.done(), "the writer does not halt")
            assert not writing.done(), writing.result()
            yield
        writing.result()


@contextmanager
def _in_the_client(store: DbSessionStore) -> Iterator[Callable[[], bool]]:
    engine, reached, go_on = store._db._sync(), threading.Event(), threading.Event()

    def halt(_: object) -> None:
        reached.set()
        go_on.wait()

    event.listen(engine, "commit", halt)
    try:
        yield reached.is_set
    finally:
        go_on.set()


@contextmanager
def _on_the_server(store: DbSessionStore) -> Iterator[Callable[[], bool]]:
    """PostgreSQL: an append is one statement, which only the server can halt in the middle."""
    schema = store._db.tables.metadata.schema
    engine = store._db._sync().execution_options(isolation_level="READ COMMITTED")
    with engine.connect() as holding:
        holding.execute(text(_HALT.replace("{schema}", str(schema))))
        holding.commit()
        holding.execute(text(f"SELECT pg_advisory_xact_lock({_GATE})"))
        waiting = f"SELECT count(*) FROM pg_locks WHERE objid = {_GATE} AND NOT granted"
        yield lambda: holding.scalar(text(waiting)) == 1


_GATE = 4711
_HALT = f"""
    CREATE FUNCTION {{schema}}.halt() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF current_setting('application_name') = 'halted' THEN
            SET LOCAL lock_timeout = 0;
            PERFORM pg_advisory_xact_lock_shared({_GATE});
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER halt AFTER INSERT OR UPDATE OR DELETE ON {{schema}}.sessionstore_sessions
    FOR EACH ROW EXECUTE FUNCTION {{schema}}.halt()"""


@pytest.mark.parametrize("halted_in", list(writes("s")))
def test_writers_of_other_sessions_never_wait(opened: Opened, halted_in: str) -> None:
    """Neither those whose keys are next to the halted writer's, nor those of new sessions."""
    store = opened()
    kinds = list(writes("s"))
    if store._db.dialect_name == "mysql":
        # As the documentation says, it locks what is beside messages that are put in again.
        kinds = [kind for kind in kinds if "update" not in (kind, halted_in)]
    before, behind = [f"l-{kind}" for kind in kinds], [f"n-{kind}" for kind in kinds]
    for session_id in (*before, "m", *behind):
        store.create(session_id, messages=_HELD, metadata={"title": 1})
    with halted(opened("halted"), writes("m")[halted_in]):
        for session_id in (*reversed(before), *behind):
            name, arguments, options = writes(session_id)[session_id[2:]]
            getattr(store, name)(*arguments, **options)
        assert len(store.get_messages("m")) == 4
        assert store.prune_expired() == 0


def test_a_deadlock_is_tried_again(postgres: PostgresServer, schema: str) -> None:
    """No two operations lock crosswise; one with something else, which works on the tables, may."""
    quick = "-c deadlock_timeout=10ms"  # who waits last looks first, and is the one to give up
    with PostgresAgentDb(postgres.url(), schema=schema, options=quick) as db:
        store = DbSessionStore(db)
        store.append_messages("s", [say(id="m0"), say(id="m1")])
        tries: list[str] = []

        def cross(*arguments: Any) -> None:
            if arguments[2].startswith("DELETE") and not crossing:
                crossing.append(pool.submit(other.execute, _ROW.format(schema, "sessions", "s")))
                waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                wait_until(lambda: watching.execute(waiting).fetchone() == (1,), "no one waits")
            tries.append(arguments[2])

        def update() -> None:
            store.update("s", messages=[say("new", id="m1")])

        crossing: list[Any] = []
        event.listen(db._sync(), "before_cursor_execute", cross)
        with (
            psycopg.connect(postgres.url(), autocommit=True) as watching,
            psycopg.connect(postgres.url(), options="-c deadlock_timeout=1h") as other,
            ThreadPoolExecutor(2) as pool,
        ):
            other.execute(_ROW.format(schema, "messages", "m0"))
            updating = pool.submit(update)
            wait_until(lambda: crossing, "nobody crosses")
            crossing[0].result()
            other.rollback()
            updating.result()
        # It may be the first at the row again, before the other wakes.
        assert sum(statement.startswith("DELETE") for statement in tries) > 1
        session = store.get("s")
        assert session is not None
        assert (session.version, [m.content for m in session.messages]) == (2, ["new"])


_ROW = "SELECT FROM {}.sessionstore_{} WHERE id = '{}' FOR UPDATE"
