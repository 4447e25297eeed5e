from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from children import Children
from sqlite_files import files_of, outside, said
from warm import Warm

from sessionstore import (
    CorruptMessageError,
    DbSessionStore,
    SessionStoreError,
    SqliteAgentDb,
    SQLiteSessionStore,
    StoreBusyError,
    StoreConnectionError,
    StoreUnavailableError,
)
from sessionstore.sqlite import connections
from sessionstore.sqlite.errors import translated

NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


def make(path: Path, count: int = 3) -> None:
    with SQLiteSessionStore(path) as store:
        store.append_messages("s", [said("x" * 1000, f"m{n}") for n in range(count)])


def refused(path: Path) -> str:
    """Use a file that is not to be used, sync and async, and give what the error says."""
    before, around = path.read_bytes(), files_of(path)
    with SQLiteSessionStore(path) as store:
        for _ in range(2):
            with pytest.raises(SessionStoreError) as caught:
                store.append_message("s", said("x"))
            with pytest.raises(SessionStoreError) as other:
                asyncio.run(store.aget_messages("s"))
            assert str(caught.value) == str(other.value)
    assert path.read_bytes() == before
    assert files_of(path) == around
    assert str(path) in str(caught.value)
    return str(caught.value)


# -- The path -----------------------------------------------------------------------------------


def test_a_missing_folder_is_named_and_not_created(tmp_path: Path) -> None:
    with pytest.raises(SessionStoreError, match="nowhere does not exist"):
        SQLiteSessionStore(tmp_path / "nowhere" / "sessions.db")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_made_where_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "sessions.db"
    before = os.umask(0)  # it is no umask that keeps others out
    try:
        for _ in range(2):
            with SQLiteSessionStore(path, create_parents=True) as store:
                store.append_message("s", said("x"))
    finally:
        os.umask(before)
    made = [path.parent, path.parent.parent]
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in made] == [0o700, 0o700]
    with SqliteAgentDb(tmp_path / "c" / "sessions.db", create_parents=True) as db:
        assert DbSessionStore(db).append_message("s", said("x")) == 1


def test_a_folder_that_is_there_keeps_its_permissions(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    SQLiteSessionStore(tmp_path / "a" / "sessions.db", create_parents=True).close()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_missing_folder_says_what_to_do(tmp_path: Path) -> None:
    for make in (SQLiteSessionStore, SqliteAgentDb):
        with pytest.raises(SessionStoreError, match="make it, or give create_parents=True"):
            make(tmp_path / "nowhere" / "sessions.db")


@pytest.mark.parametrize("name", ["file/sessions.db", "file/a/b/sessions.db", "loop/a/x.db"])
def test_a_folder_that_can_not_be_made_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(StoreConnectionError, match=r"can't be made .*: look at what is") as caught:
        SQLiteSessionStore(tmp_path / name, create_parents=True)
    assert str(tmp_path) in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)


def test_a_path_that_no_system_knows_makes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(SessionStoreError, match="path must name a file"):
        SQLiteSessionStore(tmp_path / "\ud800" / "sessions.db", create_parents=True)
    with pytest.raises(TypeError, match="create_parents must be True or False"):
        SQLiteSessionStore(tmp_path / "a" / "sessions.db", create_parents="no")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="timeout"):
        SQLiteSessionStore(tmp_path / "a" / "sessions.db", create_parents=True, timeout=-1)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_another_process_has_just_made_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folder = os.mkdir

    def make_first(path: str, mode: int) -> None:
        make_folder(path, 0o750)
        make_folder(path, mode)

    monkeypatch.setattr(os, "mkdir", make_first)
    SQLiteSessionStore(tmp_path / "a" / "b" / "sessions.db", create_parents=True).close()
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o750


MAKE = """
    import sys

    from sessionstore import SQLiteSessionStore

    print("ready")
    input()
    with SQLiteSessionStore(sys.argv[1], create_parents=True) as store:
        print(store.append_message("s", {"role": "user", "content": "Hello!"}))
"""


@pytest.mark.soak
def test_many_processes_make_one_folder_at_once(tmp_path: Path, warm: Warm) -> None:
    path = tmp_path / "a" / "b" / "c" / "sessions.db"
    with Children(warm) as children:
        assert children.start_together(20, MAKE, path) == ["1\n"] * 20
    with SQLiteSessionStore(path) as store:
        assert len(store.get_messages("s")) == 20


