"""`DbSessionStore` on an SQLite file that is deleted, renamed or replaced while it is in use."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from sqlite_files import said

from sessionstore import AgentDb, DbSessionStore, SessionStoreError, SqliteAgentDb

KINDS: dict[str, Callable[[Path], AgentDb]] = {
    "SqliteAgentDb": SqliteAgentDb,
    "AgentDb": lambda path: AgentDb(f"sqlite:///{path}"),
    "aiosqlite": lambda path: AgentDb(f"sqlite+aiosqlite:///{path}"),
}


def _delete(path: Path) -> None:
    for name in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.unlink(f"{path}{name}")


def _delete_log(path: Path) -> None:
    for name in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.unlink(f"{path}{name}")


def _replace(path: Path) -> None:
    os.replace(f"{path}.backup", path)
    _delete_log(path)


WAYS: dict[str, Callable[[Path], object]] = {
    "deleted": _delete,
    "renamed": lambda path: os.replace(path, f"{path}.old"),
    "replaced": _replace,
    "without its log": _delete_log,
}


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_acknowledged_write_is_in_the_file_at_the_path(
    tmp_path: Path, kind: str, way: str, is_async: bool
) -> None:
    path, acknowledged = tmp_path / "s.db", []

    async def use() -> None:
        db = KINDS[kind](path)
        store = DbSessionStore(db)

        async def append(text: str) -> None:
            if is_async:
                await store.aappend_message("s", said(text, text))
            else:
                store.append_message("s", said(text, text))

        await append("before")
        WAYS[way](path)
        for n in range(4):
            with suppress(SessionStoreError):
                await append(f"after {n}")
                acknowledged.append(f"after {n}")
        await db.aclose()

    with KINDS[kind](tmp_path / "s.db.backup") as backup:
        DbSessionStore(backup).create("other")
    shutil.copy(tmp_path / "s.db.backup", path)
    asyncio.run(use())
    with KINDS[kind](path) as db:
        held = {message.id for message in DbSessionStore(db).get_messages("s")}
    assert held >= set(acknowledged)
    assert "after 3" in acknowledged  # it goes on with what is there then


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_file_is_private_to_the_user(tmp_path: Path, kind: str, is_async: bool) -> None:
    os.umask(0o022)
    with KINDS[kind](tmp_path / "s.db") as db:
        store = DbSessionStore(db)
        if is_async:
            asyncio.run(store.aappend_message("s", said("x")))
        else:
            store.append_message("s", said("x"))
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert set(modes.values()) == {0o600}
