"""A process that writes in batches, killed again and again: what it acknowledged is there."""

from __future__ import annotations

import random
from pathlib import Path

from children import Children, ended
from sqlite_files import outside
from warm import Warm

from sessionstore import SQLiteSessionStore

WRITE = """
    import asyncio, os, sys, threading
    from itertools import count
    from sessionstore import SessionMessage, SQLiteSessionStore

    path, life = sys.argv[1:]
    store = SQLiteSessionStore(path)

    def pair(writer, number):
        names = [f"{life} {writer} {number} {n}" for n in range(2)]
        return [SessionMessage("user", "x" * 500, id=name) for name in names]

    def say(writer, number):
        os.write(1, f"{writer} {number}\\n".encode())

    def thread(writer):
        for number in count():
            assert store.append_messages(f"s{writer}", pair(writer, number)) == 2
            say(writer, number)

    async def task(writer):
        for number in count():
            assert await store.aappend_messages(f"s{writer}", pair(writer, number)) == 2
            say(writer, number)

    async def tasks():
        await asyncio.gather(*map(task, range(4, 20)))

    for writer in range(4):
        threading.Thread(target=thread, args=(writer,), daemon=True).start()
    asyncio.run(tasks())
"""


def lives(warm: Warm, path: Path, count: int) -> None:
    """Let it live so many times, and look each time at what it left."""
    for life in range(count):
        acknowledged = _lived(warm, path, life)
        assert _kept(path, life) >= acknowledged, "an acknowledged message is lost"
    with outside(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def _lived(warm: Warm, path: Path, life: int) -> set[tuple[int, int]]:
    with Children(warm) as children:
        child = children.start(WRITE, path, life)
        assert child.stdout
        first = [child.stdout.readline() for _ in range(random.randint(1, 150))]  # noqa: S311
        child.kill()
        lines = "".join([*first, ended(child)]).splitlines()
    said = [tuple(map(int, line.split())) for line in lines]
    return {(writer, number) for writer, number in said}


def _kept(path: Path, life: int) -> set[tuple[int, int]]:
    """Give what a life left, each writer's in its order, without a gap and without half of any."""
    kept: set[tuple[int, int]] = set()
    with SQLiteSessionStore(path) as store:
        for writer in range(20):
            log = [str(message.id).split() for message in store.get_messages(f"s{writer}")]
            mine = [place for of, *place in log if of == str(life)]
            numbers = range(len(mine) // 2)
            assert mine == [[str(writer), str(n), str(part)] for n in numbers for part in range(2)]
            kept |= {(writer, number) for number in numbers}
    return kept