def test_a_path_to_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SessionStoreError, match="is a folder"):
        SQLiteSessionStore(tmp_path)


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_an_invalid_path_is_refused(name: str) -> None:
    with pytest.raises(SessionStoreError, match="path"):
        SQLiteSessionStore(name)


@pytest.mark.parametrize(
    "name", ["file:x?mode=memory", "a b#c%20.db", "\N{GRINNING FACE}'\".db", "-x", ":memory: "]
)
def test_a_path_may_hold_any_characters(tmp_path: Path, name: str) -> None:
    for _ in range(2):
        with SQLiteSessionStore(str(tmp_path / name)) as store:
            store.append_message("s", said("x", "m"))
            assert len(store.get_messages("s")) == 1
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_relative_path_is_resolved_when_the_store_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    with SQLiteSessionStore("sessions.db") as store:
        monkeypatch.chdir(there)
        store.append_message("s", said("x"))
        asyncio.run(store.aappend_message("s", said("y")))
    assert files_of(here / "sessions.db") == ["sessions.db"]
    assert list(there.iterdir()) == []


def test_no_file_is_created_before_the_first_use(path: Path) -> None:
    with SQLiteSessionStore(path) as store:
        assert not path.exists()
        store.ping()
        assert path.exists()


# -- Files that are not for us ------------------------------------------------------------------


def of_another_application(path: Path) -> None:
    with outside(path) as connection:
        connection.execute("CREATE TABLE notes (text)")
        connection.execute("INSERT INTO notes VALUES ('mine')")


def of_another_with_our_tables_names(path: Path) -> None:
    with outside(path) as connection:
        connection.execute("CREATE TABLE sessionstore_schema (version INTEGER)")
        connection.execute("INSERT INTO sessionstore_schema VALUES (1)")


def a_text(path: Path) -> None:
    path.write_text("Dear diary, " * 100)


def a_short_text(path: Path) -> None:
    path.write_text("x")


def a_cut_file(path: Path) -> None:
    make(path, 100)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def a_cut_header(path: Path) -> None:
    make(path)
    path.write_bytes(path.read_bytes()[:90])


def a_spoilt_header(path: Path) -> None:
    make(path)
    spoil(path, 0, 16)


def a_spoilt_first_page(path: Path) -> None:
    make(path)
    spoil(path, 100, 4096)


def no_schema_version(path: Path) -> None:
    make(path)
    with outside(path) as connection:
        connection.execute("DELETE FROM sessionstore_schema")
        connection.execute("PRAGMA journal_mode = DELETE")


def no_schema_table(path: Path) -> None:
    make(path)
    with outside(path) as connection:
        connection.execute("DROP TABLE sessionstore_schema")
        connection.execute("PRAGMA journal_mode = DELETE")


def a_schema_version_that_is_none(path: Path) -> None:
    make(path)
    with outside(path) as connection:
        connection.execute("UPDATE sessionstore_schema SET version = 'one'")
        connection.execute("PRAGMA journal_mode = DELETE")


def spoil(path: Path, start: int, end: int) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:start] + b"\xa5" * (min(end, len(content)) - start) + content[end:])


@pytest.mark.parametrize(
    "prepare",
    [
        of_another_application,
        of_another_with_our_tables_names,
        a_text,
        a_short_text,
        a_cut_file,
        a_cut_header,
        a_spoilt_header,
        a_spoilt_first_page,
        no_schema_version,
        no_schema_table,
        a_schema_version_that_is_none,
    ],
)
def test_a_damaged_file_or_one_of_another_application_is_left_unchanged(
    path: Path, prepare: Callable[[Path], None]
) -> None:
    prepare(path)
    message = refused(path)
    assert any(word in message for word in ("damaged", "another application"))


def test_a_file_with_a_newer_schema_is_refused_and_left_unchanged(path: Path) -> None:
    make(path)
    with outside(path) as connection:
        connection.execute("UPDATE sessionstore_schema SET version = 2")
        connection.execute("PRAGMA journal_mode = DELETE")
    assert "newer version" in refused(path)


