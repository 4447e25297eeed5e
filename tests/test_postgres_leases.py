"""Leases on PostgreSQL: their round trips, their locks, their rights, and whose clock decides."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from conftest import Call
from servers.postgres import PostgresServer
from servers.process import wait_until
from servers.relay import Relay
from sqlite_files import said

from sessionstore import (
    DbSessionStore,
    PostgresAgentDb,
    SessionLeasedError,
    SessionStoreError,
)
from sessionstore.operations import (
    AcquireLease,
    Append,
    Fence,
    ReleaseLease,
    RenewLease,
    Update,
)
from sessionstore.sql.requests import Work

_PASSWORD = "of-a-test"  # noqa: S105
_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


@pytest.fixture
def admin(postgres: PostgresServer) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        yield connection


@pytest.fixture
def store(postgres: PostgresServer, schema: str) -> Iterator[DbSessionStore]:
    with PostgresAgentDb(postgres.url(), schema=schema) as db:
        yield DbSessionStore(db)


def waiting(admin: psycopg.Connection) -> int:
    return int(admin.execute(_WAITING).fetchall()[0][0])


@contextmanager
def held(postgres: PostgresServer, statement: str) -> Iterator[None]:
    """Hold what a statement locks."""
    with psycopg.connect(postgres.url()) as connection:
        connection.execute(statement.encode())
        yield
        connection.rollback()


def test_each_operation_of_a_lease_is_one_round_trip(
    postgres: PostgresServer, schema: str, call: Call
) -> None:
    relay = Relay(postgres.port)
    counted: list[int] = []

    def run(operation: Any) -> Any:
        before = relay.round_trips
        try:
            return call(store, "run", operation)
        finally:
            counted.append(relay.round_trips - before)

    with PostgresAgentDb(postgres.url(port=relay.port), schema=schema) as db:
        store = DbSessionStore(db, retention_days=1)
        call(store, "create", "s", user_id="u")
        token = run(AcquireLease("s", user_id="u", holder="me"))
        with pytest.raises(SessionLeasedError):
            run(AcquireLease("s"))
        run(RenewLease("s", token))
        run(Fence("s", token))
        write = [Fence("s", token, "u"), Append("s", [said("x")], user_id="u")]
        assert run(write) == [None, 1]
        assert run(AcquireLease("s", take_over=True)) > token
        with pytest.raises(SessionLeasedError):
            run(write)
        new = run(AcquireLease("new"))
        assert run([Fence("new", new), Append("new", [said("x")])]) == [None, 1]
        with pytest.raises(SessionLeasedError):
            run(Fence("s", token))
        run(ReleaseLease("s", "me"))
    relay.close()
    assert counted == [1] * 11


STOP = """
    CREATE FUNCTION {0}.stop() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NEW; END $$;
    CREATE TRIGGER stop BEFORE INSERT ON {0}.sessionstore_messages
    FOR EACH ROW EXECUTE FUNCTION {0}.stop()
"""


@contextmanager
def stopped(admin: psycopg.Connection) -> Iterator[None]:
    admin.execute("SELECT pg_advisory_lock(7)")
    yield
    admin.execute("SELECT pg_advisory_unlock(7)")


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("count", [1, 2])
def test_a_take_over_waits_for_the_write_that_is_under_way(
    admin: psycopg.Connection,
    schema: str,
    store: DbSessionStore,
    there: bool,
    count: int,
) -> None:
    """Its fence was passed: it is stopped before it is kept, and can't be too late any more."""
    store.setup()
    if there:
        store.create("s")
    admin.execute(STOP.format(schema))
    token = store.run(AcquireLease("s"))
    work = [Fence("s", token), *(Append("s", [said("x", f"m{n}")]) for n in range(count))]
    with ThreadPoolExecutor(2) as threads:
        with stopped(admin):
            write = threads.submit(store.run, work)
            wait_until(lambda: waiting(admin) == 1, "the write does not wait")
            taking = threads.submit(store.run, AcquireLease("s", take_over=True))
            wait_until(lambda: waiting(admin) == 2 or taking.done(), "nobody waits")
            assert not taking.done()
            with pytest.raises(SessionLeasedError):
                store.run(AcquireLease("s"))  # who has to wait anyway is told at once
        assert taking.result() > token
        assert len(store.get_messages("s")) == count
        assert write.result() == [None] + [1] * count


