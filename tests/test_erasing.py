"""Erasing a user: what raw bytes are left of them, where, and what the receipt says of it."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from canary import WORD, files_with, keys_with, sing
from children import Children, ended
from servers import redis as redis_servers
from servers.postgres import PostgresServer
from servers.process import wait_until
from warm import Warm

from sessionstore import (
    AgentDb,
    DbSessionStore,
    InMemorySessionStore,
    PostgresAgentDb,
    RedisSessionStore,
    SessionMessage,
    SessionStore,
    SqliteAgentDb,
    SQLiteSessionStore,
    StoreConnectionError,
    WrapperSessionStore,
)
from sessionstore.operations import Delete, Scrub, unknown_operation
from sessionstore.testing import FlakySessionStore
from sessionstore.transfer import ErasureReceipt, aerase_user, erase_user

Erase = Callable[..., ErasureReceipt]


@pytest.fixture(params=["sync", "async"])
def erase(request: pytest.FixtureRequest) -> Erase:
    if request.param == "sync":
        return erase_user
    return lambda *args, **named: asyncio.run(aerase_user(*args, **named))


def of_file(path: Path) -> SessionStore:
    return SQLiteSessionStore(path)


def of_db(path: Path) -> SessionStore:
    return DbSessionStore(SqliteAgentDb(path))


def of_aiosqlite(path: Path) -> SessionStore:
    return DbSessionStore(AgentDb(f"sqlite+aiosqlite:///{path}"))


def others_are_whole(store: SessionStore) -> bool:
    return all(store.get_messages(f"other-{turn}", user_id="bob") for turn in range(6))


# -- Files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("opened", [of_file, of_db, of_aiosqlite])
def test_no_byte_of_a_user_is_left_in_a_file(
    opened: Callable[[Path], SessionStore], tmp_path: Path, erase: Erase
) -> None:
    with opened(tmp_path / "s.db") as store:
        if erase is not erase_user and opened is of_aiosqlite:
            pytest.skip("its async connections belong to one loop")
        sing(store)
        with store.lease(f"{WORD}-1"), store.lease(f"{WORD}-2"):
            pass
        assert files_with(tmp_path)
        receipt = erase(store, "alice")
        assert (receipt.sessions, receipt.complete) == (4, True)
        assert files_with(tmp_path) == set()
        assert others_are_whole(store)
    assert files_with(tmp_path) == set()


@pytest.mark.parametrize("opened", [of_file, of_db])
def test_what_was_deleted_before_is_gone_from_the_free_space(
    opened: Callable[[Path], SessionStore], tmp_path: Path
) -> None:
    path = tmp_path / "s.db"
    with opened(path) as store:
        sing(store)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA secure_delete = OFF")  # as it is in most builds
        connection.execute("DELETE FROM sessionstore_messages WHERE body LIKE '%CANARY%'")
        connection.execute("DELETE FROM sessionstore_sessions WHERE user_id = 'alice'")
    assert files_with(tmp_path)
    with opened(path) as store:
        receipt = erase_user(store, "alice")
        assert (receipt.sessions, receipt.complete) == (0, True)
        assert files_with(tmp_path) == set()


@pytest.mark.parametrize("opened", [of_file, of_db])
def test_a_file_that_is_not_written_anew_is_told(
    opened: Callable[[Path], SessionStore], tmp_path: Path
) -> None:
    with opened(tmp_path / "s.db") as store:
        sing(store)
        receipt = erase_user(store, "alice", rewrite=False)
        assert receipt.complete
        assert [trace.what for trace in receipt.kept] == ["free space of the file, and its log"]


def test_a_reader_that_stays_is_waited_for_and_told(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with SQLiteSessionStore(path, timeout=0.3) as store:
        sing(store)
        with closing(sqlite3.connect(path)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM sessionstore_messages").fetchall()
            receipt = erase_user(store, "alice")
        assert not receipt.complete
        assert "busy" in receipt.left[0].why
        assert erase_user(store, "alice").complete
        assert files_with(tmp_path) == set()


def test_what_no_list_shows_is_erased(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with SQLiteSessionStore(path, retention_days=1) as store:
        sing(store, sessions=2)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(
                "UPDATE sessionstore_sessions SET updated_at = 1 WHERE id = 'CANARY-0'"
            )
            connection.execute(
                "UPDATE sessionstore_sessions SET metadata = 'x' WHERE id = 'CANARY-1'"
            )
        receipt = erase_user(store, "alice")
        assert receipt.complete
        unlisted = [t.erased for t in receipt.traces if t.what == "unlisted sessions"]
        assert unlisted == [2]
        assert files_with(tmp_path) == set()


# -- Servers --------------------------------------------------------------------------------------


@pytest.fixture
def redis() -> Iterator[redis_servers.Server]:
    with redis_servers.single(appendonly="yes", appendfsync="always") as server:
        yield server


def test_no_key_of_redis_holds_a_word_of_the_user(
    redis: redis_servers.Server, erase: Erase
) -> None:
    with RedisSessionStore(redis.url, timeout=20) as store:
        sing(store)
        with store.lease(f"{WORD}-1"):
            pass
        with redis.client() as client:  # one that can't be read
            client.hset(f"sessionstore:{{{WORD}-2}}:session", "version", "x")
        assert len(keys_with(redis)) > 4
        receipt = erase(store, "alice")
        assert (receipt.complete, receipt.sessions) == (True, 3)
        left = keys_with(redis)
        with redis.client() as client:
            # Only names of writes, in keys that name their session: for a minute.
            assert {key.rpartition(b":")[2] for key in left} <= {b"writes", b"deleted"}
            assert all(0 < client.pttl(key) <= 60_000 for key in left)
            assert not any(WORD.encode() in (client.dump(key) or b"") for key in left)
            client.delete(*left)
            assert files_with(redis.home)  # until the log is rewritten
            client.bgrewriteaof()
        _wait_for_rewrite(redis)
        assert files_with(redis.home) == set()
        assert others_are_whole(store)


def _wait_for_rewrite(server: redis_servers.Server) -> None:
    def is_over() -> bool:
        info = server.info("persistence")
        return not (info["aof_rewrite_in_progress"] or info["aof_rewrite_scheduled"])

    wait_until(is_over, "the rewriting of the log")


@pytest.mark.soak
def test_no_key_of_a_cluster_names_the_user(redis_cluster: redis_servers.Cluster) -> None:
    with RedisSessionStore(redis_cluster.url, timeout=20, key_prefix=f"{WORD}:") as store:
        store.append_message("s", SessionMessage("user", "Hello"), user_id="alice-in-keys")
        assert erase_user(store, "alice-in-keys").sessions == 1
        with redis_cluster.client() as client:
            found = set(client.scan_iter(match=f"{WORD}:*", count=1000))
            kinds = {key.rpartition(b":")[2] for key in found}
            assert kinds <= {b"writes", b"deleted"}


def test_no_row_of_postgresql_holds_a_word_of_the_user(
    postgres: PostgresServer, schema: str, erase: Erase
) -> None:
    with PostgresAgentDb(postgres.url(), schema=schema) as db:
        store = DbSessionStore(db)
        sing(store)
        with store.lease(f"{WORD}-1"):
            pass
        assert len(_rows_with(postgres, schema)) == 3
        receipt = erase(store, "alice")
        assert receipt.complete
        assert receipt.kept
        assert _rows_with(postgres, schema) == []
        assert others_are_whole(store)


def _rows_with(postgres: PostgresServer, schema: str) -> list[str]:
    """Name the tables that hold the word, in whichever column."""
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        found = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = %s", (schema,)
        )
        tables = [str(name) for (name,) in found]
        query = 'SELECT count(*) FROM "{}"."{}" AS t WHERE t::text LIKE %s'
        return [
            table
            for table in tables
            if connection.execute(query.format(schema, table), (f"%{WORD}%",)).fetchone() != (0,)  # type: ignore[arg-type]
        ]


# -- Again, meanwhile, and in vain ----------------------------------------------------------------

KILLED = """
    import os, signal, sys
    from sessionstore import SQLiteSessionStore, WrapperSessionStore
    from sessionstore.transfer import erase_user

    class Mortal(WrapperSessionStore):
        left = int(sys.argv[2])

        def run(self, operation):
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)
            self.left -= 1
            return super().run(operation)

    erase_user(Mortal(SQLiteSessionStore(sys.argv[1])), "alice")