def test_a_file_with_damaged_pages_is_reported_as_damaged(path: Path) -> None:
    make(path, 100)
    spoil(path, 10 * 4096, path.stat().st_size)
    damaged = path.read_bytes()
    with SQLiteSessionStore(path) as store:
        with pytest.raises(SessionStoreError, match="damaged"):
            store.get_messages("s")
        with pytest.raises(SessionStoreError, match="damaged"):
            asyncio.run(store.aget("s"))
        with pytest.raises(SessionStoreError, match="damaged"):
            store.append_message("s", said("x"))
    assert path.read_bytes() == damaged
    assert files_of(path) == ["sessions.db"]


@pytest.mark.parametrize(
    "body", ["", "{", "7", "[]", '{"role":7}', '{"content":"no role"}', '{"v":2,"role":"user"}']
)
def test_a_damaged_message_raises_corrupt_message_error(path: Path, body: str) -> None:
    make(path)
    with outside(path) as connection:
        connection.execute("UPDATE sessionstore_messages SET body = ? WHERE id = 'm1'", [body])
    with SQLiteSessionStore(path) as store:
        for limit in (None, 2, 3):
            with pytest.raises(CorruptMessageError):
                store.get_messages("s", limit=limit)
            with pytest.raises(CorruptMessageError):
                store.get("s", limit=limit)
        assert [message.id for message in store.get_messages("s", limit=1)] == ["m2"]
        assert store.append_message("s", said("more", "m3")) == 1
        store.replace_message("s", said("mended", "m1"))
        assert [message.id for message in store.get_messages("s")] == ["m0", "m1", "m2", "m3"]


def test_damaged_metadata_raises_corrupt_message_error(path: Path) -> None:
    make(path)
    with outside(path) as connection:
        connection.execute("UPDATE sessionstore_sessions SET metadata = '{'")
    with SQLiteSessionStore(path) as store:
        with pytest.raises(CorruptMessageError):
            store.get("s")
        assert len(store.get_messages("s")) == 3
        assert store.delete("s") is True


def test_messages_that_are_not_utf_8_raise_corrupt_message_error(path: Path) -> None:
    make(path)
    with outside(path) as connection:
        connection.execute(
            "UPDATE sessionstore_messages SET body = CAST(x'7bff' AS TEXT) WHERE id = 'm1'"
        )
    with SQLiteSessionStore(path) as store:
        for read in (store.get, store.get_messages):
            with pytest.raises(CorruptMessageError, match="session 's'"):
                read("s")
        assert store.append_message("s", said("more", "m3")) == 1
        assert len(store.get_messages("s", limit=2)) == 2
        with outside(path) as connection:
            assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0


def test_metadata_that_is_not_utf_8_raises_corrupt_message_error(path: Path) -> None:
    make(path)
    spoil_metadata = "UPDATE sessionstore_sessions SET metadata = CAST(x'7bff' AS TEXT)"
    with outside(path) as connection:
        connection.execute(spoil_metadata)
    with SQLiteSessionStore(path) as store:
        for call in (
            lambda: store.get("s"),
            lambda: store.update("s", metadata={"a": 1}),
            lambda: store.update("s", messages=[]),
        ):
            with pytest.raises(CorruptMessageError, match="session 's'"):
                call()
        assert store.append_message("s", said("more")) == 1
        assert len(store.get_messages("s")) == 4
        with outside(path) as connection:
            kept = connection.execute(
                "SELECT typeof(metadata), hex(metadata) FROM sessionstore_sessions"
            )
            assert kept.fetchall() == [("text", "7BFF")]
        assert store.delete("s") is True


def test_reading_an_agent_that_is_not_utf_8_gives_its_connection_back(path: Path) -> None:
    make(path)
    with SQLiteSessionStore(path) as store:
        store.ping()
        with outside(path) as connection:
            connection.execute("UPDATE sessionstore_sessions SET agent_id = CAST(x'ff' AS TEXT)")
        for _ in range(2):
            with pytest.raises(CorruptMessageError, match="damaged"):
                store.get("s")
            assert store.list_sessions().sessions == []
        assert not any(connection.in_transaction for connection in store._database.idle())
        assert store.create("other").version == 1


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    path.touch()
    make(path)
    with SQLiteSessionStore(path) as store:
        assert len(store.get_messages("s")) == 3


# -- Who may read and write it ------------------------------------------------------------------


