from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from children import Children
from sqlite_files import files_of, outside, said

from sessionstore import SessionStoreError, SQLiteSessionStore
from sessionstore.operations import Append
from sessionstore.sqlite.carrying import carry_out
from sessionstore.sqlite.identity import FileIdentity
from sessionstore.sqlite.transactions import Transaction
from sessionstore.sqlite.writing import append


def unlink(path: Path, *ends: str) -> None:
    for end in ends:
        Path(f"{path}{end}").unlink(missing_ok=True)


def replace(path: Path) -> None:
    with SQLiteSessionStore(path.with_name("backup")) as store:
        store.append_message("s", said("of the backup"))
    os.replace(path.with_name("backup"), path)


def replace_and_clean(path: Path) -> None:
    replace(path)
    unlink(path, "-wal", "-shm")


TAKEN: dict[str, Callable[[Path], Any]] = {
    "deleted": lambda path: unlink(path, "", "-wal", "-shm"),
    "deleted alone": lambda path: unlink(path, ""),
    "renamed": lambda path: path.rename(f"{path}.old"),
    "all renamed": lambda path: [
        os.rename(f"{path}{end}", f"{path}.old{end}") for end in ("", "-wal", "-shm")
    ],
    "replaced": replace,
    "replaced and cleaned": replace_and_clean,
    "without log": lambda path: unlink(path, "-wal"),
    "without index": lambda path: unlink(path, "-shm"),
    "without both": lambda path: unlink(path, "-wal", "-shm"),
    "folder renamed": lambda path: (
        path.parent.rename(f"{path.parent}.old"),
        path.parent.mkdir(),
    ),
}
CALLS: dict[str, Callable[[SQLiteSessionStore], Any]] = {
    "append": lambda store: store.append_message("s", said("more")),
    "get": lambda store: store.get("s"),
    "list": lambda store: store.list_sessions(),
    "aappend": lambda store: asyncio.run(store.aappend_message("s", said("more"))),
}
READ = """
    import sys
    from sessionstore import SQLiteSessionStore

    with SQLiteSessionStore(sys.argv[1]) as store:
        print(*(message.content for message in store.get_messages("s")), sep="|")
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "sessions.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteSessionStore]:
    with SQLiteSessionStore(path) as store:
        store.append_message("s", said("before"))
        yield store


def a_moment_later(store: SQLiteSessionStore) -> None:
    for connection in store._database._connections:
        assert connection.identity
        connection.identity._looked -= 1


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(SessionStoreError) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
@pytest.mark.parametrize("take", TAKEN.values(), ids=TAKEN.keys())
def test_the_first_call_after_a_file_was_replaced_is_refused_and_the_second_goes_on(
    path: Path, store: SQLiteSessionStore, take: Callable[[Path], Any], call: Callable[..., Any]
) -> None:
    take(path)
    a_moment_later(store)
    message = refusal(lambda: call(store))
    assert str(path) in message
    assert "while it was in use" in message
    assert "nothing was written" in message
    before = [message.content for message in store.get_messages("s")]
    assert store.append_message("s", said("after")) == 1
    assert store.get_messages("s")[-1].content == "after"
    store.close()
    with SQLiteSessionStore(path) as again:
        assert [m.content for m in again.get_messages("s")] == [*before, "after"]


@pytest.mark.parametrize("take", TAKEN.values(), ids=TAKEN.keys())
def test_an_acknowledged_write_is_in_the_file_at_the_path(
    path: Path, store: SQLiteSessionStore, take: Callable[[Path], Any]
) -> None:
    """Also at the very moment: not a read, but a write is never answered too early."""
    take(path)
    acknowledged = []
    for number in range(3):
        try:
            store.append_message("s", said(f"{number}"))
            acknowledged.append(f"{number}")
        except SessionStoreError:
            assert number == 0
    assert acknowledged == ["1", "2"]
    with Children() as children:
        found = children.run(READ, path).strip().split("|")
    assert [text for text in found if text in acknowledged] == acknowledged


def test_earlier_writes_are_in_the_file_that_was_renamed(
    path: Path, store: SQLiteSessionStore
) -> None:
    path.rename(f"{path}.old")
    refusal(lambda: store.get("s"))
    store.append_message("s", said("new"))
    with SQLiteSessionStore(f"{path}.old") as old:
        assert [message.content for message in old.get_messages("s")] == ["before"]


def test_a_deleted_write_ahead_log_loses_no_earlier_write(
    path: Path, store: SQLiteSessionStore
) -> None:
    unlink(path, "-wal")
    a_moment_later(store)
    refusal(lambda: store.append_message("s", said("refused")))
    store.append_message("s", said("after"))
    assert [message.content for message in store.get_messages("s")] == ["before", "after"]


@pytest.mark.parametrize("take", TAKEN.values(), ids=TAKEN.keys())
def test_a_file_replaced_during_a_write_is_noticed(
    path: Path, store: SQLiteSessionStore, take: Callable[[Path], Any]
) -> None:
    def taken(transaction: Transaction, operation: Append) -> int:
        added = append(transaction, operation)
        take(path)
        return added

    half = Append("s", [said("half", "half")])
    assert "read before you try it again" in refusal(
        lambda: carry_out(store._database, taken, half)
    )
    store.append_message("s", said("half", "half"))
    with Children() as children:
        assert "half" in children.run(READ, path)


def test_every_connection_and_store_of_a_process_notices_a_replaced_file(path: Path) -> None:
    with SQLiteSessionStore(path) as one, SQLiteSessionStore(path) as other:
        for store in (one, other):
            store.append_message("s", said("before"))
            calls = [store._database.call() for _ in range(3)]
            for call in calls:
                store._database.take(call, write=False)
            for call in calls:
                store._database.settle(call)
        unlink(path, "-wal", "-shm")
        a_moment_later(one)
        refusal(lambda: one.append_message("s", said("refused")))
        assert one._database.idle() == other._database.idle() == []
        assert one.append_message("s", said("after")) == 1
        assert len(other.get_messages("s")) == 3


def test_a_symbolic_link_that_changes_its_target_is_noticed(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    other = tmp_path / "other.db"
    other.touch()
    link.symlink_to(path)
    path.touch()
    with SQLiteSessionStore(link) as store, SQLiteSessionStore(path) as direct:
        store.append_message("s", said("before"))
        link.unlink()
        link.symlink_to(other)
        refusal(lambda: store.get("s"))
        assert store.append_message("s", said("there")) == 1
        assert len(direct.get_messages("s")) == 1
    with SQLiteSessionStore(other) as store:
        assert [message.content for message in store.get_messages("s")] == ["there"]


USE = """
    import sys
    from sessionstore import SessionMessage, SQLiteSessionStore

    for number in range(50):
        with SQLiteSessionStore(sys.argv[1], timeout=60) as store:
            store.append_message("s", SessionMessage("user", "x"))
            store.get("s")
