"""Interrupts an SQL store on SQLite again and again; says what went wrong, each on a line."""

from __future__ import annotations

import gc
import os
import random
import signal
import sqlite3
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from sessionstore import AgentDb, DbSessionStore, SessionMessage, SqliteAgentDb

BATCH = 5
_heard: list[str] = []


def main(kind: str, path: str, rounds: int) -> None:
    warnings.simplefilter("error")
    sys.unraisablehook = _note
    gc.disable()  # nothing may hang on it
    random.seed(kind)
    with _opened(kind, path) as db:
        for number in range(rounds):
            for fault in _faults_of(DbSessionStore(db), path, str(number)):
                print(number, fault)  # noqa: T201
    gc.collect()
    for fault in _heard:
        print(fault)  # noqa: T201


def _opened(kind: str, path: str) -> AgentDb:
    if kind == "AgentDb":
        return AgentDb(f"sqlite:///{path}", connect_args={"timeout": 5})
    return SqliteAgentDb(path if kind == "SqliteAgentDb" else ":memory:")


def _faults_of(store: DbSessionStore, path: str, name: str) -> Iterator[str]:
    batch = [SessionMessage("user", "x", id=f"{name}.{place}") for place in range(BATCH)]
    acknowledged = False
    try:
        with _alarm(random.uniform(0.00001, 0.0015)):  # noqa: S311
            store.append_messages("s", batch)
            acknowledged = True
            store.get_messages("s", limit=3)
            store.update("s", metadata={"round": name})
    except KeyboardInterrupt:
        pass
    if os.path.exists(path):
        with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:
            try:
                other.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                yield "the file is still locked"
    yield from _in_another_thread(store)
    held = {message.id for message in store.get_messages("s", limit=2 * BATCH)}
    there = sum(message.id in held for message in batch)
    if there not in (0, BATCH) or (acknowledged and there != BATCH):
        yield f"{there} messages of {BATCH} are there, acknowledged: {acknowledged}"


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    signal.signal(signal.SIGALRM, _interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _in_another_thread(store: DbSessionStore) -> list[str]:
    failures: list[str] = []

    def write() -> None:
        try:
            store.append_message("t", SessionMessage("user", "x"))
        except Exception as error:  # noqa: BLE001 - whatever it is
            failures.append(f"another thread can't write: {error!r}")

    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    return failures


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _note(unraisable: Any) -> None:
    if not isinstance(
        unraisable.exc_value, KeyboardInterrupt
    ):  # raised where Python can't hand it on
        _heard.append(f"heard: {unraisable.exc_value!r}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
