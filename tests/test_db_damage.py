"""`DbSessionStore` over a file with damaged cells: as `SQLiteSessionStore`, typed and apart."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlite_files import outside, require_previews_without_the_damaged, said
from test_sqlite_damage import CALLS, COLUMNS, DAMAGE, WORDS, assert_says_nothing, begin, damaged

from sessionstore import AgentDb, DbSessionStore, SessionStoreError, SqliteAgentDb


class FileStore(DbSessionStore):
    """A store that knows its file, as those tests want it."""

    def __init__(self, path: Path) -> None:
        super().__init__(AgentDb(f"sqlite:///{path}"), retention_days=1)
        self._path = path

    def close(self) -> None:
        self._db.close()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FileStore]:
    with FileStore(tmp_path_factory.mktemp("damage") / "sessions.db") as store:
        with SqliteAgentDb(store._path) as db:  # which puts it in write-ahead-log mode
            DbSessionStore(db).ping()
            DbSessionStore(db).create("first")
        yield store


@pytest.mark.soak
@pytest.mark.parametrize("value", DAMAGE.values(), ids=DAMAGE.keys())
@pytest.mark.parametrize(
    ("table", "column"), [(table, name) for table, names in COLUMNS.items() for name in names]
)
def test_a_damaged_cell_harms_its_session_alone(
    store: Any, table: str, column: str, value: Any
) -> None:
    for name, call in CALLS.items():
        begin(store)
        damaged(store, table, column, value)
        try:
            call(store)
        except SessionStoreError as error:
            assert_says_nothing(error)
            assert name not in ("list", "list of user", "list of last", "prune")
        assert len(store.get_messages("before", user_id="u")) == 3
        assert store.append_message("before", said("more")) == 1
        listed = [info.id for info in store.list_sessions(user_id="u").sessions]
        assert [found for found in listed if found != "s"] == ["before", "after"]


def test_async_calls_on_a_damaged_session_raise_store_errors(store: Any) -> None:
    async def calls() -> list[Any]:
        reads = [store.aget("s"), store.aget_messages("s"), store.alist_sessions()]
        writes = [store.aappend_message("s", said("x")), store.aupdate("s", metadata={"a": 1})]
        return await asyncio.gather(*reads, *writes, return_exceptions=True)

    for column in COLUMNS["sessionstore_sessions"]:
        begin(store)
        damaged(store, "sessionstore_sessions", column, None)
        for outcome in asyncio.run(calls()):
            if isinstance(outcome, BaseException):
                assert isinstance(outcome, SessionStoreError)
                assert_says_nothing(outcome)


def test_a_session_that_cannot_be_read_is_left_out_and_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with FileStore(tmp_path / "sessions.db") as store:
        for number in range(7):
            store.create(f"s{number}", metadata={"a": WORDS})
        with outside(tmp_path / "sessions.db") as connection:
            connection.execute(
                "UPDATE sessionstore_sessions SET metadata = substr(metadata, 1, 12) "
                "WHERE id IN ('s5', 's4', 's3')"
            )
        with caplog.at_level(logging.WARNING, "sessionstore"):
            for _ in range(2):
                pages = [store.list_sessions(limit=2)]
                while pages[-1].cursor:
                    pages.append(store.list_sessions(limit=2, cursor=pages[-1].cursor))
                found = [[info.id for info in page.sessions] for page in pages]
                assert found == [["s6", "s2"], ["s1", "s0"]]
    named = sorted(record.getMessage().split("'")[1] for record in caplog.records)
    assert named == ["s3", "s4", "s5"]
    assert "s3cret" not in caplog.text


def test_a_session_that_cannot_be_read_can_be_deleted(tmp_path: Path) -> None:
    with FileStore(tmp_path / "sessions.db") as store:
        store.create("s", messages=[said("x")])
        with outside(tmp_path / "sessions.db") as connection:
            connection.execute("UPDATE sessionstore_sessions SET metadata = x'ff'")
        assert store.delete("s")
        assert store.get("s") is None


def test_a_session_whose_last_messages_can_not_be_read_is_left_out_of_previews(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with FileStore(tmp_path / "sessions.db") as store:
        require_previews_without_the_damaged(store, tmp_path / "sessions.db", caplog)