"""


def test_processes_that_open_and_close_the_file_raise_no_alarm(path: Path) -> None:
    with Children() as children:
        for child in [children.start(USE, path) for _ in range(3)]:
            assert child.stdin
        children.run(USE, path)
        for child in children._children:
            child.wait()
            assert child.returncode == 0
    with SQLiteSessionStore(path) as store:
        assert len(store.get_messages("s")) == 200
    assert files_of(path) == ["sessions.db"]


def test_other_files_and_checkpoints_raise_no_alarm(path: Path, store: SQLiteSessionStore) -> None:
    for number in range(20):
        (path.parent / f"{number}").touch()
        store.append_message("s", said("more"))
        with outside(path) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            connection.execute("VACUUM")
        shutil.copy(path.parent / f"{number}", path.parent / "copy")
        assert len(store.get_messages("s")) == number + 2


def test_two_threads_do_not_close_one_connection_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_it: list[sqlite3.Connection] = []
    together: list[int] = []

    def save(_: FileIdentity, connection: sqlite3.Connection) -> None:
        at_it.append(connection)
        time.sleep(0.1)
        together.append(at_it.count(connection))
        at_it.remove(connection)

    path = tmp_path / "sessions.db"
    with SQLiteSessionStore(path) as store:
        store.append_message("s", said("first"))
        TAKEN["all renamed"](path)
        monkeypatch.setattr(FileIdentity, "save", save)
        closers = [threading.Thread(target=store._database.let_go) for _ in range(4)]
        for closer in closers:
            closer.start()
        for closer in closers:
            closer.join()
        assert together == [1]
        assert store.append_message("s", said("next")) == 1