"""


@pytest.mark.parametrize("operations", [1, 2, 4, 7])
def test_an_erasure_that_was_killed_is_gone_on_with(
    operations: int, tmp_path: Path, warm: Warm
) -> None:
    with SQLiteSessionStore(tmp_path / "s.db") as store, Children(warm) as children:
        sing(store)
        with store.lease(f"{WORD}-1"):
            pass
        child = children.start(KILLED, tmp_path / "s.db", operations)
        ended(child)
        assert child.returncode == -signal.SIGKILL
        receipt = erase_user(store, "alice")
        assert receipt.complete
        assert files_with(tmp_path) == set()
        assert erase_user(store, "alice").sessions == 0
        assert others_are_whole(store)


class Busy(WrapperSessionStore):
    """The user goes on while they are erased: each deletion is followed by a new session."""

    writes = 1

    def run(self, operation: Any) -> Any:
        result = super().run(operation)
        if isinstance(operation, Delete) and self.writes:
            self.writes -= 1
            self.append_message(
                f"new-{self.writes}", {"role": "user", "content": WORD}, user_id="alice"
            )
        return result


def test_what_the_user_writes_meanwhile_is_erased_too(tmp_path: Path) -> None:
    with Busy(SQLiteSessionStore(tmp_path / "s.db")) as store:
        sing(store)
        receipt = erase_user(store, "alice")
        assert (receipt.sessions, receipt.complete) == (5, True)
        assert files_with(tmp_path) == set()


def test_a_user_who_does_not_stop_is_told() -> None:
    store = Busy(InMemorySessionStore())
    store.writes = 10_000
    sing(store)
    receipt = erase_user(store, "alice")
    assert not receipt.complete
    assert "stop the user's requests" in receipt.left[0].why


def test_a_store_that_is_away_raises_and_the_next_run_finishes(erase: Erase) -> None:
    store = FlakySessionStore(InMemorySessionStore())
    sing(store.wrapped)
    store.go_down()
    with pytest.raises(StoreConnectionError):
        erase(store, "alice")
    store.come_back()
    assert erase(store, "alice").complete


class OfOthers(WrapperSessionStore):
    """Somebody else's store, which knows the contract and no more."""

    def run(self, operation: Any) -> Any:
        if isinstance(operation, Scrub):
            raise unknown_operation("OfOthers", operation)
        return super().run(operation)