@pytest.mark.parametrize("count", [1, 2])
def test_a_write_that_waited_past_the_end_of_its_lease_is_refused(
    postgres: PostgresServer,
    admin: psycopg.Connection,
    schema: str,
    store: DbSessionStore,
    count: int,
) -> None:
    """It waits for the session, whose other writer carries no lease."""
    store.create("s")
    token = store.run(AcquireLease("s", 0.5))
    work = [Fence("s", token), *(Append("s", [said("x")]) for _ in range(count))]
    with ThreadPoolExecutor(1) as threads:
        with held(postgres, f"SELECT FROM {schema}.sessionstore_sessions FOR UPDATE"):
            write = threads.submit(store.run, work)
            wait_until(lambda: waiting(admin) == 1 or write.done(), "the write does not wait")
            with store.lease("s", wait=60) as other:
                assert other.token > token
        with pytest.raises(SessionLeasedError):
            write.result()
    assert store.get_messages("s") == []


def test_a_write_is_refused_also_where_nobody_took_its_lease_meanwhile(
    postgres: PostgresServer, admin: psycopg.Connection, schema: str, store: DbSessionStore
) -> None:
    store.create("s")
    token = store.run(AcquireLease("s", 1))
    ended = f"SELECT ends_at < extract(epoch FROM now()) * 1e6 FROM {schema}.sessionstore_leases"
    with ThreadPoolExecutor(1) as threads:
        with held(postgres, f"SELECT FROM {schema}.sessionstore_sessions FOR UPDATE"):
            write = threads.submit(store.run, [Fence("s", token), Append("s", [said("x")])])
            wait_until(lambda: waiting(admin) == 1 or write.done(), "the write does not wait")
            wait_until(lambda: admin.execute(ended).fetchone() == (True,), "it does not end")
        with pytest.raises(SessionLeasedError):
            write.result()


def test_a_lease_that_ends_while_its_row_is_locked_is_lost(
    postgres: PostgresServer, admin: psycopg.Connection, schema: str, store: DbSessionStore
) -> None:
    """The time that counts is that at which the lock was given."""
    store.create("s")
    token = store.run(AcquireLease("s", 1, holder="me"))
    late: list[Any] = [RenewLease("s", token), [Fence("s", token), Update("s", metadata={"a": 1})]]
    leases = f"{schema}.sessionstore_leases"
    ended = f"SELECT ends_at < extract(epoch FROM now()) * 1e6 FROM {leases}"
    with ThreadPoolExecutor(3) as threads:
        with held(postgres, f"SELECT FROM {leases} FOR UPDATE"):
            refused = [threads.submit(store.run, each) for each in late]
            released = threads.submit(store.run, ReleaseLease("s", "me"))
            wait_until(lambda: waiting(admin) == 3, "they do not wait")
            wait_until(lambda: admin.execute(ended).fetchone() == (True,), "it does not end")
        assert released.result() is False
        for each in refused:
            with pytest.raises(SessionLeasedError):
                each.result()


def test_a_token_that_no_other_can_follow_keeps_nobody_out(
    admin: psycopg.Connection, schema: str, store: DbSessionStore, call: Call
) -> None:
    store.run(AcquireLease("s"))
    admin.execute(f"UPDATE {schema}.sessionstore_leases SET token = {2**63 - 1}")
    token = call(store, "run", AcquireLease("s", take_over=True))
    assert call(store, "run", [Fence("s", token), Append("s", [said("x")])]) == [None, 1]


@pytest.mark.parametrize("days", [2, -2])
def test_the_servers_clock_decides(
    store: DbSessionStore, monkeypatch: pytest.MonkeyPatch, call: Call, days: int
) -> None:
    token = call(store, "run", AcquireLease("s", 3600))
    now, ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: now() + days * 86_400)
    monkeypatch.setattr(time, "time_ns", lambda: ns() + days * 86_400 * 10**9)
    call(store, "run", [Fence("s", token), Append("s", [said("x")])])
    with pytest.raises(SessionLeasedError):
        call(store, "run", AcquireLease("s"))
    call(store, "prune_expired")
    call(store, "run", RenewLease("s", token))


