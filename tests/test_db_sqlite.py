"""`DbSessionStore` on SQLite: what a call that is given up leaves, and how long one takes."""

from __future__ import annotations

import asyncio
import functools
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlite_files import said, write_lock
from stopwatch import Stopwatch

from sessionstore import AgentDb, DbSessionStore, SqliteAgentDb, StoreBusyError

KINDS = ["SqliteAgentDb", "AgentDb", "aiosqlite"]
HERE = Path(__file__).parent


def on_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


def opened(kind: str, path: Path, timeout: float = 5.0) -> AgentDb:
    if kind == "SqliteAgentDb":
        return SqliteAgentDb(path, timeout=timeout)
    driver = "+aiosqlite" if kind == "aiosqlite" else ""
    return AgentDb(f"sqlite{driver}:///{path}", connect_args={"timeout": timeout})


@pytest.mark.parametrize("kind", KINDS)
@on_a_loop
async def test_a_cancelled_write_never_lands_later(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    async with opened(kind, path) as db, opened(kind, path) as other:
        store = DbSessionStore(db)
        for n in range(3):
            await store.aappend_message(f"s{n}", said("old", "old"))
            with write_lock(path), pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(store.aupdate(f"s{n}", messages=[said("late")]), 0.02)
            await DbSessionStore(other).aappend_message(f"s{n}", said("new", "new"))
            await store.aappend_message("t", said("in its turn, behind whatever was still to come"))
            assert [m.id for m in await store.aget_messages(f"s{n}")] == ["old", "new"]


@pytest.mark.parametrize("kind", KINDS)
@on_a_loop
async def test_a_cancelled_write_is_settled_when_the_call_returns(
    kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "s.db"
    async with opened(kind, path) as db:
        store = DbSessionStore(db)
        await store.aappend_message("s", said("first"))
        for n in range(30):
            batch = [said("x" * 100, f"{n}.{k}") for k in range(200)]
            writing = asyncio.ensure_future(store.aappend_messages("s", batch))
            await asyncio.sleep(n * 0.0002)
            writing.cancel()
            await asyncio.wait([writing])
            with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")  # nobody holds the file any more
            at_once = await store.aget_messages("s", limit=200)
            assert len({message.id in {m.id for m in batch} for message in at_once}) == 1


@pytest.mark.parametrize("kind", KINDS)
@on_a_loop
async def test_a_call_that_no_thread_begins_in_time_never_begins(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    async with opened(kind, path) as made, opened(kind, path, 0.3) as db:
        await DbSessionStore(made).aappend_message("s", said("first"))
        store = DbSessionStore(db)
        await store.aget("s")
        with Stopwatch() as watch, write_lock(path):
            writes = [store.aappend_message("s", said("x")) for _ in range(20)]
            outcomes = await asyncio.gather(*writes, return_exceptions=True)
        assert watch.seconds < 1.5  # not 20 times as long, nor twice for each wait
        assert {type(outcome) for outcome in outcomes} == {StoreBusyError}
        assert await store.aappend_message("s", said("last")) == 1
        assert len(await store.aget_messages("s")) == 2


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["SqliteAgentDb", "AgentDb", "memory"])
def test_an_interrupt_leaves_nothing_half_done_and_nothing_held(kind: str, tmp_path: Path) -> None:
    program = [sys.executable, "-X", "dev", "-W", "error", HERE / "interrupted.py"]
    done = subprocess.run(
        [*program, kind, tmp_path / "s.db", "80"], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
