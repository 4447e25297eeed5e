"""Entries of a journal that can't be read are set aside; all others are replayed."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from faults import FaultyStore
from test_fallback_faults import said

from sessionstore import (
    FallbackSessionStore,
    InMemorySessionStore,
    SessionMessage,
    SQLiteSessionStore,
)
from sessionstore.fallback import journal_form
from sessionstore.operations import Update


class Damaged:
    """A journal in a file, written in an outage by a process that is gone."""

    def __init__(self, path: Path, writes: int = 50) -> None:
        self.path = path
        self.primary = FaultyStore(InMemorySessionStore())
        with closing(self.open()) as store:
            store.append_messages("s", said("before"))
            store.get("s")
            self.primary.go_down()
            for number in range(writes):
                store.append_messages("s", said(str(number)))
            store.append_messages("t", said("t"))
            store._closed = True  # it is killed
            store._parts.journal.leave()
        self.primary.come_back()

    def open(self) -> FallbackSessionStore:
        return FallbackSessionStore(
            self.primary, fallback=SQLiteSessionStore(self.path), retry_after=0
        )

    def change(self, number: int, how: str, value: Any = None) -> None:
        """Change the stored entry of one of the writes."""
        with closing(sqlite3.connect(self.path)) as file, file:
            rows = file.execute("SELECT rowid, body FROM sessionstore_messages").fetchall()
            [(row, body)] = [
                (row, body)
                for row, body in rows
                if f'\\"content\\":\\"{number}\\"'
                in (body if isinstance(body, str) else body.decode())
            ]
            text = body if isinstance(body, str) else body.decode()
            new: Any = {
                "cut": text[: len(text) // 2],
                "bytes": b"\xff\xfe" + text.encode(),
                "inside": text.replace('\\"kind\\"', '\\"kin', 1),
                "newer": text.replace('\\"append\\"', '\\"fork\\"', 1),
                "named": text.replace('\\"messages\\"', '\\"nessages\\"', 1),
                "emptied": text.replace('\\"messages\\":[{', '\\"messages\\":[],\\"x\\":[{', 1),
                "role": text.replace('"role":"write"', '"role":"fence"', 1),
                "value": value,
            }[how]
            assert new != body
            file.execute("UPDATE sessionstore_messages SET body = ? WHERE rowid = ?", (new, row))

    def kept(self, session_id: str = "s") -> list[str | None]:
        return [message.id for message in self.primary.inner.get_messages(session_id)]


HOW = [
    ("cut", None),
    ("named", None),
    ("emptied", None),
    ("bytes", None),
    ("inside", None),
    ("newer", None),
    ("role", None),
]
HOW += [("value", value) for value in ("", 7, 1.5, "[]", "null", '{"role": 1}')]


@pytest.fixture(params=[0, 20, 49], ids=["first", "middle", "last"])
def number(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.mark.parametrize(("how", "value"), HOW)
def test_one_entry_that_can_not_be_read_keeps_no_other_back(
    tmp_path: Path, number: int, how: str, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    damaged = Damaged(tmp_path / "outage.db")
    damaged.change(number, how, value)
    others = ["before", *(str(n) for n in range(50) if n != number)]
    for _ in range(2):  # and in the next process
        with damaged.open() as store:
            assert store.recover()
            assert damaged.kept() == others
            assert damaged.kept("t")[:1] == ["t"]
            [left] = store.rejected()
            assert (left.operation, left.reason) == (None, "CorruptMessageError")
            assert left.session_id == "s"
            assert store.stats().rejected == 1
            assert not store.is_degraded()
            assert store.append_messages("t", said("more")) in (0, 1)
        errors = [record for record in caplog.records if record.levelname == "ERROR"]
        assert len(errors) == 1
        caplog.clear()
    # It stays where it is, until somebody has seen to it.
    with SQLiteSessionStore(damaged.path) as file:
        [kept] = file.list_sessions(agent_id=journal_form.JOURNALS).sessions
        assert left.id.startswith(kept.id)
        assert file.delete(kept.id)
    with damaged.open() as store:
        assert store.rejected() == []


@pytest.mark.parametrize("value", [10**15, "text"])
def test_an_entry_at_an_invalid_position_is_not_deleted_silently(
    tmp_path: Path, number: int, value: object
) -> None:
    damaged = Damaged(tmp_path / "outage.db")
    with closing(sqlite3.connect(damaged.path)) as file, file:
        content = f'%"content\\":\\"{number}\\"%'
        changed = file.execute(
            "UPDATE sessionstore_messages SET position = ? WHERE body LIKE ?", (value, content)
        )
        assert changed.rowcount == 1
    with damaged.open() as store:
        assert store.recover()
        others = {str(n) for n in range(50) if n != number}
        assert others <= {*damaged.kept()}
        is_there = str(number) in damaged.kept()
        assert is_there or [write.operation for write in store.rejected()] == [None]
    with SQLiteSessionStore(damaged.path) as file:
        assert is_there or len(file.list_sessions(agent_id=journal_form.JOURNALS).sessions) == 1


def test_two_entries_that_can_not_be_read_stop_no_replay(tmp_path: Path) -> None:
    damaged = Damaged(tmp_path / "outage.db")
    damaged.change(10, "cut")
    damaged.change(12, "cut")
    with damaged.open() as store:
        assert store.recover()
        kept = damaged.kept()
        assert {str(n) for n in range(50) if n not in (10, 11, 12)} < {*kept, "11"}
        assert store.rejected()
        assert store.append_messages("s", said("more")) == 1


def test_an_update_that_may_have_been_replayed_is_not_replayed_again(tmp_path: Path) -> None:
    """The word of what was replayed can't be read: an update could go over a newer one."""
    damaged = Damaged(tmp_path / "outage.db", writes=0)
    damaged.primary.go_down()
    with closing(damaged.open()) as store:
        store.append_messages("s", said("a"))
        store.update("s", metadata={"title": "old"})
        store.append_messages("s", said("b"))
        damaged.primary.script(None, None, None, then="down")  # the ping, and two of them
        store.recover()
        store._closed = True
        store._parts.journal.leave()
    damaged.primary.inner.update("s", metadata={"title": "new"})
    with closing(sqlite3.connect(damaged.path)) as file, file:
        file.execute(
            "UPDATE sessionstore_messages SET body = replace(body, ?, ?) WHERE body LIKE ?",
            ('"content":"[', '"content":"{', '%"role":"done"%'),
        )
    damaged.primary.come_back()
    with damaged.open() as store:
        assert store.recover()
        assert damaged.primary.inner.get("s").metadata == {"title": "new"}
        kinds = {type(write.operation) for write in store.rejected()}
        assert kinds == {Update, type(None)}
        assert damaged.kept()[-2:] == ["a", "b"]


def test_a_rejected_write_that_can_not_be_read_prevents_no_store_from_opening(
    tmp_path: Path,
) -> None:
    path = tmp_path / "outage.db"
    with SQLiteSessionStore(path) as file:
        for number in range(3):
            body = "{" if number == 1 else '{"kind":"later","session_id":"s"}'
            entry = SessionMessage("write", body, id=str(number))
            file.append_messages(journal_form.REJECTED, [entry], agent_id=journal_form.REJECTED)
    primary = InMemorySessionStore()
    with FallbackSessionStore(primary, fallback=SQLiteSessionStore(path)) as store:
        assert [write.operation for write in store.rejected()] == [None] * 3
        assert store.append_messages("s", said("a")) == 1


def test_an_entry_that_can_not_be_read_fails_no_other_call(tmp_path: Path) -> None:
    """Where the journal is looked through later, in somebody's call."""
    damaged = Damaged(tmp_path / "outage.db")
    damaged.change(3, "inside")
    with damaged.open() as store:
        assert store.append_messages("other", said("a")) == 1
        assert asyncio.run(store.aappend_messages("other", said("b"))) == 1
        assert damaged.kept("other") == ["a", "b"]