def test_leases_that_ended_long_ago_are_pruned(
    admin: psycopg.Connection, schema: str, store: DbSessionStore, call: Call
) -> None:
    leases = f"{schema}.sessionstore_leases"
    store.setup()
    day = 86_400 * 10**6
    for name, token, end in (("old", 2 * day, 2 * day), ("new", 2 * day, 0), ("ahead", 0, 2 * day)):
        admin.execute(
            f"""INSERT INTO {leases} SELECT '{name}', now - {token}, '', now - {end}
                FROM (SELECT CAST(extract(epoch FROM now()) * 1000000 AS bigint) AS now) AS times"""
        )
    admin.execute(f"INSERT INTO {leases} SELECT 's' || n, n, '', 0 FROM generate_series(1, 2100) n")
    assert call(store, "prune_expired") == 0
    left = admin.execute(f"SELECT session_id FROM {leases} ORDER BY 1").fetchall()
    assert left == [("ahead",), ("new",)]


# -- Rights, and databases of an older release ----------------------------------------------------


def test_a_database_of_an_older_release_is_given_the_table(
    postgres: PostgresServer, admin: psycopg.Connection, schema: str, call: Call
) -> None:
    with PostgresAgentDb(postgres.url(), schema=schema) as db:
        call(DbSessionStore(db), "append_message", "s", said("x"))
    admin.execute(f"DROP TABLE {schema}.sessionstore_leases")
    with PostgresAgentDb(postgres.url(), schema=schema, create_schema=False) as db:
        store = DbSessionStore(db)
        assert call(store, "append_message", "s", said("x")) == 1
        for operation in (AcquireLease("s"), [Fence("s", 1), Append("s", [said("x")])]):
            with pytest.raises(SessionStoreError, match=r"leases: run store.setup\(\)") as refused:
                call(store, "run", operation)
            assert type(refused.value) is SessionStoreError
        call(store, "prune_expired")
    with PostgresAgentDb(postgres.url(), schema=schema) as db:
        assert call(DbSessionStore(db), "run", AcquireLease("s"))
        assert call(db, "send", Work(db.tables.stored_version, at_once=True)) == 1


def test_who_may_not_make_the_table_learns_so_from_the_first_lease(
    postgres: PostgresServer, admin: psycopg.Connection, schema: str, call: Call
) -> None:
    with PostgresAgentDb(postgres.url(), schema=schema) as db:
        DbSessionStore(db).ping()
    admin.execute(f"DROP TABLE {schema}.sessionstore_leases")
    admin.execute(f"CREATE ROLE {schema} LOGIN PASSWORD '{_PASSWORD}'")
    admin.execute(f"GRANT USAGE ON SCHEMA {schema} TO {schema}")
    admin.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {schema}")
    with PostgresAgentDb(postgres.url(), schema=schema, user=schema, password=_PASSWORD) as db:
        store = DbSessionStore(db, retention_days=1)
        call(store, "setup")
        assert call(store, "append_message", "s", said("x")) == 1
        assert call(store, "prune_expired") == 0
        with pytest.raises(SessionStoreError, match=r"leases: run store.setup\(\)"):
            call(store, "run", AcquireLease("s"))
        with PostgresAgentDb(postgres.url(), schema=schema) as other:
            call(DbSessionStore(other), "setup")
        with pytest.raises(SessionStoreError, match="permission"):
            call(store, "run", AcquireLease("s"))
        assert call(store, "prune_expired") == 0
        grant = f"SELECT, INSERT, UPDATE, DELETE ON {schema}.sessionstore_leases TO {schema}"
        admin.execute(f"GRANT {grant}")
        token = call(store, "run", AcquireLease("s", holder="me"))
        call(store, "run", [Fence("s", token), Append("s", [said("x")])])
        call(store, "run", RenewLease("s", token))
        assert call(store, "run", ReleaseLease("s", "me"))
        admin.execute(f"DROP TABLE {schema}.sessionstore_leases")
        admin.execute(f"GRANT CREATE ON SCHEMA {schema} TO {schema}")
        call(store, "setup")
        assert call(store, "run", AcquireLease("s"))