def test_a_store_that_can_not_tell_what_it_keeps_is_told() -> None:
    store = OfOthers(InMemorySessionStore())
    sing(store)
    receipt = erase_user(store, "alice")
    assert (receipt.sessions, receipt.complete) == (4, False)
    assert "does not know the operation Scrub" in receipt.left[0].why


class Refusing(WrapperSessionStore):
    """A store that will not give one of the sessions up."""

    def run(self, operation: Any) -> Any:
        if isinstance(operation, Delete) and operation.session_id == f"{WORD}-1":
            raise StoreConnectionError("not this one")
        if isinstance(operation, Scrub) and not self.scrubs:
            return []
        return super().run(operation)

    scrubs = False


def test_one_session_that_can_not_be_deleted_keeps_no_other() -> None:
    store = Refusing(InMemorySessionStore())
    sing(store)
    receipt = erase_user(store, "alice")
    assert (receipt.sessions, receipt.complete) == (3, False)
    assert receipt.left[0].why == "not this one"
    assert WORD not in str(receipt) + receipt.json()


def test_one_session_that_is_found_by_its_owner_alone_is_erased() -> None:
    store = Refusing(InMemorySessionStore())
    store.scrubs = True
    sing(store)
    receipt = erase_user(store, "alice")
    assert (receipt.sessions, receipt.complete) == (3, True)
    assert store.list_sessions(user_id="alice").sessions == []


# -- The receipt ----------------------------------------------------------------------------------


def test_a_receipt_is_read_back_from_its_json(tmp_path: Path) -> None:
    with SQLiteSessionStore(tmp_path / "s.db") as store:
        sing(store)
        receipt = erase_user(store, "alice")
    assert msgspec.json.decode(receipt.json(), type=ErasureReceipt) == receipt
    assert str(receipt).startswith(
        "Erasure of user 'alice': complete\n  erased: 4 sessions with 68 "
    )


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (("x", "alice"), {}),
        ((InMemorySessionStore(), "alice"), {"checkpointer": "x"}),
        ((InMemorySessionStore(), "alice"), {"rewrite": 1}),
        ((InMemorySessionStore(), 7), {}),
    ],
)
def test_what_is_of_the_wrong_type_is_refused(args: Any, named: Any, erase: Erase) -> None:
    with pytest.raises(TypeError):
        erase(*args, **named)