@pytest.fixture
def open_mask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_mask")
@pytest.mark.parametrize("there_before", [False, True])
def test_the_files_are_readable_by_their_user_only(path: Path, *, there_before: bool) -> None:
    if there_before:
        path.touch(0o666)
    with SQLiteSessionStore(path) as store:
        store.append_message("s", said("x"))
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {"sessions.db": 0o600, "sessions.db-wal": 0o600, "sessions.db-shm": 0o600}


@pytest.fixture
def public() -> Iterator[Path]:
    """Give a folder that any user may enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def as_a_common_user() -> Iterator[None]:
    """Go on as a user that permissions bind, if this one is root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    ("file_mode", "folder_mode"), [(0o444, 0o777), (0o000, 0o777), (0o666, 0o555)]
)
def test_a_file_without_write_permission_is_refused_and_left_unchanged(
    public: Path, file_mode: int, folder_mode: int
) -> None:
    path = public / "sessions.db"
    make(path)
    path.chmod(file_mode)
    public.chmod(folder_mode)
    before = path.read_bytes()
    with as_a_common_user(), SQLiteSessionStore(path) as store:
        for _ in range(2):
            with pytest.raises(StoreUnavailableError, match="permission"):
                store.append_message("s", said("x"))
            with pytest.raises(StoreUnavailableError, match="permission"):
                asyncio.run(store.aappend_message("s", said("x")))
    assert path.read_bytes() == before
    assert files_of(path) == ["sessions.db"]
    with SQLiteSessionStore(path) as store:
        assert len(store.get_messages("s")) == 3


def test_a_read_only_folder_is_unavailable(public: Path) -> None:
    public.chmod(0o555)
    with (
        as_a_common_user(),
        SQLiteSessionStore(public / "sessions.db") as store,
        pytest.raises(StoreUnavailableError, match="denied"),
    ):
        store.ping()
    assert list(public.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's file")
def test_an_empty_file_of_another_user_is_refused(public: Path) -> None:
    path = public / "sessions.db"
    path.touch()
    path.chmod(0o666)
    public.chmod(0o777)
    with (
        as_a_common_user(),
        SQLiteSessionStore(path) as store,
        pytest.raises(StoreUnavailableError, match="another user"),
    ):
        store.ping()
    assert path.stat().st_size == 0


def refuse(*_: object) -> None:
    raise PermissionError(1, "Operation not permitted")


@pytest.mark.usefixtures("open_mask")
def test_a_file_system_without_hard_links_is_supported(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", refuse)
    make(path)
    assert files_of(path) == ["sessions.db"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


class WithoutLog(connections.FileConnection):
    """Answers as SQLite does where memory can't be shared: by the mode that it stays in."""

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        if sql == "PRAGMA journal_mode = WAL":
            sql = "PRAGMA journal_mode = DELETE"
        return super().execute(sql, *args)


def test_a_file_system_without_a_write_ahead_log_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "FileConnection", WithoutLog)
    with (
        SQLiteSessionStore(path) as store,
        pytest.raises(SessionStoreError, match="write-ahead log"),
    ):
        store.create("s")


def test_a_failed_locking_protocol_is_a_busy_error(path: Path) -> None:
    error = translated(sqlite3.OperationalError("locking protocol"), str(path))
    assert type(error) is StoreBusyError


def test_a_file_that_became_read_only_refuses_writes(path: Path) -> None:
    with SQLiteSessionStore(path) as store:
        store.append_message("s", said("x"))
        [connection] = store._database.idle()
        connection.execute("PRAGMA query_only = ON")
        with pytest.raises(StoreUnavailableError, match="can't be written"):
            store.append_message("s", said("y"))
        assert len(store.get_messages("s")) == 1
        connection.execute("PRAGMA query_only = OFF")
        store.append_message("s", said("y"))
        assert len(store.get_messages("s")) == 2


def test_no_error_shows_what_a_user_wrote(path: Path) -> None:
    with SQLiteSessionStore(path) as store:
        store.ping()
        with outside(path) as connection:
            connection.execute("DROP TABLE sessionstore_messages")
        with pytest.raises(SessionStoreError) as caught:
            store.append_message("s", said("s3cret"))
    assert isinstance(caught.value.__cause__, sqlite3.Error)
    assert "s3cret" not in f"{caught.value!r} {caught.value.__cause__!r}"
